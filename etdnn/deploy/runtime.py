"""`etdnn.load_model(path)`: one file in, embeddings and decisions out, the features and scores of training."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from etdnn.data.audio import BadAudio
from etdnn.deploy.audio import check_speech, file_windows, is_silent, prepare_wave, wave_windows
from etdnn.deploy.fast import PRECISIONS, accelerate
from etdnn.embed.extract import check_calibrated, embed_features, pick_device
from etdnn.errors import UserError
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.features.vad import finds_speech
from etdnn.model.checkpoint import read_subnet
from etdnn.model.tdnn import Tdnn
from etdnn.scoring.embeddings import weights_hash
from etdnn.train.precision import has_bf16_units

POINT = "eer"
"""Operating point whose threshold decides, unless another is asked for."""
PRECISION_CHOICES = (*PRECISIONS, "auto")
"""fp32: the static network's embedding to 1e-5; bf16: its direction (cosine above 0.9999); auto: bf16 where the CPU has
matrix units for it, else fp32."""


@dataclass(frozen=True)
class Extraction:
    """An embedding (float32 [dim]), the `seconds` of audio it is of, and in how many `windows` they were taken.

    One window: of the whole. More: the duration-weighted mean of the windows' embeddings, silent windows left out;
    where the front end has VAD, durations are of voiced frames, and windows without speech are left out too.
    `precision` is that of the network's products, fp32 or bf16.
    """

    embedding: np.ndarray
    seconds: float
    windows: int
    precision: str


@dataclass(frozen=True)
class Verification:
    """A comparison: cosine `score`; `threshold` and `same` (score >= threshold), None where the model has no threshold.

    `origin` says where the threshold comes from, `precision` is that of this model (fp32 or bf16).
    """

    score: float
    threshold: float | None
    same: bool | None
    origin: str
    precision: str


class Embedder:
    """A subnet with its front end: audio to embeddings (float32 [dim], not length-normalised), pairs to decisions.

    `net` is the static network, `metadata` what its file says, `precision` fp32 or bf16. Made by `load_model`.
    """

    def __init__(self, net: Tdnn, metadata: dict[str, Any], name: str = "model", precision: str = "fp32"):
        check_calibrated(net, name)
        self.precision = pick_precision(precision, next(net.parameters()).device)
        for key in ("frontend", "normalisation"):
            if not metadata.get(key):
                raise UserError(
                    f"{name}: its metadata have no '{key}', so its features cannot be made; derive it again"
                )
        self.net = net.eval()
        self.metadata = metadata
        self.name = name
        try:
            self.frontend = FbankOptions.from_dict(metadata["frontend"])
        except (TypeError, ValueError) as error:
            raise UserError(f"{name}: front end in its metadata: {error}") from None
        if self.frontend.dim != net.stem.conv.in_channels:
            raise UserError(
                f"{name}: {self.frontend.dim} features per frame do not fit the network's {net.stem.conv.in_channels}"
            )

    @property
    def rate(self) -> int:
        """Sampling rate of the front end in Hz; audio of any other is resampled."""
        return round(self.frontend.sample_frequency)

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""
        return self.net.embedding.out_features

    @cached_property
    def encoder(self) -> nn.Module:
        """What embeds: on a CPU `net` in its fast order of computation, elsewhere `net` itself."""
        on_cpu = next(self.net.parameters()).device.type == "cpu"
        return accelerate(self.net, self.precision) if on_cpu else self.net

    @cached_property
    def hash(self) -> str:
        """16 hex digits of the network's weights."""
        return weights_hash(self.net)

    @property
    def embedding_space(self) -> str:
        """Name of the space that embeddings live in: only those of one space can be compared.

        The weights' hash, unless the metadata name a space that several aligned subnets of a supernet share.
        """
        return self.metadata.get("embedding_space") or self.hash

    def embed(self, wave: np.ndarray, rate: float) -> np.ndarray:
        """Return the embedding of samples; see `extract`."""
        return self.extract(wave, rate).embedding

    def embed_file(self, path: str | Path) -> np.ndarray:
        """Return the embedding of an audio file; see `extract_file`."""
        return self.extract_file(path).embedding

    def extract(self, wave: np.ndarray, rate: float, where: str = "audio") -> Extraction:
        """Embed samples: floats within -1..1 or integers, any rate, (samples,) or with channels, from 0.5 s.

        Above 60 s the embedding is the duration-weighted mean over windows of 30 s. Raises BadAudio (a UserError) for
        what is too short, silent, or not finite.
        """
        samples = prepare_wave(wave, rate, self.rate, where)
        return self._extract(wave_windows(samples, self.rate), where)

    def extract_file(self, path: str | Path) -> Extraction:
        """Embed an audio file of any length in bounded memory; otherwise as `extract`."""
        return self._extract(file_windows(path, self.rate), str(path))

    def embed_many(self, waves: Iterable[tuple[np.ndarray, float]]) -> np.ndarray:
        """Return embeddings [n, dim] of (wave, rate) pairs; equal lengths share a batch, nothing is padded."""
        prepared = [prepare_wave(wave, rate, self.rate, f"audio {number}") for number, (wave, rate) in enumerate(waves)]
        return self.embed_prepared(prepared)

    def embed_prepared(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """Return embeddings [n, dim] of waves that `prepare_wave` made, none longer than 60 s or else in windows."""
        result = np.empty((len(waves), self.dim), np.float32)
        features, rows = [], []
        for row, wave in enumerate(waves):
            windows = list(wave_windows(wave, self.rate))
            if len(windows) > 1:
                result[row] = self._extract(iter(windows), f"audio {row}").embedding
            else:
                check_speech(wave, self.rate, f"audio {row}")
                features.append(compute_fbank(wave, self.frontend))
                rows.append(row)
        if rows:
            result[rows] = embed_features(self.encoder, features, self.metadata["normalisation"])
        return result

    def similarity(self, a: np.ndarray | str | Path, b: np.ndarray | str | Path) -> float:
        """Return the cosine of two embeddings; a path stands for the embedding of that file."""
        left, right = (self._vector(side) for side in (a, b))
        return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))

    def verify(
        self,
        a: np.ndarray | str | Path,
        b: np.ndarray | str | Path,
        *,
        threshold: float | None = None,
        point: str = POINT,
    ) -> Verification:
        """Compare two embeddings or files and decide; `threshold` overrules the model's at operating point `point`."""
        score = self.similarity(a, b)
        limit, origin = self.threshold(point) if threshold is None else (float(threshold), "given")
        return Verification(score, limit, None if limit is None else score >= limit, origin, self.precision)

    def threshold(self, point: str = POINT) -> tuple[float | None, str]:
        """Return the threshold of cosine scores at an operating point, and where it comes from.

        Thresholds of the user's own recordings (etdnn calibrate) go before those of dev (stage 7). None where the
        model has neither; UserError for a point that it does not have.
        """
        known = self.metadata.get("thresholds") or {}
        for backend in ("own", "cosine"):
            if backend in known:
                points = known[backend]["points"]
                if point not in points:
                    raise UserError(f"{self.name}: no threshold '{point}': it has {', '.join(points)}")
                return float(points[point]["threshold"]), _origin(known[backend], backend, point)
        return None, "none: the model has no thresholds (stage 7 or etdnn calibrate sets them)"

    def _vector(self, side: np.ndarray | str | Path) -> np.ndarray:
        vector = self.embed_file(side) if isinstance(side, str | Path) else np.asarray(side)
        if vector.shape != (self.dim,):
            raise UserError(
                f"{self.name}: expected an embedding of {self.dim} numbers or a path, got shape {vector.shape}"
            )
        vector = vector.astype(np.float64)
        if not np.isfinite(vector).all() or not vector.any():
            raise UserError(f"{self.name}: an embedding that is not finite or all zeros cannot be compared")
        return vector

    def _extract(self, windows: Iterator[np.ndarray], where: str) -> Extraction:
        first = next(windows, None)
        if first is None:
            raise BadAudio(f"{where}: no samples in it")
        second = next(windows, None)
        if second is None:
            check_speech(first, self.rate, where)
            return Extraction(self._embed_window(first)[0], len(first) / self.rate, 1, self.precision)
        total, weight, samples, used, speech = np.zeros(self.dim), 0, 0, 0, False
        for window in itertools.chain((first, second), windows):
            samples += len(window)
            if is_silent(window):
                continue
            heard = not self.frontend.vad or finds_speech(window, self.frontend)
            if heard and not speech:  # VAD leaves windows without speech whole: they count where there are no others
                total, weight, used, speech = np.zeros(self.dim), 0, 0, True
            if heard == speech:
                embedding, frames = self._embed_window(window)
                share = frames if self.frontend.vad else len(window)
                total, weight, used = total + share * embedding, weight + share, used + 1
        if not used:
            raise BadAudio(f"{where}: silence; there is no speech in it")
        return Extraction((total / weight).astype(np.float32), samples / self.rate, used, self.precision)

    def _embed_window(self, wave: np.ndarray) -> tuple[np.ndarray, int]:
        features = compute_fbank(wave, self.frontend)
        return embed_features(self.encoder, [features], self.metadata["normalisation"])[0], len(features)


