import pytest
import torch
from helpers.archs import TINY, archs
from helpers.parity import CASES, SUPERNET, arrays
from hypothesis import given, settings

from etdnn.deploy.published import import_supernet
from etdnn.errors import UsageError
from etdnn.model import Arch
from etdnn.model.supernet import Supernet
from etdnn.model.tdnn import Tdnn


@pytest.fixture(scope="module")
def published() -> Supernet:
    return import_supernet(SUPERNET)


def make_tiny() -> Supernet:
    """A supernet whose batch-norm tensors and kernel matrices are not those of a fresh one."""
    torch.manual_seed(1)
    supernet = Supernet(TINY)
    with torch.no_grad():
        for matrix in supernet.kernels.values():
            matrix += 0.3 * torch.randn_like(matrix)
        for name, value in supernet.network.state_dict().items():
            if "norm" in name and value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5)
    return supernet.eval()


@pytest.fixture(scope="module")
def tiny() -> Supernet:
    return make_tiny()


@pytest.fixture
def alive() -> Supernet:
    """The same with positive convolutions, so that no ReLU is dead and every used weight has a gradient."""
    supernet = make_tiny()
    with torch.no_grad():
        for name, value in supernet.network.named_parameters():
            if name.endswith("conv.weight"):
                value.abs_()
    return supernet


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["arch"])
def test_the_authors_outputs(published, case):
    expected = arrays("supernet_small")
    x, arch = torch.from_numpy(expected["input"]), Arch.parse(case["arch"])
    with torch.no_grad():
        for net in (published.derive(arch), lambda x: published(x, arch)):
            torch.testing.assert_close(net(x), torch.from_numpy(expected[case["eval"]]), atol=1e-5, rtol=0)
        published.train()
        in_training = published(x, arch)
        published.eval()
        torch.testing.assert_close(in_training, torch.from_numpy(expected[case["train"]]), atol=1e-3, rtol=0)
        torch.testing.assert_close(published.derive(arch).train()(x), in_training, atol=1e-3, rtol=0)


@settings(max_examples=25, deadline=None)
@given(archs(TINY))
def test_slice_equals_static_network(tiny, arch):
    static = Tdnn(arch, 20, 12).eval()
    static.load_state_dict(tiny.weights(arch))
    derived = tiny.derive(str(arch))
    x = torch.randn(2, 20, 60)
    with torch.no_grad():
        assert torch.equal(static(x), derived(x))
        torch.testing.assert_close(tiny(x, arch), derived(x), atol=1e-6, rtol=1e-6)
    assert static.calibrated and not derived.calibrated


