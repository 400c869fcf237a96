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
from etdnn.embed.extract import check_frontend, embed_crops, evaluation_crops
from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.model.cost import arch_macs, arch_params
from etdnn.model.supernet import Supernet
from etdnn.scoring.cosine import cosine_scores, index_trials, length_normalise
from etdnn.scoring.metrics import eer, min_dcf
from etdnn.search.records import Evaluation, Protocol
from etdnn.search.settings import Measurement
from etdnn.seeding import numpy_generator

LISTS = ("clean", "cross")
"""The dev trial lists; their mean EER is the objective."""
P_TARGET = 0.05


@dataclass(frozen=True)
class TrialList:
    """Trials as rows of the dev embeddings, with the speakers of both sides as numbers (for the bootstrap)."""

    enrol: np.ndarray
    test: np.ndarray
    target: np.ndarray
    enrol_speaker: np.ndarray
    test_speaker: np.ndarray


@dataclass(frozen=True)
class EvaluationData:
    """All that measuring needs, in memory once: calibration batches, dev crops, trials; and their hashes."""

    batches: list[torch.Tensor]
    crops: torch.Tensor
    crops_each: int
    trials: dict[str, TrialList]
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
        names, trials = read_dev_trials(dev, measurement.dev_speakers, seed)
        dev_reader = FeatureReader(dev.path / "feats.scp")
        where = {name: index for index, name in enumerate(dev_reader.keys)}
        missing = [name for name in names if name not in where]
        if missing:
            raise UserError(f"{dev.path}/feats.scp: no features of '{missing[0]}' and {len(missing) - 1} more that "
                            "stand in the dev trials; stage 1 makes them")  # fmt: skip
        crops = evaluation_crops(
            dev_reader, np.array([where[name] for name in names]), normalisation,
            frames=measurement.dev_frames, crops=measurement.dev_crops,
        )  # fmt: skip
        digest = hashlib.sha256(crops.numpy().tobytes())
        for name, part in trials.items():
            for array in (part.enrol, part.test, part.target):
                digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        speakers = len(set(np.concatenate([part.enrol_speaker for part in trials.values()]).tolist()))
        counts = f"{speakers} dev speakers, {len(names)} utterances, " + ", ".join(
            f"{len(part.target)} trials {name} ({int(part.target.sum())} target)" for name, part in trials.items()
        )
        return cls(batches, crops, measurement.dev_crops, trials, calibration_hash(batches), digest.hexdigest()[:16],
                   counts)  # fmt: skip

    def protocol(self, supernet: Supernet) -> Protocol:
        """Return the hashes that go with every evaluation made from this."""
        return Protocol(supernet.hash, self.calibration, self.dev)


def read_dev_trials(dev: DataDir, speakers: int, seed: int) -> tuple[list[str], dict[str, TrialList]]:
    """Return the utterances that the dev trials name and the lists as rows of them.

    With `speakers` above 0 only trials among that many speakers, drawn by `seed`, are kept. UserError when fewer than
    two speakers or only one class of trials is left.
    """
    lists = {name: dev.trials(name) for name in LISTS}
    utt2spk = dev.utt2spk
    for name, part in lists.items():
        unknown = next((utterance for utterance in (*part.enrol, *part.test) if utterance not in utt2spk), None)
        if unknown is not None:
            raise UserError(f"{dev.path}/trials_{name}: '{unknown}' is not in {dev.path}/utt2spk")
    everyone = sorted({utt2spk[utterance] for part in lists.values() for utterance in (*part.enrol, *part.test)})
    if len(everyone) < 2:
        raise UserError(f"{dev.path}: its trials name one speaker only; the search needs at least 2 dev speakers")
    number = {speaker: index for index, speaker in enumerate(everyone)}
    kept = set(everyone)
    if 0 < speakers < len(everyone):
        kept = set(numpy_generator(seed, "dev speakers").permutation(everyone)[:speakers].tolist())
    names: set[str] = set()
    for name, part in lists.items():
        keep = np.array([utt2spk[a] in kept and utt2spk[b] in kept for a, b in zip(part.enrol, part.test, strict=True)])
        lists[name] = part = part.kept(keep)
        if part.target.all() or not part.target.any():
            counts = f"{int(part.target.sum())} target and {int((~part.target).sum())} nontarget trials"
            raise UserError(f"{dev.path}/trials_{name}: {counts} are left; both kinds are needed")
        names |= {*part.enrol, *part.test}
    order = sorted(names)
    row = {name: index for index, name in enumerate(order)}
    result = {}
    for name, part in lists.items():
        indexed = index_trials(part.enrol, part.test, row, row)
        sides = [np.array([number[utt2spk[one]] for one in side]) for side in (part.enrol, part.test)]
        result[name] = TrialList(indexed.enrol, indexed.test, part.target, *sides)
    return order, result


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
        vectors = embed_crops(net, self.data.crops)
        if not np.isfinite(vectors).all() or not np.abs(vectors).max(axis=1).all():
            return None
        vectors = length_normalise(vectors)
        each = self.data.crops_each
        if each > 1:
            vectors = length_normalise(vectors.reshape(-1, each, vectors.shape[1]).mean(axis=1))
        return {name: cosine_scores(vectors, vectors, part.enrol, part.test) for name, part in self.data.trials.items()}

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
