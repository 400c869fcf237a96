import json
import weakref

import numpy as np
import pytest
import torch
from helpers.archs import archs
from helpers.parity import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from etdnn.cli import main
from etdnn.model import Arch, SearchSpace
from etdnn.model.arch import arch_to_row
from etdnn.model.cost import arch_macs, arch_memory, arch_params, macs, memory, params
from etdnn.model.tdnn import Tdnn

# name: arch, MACs at 300 and 301 frames, parameters (reference of the published networks)
PUBLISHED = {
    "largest": ("4-512-512-512-512-512-5-5-5-5-5-1536", 1_929_261_440, 1_935_688_576, 7_550_528),
    "smallest kernels": ("4-512-512-512-512-512-1-1-1-1-1-1536", 1_742_483_840, 1_748_288_384, 6_927_936),
    "smallest": ("2-128-128-128-1-1-1-384", 83_474_560, 83_752_256, 443_968),
    "Base": ("3-512-512-512-512-5-3-3-3-1536", 1_440_413_568, 1_445_211_648, 5_789_760),
    "Mobile": ("3-384-256-256-256-5-3-3-3-768", 569_089_152, 570_984_384, 2_416_416),
    "Small": ("2-256-256-256-3-3-3-400", 203_395_520, 204_072_768, 899_200),
    "mixed": ("3-384-384-256-512-5-5-5-3-384", 537_039_360, 538_828_256, 2_161_088),
}

MIXED = SearchSpace("mixed", (1, 2, 3, 4), (8, 64, 256), (1, 3), (8, 64, 384))
"""Sizes so far apart that the peak lies now in the stem, now in a block, at the aggregation or in the pooling."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name):
    text, at_300, at_301, parameters = PUBLISHED[name]
    arch = Arch.parse(text)
    assert (arch_macs(arch, 300), arch_macs(arch), arch_params(arch)) == (at_300, at_301, parameters)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["arch"])
def test_counts_of_the_authors_implementation(case):
    arch = Arch.parse(case["arch"])
    expected = (case["macs_300"], case["macs_301"], case["params"])
    assert (arch_macs(arch, 300), arch_macs(arch, 301), arch_params(arch)) == expected


@pytest.mark.parametrize("text", [*(case["arch"] for case in CASES), "2-128-136-128-3-1-5-392"])
@pytest.mark.parametrize("frames", [50, 301])
def test_counts_of_the_network_itself(text, frames):
    arch = Arch.parse(text)
    net = Tdnn(arch).eval()
    elements = []
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.register_forward_hook(lambda _module, _inputs, output: elements.append(output.numel()))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 80, frames))
    assert counter.get_total_flops() == 2 * arch_macs(arch, frames, batch_norm=False)
    assert 2 * sum(elements) == arch_macs(arch, frames) - arch_macs(arch, frames, batch_norm=False)
    assert sum(weight.numel() for weight in net.parameters()) == arch_params(arch)


@settings(max_examples=30)
@given(st.lists(archs(), min_size=1, max_size=6), st.integers(1, 1000), st.integers(1, 100), st.integers(1, 300))
def test_populations_are_counted_as_their_archs(population, frames, in_feats, embedding):
    rows = np.stack([arch_to_row(arch, 7) for arch in population])
    sizes = {"in_feats": in_feats, "embedding": embedding}
    assert macs(rows, frames, **sizes).tolist() == [arch_macs(arch, frames, **sizes) for arch in population]
    assert params(rows, **sizes).tolist() == [arch_params(arch, **sizes) for arch in population]
    assert memory(rows, frames).tolist() == [arch_memory(arch, frames) for arch in population]


class LiveActivations(TorchDispatchMode):
    """Adds up the storages that are alive after every operation; `peak` is the most bytes, weights left out."""

    def __init__(self, net: torch.nn.Module):
        super().__init__()
        tensors = [*net.parameters(), *net.buffers()]
        self.weights = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.seen, self.peak = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        found = [leaf for leaf in tree_leaves((args, result)) if isinstance(leaf, torch.Tensor)]
        alive = [tensor for tensor in (reference() for reference in self.seen) if tensor is not None]
        self.seen = [weakref.ref(tensor) for tensor in (*alive, *found)]
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in (*alive, *found)}
        live = sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in self.weights)
        self.peak = max(self.peak, live)
        return result


@settings(max_examples=25)
@given(archs(MIXED), st.integers(4, 60))
def test_memory_is_the_peak_of_the_tensors_alive(arch, frames):
    net = Tdnn(arch).eval()
    with torch.no_grad(), LiveActivations(net) as live:
        net(torch.zeros(1, 80, frames))
    assert live.peak == arch_memory(arch, frames)


def test_other_input_and_embedding_sizes():
    net = Tdnn(Arch.parse("2-32-16-24-3-1-5-40"), 40, 64)
    sizes = {"in_feats": 40, "embedding": 64}
    assert arch_params(net.arch, **sizes) == sum(weight.numel() for weight in net.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(torch.zeros(1, 40, 77))
    assert counter.get_total_flops() == 2 * arch_macs(net.arch, 77, batch_norm=False, **sizes)


def test_command_prints_json_lines(capsys):
    assert main(["cost", "2-256-256-256-3-3-3-400", "3.512.512.512.512.5.3.3.3.1536", "--json"]) == 0
    small, base = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(small)[:3] == ["macs", "params", "frames"]
    assert (small["macs"], small["params"], small["frames"]) == (204_072_768, 899_200, 301)
    assert small["macs_conv_linear"] < small["macs"] and "batch-norm" in small["convention"]
    assert base["arch"] == "3-512-512-512-512-5-3-3-3-1536"


def test_command_prints_a_table_with_the_convention(capsys):
    assert main(["cost", "--space", "paper_coarse", "2-256-256-256-3-3-3-400", "--frames", "300"]) == 0
    out = capsys.readouterr().out
    assert "203,395,520 (203.40M)" in out and "300 frames" in out and out.splitlines()[1].endswith("no")


@pytest.mark.parametrize(
    "arguments", [["2-256"], [], ["2-256-256-256-3-3-3-401"], ["2-256-256-256-3-3-3-400", "--frames", "0"]]
)
def test_command_refuses_bad_text_in_one_line(arguments, capsys):
    assert main(["cost", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("etdnn cost: error: ")
