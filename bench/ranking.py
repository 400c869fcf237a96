"""How little measuring keeps the ranking: Kendall tau of cheap protocols against a thorough one, on a trained supernet.

    python3 bench/ranking.py --expdir egs/mini/exp/mini --data egs/mini/data [--search-config egs/mini/conf/search.yaml]

Subnets spread over MACs are measured thoroughly (batch norm on 1,024 crops, whole dev utterances) and then as the lines
say, with other calibration crops. For each: tau of the mean EER and of the smoother EER of two Gaussians (what the
predictor may learn instead), both against the thorough mean EER; CPU seconds per subnet; the standard deviation that is
left when the thorough EER is explained linearly. "thorough again" has other calibration crops only: more cannot be had.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from etdnn.embed.dev_set import TrialList
from etdnn.model.arch import Arch
from etdnn.model.checkpoint import load_supernet
from etdnn.model.cost import arch_macs
from etdnn.scoring.metrics import eer
from etdnn.search.evaluate import EvaluationData, Evaluator, gaussian_eer
from etdnn.search.population import ArchRows, sample_stratified
from etdnn.search.predictor import kendall_tau
from etdnn.search.settings import Measurement, SearchSettings
from etdnn.seeding import numpy_generator
from etdnn.settings import load_settings

THOROUGH = Measurement(calibration_crops=1024, dev_frames=0)
USUAL = Measurement(calibration_crops=256, dev_frames=300)
NEAR = 0.02
"""The cheapest protocol this close to the best tau is named at the end."""


@dataclass(frozen=True)
class Measured:
    """Trial scores per subnet, the trial lists, and the CPU seconds that a subnet took."""

    scores: list[dict[str, np.ndarray]]
    trials: dict[str, TrialList]
    seconds: float

    def values(self, speakers: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return mean EER and mean EER of Gaussians (%) per subnet, on trials of the first `speakers` only (0: all)."""
        found = []
        for scores in self.scores:
            both = []
            for name, part in self.trials.items():
                kept = np.maximum(part.enrol_speaker, part.test_speaker) < (speakers or np.inf)
                sides = scores[name][kept & part.target], scores[name][kept & ~part.target]
                both.append((eer(*sides), gaussian_eer(*sides)))
            found.append(np.mean(both, axis=0))
        errors, smooth = 100 * np.array(found).T
        return errors, smooth


def measure(supernet, data: Path, how: Measurement, archs: list[Arch], seed: int) -> Measured:
    """Measure `archs` by protocol `how`."""
    evaluator = Evaluator(supernet, EvaluationData.load(data, supernet, how, seed=seed))
    start = time.process_time()
    scores = [evaluator.scores(arch) for arch in archs]
    return Measured(scores, evaluator.data.trials, (time.process_time() - start) / len(archs))


def protocols(config: Path | None) -> dict[str, Measurement]:
    """Return the cheap protocols by name."""
    found = {f"{crops} crops of 200; dev 1 x 300": replace(USUAL, calibration_crops=crops) for crops in (32, 64, 256)}
    found["1024 crops of 200; dev 1 x 300"] = replace(USUAL, calibration_crops=1024)
    found["256 crops of 200; dev 1 x 200"] = replace(USUAL, dev_frames=200)
    found["256 crops of 200; dev 2 x 200"] = replace(USUAL, dev_frames=200, dev_crops=2)
    found["64 crops of 200; dev whole"] = replace(USUAL, calibration_crops=64, dev_frames=0)
    if config:
        found[f"as in {config}"] = load_settings(SearchSettings, config).measurement
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expdir", required=True, type=Path, help="an experiment whose supernet is trained")
    parser.add_argument("--phase", default="supernet", help="the supernet as this phase left it (default: the last)")
    parser.add_argument("--data", required=True, type=Path, help="its data: train (or train_all) and dev with features")
    parser.add_argument("--search-config", type=Path, help="also the protocol that this file says")
    parser.add_argument("--archs", type=int, default=16)
    parser.add_argument("--share", type=float, default=1.0, help="only subnets up to this share of the largest's MACs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    supernet = load_supernet(options.expdir / options.phase / "supernet.safetensors")
    limit = options.share * arch_macs(supernet.space.largest)
    archs = list(ArchRows(sample_stratified(supernet.space, options.archs, numpy_generator(0, "bench"), limit=limit)))
    thorough = measure(supernet, options.data, THOROUGH, archs, seed=1)
    truth, _ = thorough.values()
    speakers = 1 + max(int(part.enrol_speaker.max()) for part in thorough.trials.values())
    print(f"{len(archs)} subnets, mean EER {truth.min():.2f} to {truth.max():.2f} %, {speakers} dev speakers")
    print(f"{'protocol':<44} {'tau EER':>8} {'smooth':>8} {'left %':>8} {'CPU s':>8}")
    taus = {}

    def show(name: str, measured: Measured, kept: int = 0) -> None:
        errors, smooth = measured.values(kept)
        slope, level = np.polyfit(errors, truth, 1)
        left = float(np.std(truth - slope * errors - level))
        tau = kendall_tau(errors, truth)
        if not kept:
            taus[name] = (tau, measured.seconds)
        print(
            f"{name:<44} {tau:8.3f} {kendall_tau(smooth, truth):8.3f} {left:8.2f} {measured.seconds:8.2f}", flush=True
        )

    show("thorough", thorough)
    show("thorough again", measure(supernet, options.data, THOROUGH, archs, seed=2))
    taus.clear()  # the cheap ones are compared
    for name, how in protocols(options.search_config).items():
        measured = measure(supernet, options.data, how, archs, seed=0)
        show(name, measured)
        if how == USUAL:
            for share in (2, 4):
                if speakers // share > 2:
                    show(f"    the same, {speakers // share} of the speakers", measured, speakers // share)
    best = max(tau for tau, _ in taus.values())
    name = min((name for name, (tau, _) in taus.items() if tau >= best - NEAR), key=lambda name: taus[name][1])
    print(f"cheapest within {NEAR} of the best tau of these: {name} ({taus[name][1]:.2f} CPU s a subnet)")


if __name__ == "__main__":
    main()
