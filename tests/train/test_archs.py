import numpy as np
import pytest

from etdnn.errors import UserError
from etdnn.model.cost import arch_macs
from etdnn.model.space import SearchSpace
from etdnn.train.archs import drawn_archs
from etdnn.train.settings import Draw, Phase

SPACE = SearchSpace.named("paper_coarse")
WHOLE = {"depth": "all", "width": "all", "kernel": "all", "cat": "all"}


def drawn(draw: Draw, steps: int = 300) -> np.ndarray:
    archs = drawn_archs(SPACE, Phase("p", epochs=1, draw=draw, **WHOLE), 0)
    assert archs(7) == archs(7), "a function of the step"
    return np.array([arch_macs(archs(step)[0]) for step in range(steps)])


def test_draws_by_macs_are_flatter_than_uniform_draws():
    small, large = (arch_macs(arch) for arch in (SPACE.smallest, SPACE.largest))
    edges = small + (large - small) * np.array([0, 0.2, 0.4, 0.6, 1])
    uniform, even = (np.histogram(drawn(Draw(kind)), edges)[0] for kind in ("uniform", "macs"))
    assert uniform[0] > 0.4 * uniform.sum(), "many small subnets"
    assert even[0] < 0.35 * even.sum() and even[3] > uniform[3]


def test_draws_gather_round_the_budgets():
    budgets = (204e6, 571e6)
    found = drawn(Draw("budgets", budgets=["204M", "571M"]))
    near = np.min([np.abs(found - budget) / budget for budget in budgets], axis=0)
    assert np.median(near) < 0.15
    assert {int(np.argmin([abs(value - budget) for budget in budgets])) for value in found} == {0, 1}
    mixed = drawn(Draw("budgets", budgets=["204M"], uniform_share=0.5))
    assert 0.2 < np.mean(np.abs(mixed - 204e6) > 0.3 * 204e6) < 0.7


def test_a_budget_below_the_smallest_is_refused():
    with pytest.raises(UserError, match="below the smallest"):
        drawn(Draw("budgets", budgets=["10M"]))
    with pytest.raises(ValueError, match="go together"):
        Draw("macs", budgets=["204M"])
