"""Training crops: which utterances, from where, with which label; the batch of step n is a function of (seed, n)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from etdnn.data.ark import FeatureReader
from etdnn.data.ark_index import Keys, read_word_table
from etdnn.data.staging import stage_arks
from etdnn.errors import UserError
from etdnn.features.copies import recipes_with
from etdnn.features.dequantise import send, to_device
from etdnn.features.mel_noise import Mixes, NoiseBank
from etdnn.features.normalise import normalise
from etdnn.features.plan import MelNoise, SpecAugment, Waveform
from etdnn.features.waveform import Draw, WaveformBank
from etdnn.seeding import numpy_generator

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Batch:
    """Crops (n, bins, frames), labels (n), and the indices of their utterances in the reader."""

    crops: Tensor
    labels: Tensor
    utterances: np.ndarray


class TrainingSet:
    """The utterances of a data directory with features, their classes, and which are copies of which.

    An item is what an epoch visits once: an utterance of one speaker. With `augmentation` >= 0 its stored copies
    (same `utt2uniq`, same speaker) stand in for it with that chance; else every copy is an item of its own. Raises
    UserError when features or labels are missing, or when there are fewer than two speakers. Without `speed_copies`
    their classes stay, but epochs do not visit them. `mel_noise` draws on the noises of `train_noise` beside the
    directory; with `waveform`, crops come from audio, and what epochs visit are originals and speed copies.
    """

    def __init__(
        self,
        directory: str | Path,
        augmentation: float = -1.0,
        *,
        speed_copies: bool = True,
        mel_noise: MelNoise | None = None,
        waveform: Waveform | None = None,
    ):
        directory = Path(directory)
        if not (directory / "feats.scp").is_file():
            raise UserError(f"{directory}/feats.scp is missing; stage 1 makes it: bash run.sh --stage 1")
        self.reader = FeatureReader(directory / "feats.scp")
        keys = self.reader.keys
        self.speakers, self.labels = _labels(directory, keys)
        if len(self.speakers) < 2:
            raise UserError(f"{directory}: {len(self.speakers)} speaker; training needs at least two")
        self.augmentation = augmentation
        self._directory = directory
        self.hash = _hash(keys, self.speakers, self.labels)
        self.noises: NoiseBank | WaveformBank | None = None
        if mel_noise is not None and mel_noise.probability > 0:
            self.noises = NoiseBank.beside(directory, keys, mel_noise)
        if waveform:
            self.noises = WaveformBank(directory, keys, waveform)
        visited = np.arange(len(keys)) if self.noises is None else self.noises.eligible
        if not speed_copies:
            visited = visited[~recipes_with(directory, keys, "speed=")[visited]]
        self._members, self._starts = self._items(directory, keys, visited)

    def _items(self, directory: Path, keys: Keys, visited: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return utterance indices grouped by item, the original first in each, and where each group begins."""
        if self.augmentation < 0 or not (directory / "utt2uniq").is_file():
            return visited, np.arange(len(visited) + 1)
        pairs = _originals(directory, keys)[visited] * len(self.speakers) + self.labels[visited]
        _, first, group = np.unique(pairs, return_index=True, return_inverse=True)
        appearance = np.empty(len(first), np.int64)
        appearance[np.argsort(first)] = np.arange(len(first))
        group = appearance[group]
        order = np.lexsort((keys.ranks()[visited], keys.lengths()[visited], group))
        return visited[order], np.concatenate([[0], np.cumsum(np.bincount(group))])

    @property
    def items(self) -> int:
        """Number of items of an epoch."""
        return len(self._starts) - 1

    @property
    def originals(self) -> int:
        """Number of items that are not at another speed: what recipes that draw the speed anew call an epoch."""
        changed = recipes_with(self._directory, self.reader.keys, "speed=")
        return int((~changed[self._members[self._starts[:-1]]]).sum())

    def stage(self, folder: Path) -> None:
        """Copy the archives of speech and noises into `folder`, where they are not there yet, and read them there."""
        if isinstance(self.noises, WaveformBank):
            raise UserError("--stage-to copies features, but 'waveform' of the training configuration reads audio")
        readers = [self.reader] + ([self.noises.reader] if self.noises else [])
        staged = iter(stage_arks([path for reader in readers for path in reader.paths], folder))
        for reader in readers:
            reader.close()
            reader.paths = list(islice(staged, len(reader.paths)))

    def draw(self, seed: int, phase: str, step: int, batch: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Return utterance indices and first frames (each [batch]) of step `step`, over all ranks.

        Epochs are seeded permutations laid end to end, so that every item comes once before any comes twice.
        """
        first = step * batch
        positions = np.arange(first, first + batch)
        chosen = np.empty(batch, np.int64)
        for epoch in np.unique(positions // self.items):
            mine = positions // self.items == epoch
            order = self._permutation(seed, phase, int(epoch))
            chosen[mine] = order[positions[mine] % self.items]
        generator = numpy_generator(seed, "crop", phase, step)
        sizes = self._starts[chosen + 1] - self._starts[chosen]
        copies = 1 + (generator.random(batch) * np.maximum(sizes - 1, 1)).astype(np.int64)
        augmented = (generator.random(batch) < self.augmentation) & (sizes > 1)
        utterances = self._members[self._starts[chosen] + np.where(augmented, copies, 0)]
        slack = np.maximum(self.reader.num_frames[utterances] - frames, 0)
        return utterances, (generator.random(batch) * (slack + 1)).astype(np.int64)

    def mixes(self, seed: int, phase: str, step: int, utterances: np.ndarray) -> Mixes | list[Draw] | None:
        """Return the noises of step `step` for the utterances of all ranks, drawn from (seed, phase, step); or None."""
        if self.noises is None:
            return None
        return self.noises.mixes(utterances, seed, self.noises.purpose, phase, step)

    def class_count(self) -> str:
        """Return the number of classes as text: `5,994 x 3 = 17,982 classes` with two speed copies of every speaker."""
        changed = recipes_with(self._directory, self.reader.keys, "speed=")
        total = len(self.speakers)
        own = total - len(np.unique(self.labels[changed]))
        if own in (0, total):
            return f"{total:,} classes"
        if total % own:
            return f"{own:,} speakers and {total - own:,} speed copies of speakers = {total:,} classes"
        return f"{own:,} x {total // own} = {total:,} classes"

    def _permutation(self, seed: int, phase: str, epoch: int) -> np.ndarray:
        if getattr(self, "_cached", (None,))[0] != (seed, phase, epoch):
            self._cached = ((seed, phase, epoch), numpy_generator(seed, "epoch", phase, epoch).permutation(self.items))
        return self._cached[1]

    def read(
        self,
        utterances: np.ndarray,
        starts: np.ndarray,
        frames: int,
        normalisation: str,
        *,
        mixes: Mixes | list[Draw] | None = None,
        device: torch.device = CPU,
    ) -> Batch:
        """Read crops of `frames` frames (short utterances are wrapped), on `device`; mix noise in; normalise each.

        To a GPU the codes of the archive travel; they become floats there. `mixes` has a row per crop; without it crops
        are those of the stored features.
        """
        if mixes is None:
            crops = to_device(self.reader.read_quantised(utterances, starts, frames), device)
        else:
            crops = self.noises.read(self.reader, utterances, starts, frames, mixes, device)
        crops = normalise(crops.transpose(1, 2), normalisation, 2).contiguous()
        return Batch(crops, send(self.labels[utterances], device), utterances)


def _labels(directory: Path, keys: Keys) -> tuple[list[str], np.ndarray]:
    """Return the speakers of `keys`, sorted, and the number of each utterance's speaker."""
    known, codes, names = read_word_table(directory / "utt2spk")
    positions = known.positions_of(keys)
    if (positions < 0).any():
        missing = keys[int(np.argmin(positions))]
        raise UserError(f"{directory}/utt2spk: no line for '{missing}', which {directory}/feats.scp has")
    used, codes = np.unique(codes[positions], return_inverse=True)
    order = sorted(range(len(used)), key=lambda place: names[used[place]])
    number = np.empty(len(used), np.int64)
    number[order] = np.arange(len(used))
    return [names[used[place]] for place in order], number[codes]


def _originals(directory: Path, keys: Keys) -> np.ndarray:
    """Return a number per utterance that copies share with their original, by utt2uniq; those not in it stand alone."""
    known, codes, names = read_word_table(directory / "utt2uniq")
    numbers = {name: number for number, name in enumerate(names)}
    places = places_of(numbers, known)
    # the original of an original: that of a copy of a speed copy
    parent = np.where(places >= 0, codes[places], np.arange(len(names), dtype=np.int64))
    positions = known.positions_of(keys)
    originals = parent[codes[positions]]
    for index in np.flatnonzero(positions < 0).tolist():
        originals[index] = numbers.setdefault(keys[index], len(numbers))
    return originals


def places_of(numbers: Mapping[str, int], keys: Keys) -> np.ndarray:
    """Return the place in `keys` of each name, by its number (0 to len(numbers) - 1), -1 where it is absent."""
    places = np.full(len(numbers), -1)
    for place, key in enumerate(keys):
        if (number := numbers.get(key)) is not None:
            places[number] = place
    return places


def _hash(keys: Keys, speakers: Sequence[str], labels: np.ndarray) -> str:
    """Return the hash of the lines `utterance speaker`, without holding them all."""
    digest, first = hashlib.sha256(), True
    pairs = zip(keys, labels.tolist(), strict=True)
    while lines := [f"{key} {speakers[label]}" for key, label in islice(pairs, 1 << 16)]:
        digest.update(("" if first else "\n").encode() + "\n".join(lines).encode())
        first = False
    return digest.hexdigest()[:16]


def mask(crops: Tensor, settings: SpecAugment, *purpose: int | str) -> Tensor:
    """Zero a band of mel bins and a span of frames of each crop (n, bins, frames), in place; seeded by purpose."""
    generator = numpy_generator(*purpose)
    for axis, largest in ((1, settings.bins), (2, settings.frames)):
        if largest <= 0:
            continue
        size, count = crops.shape[axis], crops.shape[0]
        spans = generator.integers(0, min(largest, size) + 1, count)
        begins = (generator.random(count) * (size - spans + 1)).astype(np.int64)
        places = np.arange(size)
        hidden = send((places >= begins[:, None]) & (places < (begins + spans)[:, None]), crops.device)
        crops.masked_fill_(hidden.unsqueeze(3 - axis), 0.0)
    return crops
