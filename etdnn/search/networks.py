"""Neural predictors: the published one-hot network, and an ensemble of small ones on numeric features."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

PUBLISHED_WIDTH = 400
PUBLISHED_BATCH = 256
PUBLISHED_EPOCHS = 50
LEAST_STEPS = 400
"""Steps taken at least: fifty epochs of a hundred samples alone would leave the network untrained."""


class OneHotNetwork:
    """The published predictor: batch norm, three layers of 400, one output; Adam, weight decay 1e-3, halved midway.

    Batch 256, 50 epochs but at least 400 steps. Targets are standardised and predictions put back.
    Source: reference/efficienttdnn.md, section 5.2.
    """

    def fit(self, features: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> "OneHotNetwork":
        """Fit to one-hot `features` [n, F] and `targets` [n]."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        self.mean, self.spread = float(targets.mean()), max(float(targets.std()), 1e-9)
        inputs = torch.from_numpy(np.asarray(features, dtype=np.float32))
        wanted = torch.from_numpy(((targets - self.mean) / self.spread).astype(np.float32))
        self.network = _published(inputs.shape[1])
        _initialise(self.network, generator)
        batch = min(PUBLISHED_BATCH, len(inputs))
        each = len(inputs) // batch
        epochs = max(PUBLISHED_EPOCHS, -(-LEAST_STEPS // each))
        optimiser = torch.optim.Adam(self.network.parameters(), lr=1e-3, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, max(1, epochs // 2), 0.5)
        self.network.train()
        for _ in range(epochs):
            order = torch.randperm(len(inputs), generator=generator)
            for step in range(each):
                part = order[step * batch : (step + 1) * batch]
                optimiser.zero_grad(set_to_none=True)
                functional.mse_loss(self.network(inputs[part])[:, 0], wanted[part]).backward()
                optimiser.step()
            schedule.step()
        self.network.eval()
        return self

    @torch.inference_mode()
    def predict(self, features: np.ndarray, *, deviation: bool = False):
        """Return the predictions [n]; with `deviation` also zeros, for one network knows no doubt."""
        inputs = torch.from_numpy(np.asarray(features, dtype=np.float32))
        values = torch.cat([self.network(part)[:, 0] for part in inputs.split(8192)]).double().numpy()
        values = values * self.spread + self.mean
        return (values, np.zeros_like(values)) if deviation else values

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that `from_state` rebuilds the network from."""
        arrays = {name: value.numpy() for name, value in self.network.state_dict().items()}
        return {**arrays, "mean": np.array(self.mean), "spread": np.array(self.spread)}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> "OneHotNetwork":
        """Return the predictor of `state()`."""
        predictor = cls()
        predictor.mean, predictor.spread = float(state["mean"]), float(state["spread"])
        predictor.network = _published(state["0.weight"].shape[0])
        arrays = {name: torch.from_numpy(np.array(state[name])) for name in predictor.network.state_dict()}
        predictor.network.load_state_dict(arrays)
        predictor.network.eval()
        return predictor


def _published(width: int) -> nn.Sequential:
    wide = PUBLISHED_WIDTH
    with torch.random.fork_rng(devices=[]):  # the default initialisation is replaced, the caller's stream untouched
        return nn.Sequential(
            nn.BatchNorm1d(width), nn.Linear(width, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU(),
            nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, 1),
        )  # fmt: skip


def _initialise(network: nn.Sequential, generator: torch.Generator) -> None:
    for layer in network:
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


class Ensemble:
    """Eight small tanh-free networks (two layers of 64, SiLU) on numeric features, trained side by side.

    Their mean is the prediction, their disagreement the deviation. AdamW, cosine schedule, 600 steps, each member on
    its own bootstrap weights.
    """

    members, hidden, steps = 8, 64, 600

    def fit(self, features: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> "Ensemble":
        """Fit to numeric `features` [n, F] and `targets` [n]."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        self.shift, self.scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
        self.mean, self.spread = float(targets.mean()), max(float(targets.std()), 1e-9)
        inputs = torch.from_numpy(((features - self.shift) / self.scale).astype(np.float32))
        wanted = torch.from_numpy(((targets - self.mean) / self.spread).astype(np.float32))
        sizes = [inputs.shape[1], self.hidden, self.hidden, 1]
        self.layers: list[Tensor] = []
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
            self.layers.append(torch.randn(self.members, fan_in, fan_out, generator=generator) * fan_in**-0.5)
            self.layers.append(torch.zeros(self.members, 1, fan_out))
        for tensor in self.layers:
            tensor.requires_grad_(True)
        weights = torch.empty(self.members, len(inputs)).exponential_(generator=generator)
        optimiser = torch.optim.AdamW(self.layers, lr=1e-2, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        batch = min(512, len(inputs))
        for _ in range(self.steps):
            part = torch.randperm(len(inputs), generator=generator)[:batch]
            optimiser.zero_grad(set_to_none=True)
            error = (self._forward(inputs[part]) - wanted[part]) ** 2
            (error * weights[:, part]).mean(dim=1).sum().backward()
            optimiser.step()
            schedule.step()
        self.layers = [tensor.detach() for tensor in self.layers]
        return self

    def _forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs.expand(self.members, *inputs.shape)
        for index in range(0, len(self.layers), 2):
            hidden = torch.baddbmm(self.layers[index + 1], hidden, self.layers[index])
            hidden = functional.silu(hidden) if index + 2 < len(self.layers) else hidden
        return hidden[:, :, 0]

    @torch.inference_mode()
    def predict(self, features: np.ndarray, *, deviation: bool = False):
        """Return the mean prediction [n]; with `deviation` also the members' standard deviation."""
        inputs = torch.from_numpy(((features - self.shift) / self.scale).astype(np.float32))
        values = torch.cat([self._forward(part) for part in inputs.split(8192)], dim=1).double().numpy()
        values = values * self.spread + self.mean
        return (values.mean(axis=0), values.std(axis=0)) if deviation else values.mean(axis=0)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that `from_state` rebuilds the ensemble from."""
        arrays = {f"layer{index}": tensor.numpy() for index, tensor in enumerate(self.layers)}
        return {**arrays, "shift": self.shift, "scale": self.scale, "mean": np.array(self.mean),
                "spread": np.array(self.spread)}  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> "Ensemble":
        """Return the ensemble of `state()`."""
        ensemble = cls()
        ensemble.shift, ensemble.scale = state["shift"], state["scale"]
        ensemble.mean, ensemble.spread = float(state["mean"]), float(state["spread"])
        count = sum(name.startswith("layer") for name in state)
        ensemble.layers = [torch.from_numpy(np.array(state[f"layer{index}"])) for index in range(count)]
        return ensemble
