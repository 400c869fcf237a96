"""Measuring a subnet: derive it, re-estimate its batch norm, embed the dev utterances, EER of the dev trials.

Calibration crops come from the training data, trials from the dev speakers; the search opens nothing else.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir
from etdnn.embed.batchnorm import calibration_batches, calibration_data, calibration_hash, calibration_noise, reestimate
from etdnn.embed.dev_set import LISTS, DevSet, TrialList
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
    """All that measuring needs, read once: calibration batches, dev utterances (see `DevSet`), trials; their hashes."""

    batches: list[torch.Tensor]
    dev_set: DevSet
    calibration: str
    counts: str

    @classmethod
    def load(
        cls,
        data: str | Path,
        supernet: Supernet,
        measurement: Measurement,
        *,
        seed: int,
        evaluated: str = "dev",
        lists: Sequence[str] = LISTS,
    ) -> "EvaluationData":
        """Read the training data (see `calibration_data`) and <data>/<evaluated>; UserError where they do not serve."""
        train, dev = DataDir(calibration_data(data)), DataDir(Path(data) / evaluated)
        for folder in (train, dev):
            check_frontend(supernet.metadata.get("frontend"), folder.frontend, folder.path)
        normalisation = supernet.metadata["normalisation"]
        reader = FeatureReader(train.path / "feats.scp")
        batches = calibration_batches(
            reader, normalisation, seed=seed, crops=max(2, min(measurement.calibration_crops, len(reader))),
            frames=measurement.calibration_frames, batch=measurement.calibration_batch,
            noise=calibration_noise(train.path, reader.keys, supernet.metadata),
        )  # fmt: skip
        dev_set = DevSet.load(
            dev, normalisation, frames=measurement.dev_frames, crops=measurement.dev_crops, lists=lists,
            speakers=measurement.dev_speakers, seed=seed,
        )  # fmt: skip
        trials = dev_set.trials
        speakers = len(set(np.concatenate([part.enrol_speaker for part in trials.values()]).tolist()))
        counts = f"{speakers} {evaluated} speakers, {dev_set.utterances} utterances, " + ", ".join(
            f"{len(part.target)} trials {name} ({int(part.target.sum())} target)" for name, part in trials.items()
        )
        return cls(batches, dev_set, calibration_hash(batches), counts)

    def to(self, device: str | torch.device) -> "EvaluationData":
        """Return the same on `device`, so that nothing is copied there again for every subnet."""
        return replace(self, batches=[batch.to(device) for batch in self.batches], dev_set=self.dev_set.to(device))

    @cached_property
    def dev(self) -> str:
        """The hash of dev utterances and trials."""
        digest = hashlib.sha256()
        for _, tensor in self.dev_set.inputs:
            digest.update(tensor.cpu().numpy().tobytes())
        for name, part in self.trials.items():
            for array in (part.enrol, part.test, part.target):
                digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    @property
    def trials(self) -> dict[str, TrialList]:
        """The trial lists by name."""
        return self.dev_set.trials

    def protocol(self, supernet: Supernet) -> Protocol:
        """Return the hashes that go with every evaluation made from this."""
        return Protocol(supernet.hash, self.calibration, self.dev)


class Evaluator:
    """Measures subnets of one supernet on one set of evaluation data."""

    def __init__(self, supernet: Supernet, data: EvaluationData, device: str | torch.device = "cpu"):
        self.supernet, self.device = supernet, torch.device(device)
        self.data = data.to(self.device)
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
