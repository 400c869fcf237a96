"""Measuring a subnet: derive it, re-estimate its batch norm, embed the dev utterances, EER of the dev trials.

The test set is never opened here: calibration crops come from the training data, trials from the dev speakers.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir
from etdnn.embed.batchnorm import calibration_batches, calibration_data, calibration_hash, reestimate
from etdnn.embed.dev_set import DevSet, TrialList
from etdnn.embed.extract import check_frontend
from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.model.cost import arch_macs, arch_params
from etdnn.model.supernet import Supernet
from etdnn.scoring.metrics import eer, min_dcf
from etdnn.search.records import Evaluation, Protocol
from etdnn.search.settings import Measurement

P_TARGET = 0.05


@dataclass(frozen=True)
class EvaluationData:
    """All that measuring needs, in memory once: calibration batches, dev crops, trials; and their hashes."""

    batches: list[torch.Tensor]
    dev_set: DevSet
    calibration: str
    dev: str
    counts: str

    @classmethod
    def load(cls, data: str | Path, supernet: Supernet, measurement: Measurement, *, seed: int) -> "EvaluationData":
        """Read the training data (see `calibration_data`) and <data>/dev; UserError where they do not serve."""
        train, dev = DataDir(calibration_data(data)), DataDir(Path(data) / "dev")
        for folder in (train, dev):
            check_frontend(supernet.metadata.get("frontend"), folder.frontend, folder.path)
        normalisation = supernet.metadata["normalisation"]
        reader = FeatureReader(train.path / "feats.scp")
        batches = calibration_batches(
            reader, normalisation, seed=seed, crops=max(2, min(measurement.calibration_crops, len(reader))),
            frames=measurement.calibration_frames, batch=measurement.calibration_batch,
        )  # fmt: skip
        dev_set = DevSet.load(
            dev, normalisation, frames=measurement.dev_frames, crops=measurement.dev_crops,
            speakers=measurement.dev_speakers, seed=seed,
        )  # fmt: skip
        digest = hashlib.sha256(dev_set.crops.numpy().tobytes())
        trials = dev_set.trials
        for name, part in trials.items():
            for array in (part.enrol, part.test, part.target):
                digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        speakers = len(set(np.concatenate([part.enrol_speaker for part in trials.values()]).tolist()))
        counts = f"{speakers} dev speakers, {len(dev_set.crops) // dev_set.crops_each} utterances, " + ", ".join(
            f"{len(part.target)} trials {name} ({int(part.target.sum())} target)" for name, part in trials.items()
        )
        return cls(batches, dev_set, calibration_hash(batches), digest.hexdigest()[:16], counts)

    @property
    def trials(self) -> dict[str, TrialList]:
        """The dev trial lists by name."""
        return self.dev_set.trials

    def protocol(self, supernet: Supernet) -> Protocol:
        """Return the hashes that go with every evaluation made from this."""
        return Protocol(supernet.hash, self.calibration, self.dev)


class Evaluator:
    """Measures subnets of one supernet on one set of evaluation data."""

    def __init__(self, supernet: Supernet, data: EvaluationData, device: str | torch.device = "cpu"):
        self.supernet, self.data, self.device = supernet, data, torch.device(device)
        self.sizes = {"in_feats": supernet.space.in_feats, "embedding": supernet.space.embedding}

    def scores(self, arch: Arch) -> dict[str, np.ndarray] | None:
        """Return the cosine scores of each trial list, None when the subnet's embeddings are not finite."""
        net = self.supernet.derive(arch).to(self.device)
        try:
            reestimate(net, self.data.batches)
        except UserError:
            return None
        return self.data.dev_set.scores(net)

    def measure(self, arch: Arch) -> tuple[Evaluation, dict[str, np.ndarray] | None]:
        """Return the evaluation of `arch` and its trial scores."""
        scores = self.scores(arch)
        numbers = dict.fromkeys(("eer_clean", "eer_cross", "mindcf_clean", "mindcf_cross", "smooth"), float("nan"))
        if scores is not None:
            smooth = []
            for name, part in self.data.trials.items():
                sides = scores[name][part.target], scores[name][~part.target]
                numbers[f"eer_{name}"] = 100 * eer(*sides)
                numbers[f"mindcf_{name}"] = min_dcf(*sides, P_TARGET)
                smooth.append(gaussian_eer(*sides))
            numbers["smooth"] = 100 * float(np.mean(smooth))
        objective = (numbers["eer_clean"] + numbers["eer_cross"]) / 2
        status = "ok" if np.isfinite(list(numbers.values())).all() else "failed"
        protocol = self.data.protocol(self.supernet)
        evaluation = Evaluation(
            arch=str(arch), macs=arch_macs(arch, **self.sizes), params=arch_params(arch, **self.sizes), status=status,
            objective=objective, **numbers,
            supernet=protocol.supernet, calibration=protocol.calibration, dev=protocol.dev,
        )  # fmt: skip
        return evaluation, scores


def gaussian_eer(targets: np.ndarray, nontargets: np.ndarray) -> float:
    """Return the EER (fraction) of two Gaussians with the means and standard deviations of the scores."""
    from scipy.special import ndtr

    spread = float(targets.std(dtype=np.float64) + nontargets.std(dtype=np.float64))
    gap = float(targets.mean(dtype=np.float64) - nontargets.mean(dtype=np.float64))
    return float(ndtr(-gap / spread)) if spread > 0 else float("nan")
