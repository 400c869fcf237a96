"""Embeddings: whole utterances, equal lengths together, or fixed crops in batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etdnn.data.ark import FeatureReader
from etdnn.errors import UserError
from etdnn.features.normalise import normalise
from etdnn.model.tdnn import Tdnn

CPU_BATCH_FRAMES = 4096
"""Frames per batch on a CPU: beyond this, activations only leave the cache."""
GPU_BATCH_FRAMES = 1 << 17
"""Frames per batch on a GPU."""


def pick_device(name: str) -> torch.device:
    """Return the device of `auto`, `cpu` or `cuda`; UserError when there is no such device here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"--device '{name}' is not one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no GPU here; use --device cpu")
    return torch.device(name)


def check_calibrated(net: Tdnn, where: str | Path = "model") -> None:
    """Refuse a net whose batch-norm statistics are not its own (UserError naming the stage that measures them)."""
    if not net.calibrated:
        raise UserError(f"{where}: batch norm was never re-estimated for this subnet; stage 5 does it (etdnn derive)")


def check_frontend(expected: Mapping[str, Any] | None, found: Mapping[str, Any], data: str | Path) -> None:
    """Refuse features of another front end than the model was trained on: embeddings would be silently wrong."""
    if not expected:
        raise UserError(f"{data}: the model does not say which front end it needs; derive it again (stage 5)")
    keys = sorted((expected.keys() | found.keys()) - {"key"})
    keys = [key for key in keys if found.get(key) != expected.get(key)]
    other = [f"{key} {found.get(key)} (model: {expected.get(key)})" for key in keys]
    if other:
        raise UserError(
            f"{data}/frontend.json: features differ from what the model was trained on: {', '.join(other)}; make them "
            f"again with its front end: bash run.sh --stage 1 --stop-stage 1 --fbank-config FILE{_holding(expected)}"
        )


def _holding(frontend: Mapping[str, Any]) -> str:
    """Return what the file of --fbank-config must hold, in words; nothing for options of another version."""
    from etdnn.features.fbank import FbankOptions

    try:
        lines = FbankOptions.from_dict(dict(frontend)).to_conf()
    except (TypeError, ValueError):
        return ""
    return f", FILE holding {' '.join(lines)}" if lines else ", an empty FILE"


