"""Batch-norm statistics of a subnet: reset and measured anew on fixed, seeded crops of the training data."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from etdnn.data.ark import FeatureReader
from etdnn.data.ark_index import Keys
from etdnn.errors import UserError
from etdnn.features.mel_noise import NoiseBank
from etdnn.features.normalise import normalise
from etdnn.features.plan import MelNoise, Waveform
from etdnn.features.waveform import WaveformBank
from etdnn.seeding import numpy_generator
from etdnn.settings import fill


class _Pooled:
    """Mean and variance over all values seen, per channel, in float64 (Chan, Golub and LeVeque's update)."""

    def __init__(self, norm: nn.BatchNorm1d):
        self.norm = norm
        self.count = 0
        self.mean = torch.zeros_like(norm.running_mean, dtype=torch.float64)
        self.squares = torch.zeros_like(self.mean)
        self.batch = 0

    def note_shape(self, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        self.batch = inputs[0].numel() // inputs[0].shape[1]

    def add(self) -> None:
        """Take in the statistics that PyTorch left in the module: the last batch's mean and unbiased variance."""
        mean = self.norm.running_mean.double()
        squares = self.norm.running_var.double() * (self.batch - 1)
        total = self.count + self.batch
        gap = mean - self.mean
        self.mean += gap * (self.batch / total)
        self.squares += squares + gap * gap * (self.count * self.batch / total)
        self.count = total

    def store(self, batches: int) -> None:
        self.norm.running_mean.copy_(self.mean)
        self.norm.running_var.copy_(self.squares / (self.count - 1))
        self.norm.num_batches_tracked.fill_(batches)


@contextmanager
def _measuring(net: nn.Module, pools: list[_Pooled]) -> Iterator[None]:
    """Let only batch norms run in training mode, each leaving the statistics of the latest batch; undone at the end."""
    modes = {module: module.training for module in net.modules()}
    momenta = [pool.norm.momentum for pool in pools]
    handles = [pool.norm.register_forward_pre_hook(pool.note_shape) for pool in pools]
    try:
        net.eval()
        for pool in pools:
            pool.norm.train()
            pool.norm.momentum = 1.0
            pool.norm.reset_running_stats()  # zero times what is not finite would not be zero
        yield
    finally:
        for handle in handles:
            handle.remove()
        for pool, momentum in zip(pools, momenta, strict=True):
            pool.norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def reestimate(net: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Replace every batch norm's statistics by those of `batches` ((crops, in_feats, frames)); set `net.calibrated`.

    Each layer sees the batches as in training, normalised by their own statistics. Its new mean and unbiased variance
    are those of all values of all batches pooled, not the average of the batches' variances that momentum=None in
    PyTorch would give: with equal batches the mean is the same, but the variance between batches counts too (it is
    real: a batch of 32 crops knows the embedding's 192 values from 32 numbers only) and batches of unequal size weigh
    as what they hold. Nothing depends on the statistics that were there before; weights, training flags and random
    states stay as they are, and after an error the old statistics are back. UserError for no batches, a batch of one
    crop, or values that are not finite.
    """
    pools = [_Pooled(module) for module in net.modules() if isinstance(module, nn.BatchNorm1d)]
    before = [{name: buffer.clone() for name, buffer in pool.norm.named_buffers()} for pool in pools]
    device = next(net.parameters()).device
    number = 0
    try:
        with _measuring(net, pools):
            for batch in batches:
                if len(batch) < 2:
                    raise UserError(f"batch norm: batch {number} has {len(batch)} crops; it takes 2 to have a variance")
                net(batch.to(device))
                for pool in pools:
                    pool.add()
                number += 1
        if not number:
            raise UserError("batch norm: no calibration crops were given; ask for at least 2 (--crops)")
        for pool in pools:
            if not (torch.isfinite(pool.mean).all() and torch.isfinite(pool.squares).all()):
                raise UserError("batch norm: statistics are not finite; the weights or the features are broken")
            pool.store(number)
    except BaseException:
        for pool, buffers in zip(pools, before, strict=True):
            for name, buffer in pool.norm.named_buffers():
                buffer.copy_(buffers[name])
        raise
    net.calibrated = True
    return net


def calibration_data(data: str | Path) -> Path:
    """Return the directory below `data` to measure batch norm on: what was trained on, copies included.

    Statistics of clean speech alone serve noisy speech badly, and clean speech no better (egs/own/RESULTS.md).
    """
    everything = Path(data) / "train_all"
    return everything if (everything / "feats.scp").is_file() else Path(data) / "train"


def calibration_batches(
    reader: FeatureReader,
    normalisation: str,
    *,
    seed: int,
    crops: int,
    frames: int,
    batch: int = 32,
    noise: NoiseBank | WaveformBank | None = None,
) -> list[Tensor]:
    """Return the fixed crops on which batch norm is measured: float32 tensors (batch, in_feats, frames), normalised.

    Utterances are drawn without repetition while there are enough, then again; starts are uniform; short utterances
    wrap. The draw depends on (seed, number of utterances, their lengths) alone. A single crop left over joins the batch
    before it. With `noise` (`calibration_noise`) crops are of the utterances that training visits, augmented as there.
    UserError below 2 crops or 1 frame.
    """
    if crops < 2 or frames < 1 or batch < 2:
        got = f"{crops} crops of {frames} in batches of {batch}"
        raise UserError(f"calibration: needs at least 2 crops of 1 frame in batches of 2, got {got}")
    if not len(reader.keys):
        raise UserError("calibration: the training data has no utterances")
    generator = numpy_generator(seed, "batch-norm calibration")
    eligible = np.arange(len(reader.keys)) if noise is None else noise.eligible
    rounds = [generator.permutation(len(eligible)) for _ in range(-(-crops // len(eligible)))]
    indices = eligible[np.concatenate(rounds)[:crops]]
    spare = np.maximum(np.asarray(reader.num_frames)[indices] - frames, 0)
    starts = generator.integers(0, spare + 1)
    edges = list(range(0, crops, batch)) + [crops]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    result = []
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        drawn = indices[first:last], starts[first:last], frames
        if noise is None:
            part = torch.from_numpy(reader.read_crops(*drawn))
        else:
            mixes = noise.mixes(indices[first:last], seed, "batch-norm calibration noise", first)
            part = noise.read(reader, *drawn, mixes, torch.device("cpu"))
        result.append(normalise(part, normalisation, 1).transpose(1, 2).contiguous())
    return result


def calibration_noise(
    directory: str | Path, keys: Keys, metadata: Mapping[str, Any]
) -> NoiseBank | WaveformBank | None:
    """Return what a network heard that is not in the stored features of `directory`, by its file's metadata.

    Statistics are those of what was trained on. None where that is the stored features; UserError when the noises that
    stage 1 stored, the audio or the lists of stage 0 are gone.
    """
    if metadata.get("waveform"):
        settings = fill(Waveform, dict(metadata["waveform"]), "waveform of the model")
        return WaveformBank(Path(directory), keys, settings, workers=0)
    if not metadata.get("mel_noise"):
        return None
    settings = fill(MelNoise, dict(metadata["mel_noise"]), "mel_noise of the model")
    return NoiseBank.beside(Path(directory), keys, settings)


def calibration_hash(batches: Iterable[Tensor]) -> str:
    """Return 16 hex digits for the crops' values and their division into batches."""
    digest = hashlib.sha256()
    for batch in batches:
        digest.update(str(tuple(batch.shape)).encode())
        digest.update(batch.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
