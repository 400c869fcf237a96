"""Gaussian process over numeric arch features: few samples, any widths, an uncertainty with every prediction."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

HYPER_POINTS = 600
"""Samples on which kernel parameters are fitted (a cubic cost); the prediction then uses all."""
MAX_POINTS = 4000
"""Samples a prediction uses at most: the cubic cost of 4,000 is some seconds."""


SMOOTH, LINEAR, NOISE, CODE, CODE_LENGTH, LENGTHS = range(6)
"""Places of the parameters, all logarithms: variances, the length scale of the code, then those of the numbers."""


class GaussianProcess:
    """Regression with four parts: linear and Matern-5/2 in the numbers, Matern-5/2 in the code, and noise.

    Numbers have one length scale each, the one-hot code one in all: where widths act smoothly the first two parts carry
    the prediction and unseen widths are interpolated, where every choice is a case of its own the third does. The
    kernel parameters maximise the marginal likelihood under weak log-normal priors that hold the length scales near
    sqrt(features), so that a hundred samples do not overfit. Deterministic. Reference: Rasmussen and Williams 2006,
    chapters 4 and 5.
    """

    def fit(
        self, features: np.ndarray, targets: np.ndarray, rng: np.random.Generator, *, numbers: int
    ) -> "GaussianProcess":
        """Fit to `features` [n, F], whose first `numbers` columns are numbers and the rest a code, and `targets` [n].

        Beyond MAX_POINTS samples a seeded choice of them is used.
        """
        if len(features) > MAX_POINTS:
            chosen = np.sort(rng.permutation(len(features))[:MAX_POINTS])
            features, targets = features[chosen], targets[chosen]
        self.numbers = numbers
        self.shift, self.scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
        self.mean, self.spread = float(targets.mean()), max(float(targets.std()), 1e-9)
        self.points = (features - self.shift) / self.scale
        values = (targets - self.mean) / self.spread
        few = np.sort(rng.permutation(len(values))[:HYPER_POINTS])
        self.parameters = _fit_parameters(self.points[few], values[few], numbers)
        self._factorise()
        self.weights = cho_solve(self.factor, values)
        return self

    def _factorise(self) -> None:
        kernel = _kernel(self.points, self.points, self.parameters, self.numbers)
        kernel[np.diag_indices(len(kernel))] += np.exp(self.parameters[NOISE]) + 1e-6
        self.factor = cho_factor(kernel, lower=True)

    def predict(self, features: np.ndarray, *, deviation: bool = False):
        """Return the mean [n], with `deviation` also the standard deviation of the noise-free value."""
        means, deviations = [], []
        points = (features - self.shift) / self.scale
        for start in range(0, len(points), 8192):
            part = points[start : start + 8192]
            cross = _kernel(part, self.points, self.parameters, self.numbers)
            means.append(cross @ self.weights)
            if deviation:
                inner = solve_triangular(self.factor[0], cross.T, lower=True, check_finite=False)
                prior = np.exp(self.parameters[SMOOTH]) + np.exp(self.parameters[CODE])
                prior = prior + np.exp(self.parameters[LINEAR]) * (part[:, : self.numbers] ** 2).mean(axis=1)
                deviations.append(np.sqrt(np.maximum(prior - (inner**2).sum(axis=0), 1e-12)))
        mean = np.concatenate(means) * self.spread + self.mean
        return (mean, np.concatenate(deviations) * self.spread) if deviation else mean

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that `from_state` rebuilds the process from."""
        return {
            "points": self.points, "shift": self.shift, "scale": self.scale, "parameters": self.parameters,
            "numbers": np.array(self.numbers), "mean": np.array(self.mean), "spread": np.array(self.spread),
            "weights": self.weights,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> "GaussianProcess":
        """Return the process of `state()`."""
        process = cls()
        for name in ("points", "shift", "scale", "parameters", "weights"):
            setattr(process, name, state[name])
        process.numbers = int(state["numbers"])
        process.mean, process.spread = float(state["mean"]), float(state["spread"])
        process._factorise()
        return process


def _distances(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return sqrt(5) times the Euclidean distances [n, m]."""
    squared = (one**2).sum(axis=1)[:, None] + (two**2).sum(axis=1)[None] - 2 * one @ two.T
    return np.sqrt(5 * np.maximum(squared, 0))


def _matern(distance: np.ndarray) -> np.ndarray:
    return (1 + distance + distance**2 / 3) * np.exp(-distance)


def _kernel(one: np.ndarray, two: np.ndarray, parameters: np.ndarray, numbers: int) -> np.ndarray:
    """Return the kernel [n, m] of standardised features."""
    lengths = np.exp(parameters[LENGTHS:])
    kernel = np.exp(parameters[SMOOTH]) * _matern(_distances(one[:, :numbers] / lengths, two[:, :numbers] / lengths))
    kernel += np.exp(parameters[LINEAR]) * (one[:, :numbers] @ two[:, :numbers].T) / numbers
    if one.shape[1] > numbers:
        scale = np.exp(-parameters[CODE_LENGTH])
        kernel += np.exp(parameters[CODE]) * _matern(_distances(one[:, numbers:] * scale, two[:, numbers:] * scale))
    return kernel


def _fit_parameters(points: np.ndarray, values: np.ndarray, numbers: int) -> np.ndarray:
    """Return the parameters of greatest posterior density; gradients in closed form."""
    codes = points.shape[1] - numbers
    usual = np.full(LENGTHS + numbers, 0.5 * np.log(numbers) + 0.5)
    usual[[SMOOTH, LINEAR, NOISE, CODE]] = np.log([0.5, 0.5, 0.2, 0.2])
    usual[CODE_LENGTH] = 0.5 * np.log(max(codes, 1)) + 0.5
    width_of_prior = np.full(len(usual), 1.0)
    width_of_prior[[SMOOTH, LINEAR, NOISE, CODE]] = 1.5
    smooth, code = points[:, :numbers], points[:, numbers:]
    gram, apart = smooth @ smooth.T / numbers, _distances(code, code)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = smooth / np.exp(parameters[LENGTHS:])
        distance = _distances(scaled, scaled)
        decay = np.exp(parameters[SMOOTH] - distance)
        parts = {SMOOTH: (1 + distance + distance**2 / 3) * decay, LINEAR: np.exp(parameters[LINEAR]) * gram}
        if codes:
            far = apart * np.exp(-parameters[CODE_LENGTH])
            parts[CODE] = np.exp(parameters[CODE]) * _matern(far)
        kernel = sum(parts.values())
        noise = np.exp(parameters[NOISE])
        kernel[np.diag_indices(len(kernel))] += noise + 1e-6
        try:
            factor = cho_factor(kernel, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(parameters)
        weights = cho_solve(factor, values, check_finite=False)
        inner = cho_solve(factor, np.eye(len(values)), check_finite=False) - np.outer(weights, weights)
        gradient = np.zeros_like(parameters)  # of the loss: 0.5 * sum(inner * dK)
        for place, part in parts.items():
            gradient[place] = 0.5 * np.vdot(inner, part)
        gradient[NOISE] = 0.5 * noise * np.trace(inner)
        if codes:
            steep = far**2 * (1 + far) * np.exp(parameters[CODE] - far) / 3
            gradient[CODE_LENGTH] = 0.5 * np.vdot(inner, steep)
        # d Matern / d log length_j = (5/3) (1 + distance) exp(-distance) * squared difference_j
        common = inner * (5 / 3) * (1 + distance) * decay
        gradient[LENGTHS:] = (common.sum(axis=1) @ scaled**2) - (scaled * (common @ scaled)).sum(axis=0)
        value = 0.5 * values @ weights + np.log(np.diag(factor[0])).sum()
        away = (parameters - usual) / width_of_prior
        return value + 0.5 * away @ away, gradient + away / width_of_prior

    bounds = [(-12, 4)] * LENGTHS + [(-2.5, 6)] * numbers
    bounds[NOISE], bounds[CODE_LENGTH] = (-9, 2), (-1, 6)
    return minimize(loss, usual, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 50}).x
