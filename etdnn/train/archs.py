"""The subnets of a training step: a function of (seed, phase, step) alone, so all ranks and resumed runs agree."""

from collections.abc import Callable

import numpy as np

from etdnn.errors import UserError
from etdnn.model.arch import Arch, arch_to_row
from etdnn.model.budget import Budget
from etdnn.model.cost import arch_macs, macs
from etdnn.model.space import SearchSpace
from etdnn.seeding import numpy_generator
from etdnn.train.settings import Draw, Phase


def drawn_archs(space: SearchSpace, phase: Phase, seed: int) -> Callable[[int], list[Arch]]:
    """Return the function from step to the phase's subnets, drawn from (seed, phase, step, path)."""
    draw = _drawer(space, phase.draw)

    def archs(step: int) -> list[Arch]:
        return [
            draw(numpy_generator(seed, "arch", phase.name, step, number)) if path == "random" else getattr(space, path)
            for number, path in enumerate(phase.paths)
        ]

    return archs


def _drawer(space: SearchSpace, draw: Draw) -> Callable[[np.random.Generator], Arch]:
    """Return the function that draws one arch as `draw` says; UserError for budgets below the smallest subnet."""
    if draw.kind == "uniform":
        return space.sample
    sizes = {"in_feats": space.in_feats, "embedding": space.embedding}
    smallest, largest = (arch_macs(arch, **sizes) for arch in (space.smallest, space.largest))
    budgets = [Budget.parse(budget).limit for budget in draw.budgets]
    if budgets and min(budgets) < smallest:
        raise UserError(f"draw: budget {min(budgets)} is below the smallest subnet ({smallest} MACs)")

    def near(generator: np.random.Generator) -> Arch:
        if generator.random() < draw.uniform_share:
            return space.sample(generator)
        if draw.kind == "macs":
            target = generator.uniform(smallest, largest)
        else:
            target = budgets[int(generator.integers(len(budgets)))]
        candidates = [space.sample(generator) for _ in range(draw.tries)]
        rows = np.stack([arch_to_row(arch, space.largest.depth) for arch in candidates])
        return candidates[int(np.argmin(np.abs(macs(rows, **sizes) - target)))]

    return near
