"""The search engine: the best subnet for any budget. `evolve` is the way in; see its docstring."""

from etdnn.search.methods import METHODS, evolve, exhaustive, grid, random
from etdnn.search.population import ArchRows
from etdnn.search.problem import SearchResult

__all__ = ["METHODS", "ArchRows", "SearchResult", "evolve", "exhaustive", "grid", "random"]
