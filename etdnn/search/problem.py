"""A search problem: the objective with its cache, the archive of a search, and the result handed back."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from etdnn.errors import UserError
from etdnn.model.arch import Arch, row_to_arch
from etdnn.search.limits import Limits, cost_function
from etdnn.search.population import ArchRows, Genome


class Objective:
    """The function to minimise, called once per subnet however many searches ask; not-finite values count as +inf."""

    def __init__(self, function: Callable, genome: Genome):
        self.function, self.genome = function, genome
        self.calls = 0
        self._known: dict[int, float] = {}

    def __call__(self, digits: np.ndarray) -> np.ndarray:
        """Return the values (float64 [n]) of `digits`, which must hold no doubles."""
        keys = self.genome.keys(digits).tolist()
        new = [index for index, key in enumerate(keys) if key not in self._known]
        if new:
            rows = self.genome.rows(digits[new])
            fresh = np.asarray(self.function(ArchRows(rows)), dtype=np.float64)
            if fresh.shape != (len(rows),):
                raise UserError(f"objective: {len(rows)} archs went in, values of shape {fresh.shape} came back")
            self.calls += len(rows)
            fresh = np.where(np.isfinite(fresh), fresh, np.inf).tolist()
            self._known.update(zip((keys[index] for index in new), fresh, strict=True))
        return np.array([self._known[key] for key in keys])


class Archive:
    """The different feasible subnets one search has scored, in the order it met them."""

    def __init__(self, genome: Genome, objective: Objective, capacity: int):
        self.genome, self.objective = genome, objective
        self._digits = np.empty((capacity, genome.genes), dtype=np.int64)
        self._values = np.empty(capacity)
        self._places: dict[int, int] = {}
        self.size = 0
        self.history: list[tuple[int, float]] = []

    @property
    def digits(self) -> np.ndarray:
        """Return the digits [size, G] of all that was scored."""
        return self._digits[: self.size]

    @property
    def values(self) -> np.ndarray:
        """Return the values [size]; +inf where the objective had none."""
        return self._values[: self.size]

    def order(self) -> np.ndarray:
        """Return the indices, best value first; equal values in the order they were met."""
        return np.argsort(self.values, kind="stable")

    def add(self, digits: np.ndarray, evaluations: int) -> np.ndarray:
        """Score those of `digits` that are new, up to `evaluations` in all.

        Returns the places in the archive of all that are in it then, new or not, without doubles.
        """
        keys = self.genome.keys(digits).tolist()
        wanted = dict.fromkeys(keys)
        place_of = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        new = [key for key in wanted if key not in self._places][: max(evaluations - self.size, 0)]
        if new:
            end = self.size + len(new)
            self._digits[self.size : end] = digits[[place_of[key] for key in new]]
            self._values[self.size : end] = self.objective(self._digits[self.size : end])
            self._places.update(zip(new, range(self.size, end), strict=True))
            best = float(self._values[self.size : end].min())
            self.size = end
            if not self.history or best < self.history[-1][1]:
                self.history.append((self.size, best))
        return np.array([self._places[key] for key in wanted if key in self._places], dtype=np.int64)


@dataclass(frozen=True)
class SearchResult:
    """What a search found: the best arch and its value, the front, the course, and everything scored, best first.

    `pareto` holds (arch, MACs, value) from cheap to dear, each better than all cheaper ones; `history` holds
    (evaluations so far, best value so far) at each improvement; `rows`, `values` hold all subnets scored, best first.
    `calls` is how many of the `evaluations` the objective was really asked (the rest were known from other budgets).
    """

    best: Arch
    value: float
    pareto: list[tuple[Arch, int, float]]
    history: list[tuple[int, float]]
    evaluations: int
    calls: int
    limits: Limits
    rows: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)


def make_result(archive: Archive, limits: Limits, calls: int) -> SearchResult:
    """Return the result of a finished search; a UserError if nothing feasible had a finite value."""
    order = archive.order()
    order = order[np.isfinite(archive.values[order])]
    if not len(order):
        raise UserError(f"search under {limits.name}: none of {archive.size} subnets has a finite value")
    rows, values = archive.genome.rows(archive.digits[order]), archive.values[order]
    return SearchResult(
        best=row_to_arch(rows[0]),
        value=float(values[0]),
        pareto=pareto_front(limits, rows, values),
        history=archive.history,
        evaluations=archive.size,
        calls=calls,
        limits=limits,
        rows=rows,
        values=values,
    )


def pareto_front(limits: Limits, rows: np.ndarray, values: np.ndarray) -> list[tuple[Arch, int, float]]:
    """Return the subnets that no other one beats in MACs and value at once, as (arch, MACs, value), cheap first."""
    cost = cost_function(limits.space, "macs")(rows)
    order = np.lexsort((values, cost))
    best = np.minimum.accumulate(values[order])
    better = np.concatenate([[True], best[1:] < best[:-1]])
    return [(row_to_arch(rows[place]), int(cost[place]), float(values[place])) for place in order[better]]
