import numpy as np
import pytest
from helpers.archs import archs
from hypothesis import given
from hypothesis import strategies as st

from etdnn.errors import UsageError
from etdnn.model import Arch
from etdnn.model.arch import arch_to_row, row_to_arch

BASE = Arch(3, (512, 512, 512, 512), (5, 3, 3, 3), 1536)


@given(archs())
def test_text_and_arch_are_inverse(arch):
    assert Arch.parse(str(arch)) == arch
    assert str(Arch.parse(str(arch))) == str(arch)


@given(archs(), st.integers(0, 3))
def test_row_and_arch_are_inverse(arch, more):
    row = arch_to_row(arch, arch.depth + more)
    assert row.dtype == np.int64 and row.shape == (2 * (arch.depth + more) + 4,)
    assert row_to_arch(row) == arch


@pytest.mark.parametrize(
    "text",
    [
        "3-512-512-512-512-5-3-3-3-1536",
        "3.512.512.512.512.5.3.3.3.1536",
        "(3, [512, 512, 512, 512], [5, 3, 3, 3], 1536)",
        "(3,512,512,512,512,5,3,3,3,1536)",
        "(3, (512, 512, 512, 512), (5, 3, 3, 3), 1536)",
        "  3-512-512-512-512-5-3-3-3-1536\n",
    ],
)
def test_all_written_forms_are_read(text):
    assert Arch.parse(text) == BASE


@pytest.mark.parametrize(
    "text, part",
    [
        ("", "whole numbers"),
        ("base", "whole numbers"),
        ("3-512-512", "needs 10 numbers"),
        ("0-64-3-64", "depth 0"),
        ("1-64-64-3-3-60", "cat = 60"),
        ("1-60-64-3-3-64", "width w0 = 60"),
        ("1-64-0-3-3-64", "width w1 = 0"),
        ("1-64-64-3-4-64", "kernel k1 = 4"),
        ("1-64-64-0-3-64", "kernel k0 = 0"),
        ("1-64-64--3-3-64", "whole numbers"),
        ("1-64-6x-3-3-64", "whole numbers"),
        ("99999999999-64", "whole numbers"),
    ],
)
def test_bad_text_says_which_part(text, part):
    with pytest.raises(UsageError, match=part) as raised:
        Arch.parse(text)
    assert "\n" not in str(raised.value)


def test_parts_must_agree_with_depth():
    with pytest.raises(UsageError, match="needs 3 widths, got 2"):
        Arch(2, (64, 64), (3, 3, 3), 64)


def test_arch_is_a_value():
    assert len({BASE, Arch.parse(str(BASE))}) == 1
    with pytest.raises(AttributeError):
        BASE.depth = 2
