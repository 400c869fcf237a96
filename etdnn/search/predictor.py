"""Predictors of the error of subnets that were not measured, and how good they are."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etdnn.errors import UserError
from etdnn.files import atomic_path
from etdnn.model.cost import macs
from etdnn.model.space import SearchSpace
from etdnn.search.population import numeric, one_hot
from etdnn.seeding import numpy_generator

FOLDS = 5
CODED_CHOICES = 24
"""Choices of width and cat up to which the Gaussian process also sees which choice it is, not only how large."""


class Predictor:
    """Predicts a value for every row of a population; made by `fit_predictor`, kept in one .npz file.

    An instance is an objective for `evolve`: it takes a view with `.rows`.
    """

    def __init__(self, kind: str, space: SearchSpace, model):
        self.kind, self.space, self.model = kind, space, model

    def __call__(self, archs) -> np.ndarray:
        """Return the predicted values of a sequence of archs that offers `.rows`."""
        return self.predict(archs.rows)

    def predict(self, rows: np.ndarray, *, deviation: bool = False):
        """Return predicted values [n] of `rows`; with `deviation` also how uncertain each is."""
        return self.model.predict(_encode(self.kind)(self.space, rows), deviation=deviation)

    def save(self, path: str | Path) -> None:
        """Write the predictor to `path` (.npz) atomically."""
        header = json.dumps({"kind": self.kind, "space": self.space.to_dict()})
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, header=np.array(header), **self.model.state())

    @classmethod
    def load(cls, path: str | Path) -> "Predictor":
        """Read a predictor; nothing in the file is run."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            header = json.loads(str(arrays.pop("header")))
            kind, space = header["kind"], SearchSpace.from_dict(header["space"])
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{path}: not a predictor file ({error}); remove it, stage 4 makes it again") from None
        return cls(kind, space, _model(kind).from_state(arrays))


def fit_predictor(kind: str, space: SearchSpace, rows: np.ndarray, targets: np.ndarray, *, seed: int) -> Predictor:
    """Fit a predictor of `kind` (gaussian_process, one_hot_mlp, ensemble) to measured `targets` of `rows`.

    Same seed and same rows in the same order, same predictor. UserError below 8 samples or for values not finite.
    """
    if len(rows) < 8:
        raise UserError(f"predictor: {len(rows)} evaluations fit this supernet, calibration and dev set; 8 are needed")
    targets = np.asarray(targets, dtype=np.float64)
    if not np.isfinite(targets).all():
        raise UserError("predictor: a target is not finite; failed evaluations must be left out")
    model, features, rng = _model(kind)(), _encode(kind)(space, rows), numpy_generator(seed, "predictor", kind)
    if kind == "gaussian_process":
        model.fit(features, targets, rng, numbers=numeric(space, rows[:1]).shape[1])
    else:
        model.fit(features, targets, rng)
    return Predictor(kind, space, model)


def _model(kind: str):
    if kind == "gaussian_process":
        from etdnn.search.gaussian import GaussianProcess

        return GaussianProcess
    from etdnn.search.networks import Ensemble, OneHotNetwork

    known = {"one_hot_mlp": OneHotNetwork, "ensemble": Ensemble}
    if kind not in known:
        raise UserError(f"predictor '{kind}' is not one of gaussian_process, one_hot_mlp, ensemble")
    return known[kind]


def _encode(kind: str) -> Callable[[SearchSpace, np.ndarray], np.ndarray]:
    return {"one_hot_mlp": one_hot, "ensemble": numeric, "gaussian_process": _numbers_and_code}[kind]


def _numbers_and_code(space: SearchSpace, rows: np.ndarray) -> np.ndarray:
    """Return numeric features and, where choices are few enough to be seen often, the one-hot code."""
    numbers = numeric(space, rows)
    if len(space.widths) + len(space.cats) > CODED_CHOICES:
        return numbers
    return np.concatenate([numbers, one_hot(space, rows)], axis=1)


@dataclass(frozen=True)
class Quality:
    """How a predictor ranks and hits evaluations it has not seen: Kendall tau, mean absolute error."""

    tau: float
    error: float


def cross_validate(kind: str, space: SearchSpace, rows: np.ndarray, targets: np.ndarray, *, seed: int) -> Quality:
    """Return the quality on held-out evaluations, five folds; `kind` may also be the baseline `macs` or `linear`."""
    folds = numpy_generator(seed, "folds").permutation(len(rows)) % FOLDS
    predicted = np.empty(len(rows))
    for fold in range(FOLDS):
        held = folds == fold
        if held.any():
            predicted[held] = fit_any(kind, space, rows[~held], targets[~held], seed)(rows[held])
    return Quality(kendall_tau(predicted, targets), float(np.abs(predicted - targets).mean()))


def fit_any(kind: str, space: SearchSpace, rows: np.ndarray, targets: np.ndarray, seed: int) -> Callable:
    """Return a function rows -> values of a fitted predictor, or of the baseline `macs` or `linear`."""
    if kind == "macs":
        return linear_baseline(lambda part: np.log(macs(part, in_feats=space.in_feats))[:, None], rows, targets)
    if kind == "linear":
        return linear_baseline(lambda part: one_hot(space, part).astype(np.float64), rows, targets, ridge=1.0)
    return fit_predictor(kind, space, rows, targets, seed=seed).predict


def linear_baseline(encode: Callable, rows: np.ndarray, targets: np.ndarray, ridge: float = 1e-6) -> Callable:
    """Return a ridge regression on `encode(rows)`, as a function of rows."""
    features = encode(rows)
    shift, level = features.mean(axis=0), targets.mean()
    centred = features - shift
    gram = centred.T @ centred + ridge * np.eye(centred.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (targets - level))
    return lambda part: (encode(part) - shift) @ weights + level


def kendall_tau(one: np.ndarray, two: np.ndarray) -> float:
    """Return Kendall's tau-b of two arrays; 0 where one of them is constant."""
    from scipy.stats import kendalltau

    tau = kendalltau(one, two).statistic
    return float(tau) if np.isfinite(tau) else 0.0
