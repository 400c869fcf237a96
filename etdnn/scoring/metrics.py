"""EER, minDCF, DET points and decision thresholds from one sort of the scores; linear in memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etdnn.errors import UserError

P_TARGETS = (0.01, 0.05)
"""Target priors at which minDCF is reported."""

FALSE_ACCEPT_RATES = (0.1, 0.01, 0.001)
"""False-accept rates for which thresholds are written."""


@dataclass(frozen=True)
class Curve:
    """The operating points of a set of scores, from "reject all" to "accept all"; a trial is accepted if score >= t.

    `targets` and `nontargets` are the sorted scores (ascending). `thresholds` are the distinct target scores, falling;
    at each the curve has two corners: with t just above it (`before`) and at it (`at`). `missed_*` counts the targets
    rejected there, `accepted_*` the nontargets accepted. Between a point `at` and the next `before` only nontargets
    are passed, so these corners are the whole ROC; between `before` and `at` tied scores make a straight line, as in
    `sklearn.metrics.roc_curve`.
    """

    targets: np.ndarray
    nontargets: np.ndarray
    thresholds: np.ndarray
    missed_before: np.ndarray
    missed_at: np.ndarray
    accepted_before: np.ndarray
    accepted_at: np.ndarray

    @classmethod
    def of(cls, target_scores: np.ndarray, nontarget_scores: np.ndarray) -> "Curve":
        """Sort both classes; UserError if one is empty or a score is not a finite number."""
        targets = np.sort(checked_scores(target_scores, "target"))
        nontargets = np.sort(checked_scores(nontarget_scores, "nontarget"))
        first = np.flatnonzero(np.concatenate(([True], targets[1:] != targets[:-1])))  # first of each run of ties
        thresholds = targets[first]
        below = np.searchsorted(nontargets, thresholds, side="left")
        not_above = np.searchsorted(nontargets, thresholds, side="right")
        missed_before = np.concatenate((first[1:], [targets.size]))
        return cls(
            targets,
            nontargets,
            thresholds[::-1],
            missed_before[::-1],
            first[::-1],
            (nontargets.size - not_above)[::-1],
            (nontargets.size - below)[::-1],
        )

    def _crossing(self) -> tuple[float, float]:
        """Return (EER, its threshold): where the miss rate meets the false-accept rate, linearly interpolated."""
        total_t, total_n = self.targets.size, self.nontargets.size
        # integers, so that "where they cross" is exact: miss - false accept, times total_t * total_n
        gap_at = self.missed_at * total_n - self.accepted_at * total_t
        index = int(np.searchsorted(-gap_at, 0, side="left"))  # first corner `at` with miss <= accept; the last has
        gap_before = int(self.missed_before[index]) * total_n - int(self.accepted_before[index]) * total_t
        if gap_before < 0:  # crossed among the nontargets above this target: the miss rate is level there
            miss = int(self.missed_before[index])
            rank = math.ceil(miss * total_n / total_t)
            return miss / total_t, float(self.nontargets[total_n - max(rank, 1)])
        span = gap_before - int(gap_at[index])
        share = gap_before / span if span else 0.0
        start, end = int(self.accepted_before[index]), int(self.accepted_at[index])
        return (start + share * (end - start)) / total_n, float(self.thresholds[index])

    def eer(self) -> float:
        """Return the equal error rate (fraction) by linear interpolation of the ROC."""
        return self._crossing()[0]

    def eer_threshold(self) -> float:
        """Return the score at which the miss and false-accept rates meet."""
        return self._crossing()[1]

    def _costs(self, p_target: float, c_miss: float, c_fa: float) -> np.ndarray:
        """Return the normalised cost at every `at` corner; a `before` corner is never cheaper than the last `at`."""
        if not 0 < p_target < 1 or c_miss <= 0 or c_fa <= 0:
            raise UserError(f"minDCF: p_target {p_target:g} must lie in (0, 1), costs {c_miss:g}, {c_fa:g} above 0")
        miss, accept = c_miss * p_target, c_fa * (1 - p_target)
        costs = (miss / self.targets.size) * self.missed_at + (accept / self.nontargets.size) * self.accepted_at
        return costs / min(miss, accept)

    def min_dcf(self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """Return the least normalised detection cost, never above 1 for equal costs at p_target <= 0.5."""
        least = float(self._costs(p_target, c_miss, c_fa).min())
        return min(least, c_miss * p_target / min(c_miss * p_target, c_fa * (1 - p_target)))

    def min_dcf_threshold(self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """Return the score threshold of `min_dcf`; where nothing beats rejecting all, the value just above all."""
        costs = self._costs(p_target, c_miss, c_fa)
        best = int(np.argmin(costs))
        if costs[best] <= self.min_dcf(p_target, c_miss, c_fa):
            return float(self.thresholds[best])
        return float(np.nextafter(max(self.targets[-1], self.nontargets[-1]), np.inf))

    def false_accept_threshold(self, rate: float) -> float:
        """Return the lowest seen score that accepts at most `rate` of the nontargets (one above all if none does)."""
        if not 0 <= rate <= 1:
            raise UserError(f"false-accept rate {rate:g} must lie in 0 to 1")
        allowed = math.floor(rate * self.nontargets.size + 1e-9)
        if allowed >= self.nontargets.size:
            return float(min(self.nontargets[0], self.targets[0]))
        refused = self.nontargets[self.nontargets.size - 1 - allowed]  # the best nontarget that must stay out
        both = (self.targets, self.nontargets)
        candidates = np.concatenate([scores[np.searchsorted(scores, refused, side="right") :][:1] for scores in both])
        return float(candidates.min()) if candidates.size else float(np.nextafter(refused, np.inf))

    def rates(self, threshold: float) -> tuple[float, float]:
        """Return (miss rate, false-accept rate) when scores >= `threshold` are accepted."""
        missed = np.searchsorted(self.targets, threshold, side="left")
        accepted = self.nontargets.size - np.searchsorted(self.nontargets, threshold, side="left")
        return float(missed / self.targets.size), float(accepted / self.nontargets.size)

    def det_points(self, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
        """Return up to `count` points (false-accept rates, miss rates) spread evenly along the DET curve, rising in FA.

        Evenly means in probit units of both rates together, as the picture is drawn; rates of 0 and 1 are left out.
        """
        from scipy.special import ndtri

        accepted = np.stack((self.accepted_before, self.accepted_at), 1).ravel() / self.nontargets.size
        missed = np.stack((self.missed_before, self.missed_at), 1).ravel() / self.targets.size
        inside = (accepted > 0) & (accepted < 1) & (missed > 0) & (missed < 1)
        accepted, missed = accepted[inside], missed[inside]
        if accepted.size <= count:
            return accepted, missed
        way = ndtri(accepted) - ndtri(missed)  # rises along the curve
        picks = np.searchsorted(way, np.linspace(way[0], way[-1], count)).clip(0, way.size - 1)
        picks = np.unique(picks)
        return accepted[picks], missed[picks]


def checked_scores(scores: np.ndarray, kind: str) -> np.ndarray:
    """Return `scores` as a flat float64 array; UserError if there are none or one is not a finite number."""
    scores = np.asarray(scores, dtype=np.float64).ravel()
    if not scores.size:
        raise UserError(f"scores: no {kind} trials, so no error rates; the trial list needs both classes")
    wrong = scores.size - int(np.count_nonzero(np.isfinite(scores)))
    if wrong:
        raise UserError(f"scores: {wrong} of {scores.size} {kind} scores are not finite; check the embeddings")
    return scores


def eer(target_scores: np.ndarray, nontarget_scores: np.ndarray) -> float:
    """Return the equal error rate as a fraction: ROC, linear interpolation, miss = false accept.

    Equal to scikit-learn's roc_curve followed by a root of 1 - x - tpr(x). UserError on an empty class or NaN.
    """
    return Curve.of(target_scores, nontarget_scores).eer()


def min_dcf(
    target_scores: np.ndarray, nontarget_scores: np.ndarray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Return the least normalised detection cost (NIST SRE 2016; Kaldi's compute_min_dcf.py).

    min over thresholds of (c_miss p P_miss + c_fa (1-p) P_fa) / min(c_miss p, c_fa (1-p)). UserError as for `eer`.
    """
    return Curve.of(target_scores, nontarget_scores).min_dcf(p_target, c_miss, c_fa)