def load_model(path: str | Path, device: str = "cpu", precision: str = "fp32") -> Embedder:
    """Return the embedder of a subnet file on `device` (cpu, cuda or auto) in one of `PRECISION_CHOICES`.

    UserError for a missing, damaged or foreign file, for a subnet whose batch norm was never re-estimated, and for a
    precision that does not exist on the device.
    """
    net, metadata = read_subnet(path)
    return Embedder(net.to(pick_device(device)), metadata, str(path), precision)


def pick_precision(name: str, device: torch.device) -> str:
    """Return fp32 or bf16 for one of `PRECISION_CHOICES`; UserError for others, and for bf16 on a GPU."""
    if name not in PRECISION_CHOICES:
        raise UserError(f"--precision '{name}' is not one of {', '.join(PRECISION_CHOICES)}")
    if device.type != "cpu":
        if name == "bf16":
            raise UserError(f"--precision bf16 is for CPUs; on {device.type} use fp32 or auto")
        return "fp32"
    return ("bf16" if has_bf16_units(device) else "fp32") if name == "auto" else name


def _origin(fitted: dict[str, Any], backend: str, point: str) -> str:
    source = fitted.get("from") or ("dev trials of training" if backend == "cosine" else "own trials")
    lists = f" ({', '.join(fitted['lists'])})" if fitted.get("lists") else ""
    return f"{point} on {source}{lists}: {fitted['targets']} target, {fitted['nontargets']} nontarget trials"
