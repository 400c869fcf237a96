"""onnxruntime sessions, and the packages of the extra `onnx`, imported where they are used."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from etdnn.errors import UserError


def need(name: str):
    """Return a module of the extra `onnx`; UserError that names it when it is missing."""
    try:
        return import_module(name)
    except ImportError:
        package = name.split(".")[0]
        raise UserError(f"export needs the package {package}: pip install 'etdnn[onnx]'") from None


def open_session(model: str | Path | bytes, threads: int = 1):
    """Return an onnxruntime session on CPU, of a file or of a serialised model."""
    onnxruntime = need("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def embed_with(session, features: Sequence[np.ndarray]) -> np.ndarray:
    """Return embeddings float32 [n, dim] of the fbank form, one utterance (float32 [frames, bins]) at a time."""
    return np.concatenate([session.run(None, {"x": row[None]})[0] for row in features])
