"""Search against the exhaustive optimum: how often it is found, how long it takes; random search and pymoo's GA beside.

    python3 bench/search.py [--objectives 2] [--seeds 2] [--evaluations 20000] [--kinds additive ...] [--no-pymoo]

Objectives are tables over the whole coarse space (4,066,875 subnets): six kinds of random functions, some with many
basins, in % EER with a standard deviation of 0.5. Found means: within 1e-3 of the true optimum under the budget. Times
are CPU seconds of one thread (run with OMP_NUM_THREADS=1). The objectives are defined on the fine space too, whose
optimum is unknown; a search there that starts from the coarse result is held against the coarse optimum.
pymoo: pip install pymoo (only this bench uses it).
"""

import argparse
import time
from functools import partial
from itertools import product

import numpy as np
from objectives import KINDS, make_objective, tabulate

from etdnn.model.cost import macs
from etdnn.model.space import SearchSpace
from etdnn.search import SearchResult, evolve, random
from etdnn.search.population import Genome

BUDGETS = (90e6, 150e6, 204e6, 400e6, 571e6, 1000e6, 1450e6, 1900e6)
NEAR = 1e-3
METHODS = ("evolve", "random", "pymoo", "fine")


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


def have_pymoo() -> bool:
    """Tell whether pymoo is installed; say so if it is not."""
    try:
        import pymoo  # noqa: F401
    except ImportError:
        print("pymoo is not installed (pip install pymoo): its column is left out")
        return False
    return True


def timed(function) -> tuple[object, float]:
    """Return what `function` returns, and the CPU seconds it took."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def at_corner(space: SearchSpace, found: SearchResult) -> bool:
    """Tell whether the best arch has extreme widths and cat only: then finer choices may well have nothing to add."""
    widths, cats = (space.widths[0], space.widths[-1]), (space.cats[0], space.cats[-1])
    return set(found.best.widths) <= set(widths) and found.best.cat in cats


def run_kind(kind: str, options: argparse.Namespace) -> dict[str, list[tuple]]:
    """Return method -> (value less the coarse optimum, CPU seconds) of every case."""
    small, large = SearchSpace.named("paper_coarse"), SearchSpace.named("paper_fine")
    cases = {name: [] for name in METHODS}
    for number in range(options.objectives):
        objective = make_objective(large, kind, number)  # defined on both spaces: coarse choices are fine ones
        values, costs = tabulate(small, objective)
        for budget, seed in product(BUDGETS, range(options.seeds)):
            optimum = values[costs <= budget].min()
            given = {"macs": budget, "evaluations": options.evaluations, "seed": seed}
            first, seconds = timed(partial(evolve, small, objective, **given))
            cases["evolve"].append((first.value - optimum, seconds))
            found, seconds = timed(partial(random, small, objective, **given))
            cases["random"].append((found.value - optimum, seconds))
            found, seconds = timed(partial(evolve, large, objective, **given, start=first))
            cases["fine"].append((found.value - optimum, seconds, at_corner(small, first)))
            if options.pymoo and number == seed == 0:
                value, seconds = timed(partial(pymoo_ga, small, objective, budget, options.evaluations, seed))
                cases["pymoo"].append((value - optimum, seconds))
    return cases


def show(name: str, cases: dict[str, list[tuple]]) -> None:
    parts = []
    for method in METHODS[:3]:
        if cases[method]:
            gaps, times = np.array(cases[method]).T
            shown = (
                f"{100 * (gaps <= NEAR).mean():5.1f} % ({gaps.mean():.3f}; {times.mean():.2f} / {times.max():.2f} s)"
            )
            parts.append(f"{method} {shown}")
    gaps, times, corner = np.array(cases["fine"]).T
    inner = gaps[corner == 0]
    better, worse = 100 * (inner < -1e-9).mean(), 100 * (gaps > 1e-9).mean()
    parts.append(f"fine: better {better:5.1f} % of {len(inner)} worse {worse:.1f} % of {len(gaps)} "
                 f"({gaps.mean():+.3f}; {times.max():.2f} s)")  # fmt: skip
    print(f"{name:<12} " + "   ".join(parts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", type=int, default=2, help="objectives per kind (6 kinds)")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--evaluations", type=int, default=20000)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--no-pymoo", dest="pymoo", action="store_false")
    options = parser.parse_args()
    options.pymoo = options.pymoo and have_pymoo()
    started = time.process_time()
    totals = {name: [] for name in METHODS}
    print(
        f"{len(options.kinds)} kinds x {options.objectives} objectives x {len(BUDGETS)} budgets x {options.seeds} seeds"
        f" (pymoo: first objective and seed), {options.evaluations} evaluations a search\n"
        f"coarse: optimum found within {NEAR}, % of cases (mean gap; mean / max CPU s)\n"
        "fine, from the coarse result: better than the coarse optimum, of cases in which that has not extreme widths "
        "and cat alone; worse, of all cases (mean difference; max CPU s)"
    )
    for kind in options.kinds:
        cases = run_kind(kind, options)
        show(kind, cases)
        for name, rows in cases.items():
            totals[name] += rows
    show("all", totals)
    print(f"{len(totals['evolve'])} cases, {time.process_time() - started:.0f} CPU s in all")


if __name__ == "__main__":
    main()
