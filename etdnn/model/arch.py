"""Arch: the name of one subnet, as `depth, widths, kernels, cat` and as the text `3-512-512-512-512-5-3-3-3-1536`."""

import re
from dataclasses import dataclass

import numpy as np

from etdnn.errors import UsageError

RES2_SCALE = 8
"""Res2 splits a block's inner channels into this many groups, so every width is a multiple of it."""


@dataclass(frozen=True)
class Arch:
    """One TDNN: `depth` blocks; `widths` (w0..wD: between blocks, then inside each); `kernels` (k0..kD); `cat`.

    w0 is the output of the stem and the input and output of every block, k0 the kernel of the stem; w_i and k_i (i > 0)
    are the inner channels and the Res2 kernel of block i; cat is the output of the aggregation. Widths and cat are
    multiples of 8, kernels odd. Whether a space holds the arch is the space's question (`SearchSpace.contains`).
    Raises UsageError (which part, what is allowed). Source: reference/efficienttdnn.md, section 2.
    """

    depth: int
    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    cat: int

    def __post_init__(self):
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "kernels", tuple(self.kernels))
        if self.depth < 1:
            raise UsageError(f"arch: depth {self.depth} is not allowed: at least 1 block")
        for name, values in (("widths", self.widths), ("kernels", self.kernels)):
            if len(values) != self.depth + 1:
                raise UsageError(f"arch: depth {self.depth} needs {self.depth + 1} {name}, got {len(values)}")
        for index, width in enumerate((*self.widths, self.cat)):
            if width < RES2_SCALE or width % RES2_SCALE:
                part = "cat" if index > self.depth else f"width w{index}"
                raise UsageError(f"arch: {part} = {width} is not allowed: a positive multiple of {RES2_SCALE}")
        for index, kernel in enumerate(self.kernels):
            if kernel < 1 or kernel % 2 == 0:
                raise UsageError(f"arch: kernel k{index} = {kernel} is not allowed: a positive odd number")

    @classmethod
    def parse(cls, text: str) -> "Arch":
        """Read `3-512-512-512-512-5-3-3-3-1536`, the same with dots, or the published tuples (flat or nested).

        Raises UsageError that says which part is wrong.
        """
        plain = text.strip()
        if re.fullmatch(r"[\d\s()\[\],]+", plain) and "," in plain:
            parts = re.findall(r"\d+", plain)
        else:
            separator = "." if "." in plain else "-"
            parts = plain.split(separator)
        if not all(re.fullmatch(r"\d{1,6}", part) for part in parts):
            raise UsageError(f"arch '{text}': expected whole numbers as in 3-512-512-512-512-5-3-3-3-1536")
        numbers = [int(part) for part in parts]
        depth = numbers[0]
        if len(numbers) != 2 * depth + 4:
            raise UsageError(
                f"arch '{text}': depth {depth} needs {2 * depth + 4} numbers "
                f"(depth, {depth + 1} widths, {depth + 1} kernels, cat), got {len(numbers)}"
            )
        widths, kernels = numbers[1 : depth + 2], numbers[depth + 2 : 2 * depth + 3]
        return cls(depth, tuple(widths), tuple(kernels), numbers[-1])

    def __str__(self) -> str:
        return "-".join(map(str, (self.depth, *self.widths, *self.kernels, self.cat)))


def arch_to_row(arch: Arch, max_depth: int) -> np.ndarray:
    """Return `arch` as integers [depth, w0..wM, k0..kM, cat] with M = `max_depth`; genes of absent blocks are 0."""
    absent = (0,) * (max_depth - arch.depth)
    return np.array([arch.depth, *arch.widths, *absent, *arch.kernels, *absent, arch.cat], dtype=np.int64)


def row_to_arch(row: np.ndarray) -> Arch:
    """Return the Arch of one row of a population; the inverse of `arch_to_row`."""
    numbers = [int(value) for value in row]
    depth, genes = numbers[0], (len(numbers) - 2) // 2
    return Arch(depth, tuple(numbers[1 : depth + 2]), tuple(numbers[1 + genes : genes + depth + 2]), numbers[-1])
