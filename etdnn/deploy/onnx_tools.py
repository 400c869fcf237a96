"""ONNX graphs and onnxruntime sessions, and the packages of the extra `onnx`, imported where they are used."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from etdnn.errors import UserError


def need(name: str):
    """Return a module of the extra `onnx`; UserError that names it when it is missing."""
    try:
        return import_module(name)
    except ImportError:
        package = name.split(".")[0]
        raise UserError(f"ONNX needs the package {package}: pip install 'etdnn[onnx]'") from None


def export_quietly(module: nn.Module, example: Tensor, **options: Any):
    """Return the onnx.ModelProto that PyTorch's exporter makes of a module in eval mode, without what it says."""
    need("onnx")
    need("onnxscript")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.onnx.export(module.eval(), (example,), dynamo=True, verbose=False, **options).model_proto


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
