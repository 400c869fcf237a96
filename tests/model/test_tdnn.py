import pytest
import torch
from helpers.archs import TINY, archs
from hypothesis import given, settings
from hypothesis import strategies as st

from etdnn.model import Arch
from etdnn.model.tdnn import AttentiveStatistics, Res2, Tdnn


@settings(max_examples=20, deadline=None)
@given(archs(TINY), st.integers(1, 40), st.integers(1, 3))
def test_any_arch_any_length(arch, frames, batch):
    net = Tdnn(arch, 20, 12).eval()
    with torch.no_grad():
        out = net(torch.randn(batch, 20, frames))
    assert out.shape == (batch, 12) and out.isfinite().all()


def test_embedding_does_not_depend_on_neighbours():
    torch.manual_seed(0)
    net = Tdnn(Arch.parse("2-64-32-48-3-5-1-72")).eval()
    x = torch.randn(5, 80, 90)
    with torch.no_grad():
        together, alone = net(x), torch.cat([net(one[None]) for one in x])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_res2_chain():
    """Each group receives its neighbour's result; the eighth passes unchanged."""
    unit = Res2(16, 1, 1).eval()
    for stage in unit.stages:
        torch.nn.init.eye_(stage.conv.weight[:, :, 0].data)
        stage.conv.weight.data[:, :, 0] = torch.eye(2)
        stage.norm.eps = 0.0
    x = torch.ones(1, 16, 4)
    with torch.no_grad():
        out = unit(x)[0, :, 0]
    expected = torch.tensor([1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 1, 1.0])
    torch.testing.assert_close(out, expected)


def test_pooling_is_a_weighted_mean_and_deviation():
    pooling = AttentiveStatistics(8)
    with torch.no_grad():
        pooling.up.weight.zero_()
        x = torch.randn(3, 8, 50)
        mean, deviation = pooling(x).chunk(2, dim=1)
        torch.testing.assert_close(mean, x.mean(2))
        torch.testing.assert_close(deviation, x.std(2, correction=0))
        constant = pooling(torch.full((1, 8, 5), 3.0))
    assert constant.isfinite().all() and constant[0, 8:].max() < 1e-2


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_pooling_takes_its_statistics_in_fp32_under_autocast(kind):
    """A deviation that is small beside the mean is lost where E[x^2] - m^2 is taken in 8 or 11 bits."""
    torch.manual_seed(0)
    pooling, x = AttentiveStatistics(8), 8 + 0.05 * torch.randn(3, 8, 200)
    with torch.no_grad(), torch.autocast("cpu", kind):
        found = pooling(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.cat([x.mean(2), x.std(2, correction=0)], dim=1), rtol=0.02, atol=0)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_dilation_grows_with_the_block(index):
    net = Tdnn(Arch(3, (16,) * 4, (3,) * 4, 16))
    assert all(stage.conv.dilation == (index + 2,) for stage in net.blocks[index].res2.stages)
