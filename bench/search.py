"""Search against the exhaustive optimum: how often it is found, how long it takes; random search and pymoo's GA beside.

    python3 bench/search.py [--objectives 3] [--seeds 2] [--evaluations 20000] [--fine] [--no-pymoo]

Objectives are tables over the whole coarse space (4,066,875 subnets): six kinds of random functions, some with many
basins, in % EER with a standard deviation of 0.5. Found means: within 1e-3 of the true optimum under the budget. Times
are CPU seconds of one thread (run with OMP_NUM_THREADS=1). pymoo: pip install pymoo (only this bench uses it).
"""

import argparse
import time

import numpy as np
from objectives import KINDS, make_objective, tabulate

from etdnn.model.cost import macs
from etdnn.model.space import SearchSpace
from etdnn.search import evolve, random
from etdnn.search.population import Genome

BUDGETS = (90e6, 150e6, 204e6, 400e6, 571e6, 1000e6, 1450e6, 1900e6)
NEAR = 1e-3


def pymoo_ga(space: SearchSpace, objective, budget: float, evaluations: int, seed: int) -> float:
    """Return the best feasible value of pymoo's GA with its usual integer operators, population 100."""
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    genome = Genome(space)

    class Subnets(Problem):
        def __init__(self):
            super().__init__(n_var=genome.genes, n_obj=1, n_ieq_constr=1, xl=0, xu=genome.sizes - 1, vtype=int)

        def _evaluate(self, x, out, *_args, **_options):
            rows = genome.rows(np.asarray(x, dtype=np.int64))
            out["F"] = objective(rows)[:, None]
            out["G"] = (macs(rows) / budget - 1)[:, None]

    algorithm = GA(
        pop_size=100,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    result = minimize(Subnets(), algorithm, ("n_eval", evaluations), seed=seed, verbose=False)
    return float("inf") if result.F is None else float(np.ravel(result.F)[0])


def searches(use_pymoo: bool) -> dict:
    """Return name -> function (space, objective, budget, evaluations, seed) -> value."""
    found = {
        "evolve": lambda space, f, b, n, s: evolve(space, f, macs=b, evaluations=n, seed=s).value,
        "random": lambda space, f, b, n, s: random(space, f, macs=b, evaluations=n, seed=s).value,
    }
    if use_pymoo:
        try:
            import pymoo  # noqa: F401
        except ImportError:
            print("pymoo is not installed (pip install pymoo): its column is left out")
        else:
            found["pymoo GA"] = pymoo_ga
    return found


def coarse(options: argparse.Namespace) -> None:
    space = SearchSpace.named("paper_coarse")
    methods = searches(options.pymoo)
    totals = {name: [] for name in methods}
    print(
        f"found within {NEAR} in % of cases (mean gap; mean / max CPU s), {options.evaluations} evaluations, "
        f"{len(BUDGETS)} budgets x {options.objectives} objectives x {options.seeds} seeds per kind"
    )
    for kind in KINDS:
        cases = {name: [] for name in methods}
        for number in range(options.objectives):
            objective = make_objective(space, kind, number)
            values, costs = tabulate(space, objective)
            for budget in BUDGETS:
                optimum = values[costs <= budget].min()
                for seed in range(options.seeds):
                    for name, method in methods.items():
                        start = time.process_time()
                        value = method(space, objective, budget, options.evaluations, seed)
                        cases[name].append((value - optimum, time.process_time() - start))
        print(f"{kind:<12} " + "   ".join(f"{name}: {_shown(rows)}" for name, rows in cases.items()), flush=True)
        for name, rows in cases.items():
            totals[name] += rows
    print(f"{'all':<12} " + "   ".join(f"{name}: {_shown(rows)}" for name, rows in totals.items()))


def _shown(rows: list[tuple[float, float]]) -> str:
    gaps, times = np.array(rows).T
    return f"{100 * (gaps <= NEAR).mean():5.1f} % ({gaps.mean():.3f}; {times.mean():.2f} / {times.max():.2f} s)"


def fine(options: argparse.Namespace) -> None:
    """A coarse search, then a fine one from its result: better, equal or worse than the coarse result?"""
    small, large = SearchSpace.named("paper_coarse"), SearchSpace.named("paper_fine")
    better = worse = total = 0
    for kind in KINDS:
        for number in range(options.objectives):
            objective = make_objective(large, kind, number)
            for budget in BUDGETS:
                for seed in range(options.seeds):
                    first = evolve(small, objective, macs=budget, evaluations=options.evaluations, seed=seed)
                    then = evolve(
                        large, objective, macs=budget, evaluations=options.evaluations, seed=seed, start=first
                    )
                    better, worse, total = (
                        better + (then.value < first.value),
                        worse + (then.value > first.value),
                        total + 1,
                    )
    print(f"fine from coarse: better in {100 * better / total:.1f} %, worse in {100 * worse / total:.1f} % of {total}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", type=int, default=3, help="objectives per kind")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--evaluations", type=int, default=20000)
    parser.add_argument("--fine", action="store_true", help="only the fine space, started from the coarse result")
    parser.add_argument("--no-pymoo", dest="pymoo", action="store_false")
    options = parser.parse_args()
    (fine if options.fine else coarse)(options)


if __name__ == "__main__":
    main()
