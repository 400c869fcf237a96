"""The four ways to search, behind one interface: evolve, random, grid, exhaustive."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product

import numpy as np

from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.model.space import SearchSpace
from etdnn.search.evolution import repair, run_evolution
from etdnn.search.limits import Limits
from etdnn.search.population import Genome, archs_to_rows, blocks, sample_digits
from etdnn.search.problem import Archive, Objective, SearchResult, make_result
from etdnn.seeding import numpy_generator

EXHAUSTIVE = 10_000_000
"""Largest number of subnets that `exhaustive` agrees to enumerate."""


def evolve(
    space: SearchSpace,
    objective: Callable,
    *,
    macs=None,
    params=None,
    latency=None,
    memory=None,
    latency_table=None,
    evaluations: int = 20000,
    seed: int = 0,
    start: Iterable[Arch] | np.ndarray | SearchResult | None = None,
) -> SearchResult | list[SearchResult]:
    """Find the subnet of `space` that minimises `objective` under budgets, by evolution.

    `objective(archs)` takes a sequence of Arch that also offers the population as `archs.rows` (int64 [n, 2M+4]) and
    returns n values; it is asked once per different subnet. Budgets are texts (`"204M"`, `"8ms"`), numbers or Budget;
    several kinds may be given together, and where one is a list, a list of results comes back, each equal to that of a
    search for this budget alone. At most `evaluations` subnets are scored per budget. `start` holds archs (or a result)
    to begin from, for instance the coarse result before a fine search: the outcome is never worse than the feasible
    ones among them. A space with no more than `evaluations` subnets is enumerated. Same seed, same result.
    Raises UserError when a budget is below the smallest subnet (naming the floor) or nothing has a finite value.
    """
    budgets = {"macs": macs, "params": params, "latency": latency, "memory": memory}
    return _search(_evolution, space, objective, latency_table, evaluations, seed, start, **budgets)


def random(space: SearchSpace, objective: Callable, **options) -> SearchResult | list[SearchResult]:
    """Score random subnets that fit (depth uniform, then each dimension, as published); options as of `evolve`.

    Where the budget is so tight that draws seldom fit, draws shrunk to fit make up the number, as far as there are any.
    """
    return _search(_random, space, objective, **options)


def grid(space: SearchSpace, objective: Callable, **options) -> SearchResult | list[SearchResult]:
    """Score the manual grid: one width for all layers, one kernel for the stem and one for the blocks; see `evolve`.

    In a fine space the choices of width and cat are thinned evenly until the grid has at most `evaluations` nodes.
    """
    return _search(_grid, space, objective, **options)


def exhaustive(space: SearchSpace, objective: Callable, **options) -> SearchResult | list[SearchResult]:
    """Score every subnet that fits; a UserError where the space has more than ten million. See `evolve`."""
    count = space.count()
    if count > EXHAUSTIVE:
        raise UserError(f"space {space.name} has {count} subnets, too many to enumerate; use evolve")
    return _search(_exhaustive, space, objective, **{**options, "evaluations": count})


METHODS = {"evolution": evolve, "random": random, "grid": grid, "exhaustive": exhaustive}


def _search(
    method: Callable, space: SearchSpace, objective: Callable, latency_table=None, evaluations: int = 20000,
    seed: int = 0, start=None, **budgets,
) -> SearchResult | list[SearchResult]:  # fmt: skip
    if evaluations < 1:
        raise UserError(f"search: evaluations = {evaluations}, at least 1 is needed")
    searches, several = _each_search(budgets)
    all_limits = [Limits.make(space, **search, latency_table=latency_table) for search in searches]
    genome = Genome(space)
    scored = Objective(objective, genome)
    first = _start_digits(genome, start)
    results = []
    for limits in all_limits:
        calls = scored.calls
        archive = Archive(genome, scored, min(evaluations, space.count()))
        archive.add(first[limits.admits(genome.rows(first))], evaluations)
        method(genome, limits, archive, evaluations, seed)
        results.append(make_result(archive, limits, scored.calls - calls))
    return results if several else results[0]


def _each_search(given: dict) -> tuple[list[dict], bool]:
    """Return one mapping kind -> budget per search, and whether a list was given."""
    lists = {kind: value for kind, value in given.items() if isinstance(value, list | tuple)}
    if not lists:
        return [given], False
    lengths = {len(value) for value in lists.values()}
    if len(lengths) > 1 or 0 in lengths:
        raise UserError(f"budgets: lists of equal length are needed, got {sorted(lengths)}")
    return [{**given, **dict(zip(lists, values, strict=True))} for values in zip(*lists.values(), strict=True)], True


def _start_digits(genome: Genome, start) -> np.ndarray:
    if start is None:
        return np.zeros((0, genome.genes), dtype=np.int64)
    if isinstance(start, SearchResult):
        rows = start.rows[:100]
    elif isinstance(start, np.ndarray):
        rows = start
    else:
        rows = archs_to_rows(start, genome.space)
    return genome.digits(rows)


def _evolution(genome: Genome, limits: Limits, archive: Archive, evaluations: int, seed: int) -> None:
    if genome.space.count() <= evaluations:
        _exhaustive(genome, limits, archive, evaluations, seed)
        return
    run_evolution(genome, limits, archive, evaluations, numpy_generator(seed, "evolution", limits.name))


def _random(genome: Genome, limits: Limits, archive: Archive, evaluations: int, seed: int) -> None:
    rng = numpy_generator(seed, "random search", limits.name)
    seldom = False
    for _ in range(100):
        before = archive.size
        drawn = sample_digits(genome, evaluations, rng)
        if seldom:
            drawn = repair(genome, limits, drawn, rng)
        archive.add(drawn[limits.admits(genome.rows(drawn))], evaluations)
        new = archive.size - before
        if archive.size >= min(evaluations, genome.space.count()) or (seldom and new <= evaluations // 1000):
            return
        seldom = seldom or new <= evaluations // 50


def _grid(genome: Genome, limits: Limits, archive: Archive, evaluations: int, seed: int) -> None:
    space = genome.space
    fixed = len(space.depths) * len(space.kernels) ** 2
    each = max(1, int((evaluations / fixed) ** 0.5))
    nodes = [
        Arch(depth, (width,) * (depth + 1), (stem, *(kernel,) * depth), cat)
        for depth, width, stem, kernel, cat in product(
            space.depths, _thin(space.widths, each), space.kernels, space.kernels, _thin(space.cats, each)
        )
    ]
    digits = genome.digits(archs_to_rows([space.smallest, *nodes], space))
    archive.add(digits[limits.admits(genome.rows(digits))], evaluations)


def _thin(choices: Sequence[int], count: int) -> list[int]:
    if count >= len(choices):
        return list(choices)
    return [choices[round(place)] for place in np.linspace(0, len(choices) - 1, count)]


def _exhaustive(genome: Genome, limits: Limits, archive: Archive, evaluations: int, seed: int) -> None:
    for rows in blocks(genome.space):
        archive.add(genome.digits(rows[limits.admits(rows)]), evaluations)
