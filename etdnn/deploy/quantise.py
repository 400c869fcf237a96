"""Smaller ONNX files: weights as fp16, or layers as int8 where a per-layer table says that it does little harm."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etdnn.deploy.onnx_tools import embed_with, need, open_session
from etdnn.errors import UserError

PRECISIONS = ("fp32", "fp16", "int8")
LAYER_LIMIT = 2e-3
"""A layer stays in float when its int8 form alone turns embeddings further than this (1 - cosine, mean)."""
MIN_CALIBRATION = 8
"""Fewest utterances that ranges of activations are measured on; as many others tell how much int8 changes."""
_WEIGHTY = 1024
"""Tensors of fewer values are not worth a cast."""


@dataclass(frozen=True)
class Layer:
    """One row of the table: int8 in this layer alone turns embeddings by `deviation` (1 - cosine, mean)."""

    name: str
    weights: int
    deviation: float
    int8: bool


def half_weights(proto):
    """Return a copy of an onnx.ModelProto whose large weights are stored as fp16 and cast to fp32 at loading.

    The arithmetic stays in fp32: onnxruntime has no fp16 convolution on CPU, so fp16 throughout would only put a cast
    around every step, and sums over a minute of frames would overflow.
    """
    onnx = need("onnx")
    small = type(proto)()
    small.CopyFrom(proto)
    casts = []
    for tensor in small.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _WEIGHTY:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *small.graph.node]
    del small.graph.node[:]
    small.graph.node.extend(nodes)
    return small


def int8_layers(proto, features: Sequence[np.ndarray], limit: float = LAYER_LIMIT):
    """Return `proto` (the fbank form) with int8 layers, and the table of all layers.

    Half of `features` (float32 [frames, bins] each, before normalisation, of dev) give the ranges of activations; on
    the other half each layer is made int8 alone. A layer beyond `limit` stays in float, and so does all that is not a
    convolution or linear map. Static, symmetric weights per channel. UserError for too few utterances.
    """
    if len(features) < 2 * MIN_CALIBRATION:
        raise UserError(f"int8 needs at least {2 * MIN_CALIBRATION} utterances for calibration, got {len(features)}")
    groups = weighted_nodes(proto)
    ranges, held_out = features[::2], features[1::2]
    reference = embed_with(open_session(proto.SerializeToString()), held_out)
    with tempfile.TemporaryDirectory() as scratch:
        static = _Static(proto, ranges, Path(scratch))
        layers = []
        for name, nodes in groups.items():
            changed = static.quantise([node for node, _size in nodes])
            deviation = turned(reference, embed_with(open_session(changed.SerializeToString()), held_out))
            layers.append(Layer(name, sum(size for _node, size in nodes), deviation, deviation <= limit))
        chosen = [node for layer in layers if layer.int8 for node, _size in groups[layer.name]]
        if not chosen:
            raise UserError(f"int8: every layer alone turns embeddings by more than {limit:g}; use fp16")
        return static.quantise(chosen), layers


def turned(reference: np.ndarray, changed: np.ndarray) -> float:
    """Return 1 - cosine between the rows of two sets of embeddings, the mean over the rows."""
    product = (reference * changed).sum(1) / np.linalg.norm(reference, axis=1) / np.linalg.norm(changed, axis=1)
    return float(1 - product.mean())


def weighted_nodes(proto) -> dict[str, list[tuple[str, int]]]:
    """Return layer -> (node name, number of weights) of all convolutions and linear maps; a Res2 or SE is one layer."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in proto.graph.initializer}
    groups: dict[str, list[tuple[str, int]]] = {}
    for node in proto.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in sizes:
            parts = node.input[1].removeprefix("net.").split(".")
            name = ".".join(parts[:3] if parts[0] == "blocks" else parts[:1])
            groups.setdefault(name, []).append((node.name, sizes[node.input[1]]))
    return groups


def layer_table(layers: Sequence[Layer]) -> str:
    """Return the table as aligned text."""
    head = f"{'layer':<20}{'weights':>10}{'1 - cosine':>12}  kept as"
    rows = [
        f"{layer.name:<20}{layer.weights:>10,}{layer.deviation:>12.1e}  {'int8' if layer.int8 else 'float'}"
        for layer in layers
    ]
    return "\n".join([head, *rows])


class _Static:
    """onnxruntime's static quantisation of chosen nodes; the ranges of activations are measured once."""

    def __init__(self, proto, features: Sequence[np.ndarray], scratch: Path):
        self.source, self.scratch, self.features = scratch / "float.onnx", scratch, features
        self.source.write_bytes(proto.SerializeToString())

    def quantise(self, nodes: list[str]):
        quantization, onnx = need("onnxruntime.quantization"), need("onnx")
        out = self.scratch / "int8.onnx"
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                quantization.quantize_static(
                    self.source, out, _Reader(self.features), quant_format=quantization.QuantFormat.QDQ,
                    nodes_to_quantize=nodes, per_channel=True, activation_type=quantization.QuantType.QInt8,
                    weight_type=quantization.QuantType.QInt8, calibration_cache_path=self.scratch / "ranges.json",
                )  # fmt: skip
        finally:
            root.setLevel(level)
        return onnx.load(out)


class _Reader:
    """onnxruntime's CalibrationDataReader over features."""

    def __init__(self, features: Sequence[np.ndarray]):
        self.rows = iter(features)

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self.rows, None)
        return None if row is None else {"x": row[None]}

    def __iter__(self):
        return iter(self.get_next, None)
