"""The bootstrap equals metrics of trials repeated by their weights, and its intervals cover what they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etdnn.errors import UserError
from etdnn.scoring import bootstrap as module
from etdnn.scoring.bootstrap import (
    ScoredList,
    bootstrap,
    bootstrap_lists,
    intervals,
    paired_difference,
    speaker_numbers,
)
from etdnn.scoring.metrics import Curve


@given(st.integers(0, 2**32), st.integers(2, 40))
def test_a_draw_equals_repeated_trials(seed, levels):
    generator = np.random.default_rng(seed)
    speakers, count = int(generator.integers(2, 6)), int(generator.integers(5, 60))
    left, right = generator.integers(speakers, size=(2, count))
    target = left == right
    if target.all() or not target.any():
        return
    scores = (generator.integers(0, levels, count) + 3 * target).astype(float)
    weights = generator.integers(0, 3, speakers)
    block, module._BLOCK = module._BLOCK, 3
    try:
        got = module._System(scores, target, left, right).metrics(weights.astype(float), (0.01, 0.3))
    finally:
        module._BLOCK = block
    times = np.where(target, weights[left], weights[left] * weights[right])
    repeated = np.repeat(scores[target], times[target]), np.repeat(scores[~target], times[~target])
    if not repeated[0].size or not repeated[1].size:
        assert got is None
        return
    curve = Curve.of(*repeated)
    assert np.allclose(got, [curve.eer(), curve.min_dcf(0.01), curve.min_dcf(0.3)], atol=1e-12)


def corpus(seed, speakers=25, utterances=6, spread=1.0):
    """Scores with an effect of each speaker, so that trials of one speaker move together."""
    generator = np.random.default_rng(seed)
    effect = generator.normal(0, spread, speakers)
    left, right = generator.integers(speakers, size=(2, speakers * utterances * 10))
    own = generator.random(left.size) < 0.3
    right = np.where(own, left, right)
    target = left == right
    scores = generator.normal(size=left.size) + target * (3 + effect[left]) + 0.3 * (effect[left] + effect[right])
    return scores, target, left, right


def test_lists_see_the_same_draws_even_where_one_of_them_loses_some():
    """Two lists of equal scores must have equal metrics in every draw; one list alone would drop others than both."""
    scores, target, left, right = corpus(3, speakers=4, utterances=2)
    whole = ScoredList([scores], target, left, right)
    few = ~target | (left == 0)  # targets of one speaker only: draws without it have none
    narrow = ScoredList([scores[few]], target[few], left[few], right[few])
    alone = bootstrap([scores], target, left, right, seed=1, replicates=60)
    both = bootstrap_lists([whole, narrow, whole], seed=1, replicates=60)
    assert len(both) < len(alone)
    assert np.array_equal(both[:, 0], both[:, 2])
    assert all((alone == draw).all(axis=(1, 2)).any() for draw in both[:, 0])


def test_interval_covers_the_truth_where_trials_alone_would_not():
    many = corpus(99, speakers=3000, utterances=2)
    truth = Curve.of(many[0][many[1]], many[0][~many[1]]).eer()
    covered = 0
    for seed in range(30):
        scores, target, left, right = corpus(seed)
        bound = intervals(bootstrap([scores], target, left, right, seed=0, replicates=100))[0][0]
        covered += bound.low <= truth <= bound.high
    assert covered >= 24  # 95 % nominal; a bootstrap over trials covers about half


def test_same_seed_same_draws_other_seed_others():
    scores, target, left, right = corpus(0)
    one, same, other = (bootstrap([scores], target, left, right, seed=seed, replicates=20) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert one.shape == (20, 1, 3)


def test_pairing_sees_a_small_difference():
    scores, target, left, right = corpus(0)
    better = scores + 0.3 * target
    draws = bootstrap([scores, better], target, left, right, seed=0, replicates=200)
    alone = intervals(draws)
    assert alone[0][0].low < alone[1][0].high  # the two intervals overlap
    assert paired_difference(draws, 0, 1)[0].high < 0  # the difference is clear all the same
    assert paired_difference(draws, 0, 0)[0] == module.Interval(0.0, 0.0, 200)


def test_speakers_are_numbered():
    left, right, count = speaker_numbers(["b", "a"], ["a", "c"])
    assert (left.tolist(), right.tolist(), count) == ([1, 0], [0, 2], 3)


@pytest.mark.parametrize("case", ["one speaker", "one class", "nan"])
def test_refused(case):
    speaker = np.array([0, 1, 0])
    scores = np.array([1.0, np.nan if case == "nan" else 2.0, 0.0])
    target = np.ones(3, bool) if case == "one class" else np.array([True, True, False])
    with pytest.raises(UserError, match="not finite" if case == "nan" else "at least 2 speakers"):
        bootstrap([scores], target, speaker * (case != "one speaker"), speaker * (case != "one speaker"), seed=0)
