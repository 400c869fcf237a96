"""Predictors on noisy evaluations of tabled objectives: Kendall tau on the rest of the space, regret of the choice.

    python3 bench/predictor.py [--sizes 100 300 1000 3000] [--objectives 2] [--seeds 3] [--kinds gaussian_process ...]

Five kinds of non-additive objectives over the coarse space (standard deviation 0.5 % EER), measured with Gaussian
noise of 0.15 % EER, about the spread of repeated evaluations on a small dev set. The regret is that of the subnet an
evolution under 571M picks by the predictor: its true value less the best true value 20,000 evaluations find.
"""

import argparse
import time

import numpy as np
from objectives import make_objective

from etdnn.model.space import SearchSpace
from etdnn.search import evolve
from etdnn.search.population import sample, sample_stratified
from etdnn.search.predictor import _fit_any, kendall_tau

NON_ADDITIVE = ("interaction", "fourier", "network", "rough", "trend")
BUDGET = "571M"
NOISE = 0.15
MODELS = ("macs", "linear", "one_hot_mlp", "ensemble", "gaussian_process")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--objectives", type=int, default=2, help="objectives per kind (5 kinds)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(MODELS))
    options = parser.parse_args()
    space = SearchSpace.named("paper_coarse")
    unseen = sample(space, 5000, np.random.default_rng(99))
    cases = [
        (make_objective(space, kind, number), kind) for kind in NON_ADDITIVE for number in range(options.objectives)
    ]
    best = [evolve(space, objective, macs=BUDGET).value for objective, _ in cases]
    print(
        f"{len(cases)} objectives x {options.seeds} seeds; mean tau (min), mean regret in % EER, mean CPU s of the fit"
    )
    for size in options.sizes:
        for model in options.kinds:
            taus, regrets, times = [], [], []
            for (objective, _), optimum in zip(cases, best, strict=True):
                for seed in range(options.seeds):
                    rng = np.random.default_rng([seed, size])
                    rows = sample_stratified(space, size, rng)
                    targets = objective(rows) + rng.normal(0, NOISE, len(rows))
                    start = time.process_time()
                    predict = _fit_any(model, space, rows, targets, seed)
                    times.append(time.process_time() - start)
                    taus.append(kendall_tau(predict(unseen), objective(unseen)))
                    found = evolve(
                        space, lambda archs, p=predict: p(archs.rows), macs=BUDGET, evaluations=5000, seed=seed
                    )
                    regrets.append(float(objective(found.rows[:1])[0]) - optimum)
            print(f"N {size:>5}  {model:<17} tau {np.mean(taus):.3f} ({min(taus):.3f})  regret {np.mean(regrets):.3f}  "
                  f"fit {np.mean(times):.1f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
