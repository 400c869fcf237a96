"""The optimiser over network and head, and the rule by which its rate follows the batch."""

import math

import torch
from torch import nn

from etdnn.train.settings import TrainSettings


def rate_factor(settings: TrainSettings) -> float:
    """Return by what the rates of all schedules are multiplied: the batch over `rate_batch`, for Adam its square root.

    Sources: Goyal et al. 2017 (SGD, linear); Malladi et al. 2022 (adaptive methods, square root). Without `rate_batch`
    rates hold as they stand, whatever the batch.
    """
    if not settings.rate_batch:
        return 1.0
    ratio = settings.batch / settings.rate_batch
    return ratio if settings.optimiser.kind == "sgd" else math.sqrt(ratio)


def make_optimiser(settings: TrainSettings, *modules: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser over `modules`; without `decay_all`, vectors and kernel matrices do not decay."""
    options = settings.optimiser
    decayed, free = [], []
    for name, parameter in (entry for module in modules for entry in module.named_parameters()):
        spared = not options.decay_all and (parameter.ndim < 2 or name.startswith("kernels."))
        (free if spared else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if options.kind == "sgd":
        nesterov = options.nesterov and options.momentum > 0  # without momentum there is nothing to look ahead with
        return torch.optim.SGD(groups, lr=0.1, momentum=options.momentum, nesterov=nesterov, fused=True)
    kind = torch.optim.Adam if options.kind == "adam" else torch.optim.AdamW
    return kind(groups, lr=1e-3, fused=True)
