import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objectives import make_objective

from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.model.cost import arch_macs, arch_params, macs
from etdnn.search import METHODS, evolve, exhaustive, grid, random
from etdnn.search.evolution import repair
from etdnn.search.limits import Limits
from etdnn.search.population import Genome, blocks, sample_digits


def by_arch(archs):
    """A plain objective that knows nothing of rows: fewer MACs away from 200 M, and a taste for kernel 3."""
    return np.array([abs(arch_macs(arch) - 2e8) / 1e8 - 0.1 * sum(k == 3 for k in arch.kernels) for arch in archs])


@pytest.mark.parametrize("kind", ["additive", "interaction", "network", "trend"])
def test_evolution_finds_the_exhaustive_optimum_at_every_budget(small_space, kind):
    objective = make_objective(small_space, kind, 3)
    rows = np.concatenate(list(blocks(small_space)))
    values, costs = objective(rows), macs(rows)
    for budget in np.quantile(costs, [0.001, 0.05, 0.5, 1.0]).astype(int):
        best = values[costs <= budget].min()
        found = evolve(small_space, objective, macs=int(budget), evaluations=3000)
        assert found.value <= best + 1e-3
        assert arch_macs(found.best) <= budget
        assert exhaustive(small_space, objective, macs=int(budget)).value == pytest.approx(best, abs=1e-12)


def test_never_asks_twice_and_never_beyond_the_number(coarse):
    asked = []

    def objective(archs):
        asked.extend(archs)
        return np.array([-sum(arch.widths) for arch in archs], dtype=float)

    result = evolve(coarse, objective, macs="204M", evaluations=700)
    assert len(asked) == len(set(asked)) == result.calls == result.evaluations <= 700
    assert all(arch_macs(arch) < 204_500_000 for arch in asked)


def test_same_seed_same_search_and_other_seed_other(coarse):
    objective = make_objective(coarse, "network", 0)
    one, two = (evolve(coarse, objective, macs="300M", evaluations=1500, seed=5) for _ in range(2))
    assert one.best == two.best and one.history == two.history and np.array_equal(one.rows, two.rows)
    other = evolve(coarse, objective, macs="300M", evaluations=1500, seed=6)
    assert not np.array_equal(one.rows, other.rows)


def test_several_budgets_equal_single_searches_and_share_evaluations(coarse):
    objective = make_objective(coarse, "trend", 1)
    together = evolve(coarse, objective, macs=["204M", "571M"], evaluations=2000)
    alone = [evolve(coarse, objective, macs=text, evaluations=2000) for text in ("204M", "571M")]
    assert [found.best for found in together] == [found.best for found in alone]
    assert sum(found.calls for found in together) <= sum(found.evaluations for found in together)


def test_two_kinds_of_budget_hold_together(coarse):
    objective = make_objective(coarse, "trend", 2)
    found = evolve(coarse, objective, macs="571M", params=2_000_000, evaluations=1500)
    assert arch_macs(found.best) < 571_500_000 and arch_params(found.best) <= 2_000_000


def test_history_falls_and_pareto_is_a_front(coarse):
    found = evolve(coarse, make_objective(coarse, "trend", 0), macs="571M", evaluations=2000)
    counts, values = zip(*found.history, strict=True)
    assert list(counts) == sorted(counts) and list(values) == sorted(values, reverse=True)
    costs, front = [cost for _, cost, _ in found.pareto], [value for _, _, value in found.pareto]
    assert costs == sorted(costs) and all(a > b for a, b in zip(front, front[1:], strict=False))
    assert front[-1] == found.value == values[-1]
    assert all(arch_macs(arch) == cost for arch, cost, _ in found.pareto)


@pytest.mark.parametrize("method", ["evolution", "random", "grid", "exhaustive"])
def test_methods_share_one_interface(small_space, method):
    found = METHODS[method](small_space, by_arch, macs="10M", evaluations=300)
    assert small_space.contains(found.best) and arch_macs(found.best) <= 10_000_000
    assert found.value == by_arch([found.best])[0]


def test_evolution_beats_random_and_grid(coarse):
    objective = make_objective(coarse, "interaction", 4)
    values = {search.__name__: search(coarse, objective, macs="571M", evaluations=5000).value
              for search in (evolve, random, grid)}  # fmt: skip
    assert values["evolve"] < min(values["random"], values["grid"])


@pytest.mark.parametrize(("kind", "budget"), [("additive", 204e6), ("network", 571e6), ("trend", 571e6)])
def test_fine_search_from_the_coarse_result_is_better_within_few_evaluations(coarse, fine, kind, budget):
    objective = make_objective(fine, kind, 0)
    found = evolve(coarse, objective, macs=budget, evaluations=3000)
    assert evolve(fine, objective, macs=budget, evaluations=3000, start=found).value < found.value
    assert evolve(fine, objective, macs=budget, evaluations=1, start=[found.best]).value == found.value


@pytest.mark.parametrize("method", sorted(METHODS))
def test_budget_below_the_floor_names_it_at_once(small_space, method):
    floor = arch_macs(small_space.smallest)
    with pytest.raises(UserError, match=f"below the smallest subnet .*{small_space.smallest}.*{floor}"):
        METHODS[method](small_space, lambda archs: pytest.fail("asked"), macs=floor - 1)
    assert METHODS[method](small_space, by_arch, macs=floor, evaluations=50).best == small_space.smallest


def test_values_that_are_not_finite_are_never_the_best(small_space):
    def objective(archs):
        values = by_arch(archs)
        values[::2] = -np.inf
        values[1::3] = np.nan
        return values

    assert np.isfinite(random(small_space, objective, evaluations=200).value)
    with pytest.raises(UserError, match="none of .* subnets has a finite value"):
        evolve(small_space, lambda archs: np.full(len(archs), np.nan), evaluations=100)


def test_wrong_calls_are_named(small_space):
    with pytest.raises(UserError, match="values of shape"):
        evolve(small_space, lambda archs: np.zeros(3), evaluations=100)
    with pytest.raises(UserError, match="latency table"):
        evolve(small_space, by_arch, latency="8ms")
    with pytest.raises(UserError, match="204M"):
        evolve(small_space, by_arch, macs="204 apples")
    with pytest.raises(UserError, match="equal length"):
        evolve(small_space, by_arch, macs=["10M", "20M"], params=["1M"])


def test_latency_budget_reads_a_table(small_space):
    class Table:
        def predict(self, rows):
            return macs(rows) / 1e10

    found = evolve(small_space, lambda archs: -macs(archs.rows).astype(float), latency="1ms", latency_table=Table(),
                   evaluations=2000)  # fmt: skip
    assert arch_macs(found.best) <= 1e7


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.0, 1.0))
def test_repair_keeps_what_fits_and_makes_the_rest_fit(coarse, seed, share):
    rng = np.random.default_rng(seed)
    floor, ceiling = arch_macs(coarse.smallest), arch_macs(coarse.largest)
    limits, genome = Limits.make(coarse, macs=int(floor + share * (ceiling - floor))), Genome(coarse)
    drawn = sample_digits(genome, 60, rng)
    fixed = repair(genome, limits, drawn, rng)
    assert limits.admits(genome.rows(fixed)).all()
    fitted = limits.admits(genome.rows(drawn))
    assert np.array_equal(fixed[fitted], drawn[fitted]) and (fixed <= drawn).all()


def test_start_outside_the_space_is_named(coarse):
    with pytest.raises(UserError, match="not a choice"):
        evolve(coarse, by_arch, start=[Arch.parse("2-264-256-256-3-3-3-384")], evaluations=100)