def det_points(
    target_scores: np.ndarray, nontarget_scores: np.ndarray, count: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Return (false-accept rates, miss rates) for a DET picture; see `Curve.det_points`."""
    return Curve.of(target_scores, nontarget_scores).det_points(count)


def thresholds(
    target_scores: np.ndarray,
    nontarget_scores: np.ndarray,
    p_targets: Sequence[float] = P_TARGETS,
    false_accept_rates: Sequence[float] = FALSE_ACCEPT_RATES,
) -> dict[str, dict[str, float]]:
    """Return decision thresholds by name (`eer`, `min_dcf_0.01`, `false_accept_0.001`, ...) with the rates each gives.

    Each value is {threshold, miss, false_accept} on these scores; a trial is accepted if score >= threshold. A
    false-accept rate finer than one nontarget is left out: these scores cannot tell it.
    """
    curve = Curve.of(target_scores, nontarget_scores)
    named = {"eer": curve.eer_threshold()}
    named |= {f"min_dcf_{p:g}": curve.min_dcf_threshold(p) for p in p_targets}
    rates = [rate for rate in false_accept_rates if rate * curve.nontargets.size >= 1]
    named |= {f"false_accept_{rate:g}": curve.false_accept_threshold(rate) for rate in rates}
    result = {}
    for name, threshold in named.items():
        miss, accept = curve.rates(threshold)
        result[name] = {"threshold": threshold, "miss": miss, "false_accept": accept}
    return result


def actual_dcf(target_scores: np.ndarray, nontarget_scores: np.ndarray, threshold: float, p_target: float) -> float:
    """Return the normalised detection cost (costs 1) at a threshold that was fixed elsewhere, on dev."""
    targets = checked_scores(target_scores, "target")
    nontargets = checked_scores(nontarget_scores, "nontarget")
    miss, accept = np.mean(targets < threshold), np.mean(nontargets >= threshold)
    return float((p_target * miss + (1 - p_target) * accept) / min(p_target, 1 - p_target))
