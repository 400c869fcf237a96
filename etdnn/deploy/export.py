"""ONNX files: from fbank or from the waveform, normalisation inside, checked against PyTorch before they are kept."""

import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from etdnn import __version__
from etdnn.deploy.runtime import Embedder
from etdnn.deploy.wave_front_end import WaveFrontEnd
from etdnn.errors import UserError
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.features.normalise import normalise
from etdnn.files import atomic_path

FORMS = ("fbank", "wave")
OPSET = 18
TOLERANCE = 1e-4
"""Largest accepted difference between ONNX and PyTorch, of embedding values."""
MIN_COSINE = 0.9999
"""Smallest accepted cosine between the waveform form and the recipe's features and network."""
CHECKS = [(1, 0.5), (1, 1.0), (1, 3.0), (1, 10.0), (1, 60.0), (8, 0.5), (8, 1.0), (8, 3.0), (8, 10.0)]
"""(batch, seconds) at which a file is compared on write."""


class FbankForm(nn.Module):
    """Log-mel features (batch, frames, bins) to embeddings (batch, dim): normalisation and network."""

    def __init__(self, model: Embedder):
        super().__init__()
        self.net = model.net
        self.kind = model.metadata["normalisation"]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""
        return self.net(normalise(x, self.kind, 1).transpose(1, 2))


class WaveForm(nn.Module):
    """Waveforms (batch, samples) within -1..1 to embeddings (batch, dim)."""

    def __init__(self, model: Embedder):
        super().__init__()
        self.front_end = WaveFrontEnd(model.frontend)
        self.rest = FbankForm(model)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, samples) to (batch, dim)."""
        return self.rest(self.front_end(x))


@dataclass(frozen=True)
class Exported:
    """What was written: `bytes`, and over all lengths and batches the `largest_difference` and `lowest_cosine`."""

    path: str
    form: str
    bytes: int
    largest_difference: float
    lowest_cosine: float


def export_onnx(model: Embedder, path: str | Path, form: str = "fbank") -> Exported:
    """Write `model` as one ONNX file with dynamic batch and time; nothing is written when it differs from PyTorch.

    Form "fbank" takes features (N, T, bins) at int16 scale before normalisation, "wave" samples (N, S) within -1..1 at
    the model's rate. The front end that sherpa-onnx has built in gets sherpa-onnx's metadata. UserError when a package
    of the extra `onnx` is missing or the file differs.
    """
    if form not in FORMS:
        raise UserError(f"form '{form}' is not one of {', '.join(FORMS)}")
    module = (WaveForm(model) if form == "wave" else FbankForm(model)).cpu().eval()
    proto = build_graph(module, form, model.frontend.dim)
    _need("onnx").helper.set_model_props(proto, onnx_metadata(model, form))
    with atomic_path(path) as part:
        part.write_bytes(proto.SerializeToString())
        difference, cosine = compare(model, module, part, form)
        if difference > TOLERANCE or cosine < MIN_COSINE:
            raise UserError(
                f"{path}: not written: ONNX differs from PyTorch by {difference:.2g} (at most {TOLERANCE:g}), "
                f"lowest cosine to the recipe {cosine:.6f} (at least {MIN_COSINE})"
            )
    return Exported(str(path), form, Path(path).stat().st_size, difference, cosine)


def build_graph(module: nn.Module, form: str, bins: int):
    """Return the onnx.ModelProto of a form with dynamic batch and time."""
    onnx = _need("onnx")
    _need("onnxscript")
    example = torch.randn(2, 32000) * 0.1 if form == "wave" else torch.randn(2, 200, bins)
    time = torch.export.Dim("samples" if form == "wave" else "frames", min=4)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (example,), dynamo=True, opset_version=OPSET, verbose=False, external_data=False,
            input_names=["x"], output_names=["embedding"], dynamic_shapes=({0: torch.export.Dim("batch"), 1: time},),
        )  # fmt: skip
    onnx.checker.check_model(program.model_proto)
    return program.model_proto


def onnx_metadata(model: Embedder, form: str) -> dict[str, str]:
    """Return the file's metadata: ours under `etdnn`, and sherpa-onnx's where its own front end fits the model."""
    threshold, origin = model.threshold()
    own = {
        "arch": model.metadata["arch"],
        "form": form,
        "model": model.hash,
        "frontend": model.frontend.to_dict(),
        "normalisation": "inside" if model.metadata["normalisation"] != "none" else "none",
        "threshold": threshold,
        "threshold_origin": origin,
        "version": __version__,
    }
    values = {"etdnn": json.dumps(own, sort_keys=True), "sample_rate": str(model.rate), "output_dim": str(model.dim)}
    if form == "fbank" and model.frontend == FbankOptions():
        values |= {
            "framework": "wespeaker",  # the name under which sherpa-onnx knows: samples at int16 scale
            "normalize_samples": "0",
            "feature_normalize_type": "",  # normalisation is inside the graph
            "language": "unknown",  # it must say something
            "comment": "etdnn",
        }
    return values


def compare(model: Embedder, module: nn.Module, path: Path, form: str) -> tuple[float, float]:
    """Return the largest difference of `path` to `module`, and the lowest cosine to the recipe's features and net."""
    session = open_session(path)
    largest, lowest = 0.0, 1.0
    reference = FbankForm(model).eval()
    for batch, seconds in CHECKS:
        waves = _test_waves(batch, round(seconds * model.rate), model.rate)
        features = torch.from_numpy(np.stack([compute_fbank(wave * 32768, model.frontend) for wave in waves]))
        x = torch.from_numpy(waves) if form == "wave" else features
        found = session.run(None, {"x": x.numpy()})[0]
        with torch.inference_mode():
            expected, recipe = module(x).numpy(), reference(features).numpy()
        largest = max(largest, float(np.abs(found - expected).max()))
        cosines = (found * recipe).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(recipe, axis=1)
        lowest = min(lowest, float(cosines.min()))
    return largest, lowest


def open_session(path: str | Path, threads: int = 1):
    """Return an onnxruntime session on CPU."""
    onnxruntime = _need("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _test_waves(batch: int, samples: int, rate: int) -> np.ndarray:
    """Return float32 [batch, samples]: pulses of a gliding pitch in noise, louder and softer."""
    generator = np.random.default_rng(samples)
    time = np.arange(samples) / rate
    waves = []
    for row in range(batch):
        phase = np.cumsum(100 + 20 * row + 30 * np.sin(3 * time)) / rate
        level = 0.05 * (1.1 + np.sin(7 * time + row))
        waves.append(level * ((phase % 1 < 0.1) + 0.2 * generator.standard_normal(samples)))
    return np.stack(waves).astype(np.float32)


def _need(name: str):
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise UserError(f"export needs the package {name}: pip install 'etdnn[onnx]'") from None
