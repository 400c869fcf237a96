"""Batch-norm re-estimation: the statistics are those of the data, nothing else changes, nothing old is left."""

import pytest
import torch
from helpers.tiny_corpus import make_set, tiny_space
from torch import nn

from etdnn.data.ark import FeatureReader
from etdnn.embed.batchnorm import calibration_batches, calibration_hash, reestimate
from etdnn.errors import UserError
from etdnn.model.tdnn import Tdnn


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Tdnn(tiny_space().largest).eval()
    net.calibrated = False
    return net


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 80, 50, generator=generator) + size for size in (8, 8, 5)]


def statistics(net):
    return {name: buffer.clone() for name, buffer in net.named_buffers() if "running" in name}


def test_the_first_layer_has_the_statistics_of_all_values(net, batches):
    seen = torch.cat([torch.relu(net.stem.conv(batch)).transpose(0, 1).flatten(1) for batch in batches], dim=1)
    reestimate(net, batches)
    assert torch.allclose(net.stem.norm.running_mean, seen.mean(1), atol=1e-5)
    assert torch.allclose(net.stem.norm.running_var, seen.var(1, unbiased=True), rtol=1e-4)
    assert net.stem.norm.num_batches_tracked == 3


def test_equal_to_pytorch_for_one_batch(net, batches):
    reestimate(net, batches[:1])
    got = statistics(net)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        net.train()(batches[0])
    for name, buffer in statistics(net).items():
        assert torch.allclose(got[name], buffer, rtol=1e-5, atol=1e-6), name


def test_nothing_else_changes(net, batches):
    net.blocks.train()  # a mixture of modes, which must come back
    modes = [module.training for module in net.modules()]
    momenta = [module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm1d)]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random = torch.get_rng_state()
    assert reestimate(net, batches) is net and net.calibrated
    assert torch.equal(random, torch.get_rng_state())
    assert [module.training for module in net.modules()] == modes
    assert [module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm1d)] == momenta
    assert not any(module._forward_pre_hooks for module in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if "running" in name or "num_batches" in name}


@pytest.mark.parametrize("old", [1e6, float("nan"), float("inf")])
def test_old_statistics_leave_no_trace(net, batches, old):
    reestimate(net, batches)
    first = statistics(net)
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.fill_(old)
        else:
            buffer.fill_(77)
    reestimate(net, batches)
    assert all(torch.equal(buffer, first[name]) for name, buffer in statistics(net).items())


def test_input_batches_stay_as_they_are(net, batches):
    copies = [batch.clone() for batch in batches]
    reestimate(net, iter(batches))
    assert all(torch.equal(one, other) for one, other in zip(batches, copies, strict=True))


@pytest.mark.parametrize(
    ("make", "part"),
    [(lambda batches: [], "no calibration crops"),
     (lambda batches: [batches[0], batches[1][:1]], "batch 1 has 1 crops"),
     (lambda batches: [batches[0] * float("nan")], "not finite")],
)  # fmt: skip
def test_after_an_error_everything_is_as_before(net, batches, make, part):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(UserError, match=part):
        reestimate(net, make(batches))
    assert not net.calibrated
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(module.training for module in net.modules())


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "train"
    make_set(folder, "tr", speakers=4, utterances=5, seed=0)
    return FeatureReader(folder / "feats.scp")


def test_crops_are_fixed_by_the_seed(reader):
    options = {"crops": 13, "frames": 30, "batch": 4}
    one, same = (calibration_batches(reader, "mean", seed=1, **options) for _ in range(2))
    other = calibration_batches(reader, "mean", seed=2, **options)
    assert calibration_hash(one) == calibration_hash(same) != calibration_hash(other)
    assert [tuple(batch.shape) for batch in one] == [(4, 80, 30), (4, 80, 30), (5, 80, 30)]
    assert torch.cat(one).mean(2).abs().max() < 1e-5
    deviations = torch.cat(calibration_batches(reader, "mean_variance", seed=1, **options)).std(2, unbiased=False)
    assert torch.allclose(deviations, torch.ones(()), atol=1e-3)


def test_every_utterance_comes_once_before_one_comes_twice(reader):
    crops = torch.cat(calibration_batches(reader, "none", seed=0, crops=30, frames=60, batch=8))
    wholes = {key: reader.read(key) for key in reader.keys}
    sources = [next(key for key in wholes if crop in wholes[key]) for crop in (one[0, 0].item() for one in crops)]
    assert set(sources[:20]) == set(reader.keys) and len(set(sources[20:])) == 10


def test_too_few_crops(reader):
    with pytest.raises(UserError, match="at least 2 crops"):
        calibration_batches(reader, "mean", seed=0, crops=1, frames=30)
