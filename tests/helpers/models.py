"""Small model files with random weights, and waves to embed with them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from etdnn.features.fbank import FbankOptions
from etdnn.model import Arch
from etdnn.model.checkpoint import save_subnet
from etdnn.model.tdnn import Tdnn

THRESHOLDS = {
    "cosine": {
        "calibration": {"scale": 20.0, "offset": -8.0, "prior": 0.01},
        "points": {
            "eer": {"threshold": 0.4, "miss": 0.05, "false_accept": 0.05},
            "min_dcf_0.01": {"threshold": 0.6, "miss": 0.3, "false_accept": 0.001},
        },
        "lists": ["clean", "cross"],
        "targets": 100,
        "nontargets": 900,
    }
}


def random_net(text: str = "2-32-16-24-3-1-5-40", seed: int = 0) -> Tdnn:
    """Return a network whose batch norms are not the identity."""
    torch.manual_seed(seed)
    net = Tdnn(Arch.parse(text)).eval()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if "norm" in name and value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5)
        net.embedding_norm.running_mean.copy_(net(8 * torch.randn(64, 80, 50)).mean(0))
    return net


def save_model(path: Path, *, calibrated: bool = True, seed: int = 0, **metadata: Any) -> Path:
    """Write a random network as a model file."""
    net = random_net(seed=seed)
    net.calibrated = calibrated
    usual = {"frontend": FbankOptions().to_dict(), "normalisation": "mean", "thresholds": THRESHOLDS, "results": []}
    save_subnet(path, net, {**usual, **metadata})
    return path


def noise_wave(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """Return float noise within -1..1 whose colour and level change."""
    generator = np.random.default_rng(seed)
    wave = np.cumsum(generator.standard_normal(int(seconds * rate)))
    wave = np.diff(wave, prepend=0) + 0.3 * np.sin(np.arange(len(wave)) * (0.02 + 0.01 * seed))
    return (0.2 * wave / np.abs(wave).max()).astype(np.float32)
