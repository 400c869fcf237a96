"""Objectives with a known optimum: random smooth functions and small networks over the archs of a space, in % EER."""

import numpy as np

from etdnn.model.cost import macs
from etdnn.model.space import SearchSpace
from etdnn.search.population import blocks, numeric, one_hot, sample

KINDS = ("additive", "interaction", "fourier", "network", "rough", "trend")
SPREAD = 0.5  # standard deviation over the space, about that of the published predictor's targets (0.48 % EER)


def make_objective(space: SearchSpace, kind: str, seed: int):
    """Return a vectorised function of a population view (`.rows`): mean 2.3, standard deviation 0.5 over the space.

    additive: a concave gain per gene; interaction: plus random products of two and three genes; fourier: low-frequency
    random waves over the genes; network and rough: random tanh networks on numeric and on one-hot codes;
    trend: more MACs help, with waves on top, so that the budget binds.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    raw = {
        "additive": _additive,
        "interaction": _interaction,
        "fourier": _fourier,
        "network": _network,
        "rough": _rough,
        "trend": _trend,
    }[kind](space, rng)
    reference = raw(sample(space, 4000, np.random.default_rng(0)))
    mean, spread = reference.mean(), reference.std()
    return lambda archs: 2.3 + SPREAD * (raw(getattr(archs, "rows", archs)) - mean) / spread


def tabulate(space: SearchSpace, objective) -> tuple[np.ndarray, np.ndarray]:
    """Return (values float64, MACs int64) of the whole space in the order of `blocks`."""
    values, costs = [], []
    for rows in blocks(space):
        values.append(objective(rows))
        costs.append(macs(rows))
    return np.concatenate(values), np.concatenate(costs)


def _genes(space: SearchSpace, rows: np.ndarray) -> np.ndarray:
    return numeric(space, rows)[:, :-2]


def _additive(space: SearchSpace, rng: np.random.Generator):
    width = _genes(space, sample(space, 1, rng)).shape[1]
    gain, bend = rng.gamma(1.0, 1.0, width), rng.uniform(0.3, 1.0, width)
    return lambda rows: -(_genes(space, rows).clip(0) ** bend * gain).sum(axis=1)


def _interaction(space: SearchSpace, rng: np.random.Generator):
    base = _additive(space, rng)
    width = _genes(space, sample(space, 1, rng)).shape[1]
    pairs, triples = rng.integers(0, width, (20, 2)), rng.integers(0, width, (20, 3))
    weights = rng.normal(0, 1.2, 40)

    def value(rows: np.ndarray) -> np.ndarray:
        genes = _genes(space, rows) * 2 - 1
        products = np.concatenate([genes[:, pairs].prod(axis=2), genes[:, triples].prod(axis=2)], axis=1)
        return base(rows) + products @ weights

    return value


def _waves(width: int, rng: np.random.Generator, scale: float):
    frequency, phase = rng.normal(0, scale, (width, 64)), rng.uniform(0, 2 * np.pi, 64)
    weights = rng.normal(0, 1, 64)
    return lambda genes: np.cos(genes @ frequency + phase) @ weights


def _fourier(space: SearchSpace, rng: np.random.Generator):
    waves = _waves(_genes(space, sample(space, 1, rng)).shape[1], rng, 1.5)
    return lambda rows: waves(_genes(space, rows))


def _trend(space: SearchSpace, rng: np.random.Generator):
    waves = _waves(_genes(space, sample(space, 1, rng)).shape[1], rng, 1.2)
    return lambda rows: waves(_genes(space, rows)) - 25 * numeric(space, rows)[:, -2]


def _random_network(width: int, rng: np.random.Generator):
    first, second = rng.normal(0, 1.5 / np.sqrt(width), (width, 32)), rng.normal(0, 1.5 / np.sqrt(32), (32, 32))
    bias, last = rng.normal(0, 0.5, 32), rng.normal(0, 1, 32)
    return lambda code: np.tanh(np.tanh(code @ first + bias) @ second) @ last


def _network(space: SearchSpace, rng: np.random.Generator):
    network = _random_network(_genes(space, sample(space, 1, rng)).shape[1], rng)
    return lambda rows: network(_genes(space, rows) * 4 - 2)


def _rough(space: SearchSpace, rng: np.random.Generator):
    network = _random_network(one_hot(space, sample(space, 1, rng)).shape[1], rng)
    return lambda rows: network(one_hot(space, rows) * 3.0)
