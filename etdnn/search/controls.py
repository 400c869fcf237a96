"""Subnets that a searched one has to beat: found without any measurement."""

from itertools import product

import numpy as np

from etdnn.model.arch import Arch
from etdnn.model.cost import arch_macs
from etdnn.model.space import SearchSpace
from etdnn.search.limits import Limits
from etdnn.search.methods import evolve
from etdnn.search.population import Genome, archs_to_rows, blocks, sample_digits
from etdnn.seeding import numpy_generator

PUBLISHED = {
    "Base": "3-512-512-512-512-5-3-3-3-1536",
    "Mobile": "3-384-256-256-256-5-3-3-3-768",
    "Small": "2-256-256-256-3-3-3-400",
}
"""The published subnets (reference/efficienttdnn.md, section 7.1)."""
COUNTABLE = 500_000
"""Spaces up to this size are counted, larger ones estimated from COUNT_DRAWS draws."""
COUNT_DRAWS = 200_000


def controls(space: SearchSpace, limits: Limits, supernet_space: SearchSpace) -> dict[str, Arch]:
    """Return name -> arch: the dearest subnet that fits, the largest network scaled evenly, a published one."""
    chosen = {"largest that fits": largest_that_fits(space, limits)}
    scaled = uniform_scaling(space, limits)
    if scaled is not None:
        chosen["uniform scaling"] = scaled
    for name, text in PUBLISHED.items():
        arch = Arch.parse(text)
        if not supernet_space.holds(arch) or arch.depth > space.largest.depth:
            continue
        if not limits.admits(archs_to_rows([arch], space))[0]:
            continue
        bound = limits.budgets[0]
        if bound.kind == "macs" and arch_macs(arch) >= 0.97 * bound.limit:
            chosen[f"published {name}"] = arch
    return chosen


def largest_that_fits(space: SearchSpace, limits: Limits) -> Arch:
    """Return the subnet with the greatest cost of the first budget's kind that keeps the budgets."""
    if limits.admits(archs_to_rows([space.largest], space))[0]:
        return space.largest
    cost = limits.cost_functions[0]
    return evolve(space, lambda archs: -cost(archs.rows).astype(float), **limits.options(), evaluations=4000).best


def uniform_scaling(space: SearchSpace, limits: Limits) -> Arch | None:
    """Return the largest network with all widths and cat scaled alike until it fits.

    Where the narrowest does not fit, the next smaller kernel is taken, then the next smaller depth. None when the
    choices of width and cat are not equally many or nothing fits.
    """
    if len(space.widths) == len(space.cats):
        scales = list(zip(space.widths, space.cats, strict=True))
    else:
        ratios = [width / space.widths[-1] for width in space.widths]
        nearest = [min(space.cats, key=lambda cat, ratio=ratio: abs(cat - ratio * space.cats[-1])) for ratio in ratios]
        scales = list(zip(space.widths, nearest, strict=True))
    nodes = [
        Arch(depth, (width,) * (depth + 1), (kernel,) * (depth + 1), cat)
        for depth, kernel, (width, cat) in product(space.depths[::-1], space.kernels[::-1], scales[::-1])
    ]
    fits = np.flatnonzero(limits.admits(archs_to_rows(nodes, space)))
    return nodes[fits[0]] if len(fits) else None


def count_fitting(space: SearchSpace, limits: Limits) -> tuple[int, bool]:
    """Return how many subnets keep the budgets, and whether that is exact (small spaces) or an estimate."""
    if not limits.budgets:
        return space.count(), True
    if space.count() <= COUNTABLE:
        return int(sum(limits.admits(rows).sum() for rows in blocks(space))), True
    genome = Genome(space)
    digits = sample_digits(genome, COUNT_DRAWS, numpy_generator(0, "count"))
    layer = len(space.widths) * len(space.kernels)
    per_depth = np.array([len(space.cats) * layer ** (depth + 1) for depth in space.depths], dtype=float)
    fits = limits.admits(genome.rows(digits))
    share = [fits[digits[:, 0] == index].mean() for index in range(len(space.depths))]
    return int(np.dot(share, per_depth)), False
