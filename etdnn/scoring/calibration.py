"""Calibration: an affine map from scores to log likelihood ratios, fitted by logistic regression on dev trials."""

import math
from dataclasses import dataclass

import numpy as np

from etdnn.errors import UserError
from etdnn.scoring.metrics import checked_scores

_RIDGE = 1e-6
"""Weight of the penalty on the standardised slope: keeps the fit finite when dev is separated without an error."""

_EQUAL = 1e-12
"""Spread, against the mean, below which values count as equal."""


@dataclass(frozen=True)
class Calibration:
    """log likelihood ratio = scale * score + offset, fitted for target prior `prior`."""

    scale: float
    offset: float
    prior: float

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Return natural-log likelihood ratios."""
        return self.scale * np.asarray(scores, dtype=np.float64) + self.offset


def logit(probability: float) -> float:
    """Return log(p / (1 - p))."""
    return math.log(probability) - math.log1p(-probability)


def bayes_threshold(p_target: float) -> float:
    """Return the log likelihood ratio above which accepting costs least, at prior `p_target` and costs 1."""
    return -logit(p_target)


def fit_calibration(target_scores: np.ndarray, nontarget_scores: np.ndarray, prior: float = 0.01) -> Calibration:
    """Fit scale and offset by logistic regression, classes weighted so that targets have the share `prior`.

    Minimises prior * mean_tar log(1 + exp(-l)) + (1 - prior) * mean_non log(1 + exp(l)), l = llr + logit(prior), by
    Newton's method with step halving (convex), under scale >= 0: scores that fall where they should
    rise tell nothing, so every log likelihood ratio is then 0 (scale 0) and the cost is that of no information.
    UserError for an empty class, NaN, equal scores throughout, or a prior outside (0, 1).
    """
    if not 0 < prior < 1:
        raise UserError(f"calibration: prior {prior:g} must lie in (0, 1)")
    targets = checked_scores(target_scores, "target")
    nontargets = checked_scores(nontarget_scores, "nontarget")
    scores = np.concatenate((targets, nontargets))
    if scores.std() <= _EQUAL * max(1.0, abs(scores.mean())):
        raise UserError("calibration: all dev scores are equal; check the embeddings")
    (slope,), offset = fit_logistic(scores[:, None], np.arange(scores.size) < targets.size, prior)
    return Calibration(float(slope), offset, prior) if slope > 0 else Calibration(0.0, 0.0, prior)


def fit_logistic(features: np.ndarray, target: np.ndarray, prior: float) -> tuple[np.ndarray, float]:
    """Return weights [inputs] and offset of log likelihood ratios that are linear in `features` [trials, inputs].

    The cost and the weights of the classes are those of `fit_calibration`, without its condition on the sign; `target`
    is bool and has both classes. An input that is the same in all trials gets the weight 0.
    """
    centre, spread = features.mean(0), features.std(0)
    spread = np.where(spread <= _EQUAL * np.maximum(1.0, np.abs(centre)), np.inf, spread)
    z = np.column_stack(((features - centre) / spread, np.ones(len(features))))
    sign = np.where(target, 1.0, -1.0)
    weight = np.where(target, prior / target.sum(), (1 - prior) / (~target).sum())
    ridge = np.full(z.shape[1], _RIDGE)
    ridge[-1] = 0

    def loss(parameters: np.ndarray) -> float:
        margin = sign * (z @ parameters + logit(prior))
        return float(weight @ np.logaddexp(0, -margin)) + float(ridge @ parameters**2) / 2

    parameters = np.zeros(z.shape[1])
    parameters[0] = 1.0
    value = loss(parameters)
    for _ in range(100):
        wrong = 1 / (1 + np.exp(np.clip(sign * (z @ parameters + logit(prior)), -500, 500)))
        gradient = ridge * parameters - (weight * sign * wrong) @ z
        hessian = (z * (weight * wrong * (1 - wrong))[:, None]).T @ z + np.diag(np.maximum(ridge, 1e-300))
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        if abs(gradient @ step) < 1e-15:
            break
        size = 1.0
        while (trial := loss(parameters - size * step)) > value and size > 1e-10:
            size /= 2
        if trial > value:
            break
        parameters, value = parameters - size * step, trial
    weights = parameters[:-1] / spread
    return weights, float(parameters[-1] - weights @ centre)


def cllr(target_llrs: np.ndarray, nontarget_llrs: np.ndarray) -> float:
    """Return the log-likelihood-ratio cost in bits (Bruemmer and du Preez 2006): 0 is perfect, 1 tells nothing."""
    targets = checked_scores(target_llrs, "target")
    nontargets = checked_scores(nontarget_llrs, "nontarget")
    cost = np.logaddexp(0, -targets).mean() + np.logaddexp(0, nontargets).mean()
    return float(cost / (2 * math.log(2)))
