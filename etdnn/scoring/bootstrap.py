"""Confidence intervals of EER and minDCF by bootstrap over speakers, for one system or for two compared on one list.

Trials that share a speaker are not independent (Vox1-O: 37,611 trials of 40 speakers), so speakers are drawn, with
replacement. A speaker drawn m times gives each of its target trials weight m; a nontarget trial of speakers a and b
weighs m_a * m_b, as the drawn speakers' copies would be crossed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from etdnn.errors import UserError
from etdnn.scoring.metrics import P_TARGETS
from etdnn.seeding import numpy_generator

_BLOCK = 256
"""Thresholds per block in the search for the least cost."""


@dataclass(frozen=True)
class Interval:
    """Bounds of a confidence interval from `replicates` usable draws."""

    low: float
    high: float
    replicates: int


class _Weights:
    """Sums of a draw's trial weights below chosen positions of the sorted scores."""

    def __init__(self, positions: np.ndarray, edges: np.ndarray, size: int):
        self.positions = positions
        self.cuts = np.union1d([0, size], positions[edges])
        self.places = np.searchsorted(self.cuts, positions[edges])

    def at_edges(self, weights: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the sum of the weights below every edge, and of all."""
        running = np.concatenate(([0.0], np.cumsum(np.add.reduceat(weights, self.cuts[:-1]))))
        return running[self.places], float(running[-1])

    def within(self, weights: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return, for positions `first` to `last`, the sum of the weights from the first of them on."""
        positions = self.positions[first : last + 1]
        sums = np.concatenate(([0.0], np.cumsum(weights[positions[0] : positions[-1]])))
        return sums[positions - positions[0]]


class _System:
    """One system's trials sorted once; a draw then weighs trials, sums in blocks and looks into few blocks.

    Thresholds are the distinct target scores, rising. All sums are exact: weights are small whole numbers in float64.
    """

    def __init__(self, scores: np.ndarray, target: np.ndarray, enrol_speaker: np.ndarray, test_speaker: np.ndarray):
        scores = np.asarray(scores)
        targets, nontargets = np.flatnonzero(target), np.flatnonzero(~target)
        targets = targets[np.argsort(scores[targets], kind="stable")]
        nontargets = nontargets[np.argsort(scores[nontargets], kind="stable")]
        self.target_speaker = enrol_speaker[targets]
        self.enrol_speaker, self.test_speaker = enrol_speaker[nontargets], test_speaker[nontargets]
        ranked, others = scores[targets], scores[nontargets]
        self.first = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
        self.last = np.append(self.first[1:], ranked.size)
        below = np.searchsorted(others, ranked[self.first], side="left")
        self.not_above = np.searchsorted(others, ranked[self.first], side="right")
        self.edges = np.unique(np.append(np.arange(0, self.first.size, _BLOCK), self.first.size - 1))
        self.missed = _Weights(self.first, self.edges, ranked.size)
        self.rejected = _Weights(below, self.edges, others.size)

    def metrics(self, counts: np.ndarray, p_targets: Sequence[float]) -> np.ndarray | None:
        """Return [EER, minDCF ...] with speakers weighted by `counts` (float64), None if a class vanished."""
        target_weights = counts[self.target_speaker]
        nontarget_weights = counts[self.enrol_speaker] * counts[self.test_speaker]
        missed, all_targets = self.missed.at_edges(target_weights)
        rejected, all_nontargets = self.rejected.at_edges(nontarget_weights)
        if not all_targets or not all_nontargets:
            return None
        edge_rates = missed / all_targets, 1 - rejected / all_nontargets

        def inside(block: int) -> tuple[np.ndarray, np.ndarray]:
            """Return miss and false-accept rates at the thresholds from edge `block` to the next."""
            span = int(self.edges[block]), int(self.edges[min(block + 1, self.edges.size - 1)])
            miss = (missed[block] + self.missed.within(target_weights, *span)) / all_targets
            return miss, 1 - (rejected[block] + self.rejected.within(nontarget_weights, *span)) / all_nontargets

        block = max(int(np.searchsorted(edge_rates[0] - edge_rates[1], 0, side="right")) - 1, 0)
        miss, accept = inside(block)
        index = max(int(np.searchsorted(miss - accept, 0, side="right")) - 1, 0)
        which = int(self.edges[block]) + index
        tied_targets = target_weights[self.first[which] : self.last[which]].sum() / all_targets
        tied = nontarget_weights[self.rejected.positions[which] : self.not_above[which]].sum() / all_nontargets
        result = [_interpolated_eer(miss[index], accept[index], tied_targets, tied)]
        result += [_least_cost(edge_rates, inside, p_target) for p_target in p_targets]
        return np.array(result)


def _interpolated_eer(miss: float, accept: float, tied_targets: float, tied_nontargets: float) -> float:
    """Return the EER near the highest threshold with miss <= accept, where scores tied with it weigh as given."""
    miss_above, accept_above = miss + tied_targets, accept - tied_nontargets
    if miss_above < accept_above:  # crossed among the nontargets above this target, where the miss rate is level
        return float(miss_above)
    span = tied_targets + tied_nontargets
    share = (miss_above - accept_above) / span if span > 0 else 0.0
    return float(accept_above + share * tied_nontargets)


def _least_cost(edge_rates: tuple[np.ndarray, np.ndarray], inside: Callable, p_target: float) -> float:
    """Return minDCF; only blocks whose bound (miss at the start, accept at the end) beats the best edge are opened."""
    miss, accept = edge_rates
    best = min(float((p_target * miss + (1 - p_target) * accept).min()), p_target)
    bound = p_target * miss[:-1] + (1 - p_target) * accept[1:]
    for block in np.flatnonzero(bound < best).tolist():
        if bound[block] < best:
            miss, accept = inside(block)
            best = min(best, float((p_target * miss + (1 - p_target) * accept).min()))
    return best / min(p_target, 1 - p_target)


def speaker_numbers(enrol: Sequence[str], test: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the speakers of both sides of each trial as numbers, and how many speakers there are."""
    numbers = {name: number for number, name in enumerate(sorted(set(enrol) | set(test)))}
    left = np.fromiter((numbers[name] for name in enrol), np.int64, len(enrol))
    right = np.fromiter((numbers[name] for name in test), np.int64, len(test))
    return left, right, len(numbers)


@dataclass(frozen=True)
class ScoredList:
    """One trial list: `systems` are score arrays over its trials; speakers are numbers, alike in lists drawn together.

    UserError with fewer than 2 speakers, one class only, or scores that are not finite.
    """

    systems: Sequence[np.ndarray]
    target: np.ndarray
    enrol_speaker: np.ndarray
    test_speaker: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "target", np.asarray(self.target, dtype=bool))
        if self.speakers < 2 or self.target.all() or not self.target.any():
            raise UserError("bootstrap: needs target and nontarget trials of at least 2 speakers")
        if not all(np.isfinite(scores).all() for scores in self.systems):
            raise UserError("bootstrap: some scores are not finite; check the embeddings")

    @property
    def speakers(self) -> int:
        """One more than the largest number of a speaker."""
        return int(max(self.enrol_speaker.max(initial=-1), self.test_speaker.max(initial=-1))) + 1


def bootstrap(
    systems: Sequence[np.ndarray],
    target: np.ndarray,
    enrol_speaker: np.ndarray,
    test_speaker: np.ndarray,
    *,
    seed: int,
    replicates: int = 1000,
    p_targets: Sequence[float] = P_TARGETS,
) -> np.ndarray:
    """Return `bootstrap_lists` of one list, [draws, systems, 1 + len(p_targets)]."""
    one = ScoredList(systems, target, enrol_speaker, test_speaker)
    return bootstrap_lists([one], seed=seed, replicates=replicates, p_targets=p_targets)[:, 0]


def bootstrap_lists(
    lists: Sequence[ScoredList], *, seed: int, replicates: int = 1000, p_targets: Sequence[float] = P_TARGETS
) -> np.ndarray:
    """Return metrics of each draw, [draws, lists, systems, 1 + len(p_targets)]: EER (fraction), then minDCF per prior.

    All systems and all lists see the same draws of speakers, so differences are paired and lists can be averaged.
    Draws that leave a list without a target or a nontarget trial are left out of all lists. Memory is linear in the
    trials. UserError when no draw is left.
    """
    speakers = max(part.speakers for part in lists)
    prepared = [
        [_System(scores, part.target, part.enrol_speaker, part.test_speaker) for scores in part.systems]
        for part in lists
    ]
    generator = numpy_generator(seed, "bootstrap over speakers")
    draws = []
    for _ in range(replicates):
        drawn = generator.integers(speakers, size=speakers)
        counts = np.bincount(drawn, minlength=speakers).astype(np.float64)
        values = [[system.metrics(counts, p_targets) for system in systems] for systems in prepared]
        if all(value is not None for systems in values for value in systems):
            draws.append(values)
    if not draws:
        raise UserError("bootstrap: no draw of speakers held both classes; too few speakers")
    return np.array(draws)


def intervals(draws: np.ndarray, level: float = 0.95) -> list[list[Interval]]:
    """Return percentile intervals [system][metric] of `bootstrap`'s draws."""
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return [[Interval(float(a), float(b), len(draws)) for a, b in zip(*pair, strict=True)]
            for pair in zip(low, high, strict=True)]  # fmt: skip


def paired_difference(draws: np.ndarray, first: int, second: int, level: float = 0.95) -> list[Interval]:
    """Return, per metric, the interval of (second system - first system); one that holds 0 shows no difference."""
    return intervals((draws[:, second] - draws[:, first])[:, None], level)[0]
