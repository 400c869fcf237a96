"""The back-ends: cosine, mean subtraction and AS-norm over one set of embeddings, for any number of trial lists."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from etdnn.data.trials import Trials
from etdnn.errors import UsageError
from etdnn.scoring.asnorm import cohort_statistics, normalise_scores
from etdnn.scoring.cosine import cosine_scores, enrolment_models, index_trials, length_normalise, subtract_mean
from etdnn.scoring.embeddings import Embeddings

BACKENDS = ("cosine", "mean", "asnorm", "mean-asnorm")
"""cosine; cosine after the cohort's mean is subtracted; AS-norm of either."""

Statistics = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ScoredTrials:
    """One trial list scored by every back-end; arrays run over the trials whose ids have embeddings."""

    trials: Trials
    scores: dict[str, np.ndarray]
    missing: list[str]


@dataclass
class _Side:
    """Embeddings of one side in one space (plain or centred): rows of length one, and their cohort statistics."""

    unit: np.ndarray
    statistics: Statistics | None = None


@dataclass
class Scorer:
    """Scores the trial lists of one data set; embeddings are normalised and compared with the cohort once."""

    embeddings: Embeddings
    cohort: Embeddings
    backends: Sequence[str]
    top: int
    _sides: dict[bool, _Side] = field(default_factory=dict)
    _cohorts: dict[bool, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.backends:
            if name not in BACKENDS:
                raise UsageError(f"back-end '{name}' is not one of {', '.join(BACKENDS)}")

    def score(
        self, trials: Trials, enrolments: dict[str, list[str]] | None = None, *, allow_missing=False, where="trials"
    ) -> ScoredTrials:
        """Score one list with every back-end.

        `enrolments` (name -> utterances) turns enrol names into averaged embeddings. UserError as `index_trials`.
        """
        indexed, kept, scores = None, trials, {}
        for centred in dict.fromkeys(name.startswith("mean") for name in self.backends):
            test = self._side(centred)
            enrol, enrol_index = test, self.embeddings.index
            if enrolments:
                space = Embeddings(self.embeddings.ids, self._centred(self.embeddings.matrix, centred))
                models = enrolment_models(space, enrolments, allow_missing=allow_missing, where=where)
                enrol, enrol_index = _Side(length_normalise(models.matrix)), models.index
            if indexed is None:
                indexed = index_trials(
                    trials.enrol,
                    trials.test,
                    enrol_index,
                    self.embeddings.index,
                    allow_missing=allow_missing,
                    where=where,
                )
                kept = trials if indexed.kept.all() else trials.kept(indexed.kept)
            cosine = cosine_scores(enrol.unit, test.unit, indexed.enrol, indexed.test)
            for name in self.backends:
                if name.startswith("mean") != centred:
                    continue
                scores[name] = cosine
                if name.endswith("asnorm"):
                    sides = self._statistics(enrol, centred), self._statistics(test, centred)
                    scores[name] = normalise_scores(cosine, indexed.enrol, indexed.test, *sides)
        return ScoredTrials(kept, {name: scores[name] for name in self.backends}, indexed.missing)

    def _centred(self, matrix: np.ndarray, centred: bool) -> np.ndarray:
        return subtract_mean(matrix, self.cohort.matrix.mean(0, dtype=np.float64)) if centred else matrix

    def _side(self, centred: bool) -> _Side:
        if centred not in self._sides:
            self._sides[centred] = _Side(length_normalise(self._centred(self.embeddings.matrix, centred)))
        return self._sides[centred]

    def _statistics(self, side: _Side, centred: bool) -> Statistics:
        if side.statistics is None:
            if centred not in self._cohorts:
                self._cohorts[centred] = length_normalise(self._centred(self.cohort.matrix, centred))
            side.statistics = cohort_statistics(side.unit, self._cohorts[centred], self.top)
        return side.statistics