def used_slices(arch: Arch) -> dict[str, torch.Tensor]:
    """Mark, with index lists, which entries of the largest network's parameters the subnet uses."""
    big = TINY.largest
    stem, cat = arch.widths[0], arch.cat
    masks = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in Supernet(TINY).named_parameters()}

    def mark(name: str, rows: list[int], columns: list[int] | None = None) -> None:
        name = f"network.{name}"
        if columns is None:
            masks[name][rows] = True
        else:
            masks[name][torch.tensor(rows)[:, None], torch.tensor(columns)] = True

    def norm(name: str, rows: list[int]) -> None:
        mark(f"{name}.weight", rows)
        mark(f"{name}.bias", rows)

    mark("stem.conv.weight", range_list(stem), range_list(20))
    norm("stem.norm", range_list(stem))
    for block in range(arch.depth):
        part, largest_part = arch.widths[block + 1] // 8, big.widths[0] // 8
        inner = [group * largest_part + index for group in range(8) for index in range(part)]
        mark(f"blocks.{block}.first.conv.weight", inner, range_list(stem))
        norm(f"blocks.{block}.first.norm", inner)
        for stage in range(7):
            mark(f"blocks.{block}.res2.stages.{stage}.conv.weight", range_list(part), range_list(part))
            norm(f"blocks.{block}.res2.stages.{stage}.norm", range_list(part))
        mark(f"blocks.{block}.last.conv.weight", range_list(stem), inner)
        norm(f"blocks.{block}.last.norm", range_list(stem))
        mark(f"blocks.{block}.se.squeeze.weight", range_list(stem // 4), range_list(stem))
        mark(f"blocks.{block}.se.squeeze.bias", range_list(stem // 4))
        mark(f"blocks.{block}.se.excite.weight", range_list(stem), range_list(stem // 4))
        mark(f"blocks.{block}.se.excite.bias", range_list(stem))
    concatenated = [block * big.widths[0] + channel for block in range(arch.depth) for channel in range(stem)]
    mark("aggregation.weight", range_list(cat), concatenated)
    mark("pooling.down.weight", range_list(128), range_list(cat))
    mark("pooling.up.weight", range_list(cat), range_list(128))
    halves = [*range(cat), *range(big.cat, big.cat + cat)]
    norm("pooling_norm", halves)
    mark("embedding.weight", range_list(12), halves)
    mark("embedding.bias", range_list(12))
    norm("embedding_norm", range_list(12))
    for name, kernel in elastic(arch):
        margin = (big.kernels[0] - kernel) // 2
        masks[f"network.{name}.conv.weight"][:, :, :margin] = False
        masks[f"network.{name}.conv.weight"][:, :, big.kernels[0] - margin :] = False
        for size in range(3, kernel - 1, -2):
            matrix = masks[f"kernels.{name.replace('.', '_')}_to{size}"]
            matrix[:] = True
            if kernel < size:
                # only the centre of the 3-tap kernel goes on to one tap: one column of the matrix counts
                matrix[:] = False
                matrix[:, 1] = True
                masks[f"network.{name}.conv.weight"][:, :, 1:-1] |= masks[f"network.{name}.conv.weight"][:, :, 2:3]
    return masks


def elastic(arch: Arch) -> list[tuple[str, int]]:
    stages = [(f"blocks.{b}.res2.stages.{s}", arch.kernels[b + 1]) for b in range(arch.depth) for s in range(7)]
    return [("stem", arch.kernels[0]), *stages]


def range_list(size: int) -> list[int]:
    return list(range(size))


@pytest.mark.parametrize(
    "text", ["2-16-24-16-1-3-5-24", "3-32-32-32-32-5-5-5-5-40", "2-24-16-32-3-1-1-24", "3-16-32-16-24-1-1-3-5-40"]
)
def test_gradients_arrive_in_the_used_slices_and_nowhere_else(alive, text):
    torch.manual_seed(2)
    alive.train()
    (alive(torch.randn(6, 20, 50), Arch.parse(text)) * torch.randn(6, 12)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in alive.named_parameters()}
    reached = []
    for name, mask in used_slices(Arch.parse(text)).items():
        gradient = torch.zeros(mask.shape) if gradients[name] is None else gradients[name]
        assert not gradient[~mask].any(), f"{name}: gradient outside the slice"
        assert gradient[mask].any() or not mask.any(), f"{name}: no gradient in the slice"
        reached.append(gradient[mask].ne(0))
    assert torch.cat(reached).float().mean() > 0.9, "only what dead ReLUs hide may be without gradient"


def test_gradients_are_those_of_the_static_network(alive):
    arch = Arch.parse("2-16-24-16-5-5-5-24")
    x, direction = torch.randn(8, 20, 40), torch.randn(8, 12)
    derived = alive.derive(arch).train()
    (derived(x) * direction).sum().backward()
    alive.train()
    (alive(x, arch) * direction).sum().backward()
    part = alive.network.blocks[1].res2.stages[3].conv.weight.grad[:2, :2]
    expected = derived.blocks[1].res2.stages[3].conv.weight.grad
    torch.testing.assert_close(part, expected, atol=1e-4 * expected.abs().max().item(), rtol=0)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("text", ["2-16-24-16-1-3-5-24", "3-32-32-32-32-5-5-5-5-40"])
def test_gradients_add_to_those_that_are_there(alive, text, in_place):
    x, direction = torch.randn(6, 20, 50), torch.randn(6, 12)
    alive.train()
    alive.gradients_in_place = in_place
    (alive(x, Arch.parse(text)) * direction).sum().backward()
    fresh = {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in alive.named_parameters()}
    for parameter in alive.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    (alive(x, Arch.parse(text)) * direction).sum().backward()
    for name, parameter in alive.named_parameters():
        scale = fresh[name].abs().max().item() + 1
        torch.testing.assert_close(parameter.grad, fresh[name] + 0.5, atol=1e-6 * scale, rtol=1e-5)


def test_the_graph_is_whole_unless_a_training_loop_asks_otherwise(alive):
    """`torch.autograd.grad` and hooks see all, although there is a .grad; in place: the same bits."""
    arch, x, direction = Arch.parse("2-16-24-16-1-3-5-24"), torch.randn(6, 20, 50), torch.randn(6, 12)
    alive.train()
    for parameter in alive.parameters():
        parameter.grad = torch.zeros_like(parameter)
    seen = []
    hook = alive.network.aggregation.weight.register_hook(lambda gradient: seen.append(gradient.clone()))
    names, parameters = zip(*alive.named_parameters(), strict=True)
    loss = (alive(x, arch) * direction).sum()
    gradients = dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))
    assert not any(parameter.grad.any() for parameter in parameters)
    assert torch.equal(seen[0], gradients["network.aggregation.weight"]) and seen[0].any()
    hook.remove()
    alive.gradients_in_place = True
    (alive(x, arch) * direction).sum().backward()
    for name, parameter in alive.named_parameters():
        expected = torch.zeros_like(parameter) if gradients[name] is None else gradients[name]
        assert torch.equal(parameter.grad, expected), name


def test_networks_of_any_width_share_one_skeleton(tiny):
    tiny.train()
    for text in ("2-16-24-16-1-3-5-24", "2-32-16-24-1-3-5-40"):
        tiny(torch.randn(3, 20, 50), Arch.parse(text))
    assert len([key for key in tiny._skeletons if key[0].kernels == (1, 3, 5)]) <= 2, (
        "one in training, one in eval mode"
    )
    tiny.eval()


def test_a_training_step_leaves_the_stored_statistics(tiny):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    tiny.train()
    for text in ("2-16-24-16-1-3-5-24", str(TINY.largest)):
        tiny(5 * torch.randn(3, 20, 50) + 1, Arch.parse(text))
    tiny.eval()
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())


def test_a_derived_network_shares_no_memory(tiny):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    derived = tiny.derive(TINY.largest)
    with torch.no_grad():
        for value in derived.state_dict().values():
            value.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())


def test_what_does_not_fit_is_refused(tiny):
    with pytest.raises(UsageError, match="does not fit in the supernet, whose largest network is 3-32"):
        tiny.derive("3-40-32-32-32-5-5-5-5-40")


def test_fresh_kernel_matrices_are_centre_crops():
    supernet = Supernet(TINY)
    weights = supernet.weights(Arch.parse("2-32-32-32-3-1-5-40"))
    full = supernet.network.state_dict()
    assert torch.equal(weights["stem.conv.weight"], full["stem.conv.weight"][:, :, 1:4])
    name = "blocks.0.res2.stages.6.conv.weight"
    assert torch.equal(weights[name], full[name][:, :, 2:3])
