"""The small files made by the authors' implementation, and how tests reach them."""

import json
from pathlib import Path

import numpy as np

PARITY = Path(__file__).resolve().parent.parent / "parity"
SUPERNET = PARITY / "supernet_small.torchparams"
SUBNET = PARITY / "subnet_small.bn.tar"
CASES = json.loads((PARITY / "supernet_small.json").read_text())["cases"]


def arrays(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of `name`.npz."""
    with np.load(PARITY / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}
