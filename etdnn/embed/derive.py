"""A subnet of its own: weights sliced from the supernet, batch norm measured on training crops, metadata complete."""

from pathlib import Path
from typing import Any

from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir
from etdnn.embed.batchnorm import calibration_batches, calibration_hash, calibration_noise, reestimate
from etdnn.embed.extract import check_frontend, pick_device
from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.model.checkpoint import load_supernet, save_subnet
from etdnn.model.cost import CONVENTION, arch_macs, arch_params
from etdnn.model.space import SearchSpace
from etdnn.scoring.embeddings import weights_hash


def find_arch(text: str, space: SearchSpace) -> Arch:
    """Read an arch given as `largest`, `smallest`, a file whose first line is an arch (arch.txt), or its text."""
    if text in ("largest", "smallest"):
        return getattr(space, text)
    path = Path(text)
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        if not lines or not lines[0].strip():
            raise UserError(f"{path}:1: expected an arch such as 2-256-256-256-3-3-3-400; stage 4 writes it")
        text = lines[0]
    elif "/" in text or text.endswith(".txt"):
        raise UserError(f"{path}: no such arch file; stage 4 makes it (local/search.sh)")
    return Arch.parse(text)


def derive_subnet(
    supernet_path: str | Path,
    arch_text: str,
    data: str | Path,
    out: str | Path,
    *,
    seed: int,
    crops: int,
    frames: int,
    batch: int = 32,
    device: str = "auto",
) -> dict[str, Any]:
    """Write the calibrated subnet `arch_text` of a supernet to `out`; return its metadata.

    `data` is the training data (`calibration_data`), whose front end must be the supernet's; `crops` is clamped to
    one per utterance. Weights are exact copies of the supernet's slices, only batch-norm statistics are new.
    UserError where inputs do not fit.
    """
    supernet = load_supernet(supernet_path)
    for key in ("frontend", "normalisation"):
        if key not in supernet.metadata:
            raise UserError(f"{supernet_path}: its metadata has no '{key}'; train it again (stages 2 and 3)")
    arch = find_arch(arch_text, supernet.space)
    folder = DataDir(data)
    check_frontend(supernet.metadata["frontend"], folder.frontend, folder.path)
    net = supernet.derive(arch).to(pick_device(device))
    reader = FeatureReader(folder.path / "feats.scp")
    crops = min(crops, max(2, len(reader)))
    batches = calibration_batches(
        reader, supernet.metadata["normalisation"], seed=seed, crops=crops, frames=frames, batch=batch,
        noise=calibration_noise(folder.path, reader.keys, supernet.metadata),
    )  # fmt: skip
    reestimate(net, batches)
    sizes = {"in_feats": supernet.space.in_feats, "embedding": supernet.space.embedding}
    metadata = {
        "space": supernet.space.to_dict(),
        "frontend": supernet.metadata["frontend"],
        "normalisation": supernet.metadata["normalisation"],
        "training": supernet.metadata.get("training", {}),
        "supernet": supernet.hash,
        "calibration": {
            "seed": seed, "crops": crops, "frames": frames, "batch": batch, "hash": calibration_hash(batches),
        },
        "weights": weights_hash(net),
        "macs": arch_macs(arch, **sizes),
        "params": arch_params(arch, **sizes),
        "convention": CONVENTION,
        "results": [],
        "thresholds": {},
    }  # fmt: skip
    metadata |= {key: supernet.metadata[key] for key in ("mel_noise", "waveform") if key in supernet.metadata}
    save_subnet(out, net, metadata)
    return {**metadata, "arch": str(arch)}
