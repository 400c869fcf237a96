import itertools

import pytest
from helpers.archs import TINY, archs
from hypothesis import given

from etdnn.errors import UserError
from etdnn.model import Arch, SearchSpace


@pytest.mark.parametrize("name, count", [("paper_coarse", 4_066_875), ("paper_fine", 10_021_183_582_095)])
def test_published_spaces(name, count):
    space = SearchSpace.named(name)
    assert space.count() == count
    assert str(space.largest) == "4-512-512-512-512-512-5-5-5-5-5-1536"
    assert str(space.smallest) == "2-128-128-128-1-1-1-384"
    assert (space.in_feats, space.embedding) == (80, 192)


def test_fine_space_holds_small_and_coarse_does_not():
    small = Arch.parse("2-256-256-256-3-3-3-400")
    assert SearchSpace.named("paper_fine").contains(small)
    assert not SearchSpace.named("paper_coarse").contains(small)
    assert SearchSpace.named("paper_coarse").holds(small)


def test_count_is_the_number_of_distinct_archs():
    space = SearchSpace("few", (1, 2), (8, 16), (1, 3), (8,))
    listed = {
        Arch(depth, widths, kernels, cat)
        for depth in space.depths
        for widths in itertools.product(space.widths, repeat=depth + 1)
        for kernels in itertools.product(space.kernels, repeat=depth + 1)
        for cat in space.cats
    }
    assert space.count() == len(listed) == 16 + 64
    assert all(space.contains(arch) for arch in listed)


@given(archs(TINY))
def test_drawn_archs_are_contained_and_fit(arch):
    assert TINY.contains(arch) and TINY.holds(arch)
    assert SearchSpace.from_dict(TINY.to_dict()) == TINY


@pytest.mark.parametrize(
    "text", ["4-16-16-16-16-16-1-1-1-1-1-24", "2-40-16-16-1-1-1-24", "2-16-16-16-7-1-1-24", "2-16-16-16-1-1-1-48"]
)
def test_outside(text):
    assert not TINY.contains(Arch.parse(text)) and not TINY.holds(Arch.parse(text))


def test_phases_of_the_paper_by_restriction():
    coarse = SearchSpace.named("paper_coarse")
    fixed = {"widths": [512], "cats": [1536]}
    assert coarse.restrict(depths=[4], **fixed).count() == 243
    assert coarse.restrict(**fixed).count() == 351
    assert coarse.restrict(widths=[256, 384, 512], cats=[768, 1152, 1536]).count() == 199_017
    with pytest.raises(UserError, match="500 is not among its widths"):
        coarse.restrict(widths=[500])


def test_hash_is_of_the_choices_not_of_the_name():
    assert TINY.restrict(name="other").hash == TINY.hash
    assert TINY.restrict(depths=[2]).hash != TINY.hash


@pytest.mark.parametrize(
    "line, message",
    [
        ("width: [12, 16]", "multiple of 8"),
        ("kernel: [2]", "odd"),
        ("cat: []", "no choice for cats"),
        ("widths: [16]", "unknown key 'widths'"),
        ("depth: two", "depth: expected a list"),
        ("width: {first: 8, last: 16, pace: 8}", "pace"),
        ("width: {first: 8, last: 16, step: 0}", "step"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, line, message):
    keys = {
        "name": "name: x",
        "depth": "depth: [2]",
        "width": "width: [16]",
        "kernel": "kernel: [1]",
        "cat": "cat: [8]",
    }
    keys[line.split(":")[0]] = line
    path = tmp_path / "space.yaml"
    path.write_text("\n".join(keys.values()))
    with pytest.raises(UserError, match=message) as raised:
        SearchSpace.load(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)


def test_find_takes_a_name_or_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("{name: mine, depth: [2, 3], width: {first: 16, last: 32, step: 8}, kernel: [1, 3], cat: [24]}")
    assert SearchSpace.find(path).widths == (16, 24, 32)
    assert SearchSpace.find("paper_coarse") == SearchSpace.named("paper_coarse")
    with pytest.raises(UserError, match="paper_coarse, paper_fine"):
        SearchSpace.find("mine")
