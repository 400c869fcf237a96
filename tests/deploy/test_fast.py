import copy
import threading

import pytest
import torch
from helpers.archs import TINY, archs
from helpers.models import random_net
from hypothesis import given, settings
from hypothesis import strategies as st

from etdnn.deploy import fast
from etdnn.deploy.fast import accelerate
from etdnn.embed.extract import embed_crops, embed_features
from etdnn.errors import UserError
from etdnn.model import Arch
from etdnn.model.tdnn import Tdnn

DEEP = "4-64-128-32-16-64-5-5-3-1-5-120"


def scrambled(net: Tdnn, seed: int = 0) -> Tdnn:
    """Return `net` with batch norms of any scale, sign included, as training may leave them."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in net.eval().state_dict().items():
            if "norm.running_var" in name:
                value.copy_(torch.rand_like(value) + 0.2)
            elif "norm" in name and value.is_floating_point():
                value.copy_(torch.randn_like(value))
    return net


def both(net: Tdnn, x: torch.Tensor, precision: str = "fp32") -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        return accelerate(net, precision)(x), net(x)


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    """1e-5 of the embedding's values, which random nets do not keep near 1."""
    assert (found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


@settings(max_examples=40, deadline=None)
@given(archs(TINY), st.integers(1, 40), st.integers(1, 3), st.integers(0, 9))
def test_any_arch_length_and_batch_gives_the_network_s_embeddings(arch, frames, batch, seed):
    net = scrambled(Tdnn(arch, TINY.in_feats, TINY.embedding), seed)
    assert_equal(*both(net, torch.randn(batch, TINY.in_feats, frames)))


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 50, 100, 301, 1000])
def test_lengths_from_below_the_dilated_kernels_to_ten_seconds(frames):
    assert_equal(*both(scrambled(Tdnn(Arch.parse(DEEP))), torch.randn(1, 80, frames)))


def test_an_input_without_movement_gives_the_same_direction_still():
    found, expected = both(random_net("2-256-256-256-3-3-3-400"), 8 * torch.randn(1, 80, 1).expand(1, 80, 1000))
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert torch.cosine_similarity(found, expected) > 0.99999


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batches_and_strided_input(batch):
    net = scrambled(Tdnn(Arch.parse("1-16-24-3-5-40")))
    assert_equal(*both(net, torch.randn(batch, 90, 80).transpose(1, 2)))


def test_calls_of_different_sizes_share_buffers_without_a_trace():
    net = scrambled(Tdnn(Arch.parse(DEEP)))
    quick = accelerate(net)
    inputs = [torch.randn(batch, 80, frames) for batch, frames in ((1, 200), (2, 30), (1, 3), (3, 120), (1, 200))]
    first = [quick(x) for x in inputs]
    assert all(torch.equal(quick(x), result) for x, result in zip(reversed(inputs), reversed(first), strict=True))
    assert all(torch.equal(accelerate(net)(x), result) for x, result in zip(inputs, first, strict=True))


def test_pooling_in_slices_of_channels(monkeypatch):
    monkeypatch.setattr(fast, "POOLING_CHANNELS", 32)
    assert_equal(*both(scrambled(Tdnn(Arch.parse(DEEP))), torch.randn(2, 80, 60)))


def test_attention_logits_beyond_the_range_of_the_exponential(monkeypatch):
    net = scrambled(Tdnn(Arch.parse(DEEP)))
    with torch.no_grad():
        net.pooling.up.weight.mul_(100)
    x = torch.randn(2, 80, 60)
    assert torch.cosine_similarity(*both(net, x)).min() > 0.99999
    assert torch.isfinite(accelerate(net, "bf16")(x)).all()
    monkeypatch.setattr(fast, "MAX_LOGIT", 1e9)
    assert not torch.isfinite(accelerate(net)(x)).all()


def test_attention_with_the_maximum_taken_off(monkeypatch):
    monkeypatch.setattr(fast, "MAX_LOGIT", 0)
    assert_equal(*both(scrambled(Tdnn(Arch.parse(DEEP))), torch.randn(2, 80, 60)))


def test_buffers_of_long_utterances_are_not_kept(monkeypatch):
    monkeypatch.setattr(fast, "KEPT_BYTES", 1 << 19)
    quick = accelerate(random_net())
    quick(torch.randn(1, 80, 50))
    assert quick._spaces
    quick(torch.randn(1, 80, 5000))
    assert not quick._spaces


def test_threads_do_not_disturb_each_other():
    quick = accelerate(random_net())
    inputs = [torch.randn(1, 80, 100 + 10 * number) for number in range(4)]
    expected, found = [quick(x) for x in inputs], {}

    def work(number: int) -> None:
        found[number] = [quick(inputs[number]) for _ in range(10)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(result, expected[number]) for number in range(4) for result in found[number])


@pytest.mark.parametrize("text", [DEEP, "2-256-256-256-3-3-3-400", "3-512-512-512-512-5-3-3-3-1536"])
def test_bf16_keeps_the_direction(text):
    net, x = random_net(text), 8 * torch.randn(3, 80, 200)
    quick, exact = both(net, x, "bf16")
    assert torch.cosine_similarity(quick, exact).min() > 0.9999
    assert not torch.equal(quick, exact) and quick.dtype == torch.float


def test_bf16_without_packed_weights(monkeypatch):
    def missing(*_):
        raise AttributeError("no such operator")

    net, x = random_net(DEEP), torch.randn(1, 80, 100)
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", missing)
    plain = accelerate(net, "bf16")(x)
    monkeypatch.undo()
    assert torch.cosine_similarity(accelerate(net, "bf16")(x), plain).min() > 0.99999


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_copies_and_moves(precision):
    net, x = random_net(DEEP), torch.randn(1, 80, 100)
    quick = accelerate(net, precision)
    expected = quick(x)
    for other in (copy.deepcopy(quick), copy.deepcopy(quick).to("cpu"), copy.deepcopy(quick).float().eval()):
        assert torch.equal(other(x), expected)
    with torch.no_grad():
        for value in net.parameters():
            value.zero_()
    assert torch.equal(quick(x), expected)
    for move in (lambda: quick.to(torch.float64), quick.half, lambda: quick.to("meta")):
        with pytest.raises(UserError, match="stays in float32 on the CPU"):
            move()
    assert torch.equal(quick(x), expected)


def test_gradients_and_modes_of_the_caller_do_not_matter():
    net = random_net()
    quick = accelerate(net.train())
    assert net.training
    x = torch.randn(1, 80, 60)
    expected = quick(x)
    with torch.inference_mode():
        assert torch.equal(quick(x), expected)
    assert torch.equal(quick(x.requires_grad_()), expected) and not expected.requires_grad


def test_functions_for_networks_take_it():
    net = random_net()
    quick = accelerate(net)
    features = [torch.randn(frames, 80).numpy() for frames in (60, 80, 60)]
    assert abs(embed_features(quick, features, "mean") - embed_features(net, features, "mean")).max() < 1e-5
    crops = torch.randn(5, 80, 50)
    assert abs(embed_crops(quick, crops, batch_frames=100) - embed_crops(net, crops)).max() < 1e-5


def test_refusals():
    net = random_net()
    with pytest.raises(UserError, match="'int4' is not one of fp32, bf16"):
        accelerate(net, "int4")
    net.calibrated = False
    with pytest.raises(UserError, match="never re-estimated"):
        accelerate(net)
