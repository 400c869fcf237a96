"""Limits: one or several budgets a subnet must keep, over whole populations."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etdnn.errors import UserError
from etdnn.model.budget import KINDS, Budget, show_count
from etdnn.model.cost import CONVENTION, MEMORY_CONVENTION, macs, memory, params
from etdnn.model.latency import LatencyTable
from etdnn.model.space import SearchSpace
from etdnn.search.population import archs_to_rows


@dataclass(frozen=True)
class Limits:
    """Budgets that hold together (MACs and latency, say), each with the function that costs a population."""

    space: SearchSpace
    budgets: tuple[Budget, ...]
    cost_functions: tuple[Callable[[np.ndarray], np.ndarray], ...]
    latency_table: object = None

    @classmethod
    def make(cls, space: SearchSpace, *, latency_table=None, **given) -> "Limits":
        """Read the budgets, kind=value (texts, numbers or Budget; None for no bound); a latency needs its table.

        `latency_table` is the path of a table or an object with `predict(rows) -> seconds`. Raises UserError at once,
        naming the floor, when a budget is below the smallest subnet.
        """
        unknown = sorted(given.keys() - set(KINDS))
        if unknown:
            raise UserError(f"budget of kind '{unknown[0]}' is not one of {', '.join(KINDS)}")
        if isinstance(latency_table, str | Path):
            latency_table = LatencyTable.load(latency_table)
        budgets = tuple(Budget.parse(given[kind], kind) for kind in KINDS if given.get(kind) is not None)
        functions = tuple(cost_function(space, budget.kind, latency_table) for budget in budgets)
        limits = cls(space, budgets, functions, latency_table)
        limits.check_floor()
        return limits

    @property
    def name(self) -> str:
        """Return the canonical name, e.g. `204M`, `204M+latency-8ms`, or `none` without budgets."""
        return "+".join(budget.folder for budget in self.budgets) or "none"

    def options(self) -> dict:
        """Return what `evolve` takes to search within these limits."""
        return {budget.kind: budget for budget in self.budgets} | {"latency_table": self.latency_table}

    def admits(self, rows: np.ndarray) -> np.ndarray:
        """Tell which of `rows` keep every budget (bool [n])."""
        fits = np.ones(len(rows), dtype=bool)
        for budget, cost in zip(self.budgets, self.cost_functions, strict=True):
            fits &= budget.admits(cost(rows))
        return fits

    def check_floor(self) -> None:
        """Raise a UserError that names the floor when the smallest subnet of the space breaks a budget."""
        smallest = archs_to_rows([self.space.smallest], self.space)
        for budget, cost in zip(self.budgets, self.cost_functions, strict=True):
            floor = cost(smallest)[0]
            if not budget.admits(floor):
                raise UserError(
                    f"{budget.kind} budget {budget.name}: below the smallest subnet of space {self.space.name}, "
                    f"{self.space.smallest}, which needs {show_cost(floor, budget.kind)}; ask for at least that"
                )

    def idle(self) -> list[str]:
        """Return a line for each budget that even the largest subnet keeps: it excludes nothing."""
        largest = archs_to_rows([self.space.largest], self.space)
        lines = []
        for budget, cost in zip(self.budgets, self.cost_functions, strict=True):
            ceiling = cost(largest)[0]
            if budget.admits(ceiling):
                lines.append(
                    f"{budget.kind} budget {budget.name} excludes nothing: the largest subnet needs "
                    f"{show_cost(ceiling, budget.kind)}"
                )
        return lines


def cost_function(space: SearchSpace, kind: str, latency_table=None) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function rows -> cost of budget kind `kind` for nets of `space`."""
    sizes = {"in_feats": space.in_feats, "embedding": space.embedding}
    if kind == "macs":
        return lambda rows: macs(rows, **sizes)
    if kind == "params":
        return lambda rows: params(rows, **sizes)
    if kind == "memory":
        return lambda rows: memory(rows, in_feats=space.in_feats)
    if latency_table is None:
        raise UserError("a latency budget needs a latency table (etdnn latency makes one)")
    return latency_table.predict


def show_cost(value: float, kind: str) -> str:
    """Write a cost with its unit and, for MACs, its convention."""
    if kind == "latency":
        return f"{value * 1e3:.3g} ms"
    if kind == "memory":
        return f"{show_count(int(value))}B ({int(value)} bytes), {MEMORY_CONVENTION}, at 301 frames"
    text = f"{show_count(int(value))} {kind} ({int(value)})"
    return f"{text}, {CONVENTION}" if kind == "macs" else text
