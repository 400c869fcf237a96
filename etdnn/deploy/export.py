"""ONNX files: from fbank or from the waveform, normalisation inside, checked against PyTorch before they are kept."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from etdnn import __version__
from etdnn.deploy.onnx_tools import export_quietly, need, open_session
from etdnn.deploy.quantise import PRECISIONS, Layer, half_weights, int8_layers
from etdnn.deploy.runtime import Embedder
from etdnn.deploy.wave_front_end import WaveFrontEnd
from etdnn.errors import UserError
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.features.normalise import normalise
from etdnn.files import atomic_path

FORMS = ("fbank", "wave")
OPSET = 18
TOLERANCE = 1e-4
"""Largest accepted difference between ONNX and PyTorch in fp32, of embedding values."""
MIN_COSINE = {"fp32": 0.9999, "fp16": 0.9999, "int8": 0.98}
"""Smallest accepted cosine to the recipe's features and network."""
CHECKS = ((1, 0.5), (1, 1.0), (1, 3.0), (1, 10.0), (1, 60.0), (8, 0.5), (8, 1.0), (8, 3.0), (8, 10.0))
"""(batch, seconds) at which an fp32 file is compared on write; the smaller ones at the first four."""


class FbankForm(nn.Module):
    """Log-mel features (batch, frames, bins) to embeddings (batch, dim): normalisation and network."""

    def __init__(self, model: Embedder):
        super().__init__()
        self.net = model.net
        self.kind = model.metadata["normalisation"]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""
        if self.kind != "none":
            # onnxruntime adds the frames of a bin one by one: over a minute the mean is off in its fifth digit. The
            # mean of what is left is small, and so is its error
            x = normalise(x, "mean", 1)
        return self.net(normalise(x, self.kind, 1).transpose(1, 2))


@dataclass(frozen=True)
class Exported:
    """What was written: `bytes`, and over all lengths and batches the `largest_difference` and `lowest_cosine`."""

    path: str
    form: str
    precision: str
    bytes: int
    largest_difference: float
    lowest_cosine: float


def export_onnx(
    model: Embedder,
    path: str | Path,
    form: str = "fbank",
    precision: str = "fp32",
    features: Sequence[np.ndarray] = (),
) -> Exported:
    """Write `model` as one ONNX file with dynamic batch and time; see `Exporter.write`."""
    return Exporter(model, features).write(path, form, precision)


class Exporter:
    """The ONNX files of one model; each part of a graph is built once.

    `features` (float32 [frames, bins] each, of dev, before normalisation) calibrate int8. After an int8 file was
    written, `layers` holds its per-layer table.
    """

    def __init__(self, model: Embedder, features: Sequence[np.ndarray] = ()):
        self.model, self.features = model, features
        self.layers: list[Layer] = []
        self._networks: dict = {}
        self._front_end = None

    def write(self, path: str | Path, form: str = "fbank", precision: str = "fp32") -> Exported:
        """Write one file; nothing is written when it differs from PyTorch.

        Form "fbank" takes features (N, T, bins) at int16 scale before normalisation, "wave" samples (N, S) within -1..1
        at the model's rate. The front end that sherpa-onnx has built in gets sherpa-onnx's metadata. Precision "fp16"
        stores weights in half the bytes, "int8" makes layers int8 (see `int8_layers`); the front end stays in fp32.
        UserError when a package of the extra `onnx` is missing or the file differs.
        """
        for value, known in ((form, FORMS), (precision, PRECISIONS)):
            if value not in known:
                raise UserError(f"export: '{value}' is not one of {', '.join(known)}")
        proto = self.graph(form, precision)
        need("onnx").helper.set_model_props(proto, onnx_metadata(self.model, form, precision))
        with atomic_path(path) as part:
            part.write_bytes(proto.SerializeToString())
            difference, cosine = compare(self.model, part, form, CHECKS if precision == "fp32" else CHECKS[:4])
            if (precision == "fp32" and difference > TOLERANCE) or cosine < MIN_COSINE[precision]:
                raise UserError(
                    f"{path}: not written: ONNX in {precision} differs from PyTorch by {difference:.2g} (at most "
                    f"{TOLERANCE:g} in fp32), lowest cosine {cosine:.6f} (at least {MIN_COSINE[precision]})"
                )
        return Exported(str(path), form, precision, Path(path).stat().st_size, difference, cosine)

    def graph(self, form: str, precision: str):
        """Return the onnx.ModelProto of a form."""
        network = self._network(precision)
        if form == "fbank":
            copy = type(network)()
            copy.CopyFrom(network)
            return copy
        if self._front_end is None:
            self._front_end = build_graph(WaveFrontEnd(self.model.frontend).eval(), "wave", self.model.frontend.dim)
        return prepend(self._front_end, network)

    def _network(self, precision: str):
        if precision not in self._networks:
            if precision == "fp32":
                made = build_graph(FbankForm(self.model).cpu().eval(), "fbank", self.model.frontend.dim)
            elif precision == "fp16":
                made = half_weights(self._network("fp32"))
            else:
                made, self.layers = int8_layers(self._network("fp32"), self.features)
            self._networks[precision] = made
        return self._networks[precision]


