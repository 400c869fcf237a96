"""Durations in the score (quality measure functions): a short utterance's score says less than a long one's.

The log durations of both sides join the score in a logistic regression on dev trials, as in Thienpondt et al., "The
IDLAB VoxCeleb Speaker Recognition Challenge 2020 system description".
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from etdnn.data.datadir import DataDir
from etdnn.data.trials import Trials
from etdnn.errors import UserError
from etdnn.scoring.backends import ScoredTrials
from etdnn.scoring.calibration import fit_logistic
from etdnn.scoring.metrics import checked_scores

SUFFIX = "+qmf"
"""Ends the names of back-ends whose scores have durations in them."""


@dataclass(frozen=True)
class Quality:
    """log likelihood ratio = score * s + shorter * log min(a, b) + longer * log max(a, b) + offset; a, b in seconds."""

    score: float
    shorter: float
    longer: float
    offset: float
    prior: float

    def apply(self, scores: np.ndarray, durations: np.ndarray) -> np.ndarray:
        """Return natural-log likelihood ratios of trials with log durations [trials, 2] (see `log_durations`)."""
        return self.score * np.asarray(scores, np.float64) + durations @ [self.shorter, self.longer] + self.offset


def log_durations(data: DataDir, name: str, trials: Trials) -> np.ndarray:
    """Return log seconds of the shorter and the longer side of each trial [trials, 2].

    A name enrolled with several utterances is as long as their sum. UserError for an entry without duration.
    """
    seconds = data.utt2dur
    total = {enrolled: sum(seconds.get(key, 0) for key in keys) for enrolled, keys in data.enrolments(name).items()}
    enrol = [total[key] if key in total else seconds.get(key, 0) for key in trials.enrol]
    both = np.array([enrol, [seconds.get(key, 0) for key in trials.test]], np.float64).T
    if not (both > 0).all():
        trial, side = np.argwhere(~(both > 0))[0]
        raise UserError(f"{data.path}/utt2dur: no duration of '{(trials.enrol, trials.test)[side][trial]}' (--qmf)")
    return np.log(np.sort(both, 1))


def fit_quality(scores: np.ndarray, durations: np.ndarray, target: np.ndarray, prior: float = 0.01) -> Quality:
    """Fit by `fit_logistic`; UserError when dev targets score no higher than non-targets of their durations."""
    checked_scores(scores[target], "target"), checked_scores(scores[~target], "nontarget")
    weights, offset = fit_logistic(np.column_stack((scores, durations)), target, prior)
    if weights[0] <= 0:
        raise UserError("--qmf: dev targets score no higher than nontargets, there is nothing to correct")
    return Quality(*(float(weight) for weight in weights), offset, prior)


def add_quality(
    scored: Mapping[str, dict[str, ScoredTrials]],
    folders: Mapping[str, DataDir],
    backends: Sequence[str],
    prior: float,
) -> dict[str, dict[str, float]]:
    """Give every list of `scored` (dev, test -> list) the back-ends `NAME+qmf`, fitted on all dev lists pooled.

    Returns {NAME+qmf: the fitted numbers}.
    """
    durations = {
        (side, name): log_durations(folders[side], name, one.trials)
        for side, lists in scored.items()
        for name, one in lists.items()
    }
    dev = scored["dev"]
    target = np.concatenate([one.trials.target for one in dev.values()])
    pooled = np.concatenate([durations["dev", name] for name in dev])
    fitted = {}
    for backend in backends:
        quality = fit_quality(np.concatenate([one.scores[backend] for one in dev.values()]), pooled, target, prior)
        fitted[backend + SUFFIX] = asdict(quality)
        for side, lists in scored.items():
            for name, one in lists.items():
                one.scores[backend + SUFFIX] = quality.apply(one.scores[backend], durations[side, name])
    return fitted
