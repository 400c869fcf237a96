"""A subnet is a function of (supernet weights, arch).

The supernet is the parameters of its largest network plus, per convolution, small matrices that turn a cropped kernel
into a narrower one. `subnet_weights` maps them to the state of `Tdnn(arch)`: views where a prefix suffices,
differentiable throughout. There is no second network. Source: reference/efficienttdnn.md, section 3.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from etdnn.errors import UsageError
from etdnn.model.arch import RES2_SCALE, Arch
from etdnn.model.cost import SE_REDUCTION
from etdnn.model.space import SearchSpace
from etdnn.model.tdnn import Tdnn

Weights = dict[str, Tensor]
_NORM = ("weight", "bias", "running_mean", "running_var")


class Supernet(nn.Module):
    """The weights of every subnet of `space`; slice them with `forward(x, arch)` or `derive(arch)`.

    `network` holds the largest network, `kernels` the matrices: `stem_to3` is multiplied, 3 x 3, from the right onto
    the centre crop of the stem's next wider kernel; they begin as identities.
    """

    def __init__(self, space: SearchSpace):
        super().__init__()
        self.space = space
        self.metadata: dict = {}
        self.hash = ""
        self.network = Tdnn(space.largest, space.in_feats, space.embedding)
        self.kernels = nn.ParameterDict()
        for name in elastic_convolutions(space.largest):
            for size in kernel_steps(space.largest.kernels[0]):
                self.kernels[_matrix_name(name, size)] = nn.Parameter(torch.eye(size))
        self._skeletons: dict[Arch, Tdnn] = {}
        self._places = [
            (f"{prefix}.{name}" if prefix else name, module, name)
            for prefix, module in self.network.named_modules()
            for name in (*module._parameters, *module._buffers)
        ]

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        """(batch, in_feats, frames) to (batch, embedding) through the subnet; gradients arrive in the supernet.

        In training mode batch statistics are used and the stored ones stay as they are: the step works on copies.
        """
        weights = self.weights(arch)
        if self.training:
            for name in weights:
                if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
                    weights[name] = weights[name].clone()
        skeleton = self._skeleton(arch)
        if skeleton.training != self.training:
            skeleton.train(self.training)
        return functional_call(skeleton, weights, (x,), strict=True)

    def weights(self, arch: Arch) -> Weights:
        """Return the state of `Tdnn(arch)` as differentiable slices of this supernet."""
        if not self.space.holds(arch):
            raise UsageError(f"arch {arch} does not fit in the supernet, whose largest network is {self.space.largest}")
        # walking the modules anew would take as long as the slicing
        state = {name: getattr(module, attribute) for name, module, attribute in self._places}
        return subnet_weights(state, dict(self.kernels.items()), self.space.largest, arch)

    def derive(self, arch: Arch | str) -> Tdnn:
        """Return the static network of `arch` in eval mode with exact copies of its weights, marked uncalibrated."""
        arch = Arch.parse(arch) if isinstance(arch, str) else arch
        net = Tdnn(arch, self.space.in_feats, self.space.embedding)
        with torch.no_grad():
            net.load_state_dict(self.weights(arch))
        net.calibrated = False
        return net.to(next(self.parameters()).device).eval()

    def _skeleton(self, arch: Arch) -> Tdnn:
        """Return a weightless `Tdnn(arch)` to call functionally; the most recent ones are kept."""
        if arch not in self._skeletons:
            while len(self._skeletons) >= 64:
                self._skeletons.pop(next(iter(self._skeletons)))
            with torch.device("meta"):
                self._skeletons[arch] = Tdnn(arch, self.space.in_feats, self.space.embedding)
        return self._skeletons[arch]


def elastic_convolutions(largest: Arch) -> list[str]:
    """Return the names of the convolutions whose kernel is searched: the stem and the Res2 stages."""
    stages = [
        f"blocks.{block}.res2.stages.{stage}" for block in range(largest.depth) for stage in range(RES2_SCALE - 1)
    ]
    return ["stem", *stages]


def kernel_steps(largest: int) -> list[int]:
    """Return the kernel sizes below `largest`, in the order in which a kernel is narrowed: 5 gives [3, 1]."""
    return list(range(largest - 2, 0, -2))


def _matrix_name(convolution: str, size: int) -> str:
    return f"{convolution.replace('.', '_')}_to{size}"


def subnet_weights(state: Weights, kernels: Weights, largest: Arch, arch: Arch) -> Weights:
    """Map the largest network's `state` and the kernel matrices to the state of `Tdnn(arch)`, names as there.

    Widths are prefixes; the inner width of a block is a prefix of each of its eight Res2 groups; the aggregation reads
    the first w0 channels of the first D blocks; pooled statistics keep a prefix of each half (means, deviations).
    """
    width, cat = arch.widths[0], arch.cat
    hidden = width // SE_REDUCTION
    result: Weights = {}

    def narrow_kernel(name: str, weight: Tensor, size: int) -> Tensor:
        for step in kernel_steps(weight.shape[2]):
            if weight.shape[2] == size:
                break
            weight = weight[:, :, 1:-1] @ kernels[_matrix_name(name, step)]
        return weight

    def norm(name: str, take) -> None:
        for part in _NORM:
            result[f"{name}.{part}"] = take(state[f"{name}.{part}"])
        result[f"{name}.num_batches_tracked"] = state[f"{name}.num_batches_tracked"]

    def prefix(size: int):
        return lambda vector: vector[:size]

    stem = state["stem.conv.weight"]
    stem = cut(stem, lambda weight: weight[:width], (width, *stem.shape[1:]))
    result["stem.conv.weight"] = narrow_kernel("stem", stem, arch.kernels[0])
    norm("stem.norm", prefix(width))
    for index in range(arch.depth):
        block, inner, kernel = f"blocks.{index}", arch.widths[index + 1], arch.kernels[index + 1]
        group = inner // RES2_SCALE
        result[f"{block}.first.conv.weight"] = cut(
            state[f"{block}.first.conv.weight"],
            lambda weight, group=group: _groups(weight, RES2_SCALE, group)[:, :, :width],
            (inner, width, 1),
        )
        norm(f"{block}.first.norm", lambda vector, group=group: take_groups(vector, RES2_SCALE, group))
        for stage in range(RES2_SCALE - 1):
            name = f"{block}.res2.stages.{stage}"
            weight = cut(
                state[f"{name}.conv.weight"],
                lambda weight, group=group: weight[:group, :group],
                (group, group, largest.kernels[index + 1]),
            )
            result[f"{name}.conv.weight"] = narrow_kernel(name, weight, kernel)
            norm(f"{name}.norm", prefix(group))
        result[f"{block}.last.conv.weight"] = cut(
            state[f"{block}.last.conv.weight"],
            lambda weight, group=group: weight[:width].unflatten(1, (RES2_SCALE, -1))[:, :, :group],
            (width, inner, 1),
        )
        norm(f"{block}.last.norm", prefix(width))
        result[f"{block}.se.squeeze.weight"] = cut(
            state[f"{block}.se.squeeze.weight"], lambda weight: weight[:hidden, :width], (hidden, width)
        )
        result[f"{block}.se.squeeze.bias"] = state[f"{block}.se.squeeze.bias"][:hidden]
        result[f"{block}.se.excite.weight"] = cut(
            state[f"{block}.se.excite.weight"], lambda weight: weight[:width, :hidden], (width, hidden)
        )
        result[f"{block}.se.excite.bias"] = state[f"{block}.se.excite.bias"][:width]
    result["aggregation.weight"] = cut(
        state["aggregation.weight"],
        lambda weight: weight[:cat].unflatten(1, (largest.depth, -1))[:, : arch.depth, :width],
        (cat, arch.depth * width, 1),
    )
    down = state["pooling.down.weight"]
    result["pooling.down.weight"] = cut(down, lambda weight: weight[:, :cat], (down.shape[0], cat, 1))
    up = state["pooling.up.weight"]
    result["pooling.up.weight"] = cut(up, lambda weight: weight[:cat], (cat, up.shape[1], 1))
    norm("pooling_norm", lambda vector: take_groups(vector, 2, cat))
    linear = state["embedding.weight"]
    result["embedding.weight"] = cut(
        linear, lambda weight: weight.unflatten(1, (2, -1))[:, :, :cat], (linear.shape[0], 2 * cat)
    )
    result["embedding.bias"] = state["embedding.bias"]
    norm("embedding_norm", lambda vector: vector)
    return result


class _Cut(torch.autograd.Function):
    """A part of a tensor as a contiguous copy, because strided weights slow convolutions down.

    The gradient is added to that part of a parameter's `.grad` where there is one, as in training: a gradient of full
    size, zero but for the part, would cost a small subnet more than its own backward pass. Without a `.grad` such a
    gradient is returned, one per tensor where chained slices would make one each.
    """

    @staticmethod
    def forward(ctx, full: Tensor, part: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
        ctx.part, ctx.full = part, full
        return part(full).clone(memory_format=torch.contiguous_format).view(shape)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        if ctx.full.is_leaf and ctx.full.grad is not None:
            place = ctx.part(ctx.full.grad)
            place.add_(gradient.view(place.shape))
            return None, None, None
        full = torch.zeros_like(ctx.full)
        place = ctx.part(full)
        place.copy_(gradient.view(place.shape))
        return full, None, None


def cut(full: Tensor, part: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the view `part(full)` as a differentiable tensor of `shape`; `full` itself where nothing is cut off."""
    return full if full.shape == shape else _Cut.apply(full, part, shape)


def _groups(x: Tensor, groups: int, size: int) -> Tensor:
    return x.unflatten(0, (groups, -1))[:, :size]


def take_groups(x: Tensor, groups: int, size: int) -> Tensor:
    """Return the first `size` of each of `groups` equal parts of the first dimension of `x`."""
    if x.shape[0] == groups * size:
        return x
    return _groups(x, groups, size).flatten(0, 1)
