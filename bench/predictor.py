"""Predictors on noisy evaluations of tabled objectives: Kendall tau on the rest of the space, regret of the choice.

    python3 bench/predictor.py [--sizes 100 300 1000 3000] [--objectives 2] [--seeds 3] [--models gaussian_process ...]

Five kinds of non-additive objectives over the coarse space (standard deviation 0.5 % EER), measured with Gaussian
noise of 0.15 % EER, about the spread of repeated evaluations on a small dev set. The regret is that of the subnet an
evolution under 571M picks by the predictor: its true value less the best true value 20,000 evaluations find.
"""

import argparse
import time
from dataclasses import dataclass
from itertools import product

import numpy as np
from objectives import make_objective

from etdnn.model.space import SearchSpace
from etdnn.search import evolve
from etdnn.search.population import sample, sample_stratified
from etdnn.search.predictor import fit_any, kendall_tau

NON_ADDITIVE = ("interaction", "fourier", "network", "rough", "trend")
BUDGET = "571M"
NOISE = 0.15
MAIN_SIZE = 1000
COARSE, FINE = "paper_coarse", "paper_fine"
BASELINES = ("macs", "linear")
MODELS = ("macs", "linear", "one_hot_mlp", "ensemble", "gaussian_process")


@dataclass(frozen=True)
class Outcome:
    """One fit: tau on subnets it has not seen, regret of the subnet it picks under BUDGET, CPU seconds of the fit."""

    tau: float
    regret: float
    seconds: float


def run_case(model: str, space: SearchSpace, objective, optimum: float, unseen: np.ndarray, size: int, seed: int):
    """Return the Outcome of `model` fitted to `size` noisy evaluations."""
    rng = np.random.default_rng([seed, size])
    rows = sample_stratified(space, size, rng)
    if space.name == FINE:  # as in practice: what was measured for the coarse space serves as well
        rows = np.concatenate([sample_stratified(SearchSpace.named(COARSE), size // 2, rng), rows[: size - size // 2]])
    targets = objective(rows) + rng.normal(0, NOISE, len(rows))
    start = time.process_time()
    predict = fit_any(model, space, rows, targets, seed)
    seconds = time.process_time() - start
    tau = kendall_tau(predict(unseen), objective(unseen))
    found = evolve(space, lambda archs: predict(archs.rows), macs=BUDGET, evaluations=3000, seed=seed)
    return Outcome(tau, float(objective(found.rows[:1])[0]) - optimum, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--objectives", type=int, default=2, help="objectives per kind (5 kinds)")
    parser.add_argument("--seeds", type=int, default=3, help=f"samples and fits of N = {MAIN_SIZE}; other N have one")
    parser.add_argument("--fine", action="store_true", help="the fine space, from samples half coarse and half fine")
    parser.add_argument("--models", nargs="+", default=["macs", "linear", "gaussian_process"], choices=MODELS)
    options = parser.parse_args()
    started, space = time.process_time(), SearchSpace.named(FINE if options.fine else COARSE)
    unseen = sample(space, 5000, np.random.default_rng(99))
    objectives = [make_objective(space, kind, number) for kind in NON_ADDITIVE for number in range(options.objectives)]
    optima = [evolve(space, objective, macs=BUDGET).value for objective in objectives]
    print(f"{space.name}: {len(objectives)} objectives, {options.seeds} seeds at N = {MAIN_SIZE}, one elsewhere")
    print(f"{'N':>5}  {'model':<17} {'tau':>6} {'(min)':>7} {'regret %':>9} {'fit CPU s':>10}")
    means: dict[str, float] = {}
    for size in options.sizes:
        for model in options.models:
            seeds = range(options.seeds if size == MAIN_SIZE else 1)
            cases = product(zip(objectives, optima, strict=True), seeds)
            found = [run_case(model, space, *case, unseen, size, seed) for case, seed in cases]
            taus = [outcome.tau for outcome in found]
            regret, fit = (np.mean([getattr(outcome, key) for outcome in found]) for key in ("regret", "seconds"))
            print(f"{size:>5}  {model:<17} {np.mean(taus):6.3f} {min(taus):7.3f} {regret:9.3f} {fit:10.1f}", flush=True)
            if size == MAIN_SIZE:
                means[model] = float(np.mean(taus))
    for model in means.keys() - {"macs", "linear"}:
        above = ", ".join(f"{means[model] - means[base]:+.3f} from {base}" for base in BASELINES if base in means)
        print(f"N = {MAIN_SIZE}: tau of {model} differs by {above}")
    print(f"{time.process_time() - started:.0f} CPU s in all")


if __name__ == "__main__":
    main()
