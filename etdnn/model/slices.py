"""Which part of each of the largest network's tensors a subnet uses, and taking these parts differentiably.

Widths are prefixes; the inner width of a block is a prefix of each of its eight Res2 groups; the aggregation reads the
first w0 channels of the first D blocks; pooled statistics keep a prefix of each half (means, deviations). Kernels are
cropped and multiplied by learned matrices. Source: reference/efficienttdnn.md, section 3.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from etdnn.model.arch import RES2_SCALE, Arch
from etdnn.model.cost import SE_REDUCTION

Weights = dict[str, Tensor]
_LEARNED = ("weight", "bias")
_STORED = ("running_mean", "running_var", "num_batches_tracked")


class Part(NamedTuple):
    """One tensor of a subnet: `view(full)` is the part of the largest network's tensor `name`, `shape` its shape.

    The view has as many elements as `shape` but may have more dimensions; None: its own shape.
    """

    name: str
    view: Callable[[Tensor], Tensor]
    shape: tuple[int, ...] | None = None


def elastic_convolutions(arch: Arch) -> Iterator[tuple[str, int]]:
    """Yield name and kernel size of the convolutions whose kernel is searched: the stem and the Res2 stages."""
    yield "stem", arch.kernels[0]
    for block in range(arch.depth):
        for stage in range(RES2_SCALE - 1):
            yield f"blocks.{block}.res2.stages.{stage}", arch.kernels[block + 1]


def kernel_steps(largest: int) -> list[int]:
    """Return the kernel sizes below `largest`, in the order in which a kernel is narrowed: 5 gives [3, 1]."""
    return list(range(largest - 2, 0, -2))


def matrix_name(convolution: str, size: int) -> str:
    """Return the name of the matrix that narrows the kernel of `convolution` to `size`."""
    return f"{convolution.replace('.', '_')}_to{size}"


def subnet_weights(
    state: Weights, kernels: Weights, largest: Arch, arch: Arch, *, statistics: bool = True, in_place: bool = False
) -> Weights:
    """Map the largest network's `state` and the kernel matrices to the state of `Tdnn(arch)`, names as there.

    Differentiable in both; tensors of which nothing is cut off are those of `state` themselves. Without `statistics`,
    what batch norms store is left out. `in_place`: see `take`.
    """
    result, cut = {}, []
    with torch.no_grad():
        for part in _plan(largest, arch, statistics):
            full = state[part.name]
            view = part.view(full)
            if view.numel() == full.numel():
                result[part.name] = full
            elif full.requires_grad:
                cut.append((part, full, view))
            else:
                result[part.name] = view if part.shape is None else view.reshape(part.shape)
    result.update(zip((part.name for part, _, _ in cut), take(cut, in_place=in_place), strict=True))
    narrow(result, kernels, ["stem"], arch.kernels[0])
    for block, size in enumerate(arch.kernels[1:]):
        narrow(result, kernels, [f"blocks.{block}.res2.stages.{stage}" for stage in range(RES2_SCALE - 1)], size)
    return result


def narrow(weights: Weights, kernels: Weights, names: list[str], size: int) -> None:
    """Replace the weights of the convolutions `names`, alike in shape, by those of kernel `size`: all of them at once,
    because seven small products cost seven times as many calls.
    """
    keys = [f"{name}.conv.weight" for name in names]
    outputs, inputs, largest = weights[keys[0]].shape
    steps = [step for step in kernel_steps(largest) if step >= size]
    if not steps:
        return
    stacked = torch.stack([weights[key] for key in keys]).flatten(1, 2)
    for step in steps:
        stacked = stacked[:, :, 1:-1] @ torch.stack([kernels[matrix_name(name, step)] for name in names])
    weights.update(zip(keys, stacked.unflatten(1, (outputs, inputs)).unbind(0), strict=True))


def take(cut: list[tuple[Part, Tensor, Tensor]], *, in_place: bool) -> tuple[Tensor, ...]:
    """Return the views of `cut` (part, full tensor, view of it) as contiguous differentiable tensors.

    All in one node of the graph, because a node per tensor costs a small subnet more than its own small convolutions;
    contiguous, because strided weights slow convolutions down. With `in_place`, backward adds each gradient to that
    part of the `.grad` of a parameter that has one and returns none: a gradient of full size, zero but for the part,
    is saved, but hooks and `torch.autograd.grad` see nothing. For a training loop that owns the `.grad`s.
    """
    return _Take.apply(cut, in_place, *[full for _, full, _ in cut]) if cut else ()


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx, cut: list[tuple[Part, Tensor, Tensor]], in_place: bool, *_full: Tensor) -> tuple[Tensor, ...]:
        ctx.cut, ctx.in_place = [(part.view, full) for part, full, _ in cut], in_place
        ctx.set_materialize_grads(False)
        copies = (view.clone(memory_format=torch.contiguous_format) for _, _, view in cut)
        return tuple(
            copy if part.shape is None else copy.view(part.shape)
            for (part, _, _), copy in zip(cut, copies, strict=True)
        )

    @staticmethod
    def backward(ctx, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        returned: list[Tensor | None] = [None, None]
        for (view, full), gradient in zip(ctx.cut, gradients, strict=True):
            whole = None
            if gradient is not None:
                there = ctx.in_place and full.is_leaf and full.grad is not None
                if not there:
                    whole = torch.zeros_like(full)
                place = view(full.grad if there else whole)
                place.add_(gradient.reshape(place.shape))
            returned.append(whole)
        return tuple(returned)


@lru_cache(maxsize=256)
def _plan(largest: Arch, arch: Arch, statistics: bool) -> list[Part]:
    return list(_parts(largest, arch, statistics))


def _parts(largest: Arch, arch: Arch, statistics: bool) -> Iterator[Part]:
    """Yield every tensor of `Tdnn(arch)`, before kernels are narrowed; with `statistics` those that norms store."""
    width, cat = arch.widths[0], arch.cat
    hidden = width // SE_REDUCTION

    def norm(name: str, view, shape: tuple[int, ...] | None = None) -> Iterator[Part]:
        for entry in _LEARNED + (_STORED if statistics else ()):
            yield Part(f"{name}.{entry}", *((_whole, None) if entry == "num_batches_tracked" else (view, shape)))

    yield Part("stem.conv.weight", _prefix(width))
    yield from norm("stem.norm", _prefix(width))
    for index in range(arch.depth):
        block, inner = f"blocks.{index}", arch.widths[index + 1]
        group = inner // RES2_SCALE
        yield Part(f"{block}.first.conv.weight", _rows_of_groups(RES2_SCALE, group, width), (inner, width, 1))
        yield from norm(f"{block}.first.norm", _groups(RES2_SCALE, group), (inner,))
        for stage in range(RES2_SCALE - 1):
            name = f"{block}.res2.stages.{stage}"
            yield Part(f"{name}.conv.weight", _corner(group, group))
            yield from norm(f"{name}.norm", _prefix(group))
        last = _columns_of_groups(width, RES2_SCALE, RES2_SCALE, group)
        yield Part(f"{block}.last.conv.weight", last, (width, inner, 1))
        yield from norm(f"{block}.last.norm", _prefix(width))
        yield Part(f"{block}.se.squeeze.weight", _corner(hidden, width))
        yield Part(f"{block}.se.squeeze.bias", _prefix(hidden))
        yield Part(f"{block}.se.excite.weight", _corner(width, hidden))
        yield Part(f"{block}.se.excite.bias", _prefix(width))
    columns = _columns_of_groups(cat, largest.depth, arch.depth, width)
    yield Part("aggregation.weight", columns, (cat, arch.depth * width, 1))
    yield Part("pooling.down.weight", lambda weight: weight[:, :cat])
    yield Part("pooling.up.weight", _prefix(cat))
    yield from norm("pooling_norm", _groups(2, cat), (2 * cat,))
    yield Part("embedding.weight", lambda weight: weight.unflatten(1, (2, -1))[:, :, :cat], (-1, 2 * cat))
    yield Part("embedding.bias", _whole)
    yield from norm("embedding_norm", _whole)


def _whole(tensor: Tensor) -> Tensor:
    return tensor


def _prefix(size: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor[:size]


def _corner(rows: int, columns: int) -> Callable[[Tensor], Tensor]:
    return lambda weight: weight[:rows, :columns]


def _groups(groups: int, size: int) -> Callable[[Tensor], Tensor]:
    return lambda vector: vector.unflatten(0, (groups, -1))[:, :size]


def _rows_of_groups(groups: int, size: int, columns: int) -> Callable[[Tensor], Tensor]:
    return lambda weight: weight.unflatten(0, (groups, -1))[:, :size, :columns]


def _columns_of_groups(rows: int, groups: int, kept: int, size: int) -> Callable[[Tensor], Tensor]:
    return lambda weight: weight[:rows].unflatten(1, (groups, -1))[:, :kept, :size]
