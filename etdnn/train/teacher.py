"""Learning from another model's embeddings: every subnet's embedding, projected, is drawn towards the teacher's."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etdnn.data.ark_index import Keys, read_word_table
from etdnn.errors import UserError
from etdnn.features.copies import recipes_with
from etdnn.features.dequantise import send
from etdnn.model.checkpoint import read_tensors, save_tensors
from etdnn.scoring.embeddings import read_embeddings
from etdnn.seeding import torch_generator
from etdnn.train.dataset import places_of


def _rows(directory: Path, keys: Keys, index: Mapping[str, int]) -> np.ndarray:
    """Return the row of each utterance by `index`, of its own or of its nearest original that has one, else -1."""
    own = np.fromiter((index.get(key, -1) for key in keys), np.int64, len(keys))
    if not (directory / "utt2uniq").is_file():
        return own
    known, codes, names = read_word_table(directory / "utt2uniq")
    passing = ~recipes_with(directory, known, "speed=")  # to whom the original's embedding goes
    rows = np.array([index.get(name, -1) for name in names], np.int64)
    itself = np.arange(len(names))
    places = places_of({name: number for number, name in enumerate(names)}, known)
    original = np.where((places >= 0) & passing[places], codes[places], itself)
    for _ in range(len(names).bit_length()):  # each round looks twice as far; a copy of a copy is soon at its end
        if (original == itself).all():
            break
        rows, original = np.where(rows < 0, rows[original], rows), original[original]
    places = known.positions_of(keys)
    return np.where((own < 0) & (places >= 0) & passing[places], rows[codes[places]], own)


class Teacher(nn.Module):
    """Embeddings of the training utterances by any model, and the learned projection of ours onto its dimensions.

    A copy without an embedding of its own has that of its original, unless it is at another speed, which is another
    speaker; what has none teaches nothing. UserError when no utterance has one.
    """

    def __init__(self, scp: Path, directory: Path, keys: Keys, embedding: int, seed: int):
        super().__init__()
        embeddings = read_embeddings(scp)
        self.rows = _rows(directory, keys, embeddings.index)
        self.known = int((self.rows >= 0).sum())
        if not self.known:
            raise UserError(f"{scp}: holds no embedding of any utterance of {directory}, e.g. of '{keys[0]}'")
        self.register_buffer("targets", torch.from_numpy(embeddings.matrix), persistent=False)
        self.projection = nn.Linear(embedding, embeddings.matrix.shape[1], bias=False)
        nn.init.xavier_normal_(self.projection.weight, generator=torch_generator(seed, "teacher"))

    def forward(self, embeddings: Tensor, utterances: np.ndarray) -> Tensor:
        """Return the mean of 1 - cosine between projected embeddings (n, dim) and those of `utterances` [n]."""
        rows = send(self.rows[utterances], embeddings.device)
        taught = rows >= 0
        distance = 1 - F.cosine_similarity(self.projection(embeddings.float()), self.targets[rows.clamp(min=0)])
        return (distance * taught).sum() / taught.sum().clamp(min=1)

    def save(self, path: Path) -> None:
        """Write the projection, for the next phase to go on with."""
        save_tensors(path, self.state_dict(), {"format": 1, "kind": "projection"})

    def load(self, path: Path) -> None:
        """Take over the projection of an earlier phase; UserError when it is of another teacher's dimensions."""
        tensors, _ = read_tensors(path)
        if tensors["projection.weight"].shape != self.projection.weight.shape:
            raise UserError(f"{path}: made for a teacher of {len(tensors['projection.weight'])} dimensions")
        self.load_state_dict(tensors)
