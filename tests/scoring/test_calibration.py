"""Calibration against scikit-learn's logistic regression, and what a likelihood ratio promises."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from etdnn.errors import UserError
from etdnn.scoring.calibration import bayes_threshold, cllr, fit_calibration
from etdnn.scoring.metrics import actual_dcf, eer, min_dcf


@pytest.fixture
def scores():
    generator = np.random.default_rng(0)
    return generator.normal(30, 10, 2000), generator.normal(0, 10, 8000)


@pytest.mark.parametrize("prior", [0.01, 0.5])
def test_like_scikit_learn(scores, prior):
    targets, nontargets = scores
    weights = {1: prior / targets.size * 1e4, 0: (1 - prior) / nontargets.size * 1e4}
    oracle = LogisticRegression(C=1e8, class_weight=weights, tol=1e-10, max_iter=1000)
    oracle.fit(np.concatenate(scores)[:, None] / 10, np.r_[np.ones(targets.size), np.zeros(nontargets.size)])
    fitted = fit_calibration(targets, nontargets, prior)
    assert fitted.scale == pytest.approx(oracle.coef_[0, 0] / 10, rel=2e-3)
    assert fitted.offset == pytest.approx(oracle.intercept_[0] + bayes_threshold(prior), rel=2e-3)


def test_gives_likelihood_ratios(scores):
    # two normal densities of equal width: llr = (30 s - 450) / 100
    fitted = fit_calibration(*scores, prior=0.5)
    assert fitted.scale == pytest.approx(0.3, rel=0.06)
    assert fitted.offset == pytest.approx(-4.5, rel=0.06)


def test_order_is_kept_and_cost_falls(scores):
    fitted = fit_calibration(*scores)
    llrs = [fitted.apply(one) for one in scores]
    assert eer(*llrs) == eer(*scores)
    assert cllr(*llrs) < 0.4 < cllr(*scores)
    assert actual_dcf(*llrs, bayes_threshold(0.01), 0.01) < 1.1 * min_dcf(*scores, 0.01)


def test_does_not_depend_on_scale_or_shift(scores):
    fitted = fit_calibration(*scores)
    moved = fit_calibration(*(1e-3 * one + 7 for one in scores))
    assert np.allclose(fitted.apply(scores[0]), moved.apply(1e-3 * scores[0] + 7), atol=1e-4)


def test_separated_classes_stay_finite():
    fitted = fit_calibration(np.array([3.0, 4.0]), np.array([0.0, 1.0]))
    assert 0 < fitted.scale < 1e4 and np.isfinite(fitted.offset)


def test_scores_that_fall_where_they_should_rise_tell_nothing():
    fitted = fit_calibration(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    assert (fitted.apply(np.array([-5.0, 0.0, 9.0])) == 0).all()


def test_cllr_of_nothing_is_one():
    assert cllr(np.zeros(3), np.zeros(5)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("targets", "nontargets", "prior", "part"),
    [([1.0], [], 0.1, "no nontarget"), ([1.0], [1.0], 0.1, "all dev scores are equal"),
     ([1.0], [0.0], 1.0, "prior 1 must")],
)  # fmt: skip
def test_refused(targets, nontargets, prior, part):
    with pytest.raises(UserError, match=part):
        fit_calibration(np.array(targets), np.array(nontargets), prior)
