"""EER, minDCF, thresholds and DET points against scikit-learn and against a loop over thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from etdnn.errors import UserError
from etdnn.scoring.metrics import Curve, actual_dcf, det_points, eer, min_dcf, thresholds

tied_scores = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=25)


def points(targets, nontargets):
    """Every operating point by counting: (false accept, miss), from 'reject all' on, one threshold at a time."""
    levels = sorted(set(targets) | set(nontargets), reverse=True)
    yield 0.0, 1.0
    for level in levels:
        yield (
            sum(score >= level for score in nontargets) / len(nontargets),
            sum(score < level for score in targets) / len(targets),
        )


def brute_eer(targets, nontargets):
    previous = (0.0, 1.0)
    for accept, miss in points(targets, nontargets):
        if miss <= accept:
            before = previous[1] - previous[0]
            share = before / (before - (miss - accept)) if before else 0.0
            return previous[0] + share * (accept - previous[0])
        previous = (accept, miss)
    raise AssertionError("the curve ends at miss 0")


def brute_dcf(targets, nontargets, p, c_miss=1.0, c_fa=1.0):
    costs = [c_miss * p * miss + c_fa * (1 - p) * accept for accept, miss in points(targets, nontargets)]
    return min(costs) / min(c_miss * p, c_fa * (1 - p))


@given(tied_scores, tied_scores, st.floats(0.005, 0.995))
def test_ties_like_brute_force(targets, nontargets, p):
    curve = Curve.of(np.array(targets), np.array(nontargets))
    assert curve.eer() == pytest.approx(brute_eer(targets, nontargets), abs=1e-12)
    assert curve.min_dcf(p) == pytest.approx(brute_dcf(targets, nontargets, p), abs=1e-12)
    assert curve.min_dcf(p, 10, 2) == pytest.approx(brute_dcf(targets, nontargets, p, 10, 2), abs=1e-12)


@given(st.integers(0, 2**32), st.sampled_from([0, 1, 2]))
def test_like_scikit_learn(seed, digits):
    generator = np.random.default_rng(seed)
    targets = generator.normal(1.5, 1, generator.integers(1, 200)).round(digits)
    nontargets = generator.normal(0, 1, generator.integers(1, 200)).round(digits)
    labels = np.concatenate((np.ones(targets.size), np.zeros(nontargets.size)))
    accept, hit, _ = roc_curve(labels, np.concatenate((targets, nontargets)))
    # a vertical step of the ROC has two values at one abscissa: the root is looked for where scipy sees one
    root = brentq(lambda x: 1 - x - np.interp(x, accept, hit), 0, 1)
    assert eer(targets, nontargets) == pytest.approx(root, abs=1e-6)
    costs = (0.01 * (1 - hit) + 0.99 * accept) / 0.01
    assert min_dcf(targets, nontargets, 0.01) == pytest.approx(costs.min(), abs=1e-9)


def test_published_way_on_continuous_scores():
    generator = np.random.default_rng(0)
    targets, nontargets = generator.normal(2, 1, 5000), generator.normal(0, 1, 7000)
    labels = np.concatenate((np.ones(targets.size), np.zeros(nontargets.size)))
    accept, hit, _ = roc_curve(labels, np.concatenate((targets, nontargets)))
    root = brentq(lambda x: 1 - x - interp1d(accept, hit)(x), 0, 1)
    assert eer(targets, nontargets) == pytest.approx(root, abs=1e-9)


def test_known_values():
    assert eer([2.0, 3.0], [0.0, 1.0]) == 0
    assert eer([0.0, 1.0], [2.0, 3.0]) == 1
    assert eer([1.0] * 5, [1.0] * 9) == 0.5  # all scores equal
    assert min_dcf([0.0], [1.0], 0.01) == 1  # nothing beats rejecting all
    assert min_dcf([2.0, 0.0], [1.0], 0.01) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("targets", "nontargets", "part"),
    [([], [1.0], "no target"), ([1.0], [], "no nontarget"), ([1.0, np.nan], [0.0], "1 of 2 target"),
     ([1.0], [np.inf], "1 of 1 nontarget")],
)  # fmt: skip
def test_refused(targets, nontargets, part):
    with pytest.raises(UserError, match=part):
        eer(np.array(targets), np.array(nontargets))


def test_wrong_prior_is_refused():
    with pytest.raises(UserError, match="p_target 1 must"):
        min_dcf([1.0], [0.0], 1.0)


@given(tied_scores, tied_scores)
def test_thresholds_do_what_their_names_say(targets, nontargets):
    targets, nontargets = np.array(targets), np.array(nontargets)
    curve = Curve.of(targets, nontargets)
    for p in (0.01, 0.3, 0.8):
        assert actual_dcf(targets, nontargets, curve.min_dcf_threshold(p), p) == pytest.approx(curve.min_dcf(p))
    for rate in (0.0, 0.1, 0.34, 1.0):
        threshold = curve.false_accept_threshold(rate)
        assert np.mean(nontargets >= threshold) <= rate + 1e-12
        lower = [score for score in (*targets, *nontargets) if score < threshold]
        if lower:  # the next lower score would accept too many
            assert np.mean(nontargets >= max(lower)) > rate
    miss, accept = curve.rates(curve.eer_threshold())
    assert miss <= curve.eer() + 1e-12 or accept <= curve.eer() + 1e-12


def test_thresholds_are_named_with_their_rates():
    generator = np.random.default_rng(1)
    targets, nontargets = generator.normal(3, 1, 500), generator.normal(0, 1, 500)
    named = thresholds(targets, nontargets)
    assert list(named) == ["eer", "min_dcf_0.01", "min_dcf_0.05", "false_accept_0.1", "false_accept_0.01"]
    assert named["eer"]["miss"] == pytest.approx(named["eer"]["false_accept"], abs=0.003)
    assert named["false_accept_0.01"]["false_accept"] == 0.01
    assert named["min_dcf_0.01"]["miss"] == np.mean(targets < named["min_dcf_0.01"]["threshold"])


def test_det_points_follow_the_curve():
    generator = np.random.default_rng(2)
    targets, nontargets = generator.normal(2, 1, 300), generator.normal(0, 1, 300)
    accept, miss = det_points(targets, nontargets, 30)
    assert 20 <= accept.size <= 30
    assert (np.diff(accept) >= 0).all() and (np.diff(miss) <= 0).all()
    everything = {(round(a, 9), round(m, 9)) for a, m in points(targets.tolist(), nontargets.tolist())}
    assert all((round(a, 9), round(m, 9)) in everything for a, m in zip(accept.tolist(), miss.tolist(), strict=True))
