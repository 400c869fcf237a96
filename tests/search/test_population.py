import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etdnn.errors import UserError
from etdnn.model.arch import Arch, arch_to_row
from etdnn.model.cost import arch_macs, macs
from etdnn.model.space import SearchSpace
from etdnn.search.population import (
    ArchRows,
    Genome,
    archs_to_rows,
    blocks,
    crossover,
    mutate,
    numeric,
    one_hot,
    sample,
    sample_stratified,
)

SPACES = [SearchSpace.named("paper_coarse"), SearchSpace.named("paper_fine")]
seeds = st.integers(0, 2**32 - 1)
spaces = st.sampled_from(SPACES)


@settings(max_examples=20, deadline=None)
@given(space=spaces, seed=seeds)
def test_sampling_mutation_and_crossover_stay_in_the_space_and_canonical(space, seed):
    rng = np.random.default_rng(seed)
    one, two = sample(space, 40, rng), sample(space, 40, rng)
    for rows in (one, mutate(space, one, rng), crossover(space, one, two, rng), sample_stratified(space, 40, rng)):
        archs = list(ArchRows(rows))
        assert all(space.contains(arch) for arch in archs)
        assert np.array_equal(archs_to_rows(archs, space), rows)  # absent genes are 0, so rows and archs are one to one


@settings(max_examples=20, deadline=None)
@given(space=spaces, seed=seeds)
def test_keys_are_equal_exactly_for_equal_subnets(space, seed):
    rng = np.random.default_rng(seed)
    genome = Genome(space)
    rows = sample(space, 200, rng)
    rows = np.concatenate([rows, mutate(space, rows, rng), rows[:50]])
    digits = genome.digits(rows)
    hidden = np.where(genome.present(digits), digits, rng.integers(0, genome.sizes, digits.shape))
    keys = genome.keys(hidden)
    assert np.array_equal(keys, genome.keys(digits))
    assert len(np.unique(keys)) == len(np.unique(rows, axis=0))


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_children_take_every_gene_from_a_parent(seed):
    rng = np.random.default_rng(seed)
    space = SPACES[0]
    one, two = sample(space, 30, rng), sample(space, 30, rng)
    child = crossover(space, one, two, rng)
    assert ((child == one) | (child == two) | (child == 0)).all()


def test_mutation_changes_every_individual_that_can_change(coarse):
    rows = sample(coarse, 500, np.random.default_rng(0))
    changed = (mutate(coarse, rows, np.random.default_rng(1)) != rows).any(axis=1)
    assert changed.mean() > 0.8  # a change of an absent gene is no change


def test_uniform_sampling_is_uniform_in_depth_and_genes(coarse):
    rows = sample(coarse, 30000, np.random.default_rng(0))
    assert np.allclose(np.bincount(rows[:, 0], minlength=5)[2:] / 30000, 1 / 3, atol=0.02)
    for column in (1, 2, 3, rows.shape[1] - 1):
        assert np.allclose(np.unique(rows[:, column], return_counts=True)[1] / 30000, 1 / 5, atol=0.02)


@pytest.mark.parametrize("name", ["paper_coarse", "paper_fine"])
def test_stratified_sample_covers_macs_evenly_and_has_no_doubles(name):
    space = SearchSpace.named(name)
    rows = sample_stratified(space, 400, np.random.default_rng(0))
    assert len(np.unique(rows, axis=0)) == len(rows) == 400
    low, high = arch_macs(space.smallest), arch_macs(space.largest)
    counts = np.histogram(np.log(macs(rows)), bins=np.linspace(np.log(low), np.log(high), 9))[0]
    assert counts.min() > 20  # a uniform draw leaves the outer eighths all but empty
    limited = sample_stratified(space, 100, np.random.default_rng(0), limit=204e6)
    assert len(limited) == 100 and macs(limited).max() <= 204e6


def test_blocks_enumerate_the_space_once(small_space):
    rows = np.concatenate(list(blocks(small_space, size=1000)))
    assert len(rows) == small_space.count() == len(np.unique(rows, axis=0))
    assert all(small_space.contains(arch) for arch in ArchRows(rows[::97]))


def test_published_codes(coarse, fine):
    row = arch_to_row(Arch.parse("3-512-512-512-512-5-3-3-3-1536"), 4)[None]
    code = one_hot(coarse, row)[0]
    assert code.shape == (48,) and code.sum() == 1 + 4 + 4 + 1
    assert code[:3].tolist() == [0, 1, 0] and code[23:28].sum() == 0  # depth 3; w4 is absent
    assert one_hot(fine, row).shape == (1, 408)


def test_numeric_features_are_continuous_in_width(fine):
    rows = archs_to_rows([Arch.parse(f"2-256-{width}-256-3-3-3-400") for width in (248, 256, 264)], fine)
    features = numeric(fine, rows)
    assert np.abs(np.diff(features, axis=0)).max() < 0.05
    assert np.isfinite(features).all() and features.min() >= 0 and features.max() <= 1


def test_foreign_archs_are_named(coarse):
    with pytest.raises(UserError, match="gene 1 = 264 is not a choice of space paper_coarse"):
        Genome(coarse).digits(archs_to_rows([Arch.parse("2-264-256-256-3-3-3-384")], coarse))
    with pytest.raises(UserError, match="depth 5 is beyond"):
        archs_to_rows([Arch(5, (128,) * 6, (1,) * 6, 384)], coarse)
