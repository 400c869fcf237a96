"""A gallery: the people a system knows, one mean embedding each, and in which space those embeddings live."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from etdnn.deploy.audio import file_windows
from etdnn.deploy.runtime import Embedder
from etdnn.errors import UserError
from etdnn.model.checkpoint import FORMAT, read_tensors, save_tensors
from etdnn.scoring.cosine import length_normalise

MIN_SPEECH = 2.0
"""Seconds of net speech that an enrolment needs in all."""
_FRAME_SECONDS = 0.025
_BELOW_LOUDEST_DB = 30.0


@dataclass
class Gallery:
    """Enrolled `names`; row i of `sums` (float32 [people, dim]) adds the unit embeddings of `counts[i]` recordings.

    `embedding_space` and `model` (a hash) say which models can be compared with it.
    """

    names: list[str]
    sums: np.ndarray
    counts: np.ndarray
    speech: np.ndarray
    embedding_space: str
    model: str

    @classmethod
    def empty(cls, model: Embedder) -> "Gallery":
        """Return a gallery of nobody in the space of `model`."""
        nothing = np.zeros(0, np.int64)
        return cls(
            [], np.zeros((0, model.dim), np.float32), nothing, nothing.astype(float), model.embedding_space, model.hash
        )

    @classmethod
    def load(cls, path: str | Path) -> "Gallery":
        """Read a gallery file; UserError when it is missing, damaged or something else."""
        if not Path(path).is_file():
            found = "a folder, not a gallery" if Path(path).is_dir() else "no such gallery"
            raise UserError(f"{path}: {found} (etdnn enrol makes one)")
        tensors, metadata = read_tensors(path)
        if metadata["kind"] != "gallery":
            raise UserError(f"{path}: holds a {metadata['kind']}, a gallery is needed (etdnn enrol makes one)")
        try:
            gallery = cls(
                metadata["names"], *(tensors[key].numpy() for key in ("sums", "counts", "speech")),
                metadata["embedding_space"], metadata["model"],
            )  # fmt: skip
        except KeyError as error:
            raise UserError(f"{path}: a damaged gallery: it has no {error}") from None
        rows = {len(gallery.names), len(gallery.sums), len(gallery.counts), len(gallery.speech)}
        if len(rows) != 1:
            raise UserError(f"{path}: a damaged gallery: names and embeddings differ in number")
        return gallery

    def save(self, path: str | Path) -> None:
        """Write the gallery atomically."""
        tensors = {key: torch.from_numpy(getattr(self, key)) for key in ("sums", "counts", "speech")}
        metadata = {
            "format": FORMAT, "kind": "gallery", "names": self.names,
            "embedding_space": self.embedding_space, "model": self.model,
        }  # fmt: skip
        save_tensors(path, tensors, metadata)

    def check(self, model: Embedder, where: str | Path) -> None:
        """Refuse a model whose embeddings live in another space than the gallery's (or that is the gallery's own)."""
        if self.embedding_space != model.embedding_space and self.model != model.hash:
            raise UserError(
                f"{where}: enrolled with another model (its space {self.embedding_space}, {model.name}: "
                f"{model.embedding_space}); enrol again with this one"
            )

    def enrol(self, name: str, embeddings: np.ndarray, speech: float) -> None:
        """Add recordings (float32 [n, dim]) with `speech` seconds of net speech to a person, known or new."""
        if not name or name != name.strip() or "\n" in name:
            raise UserError(f"'{name}' cannot be a name: it is empty or has white space at its ends")
        if name not in self.names:
            self.names.append(name)
            self.sums = np.concatenate([self.sums, np.zeros((1, embeddings.shape[1]), np.float32)])
            self.counts, self.speech = np.append(self.counts, 0), np.append(self.speech, 0.0)
        row = self.names.index(name)
        self.sums[row] += length_normalise(embeddings).sum(axis=0)
        self.counts[row] += len(embeddings)
        self.speech[row] += speech

    def rank(self, embedding: np.ndarray) -> list[tuple[str, float]]:
        """Return (name, cosine) of everybody, nearest first."""
        if not self.names:
            raise UserError("the gallery is empty: etdnn enrol adds people")
        scores = length_normalise(self.sums) @ length_normalise(embedding[None])[0]
        return [(self.names[row], float(scores[row])) for row in np.argsort(-scores, kind="stable")]


def enrol_files(
    gallery: Gallery, model: Embedder, name: str, paths: Sequence[str], min_speech: float = MIN_SPEECH
) -> float:
    """Add recordings of one person; return their net speech in seconds, UserError when it is below `min_speech`."""
    speech = sum(net_speech_of(path, model.rate) for path in paths)
    known = float(gallery.speech[gallery.names.index(name)]) if name in gallery.names else 0.0
    if known + speech < min_speech:
        raise UserError(
            f"{name}: {known + speech:.1f} s of net speech in {len(paths)} recordings; {min_speech:g} s are needed: "
            "give more recordings"
        )
    gallery.enrol(name, np.stack([model.embed_file(path) for path in paths]), speech)
    return speech


def net_speech_of(path: str, rate: int) -> float:
    """Return the seconds of a file that are not pauses; see `net_speech`."""
    return sum(net_speech(window, rate) for window in file_windows(path, rate))


def net_speech(wave: np.ndarray, rate: int) -> float:
    """Return the seconds of frames within 30 dB of the loudest ones (95 % quantile): an estimate by energy alone."""
    size = round(_FRAME_SECONDS * rate)
    frames = wave[: len(wave) // size * size].reshape(-1, size).astype(np.float64)
    if not len(frames):
        return 0.0
    power = frames.var(axis=1)
    loud = np.quantile(power, 0.95)
    return float((power > max(loud * 10 ** (-_BELOW_LOUDEST_DB / 10), 1.0)).sum() * _FRAME_SECONDS)