def equal_length_batches(num_frames: np.ndarray, batch_frames: int) -> Iterator[np.ndarray]:
    """Yield positions of utterances of one length, at most `batch_frames` frames (or one utterance) at a time."""
    order = np.argsort(num_frames, kind="stable")
    edges = np.flatnonzero(np.diff(num_frames[order])) + 1
    for group in np.split(order, edges):
        if group.size:
            size = max(1, batch_frames // max(1, int(num_frames[group[0]])))
            yield from (group[start : start + size] for start in range(0, group.size, size))


@torch.inference_mode()
def embed_batch(net: Tdnn, crops: Tensor) -> np.ndarray:
    """Return embeddings float32 [n, dim] of normalised features (n, in_feats, frames); `net` stands in eval mode."""
    return net(crops.to(next(net.parameters()).device)).float().cpu().numpy()


def _prepare(features: np.ndarray, normalisation: str) -> Tensor:
    """Turn features [n, frames, in_feats] into network input (n, in_feats, frames)."""
    return normalise(torch.from_numpy(np.ascontiguousarray(features)), normalisation, 1).transpose(1, 2)


def _dimensions(net: Tdnn) -> int:
    return net.embedding.out_features


def _batch_frames(net: Tdnn, asked: int | None) -> int:
    on_gpu = next(net.parameters()).device.type != "cpu"
    return asked or (GPU_BATCH_FRAMES if on_gpu else CPU_BATCH_FRAMES)


def embed_features(
    net: Tdnn, features: Sequence[np.ndarray], normalisation: str, *, batch_frames: int | None = None
) -> np.ndarray:
    """Return embeddings float32 [n, dim] of whole utterances, each float32 [frames, in_feats] before normalisation.

    Only utterances of equal length share a batch, so nothing is padded and neighbours change nothing. Runs where the
    net is. UserError for an uncalibrated net or an empty utterance.
    """
    check_calibrated(net)
    lengths = np.array([len(matrix) for matrix in features], dtype=np.int64)
    if lengths.size and not lengths.all():
        raise UserError(f"utterance number {int(np.argmin(lengths))} has no frames")
    net.eval()
    result = np.empty((lengths.size, _dimensions(net)), np.float32)
    for batch in equal_length_batches(lengths, _batch_frames(net, batch_frames)):
        result[batch] = embed_batch(net, _prepare(np.stack([features[i] for i in batch]), normalisation))
    return result


def embed_utterances(
    net: Tdnn, reader: FeatureReader, indices: np.ndarray, normalisation: str, *, batch_frames: int | None = None
) -> np.ndarray:
    """Return embeddings float32 [len(indices), dim] of whole utterances read from disc batch by batch."""
    check_calibrated(net)
    net.eval()
    indices = np.asarray(indices, dtype=np.int64)
    lengths = np.asarray(reader.num_frames)[indices]
    result = np.empty((indices.size, _dimensions(net)), np.float32)
    for batch in equal_length_batches(lengths, _batch_frames(net, batch_frames)):
        starts = np.zeros(batch.size, np.int64)
        features = reader.read_crops(indices[batch], starts, int(lengths[batch[0]]))
        result[batch] = embed_batch(net, _prepare(features, normalisation))
    return result


@dataclass(frozen=True)
class FixedCrops:
    """Fixed crops of utterances in blocks, ready for every subnet: (places, tensor (n, in_feats, frames), normalised).

    `crops` starts spread evenly from the first possible to the last (2: the first and the last `frames` frames, as the
    published fast protocol has it; 1: the middle), those of one utterance adjacent; short utterances wrap. Each
    iteration reads them anew, so one block is in memory at a time.
    """

    reader: FeatureReader
    indices: np.ndarray
    normalisation: str
    frames: int
    crops: int = 2

    def __post_init__(self) -> None:
        if self.crops < 1 or self.frames < 1:
            raise UserError(f"evaluation crops: needs at least 1 crop of 1 frame, got {self.crops} of {self.frames}")

    @property
    def bytes(self) -> int:
        """What all of them together take in memory."""
        return 4 * self.reader.dim * self.frames * self.crops * len(self.indices)

    def __iter__(self) -> Iterator[tuple[np.ndarray, Tensor]]:
        indices = np.asarray(self.indices, dtype=np.int64)
        spare = np.maximum(np.asarray(self.reader.num_frames, dtype=np.int64)[indices] - self.frames, 0)
        shares = np.linspace(0, 1, self.crops) if self.crops > 1 else np.array([0.5])
        starts = np.floor(spare[:, None] * shares).astype(np.int64).ravel()
        indices = np.repeat(indices, self.crops)
        # whole batches of a CPU, so that there the blocks change no batch and no number
        size = max(1, CPU_BATCH_FRAMES // self.frames) * (GPU_BATCH_FRAMES // CPU_BATCH_FRAMES)
        for first in range(0, len(indices), size):
            part = slice(first, first + size)
            features = self.reader.read_crops(indices[part], starts[part], self.frames)
            yield np.arange(len(indices))[part], _prepare(features, self.normalisation).contiguous()


@dataclass(frozen=True)
class WholeUtterances:
    """Whole utterances in batches of equal length, ready for every subnet: (places in `indices`, tensor).

    Each iteration reads them anew, so one batch is in memory at a time.
    """

    reader: FeatureReader
    indices: np.ndarray
    normalisation: str

    @property
    def bytes(self) -> int:
        """What all of them together take in memory."""
        return 4 * self.reader.dim * int(self._lengths.sum())

    @property
    def _lengths(self) -> np.ndarray:
        return np.asarray(self.reader.num_frames, dtype=np.int64)[self.indices]

    def __iter__(self) -> Iterator[tuple[np.ndarray, Tensor]]:
        lengths = self._lengths
        for places in equal_length_batches(lengths, GPU_BATCH_FRAMES):
            starts = np.zeros(places.size, np.int64)
            features = self.reader.read_crops(self.indices[places], starts, int(lengths[places[0]]))
            yield places, _prepare(features, self.normalisation).contiguous()


def embed_crops(net: Tdnn, crops: Tensor, *, batch_frames: int | None = None) -> np.ndarray:
    """Return embeddings float32 [n, dim] of crops (n, in_feats, frames) as `FixedCrops` gives them.

    UserError for an uncalibrated net: evaluation cannot go around the re-estimation.
    """
    check_calibrated(net)
    net.eval()
    size = max(1, _batch_frames(net, batch_frames) // max(1, crops.shape[2]))
    parts = [embed_batch(net, crops[start : start + size]) for start in range(0, len(crops), size)]
    return np.concatenate(parts) if parts else np.empty((0, _dimensions(net)), np.float32)
