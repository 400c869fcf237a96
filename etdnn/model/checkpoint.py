"""Model files: one safetensors file of weights plus JSON metadata; nothing is ever unpickled."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from etdnn.errors import UserError
from etdnn.files import atomic_path, hash_file
from etdnn.model.arch import Arch
from etdnn.model.space import SearchSpace
from etdnn.model.supernet import Supernet
from etdnn.model.tdnn import Tdnn

FORMAT = 1
"""Version of the metadata; raised when a reader of the old one would be misled."""


def save_tensors(path: str | Path, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """Write `tensors` and JSON-ready `metadata` to `path` atomically; equal content gives equal bytes."""
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    with atomic_path(path) as temporary:
        try:
            save_file(copies, temporary, metadata={"etdnn": json.dumps(metadata, sort_keys=True)})
        except SafetensorError as error:
            raise UserError(f"{path}: cannot be written: {error}") from None


def read_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return tensors and metadata of a model file; UserError when it is missing, damaged or foreign."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: {'a folder, not a model file' if path.is_dir() else 'no such model file'}")
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = json.loads((handle.metadata() or {}).get("etdnn", "null"))
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {error}") from None
    if not isinstance(metadata, dict) or "kind" not in metadata:
        raise UserError(f"{path}: a safetensors file, but not one of etdnn (no metadata)")
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: format {metadata.get('format')} is not {FORMAT}: written by another version of etdnn")
    return tensors, metadata


def save_subnet(path: str | Path, net: Tdnn, metadata: dict[str, Any]) -> None:
    """Write a static network; `metadata` adds front end, normalisation, training, results, ... to the arch."""
    fixed = {
        "format": FORMAT,
        "kind": "subnet",
        "arch": str(net.arch),
        "in_feats": net.stem.conv.in_channels,
        "embedding": net.embedding.out_features,
        "calibrated": net.calibrated,
    }
    save_tensors(path, net.state_dict(), {**metadata, **fixed})


def read_subnet(path: str | Path) -> tuple[Tdnn, dict[str, Any]]:
    """Return the static network (eval mode) and the metadata of a subnet file."""
    tensors, metadata = read_tensors(path)
    _expect(path, metadata, "subnet", "arch", "in_feats", "embedding", "calibrated")
    try:
        net = Tdnn(Arch.parse(metadata["arch"]), metadata["in_feats"], metadata["embedding"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    _load(path, net, tensors)
    net.calibrated = bool(metadata["calibrated"])
    return net.eval(), metadata


def save_supernet(path: str | Path, supernet: Supernet, metadata: dict[str, Any]) -> None:
    """Write a supernet; `metadata` adds front end, normalisation, training, ... to the space."""
    fixed = {"format": FORMAT, "kind": "supernet", "space": supernet.space.to_dict()}
    save_tensors(path, supernet.state_dict(), {**metadata, **fixed})


def load_supernet(path: str | Path) -> Supernet:
    """Return the supernet of a file, with `.metadata`, and `.hash` of the file's bytes."""
    tensors, metadata = read_tensors(path)
    _expect(path, metadata, "supernet", "space")
    try:
        supernet = Supernet(SearchSpace.from_dict(metadata["space"]))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    _load(path, supernet, tensors)
    supernet.metadata = metadata
    supernet.hash = hash_file(path)
    return supernet.eval()


def _expect(path: str | Path, metadata: dict[str, Any], kind: str, *keys: str) -> None:
    if metadata["kind"] != kind:
        raise UserError(f"{path}: holds a {metadata['kind']}, a {kind} is needed")
    for key in keys:
        if key not in metadata:
            raise UserError(f"{path}: its metadata have no '{key}'")


def _load(path: str | Path, module: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{path}: weights do not fit the network: {' '.join(str(error).split())[:300]}") from None
