"""The authors' released checkpoints: reading them safely and renaming their keys to ours.

A supernet file holds `state_dict` under the prefix `module.__S__.` plus a loss head; a subnet file holds `subnet` (the
arch tuple) and `bn` (the batch-norm tensors of that subnet). Source: reference/efficienttdnn.md, sections 1, 3 and 7.5.
"""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from etdnn.errors import UserError
from etdnn.features.fbank import AUTHORS, FbankOptions
from etdnn.files import hash_file
from etdnn.model.arch import RES2_SCALE, Arch
from etdnn.model.checkpoint import read_tensors, save_subnet, save_supernet
from etdnn.model.cost import CONVENTION, arch_macs, arch_params
from etdnn.model.space import SearchSpace
from etdnn.model.supernet import Supernet
from etdnn.model.tdnn import Tdnn
from etdnn.scoring.embeddings import weights_hash

_PREFIXES = ("module.", "__S__.")
_HEADS = ("__L__.",)
_RENAMES = [
    (r"^layer1\.", "stem."),
    (r"^blocks\.(\d+)\.first_conv\.", r"blocks.\1.first."),
    (r"^blocks\.(\d+)\.last_conv\.", r"blocks.\1.last."),
    (r"^blocks\.(\d+)\.resconv\.convs\.", r"blocks.\1.res2.stages."),
    (r"\.se\.reduce\.linear\.", ".se.squeeze."),
    (r"\.se\.expand\.linear\.", ".se.excite."),
    (r"^catconv\.conv\.", "aggregation."),
    (r"^pooling\.linear1\.conv\.", "pooling.down."),
    (r"^pooling\.linear2\.conv\.", "pooling.up."),
    (r"^bnpool\.(bn\.)?", "pooling_norm."),
    (r"^linear\.linear\.", "embedding."),
    (r"^bnembed\.(bn\.)?", "embedding_norm."),
    (r"\.conv\.conv\.weight$", ".conv.weight"),
    (r"\.bn\.(bn\.)?", ".norm."),
]
_UNREADABLE = (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, SafetensorError)
_KERNEL = re.compile(r"^(?P<convolution>.+)\.conv\.k\d(?P<size>\d)$")