def build_graph(module: nn.Module, form: str, bins: int):
    """Return the onnx.ModelProto of a module that takes features or samples `x`, with dynamic batch and time."""
    example = torch.randn(2, 32000) * 0.1 if form == "wave" else torch.randn(2, 200, bins)
    time = torch.export.Dim("samples" if form == "wave" else "frames", min=4)
    proto = export_quietly(
        module, example, opset_version=OPSET, external_data=False,
        input_names=["x"], output_names=["embedding"], dynamic_shapes=({0: torch.export.Dim("batch"), 1: time},),
    )  # fmt: skip
    _strip(proto)
    need("onnx").checker.check_model(proto)
    return proto


def _strip(proto) -> None:
    """Remove the exporter's notes on where in the source each node comes from: as large as a small network."""
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    proto.graph.ClearField("value_info")


def prepend(front_end, network):
    """Return one graph: samples `x` through `front_end` into `network`."""
    compose = need("onnx.compose")
    first = compose.add_prefix(front_end, "front_end/")
    whole = compose.merge_models(first, network, io_map=[("front_end/embedding", "x")])
    for node in whole.graph.node:
        for place, name in enumerate(node.input):
            if name == "front_end/x":
                node.input[place] = "x"
    whole.graph.input[0].name = "x"
    need("onnx").checker.check_model(whole)
    return whole


def onnx_metadata(model: Embedder, form: str, precision: str = "fp32") -> dict[str, str]:
    """Return the file's metadata: ours under `etdnn`, and sherpa-onnx's where its own front end fits the model."""
    threshold, origin = model.threshold()
    own = {
        "arch": model.metadata["arch"],
        "form": form,
        "precision": precision,
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


def compare(
    model: Embedder, path: Path, form: str, checks: Sequence[tuple[int, float]] = CHECKS
) -> tuple[float, float]:
    """Return the largest difference of `path` to PyTorch, and the lowest cosine to the recipe's features and network.

    PyTorch has the form's own front end, the recipe `compute_fbank`.
    """
    session = open_session(path)
    largest, lowest = 0.0, 1.0
    reference = FbankForm(model).cpu().eval()
    frontend = replace(model.frontend, vad=False)  # which frames are given is not the form's business
    front_end = WaveFrontEnd(model.frontend).eval() if form == "wave" else None
    for batch, seconds in checks:
        waves = _test_waves(batch, round(seconds * model.rate), model.rate)
        features = torch.from_numpy(np.stack([compute_fbank(wave * 32768, frontend) for wave in waves]))
        found = session.run(None, {"x": waves if form == "wave" else features.numpy()})[0]
        with torch.inference_mode():
            recipe = expected = reference(features).numpy()
            if front_end is not None:
                expected = reference(front_end(torch.from_numpy(waves))).numpy()
        largest = max(largest, float(np.abs(found - expected).max()))
        cosines = (found * recipe).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(recipe, axis=1)
        lowest = min(lowest, float(cosines.min()))
    return largest, lowest


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
