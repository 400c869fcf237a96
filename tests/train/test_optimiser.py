import dataclasses

import pytest
import torch

from etdnn.model.supernet import Supernet
from etdnn.train.losses import MarginHead
from etdnn.train.optimiser import make_optimiser, rate_factor
from etdnn.train.settings import Loss, Optimiser, Phase, TrainSettings


@pytest.mark.parametrize(("kind", "factor"), [("sgd", 4), ("adam", 2), ("adamw", 2)])
def test_the_rate_follows_the_batch_by_the_stated_rule(kind, factor):
    settings = TrainSettings([Phase("p", 1)], batch=512, rate_batch=128, optimiser=Optimiser(kind))
    assert rate_factor(settings) == pytest.approx(factor)
    assert rate_factor(dataclasses.replace(settings, rate_batch=0)) == 1
    assert rate_factor(dataclasses.replace(settings, batch=128)) == 1


@pytest.mark.parametrize("decay_all", [True, False])
def test_norms_biases_and_kernel_matrices_may_be_spared_decay(space, decay_all):
    supernet, head = Supernet(space), MarginHead(12, 4, Loss())
    settings = TrainSettings([Phase("p", 1)], optimiser=Optimiser("sgd", weight_decay=0.5, decay_all=decay_all))
    optimiser = make_optimiser(settings, supernet, head)
    decay = {id(one): group["weight_decay"] for group in optimiser.param_groups for one in group["params"]}
    named = [*supernet.named_parameters(), *head.named_parameters()]
    assert set(decay) == {id(parameter) for _, parameter in named}, "each parameter once"
    spared = {name for name, parameter in named if not decay[id(parameter)]}
    if decay_all:
        assert not spared
    else:
        assert spared == {name for name, one in named if one.ndim == 1 or name.startswith("kernels.")}
        assert any(name.startswith("kernels.") for name in spared) and "network.aggregation.weight" not in spared


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_a_parameter_without_gradient_is_stepped_too(kind):
    settings = TrainSettings([Phase("p", 1)], optimiser=Optimiser(kind, weight_decay=0.1))
    module = torch.nn.Linear(3, 2)
    before = module.weight.detach().clone()
    optimiser = make_optimiser(settings, module)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    assert not torch.equal(module.weight, before), "weight decay reaches what was not drawn"


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_looks_ahead_only_with_momentum(momentum):
    settings = TrainSettings([Phase("p", 1)], optimiser=Optimiser("sgd", momentum=momentum))
    (group,) = make_optimiser(settings, torch.nn.Linear(3, 2)).param_groups
    assert (group["momentum"], group["nesterov"]) == (momentum, momentum > 0)
