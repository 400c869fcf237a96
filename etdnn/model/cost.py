"""MACs, parameters and activation memory of archs in closed form, for one arch or for a population at once.

The convention is the paper's: 3 s = 301 frames; convolutions and linears (no bias) at one operation per
multiply-accumulate, batch norm at two per element; activations, sums, pooling and softmax are free.
Source: reference/efficienttdnn.md, section 8.
"""

import numpy as np

from etdnn.model.arch import RES2_SCALE, Arch, arch_to_row

PAPER_FRAMES = 301
"""Frames of 3 s in the authors' front end; the published MACs are counted at this length."""
CONVENTION = "MACs of 3 s (301 frames): convolutions + linears + 2 per batch-norm element"
"""How MACs are counted; printed wherever a count is printed."""
BOTTLENECK = 128
"""Channels inside the attention of the pooling; never searched."""
SE_REDUCTION = 4
FLOAT_BYTES = 4
MEMORY_CONVENTION = "peak activations of one utterance in float32, input included, without weights"
"""How memory is counted; printed wherever bytes are printed."""


def split_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return depth [n], widths [n, M+1], kernels [n, M+1] and cat [n] of population `rows` [n, 2M+4]."""
    rows = np.atleast_2d(rows)
    genes = (rows.shape[1] - 2) // 2
    return rows[:, 0], rows[:, 1 : 1 + genes], rows[:, 1 + genes : 1 + 2 * genes], rows[:, -1]


def macs(
    rows: np.ndarray,
    frames: int = PAPER_FRAMES,
    *,
    batch_norm: bool = True,
    in_feats: int = 80,
    embedding: int = 192,
) -> np.ndarray:
    """Return the multiply-accumulates (int64 [n]) of population `rows` for an input of `frames` frames.

    With `batch_norm=False` only convolutions and linears are counted.
    """
    depth, widths, kernels, cat = split_rows(rows)
    norm = 2 if batch_norm else 0
    stem, inner, part = widths[:, 0], widths[:, 1:], widths[:, 1:] // RES2_SCALE
    kernel = kernels[:, 1:]
    small = RES2_SCALE - 1
    per_frame = in_feats * kernels[:, 0] * stem + norm * stem
    per_frame = per_frame + (
        2 * stem[:, None] * inner + norm * inner + small * (part * part * kernel + norm * part)
    ).sum(axis=1)
    per_frame = per_frame + depth * norm * stem + depth * stem * cat + 2 * BOTTLENECK * cat
    once = depth * 2 * stem * (stem // SE_REDUCTION) + 2 * norm * cat + 2 * cat * embedding + norm * embedding
    return per_frame * frames + once


def params(rows: np.ndarray, *, in_feats: int = 80, embedding: int = 192) -> np.ndarray:
    """Return the number of trainable parameters (int64 [n]) of the static networks of population `rows`."""
    depth, widths, kernels, cat = split_rows(rows)
    stem, inner, part = widths[:, 0], widths[:, 1:], widths[:, 1:] // RES2_SCALE
    kernel = kernels[:, 1:]
    small = RES2_SCALE - 1
    hidden = stem // SE_REDUCTION
    total = in_feats * kernels[:, 0] * stem + 2 * stem
    total = total + (2 * stem[:, None] * inner + 2 * inner + small * (part * part * kernel + 2 * part)).sum(axis=1)
    total = total + depth * (2 * stem + 2 * stem * hidden + hidden + stem)
    total = total + depth * stem * cat + 2 * BOTTLENECK * cat + 4 * cat + 2 * cat * embedding + embedding
    return total + 2 * embedding


def memory(rows: np.ndarray, frames: int = PAPER_FRAMES, *, in_feats: int = 80) -> np.ndarray:
    """Return the peak bytes (int64 [n]) of activations while one utterance of `frames` frames passes in float32.

    All tensors that `Tdnn.forward` holds at once are counted, its input included; weights and the workspace of a
    library's convolutions are not. Before block i the input, the outputs of the blocks so far and the running sum are
    held; the peak lies in the stem, in a block (where Res2 joins its groups, or where the block returns to the outer
    width), at the aggregation, or in the pooling. Exact from 4 frames on.
    """
    depth, widths, _, cat = split_rows(rows)
    stem, inner = widths[:, 0], widths[:, 1:]
    block = np.arange(1, widths.shape[1])
    outer = 2 * stem[:, None]
    joining = 2 * inner + (RES2_SCALE - 1) * (inner // RES2_SCALE)
    gating = outer * frames + stem[:, None]
    within = np.maximum(np.maximum(joining, inner + outer) * frames, gating) + block * stem[:, None] * frames
    within = np.where(block <= depth[:, None], within, 0).max(axis=1)
    aggregation = ((2 * depth + 1) * stem + cat) * frames
    pooling = (depth + 1) * stem * frames + np.maximum((cat + 2 * BOTTLENECK) * frames, (5 * frames + 1) * cat)
    peak = np.maximum.reduce([2 * stem * frames, within, aggregation, pooling])
    return FLOAT_BYTES * (peak + in_feats * frames)


def arch_macs(arch: Arch, frames: int = PAPER_FRAMES, **options) -> int:
    """Return `macs` of one arch as a Python int."""
    return int(macs(arch_to_row(arch, arch.depth), frames, **options)[0])


def arch_params(arch: Arch, **options) -> int:
    """Return `params` of one arch as a Python int."""
    return int(params(arch_to_row(arch, arch.depth), **options)[0])


def arch_memory(arch: Arch, frames: int = PAPER_FRAMES, **options) -> int:
    """Return `memory` of one arch as a Python int."""
    return int(memory(arch_to_row(arch, arch.depth), frames, **options)[0])