def read_pickle(path: str | Path) -> Any:
    """Load a published file with `weights_only=True`; UserError when it is missing, damaged or carries code."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{path}: refused: damaged, or it holds more than tensors and plain values ({reason})"
        ) from None


def rename(key: str) -> str | None:
    """Return our name of a published parameter, `kernels.NAME` for a kernel matrix, None for the loss head."""
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    if key.startswith(_HEADS):
        return None
    for pattern, replacement in _RENAMES:
        key = re.sub(pattern, replacement, key)
    match = _KERNEL.match(key)
    if match:
        return f"kernels.{match['convolution'].replace('.', '_')}_to{match['size']}"
    return key


def import_supernet(path: str | Path) -> Supernet:
    """Return the published supernet of `path`; its space has the multiples of 8 up to its largest network.

    Every key is accounted for: missing, unexpected and mis-shaped ones are a UserError that names them.
    """
    file = read_pickle(path)
    state = file.get("state_dict", file) if isinstance(file, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: not a published supernet (expected 'state_dict' with tensors)")
    renamed = {name: value for key, value in state.items() if (name := rename(key)) is not None}
    networks = {key if key.startswith("kernels.") else f"network.{key}": value for key, value in renamed.items()}
    supernet = Supernet(space_of(renamed, path))
    _load(supernet, networks, path)
    return supernet.eval()


def import_subnet(path: str | Path, supernet: Supernet) -> tuple[Tdnn, dict[str, Any]]:
    """Return the published subnet of `path` with the weights of `supernet`, calibrated, and what else the file says."""
    file = read_pickle(path)
    if not isinstance(file, dict) or "subnet" not in file or not isinstance(file.get("bn"), dict):
        raise UserError(f"{path}: not a published subnet file (expected 'subnet' and 'bn')")
    try:
        net = supernet.derive(Arch.parse(str(file["subnet"])))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    tensors = {rename(key): value for key, value in file["bn"].items()}
    wanted = {name: value for name, value in net.state_dict().items() if "norm" in name}
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, value)
    _check(wanted, tensors, path)
    net.load_state_dict(tensors, strict=False)
    net.calibrated = True
    return net, {key: value for key, value in file.items() if key not in ("subnet", "bn")}


def import_checkpoint(
    supernet: str | Path, out: str | Path, subnet: str | Path | None = None, arch: str | None = None
) -> dict[str, Any]:
    """Write the published supernet, or its published subnet, as a model file at `out`; return the metadata.

    UserError for a subnet file of another arch than `arch`, if that is given.

    The authors' front end and mean and variance normalisation go with it. What a subnet file says about itself (EER,
    minDCF) is kept under `published`: the authors' word, not a measurement of ours.
    """
    network = import_supernet(supernet)
    frontend = FbankOptions(type="efficienttdnn", num_mel_bins=network.space.in_feats, **AUTHORS)
    metadata = {
        "frontend": frontend.to_dict(),
        "normalisation": "mean_variance",
        "training": {"source": "published checkpoint", "file": Path(supernet).name, "hash": hash_file(supernet)},
    }
    if subnet is None:
        save_supernet(out, network, metadata)
        return read_tensors(out)[1]
    net, said = import_subnet(subnet, network)
    if arch and net.arch != Arch.parse(arch):
        raise UserError(f"{subnet}: holds subnet {net.arch}, not {arch}")
    sizes = {"in_feats": network.space.in_feats, "embedding": network.space.embedding}
    metadata |= {
        "space": network.space.to_dict(),
        "published": {"file": Path(subnet).name, **{key: _plain(value) for key, value in said.items()}},
        "weights": weights_hash(net),
        "macs": arch_macs(net.arch, **sizes),
        "params": arch_params(net.arch, **sizes),
        "convention": CONVENTION,
        "results": [],
        "thresholds": {},
    }
    save_subnet(out, net, metadata)
    return read_tensors(out)[1]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def space_of(state: dict[str, Tensor], path: str | Path) -> SearchSpace:
    """Return the fine space (depths from 2, multiples of 8 from a quarter on) under the largest network of `state`."""
    try:
        stem, cat = state["stem.conv.weight"], state["aggregation.weight"]
        depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
        embedding = state["embedding.weight"].shape[0]
    except (KeyError, ValueError):
        raise UserError(f"{path}: not a published supernet: its stem, blocks or aggregation are missing") from None
    if stem.dim() != 3:
        raise UserError(f"{path}: not a published supernet: its stem has shape {tuple(stem.shape)}")
    width, in_feats, kernel = stem.shape

    def choices(largest: int) -> tuple[int, ...]:
        quarter = max(RES2_SCALE, largest // 4 // RES2_SCALE * RES2_SCALE)
        return tuple(range(quarter, largest + 1, RES2_SCALE))

    depths, kernels = tuple(range(min(2, depth), depth + 1)), tuple(range(1, kernel + 1, 2))
    try:
        return SearchSpace("imported", depths, choices(width), kernels, choices(cat.shape[0]), in_feats, embedding)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _load(module: torch.nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    _check(module.state_dict(), tensors, path)
    module.load_state_dict(tensors)


def _check(wanted: dict[str, Tensor], given: dict[str, Tensor], path: str | Path) -> None:
    """Raise a UserError that names what is missing, unexpected or of another shape."""
    problems = [f"missing {name}" for name in wanted if name not in given]
    problems += [f"unexpected {name}" for name in given if name not in wanted]
    problems += [
        f"{name} has shape {tuple(given[name].shape)}, not {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError(f"{path}: does not fit the network: {'; '.join(problems[:5])}{more}")
