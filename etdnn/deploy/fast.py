"""The one network in the order of computation that CPUs like best: `accelerate(net)`, derived from a `Tdnn`'s weights.

What differs from `Tdnn.forward`, none of it in what is computed:

- Activations are rows (batch * frames, channels), so that a 1x1 convolution is one matrix product; a wider kernel is
  one too, of rows that hold the kernel's frames side by side.
- Batch norm after ReLU, scale * max(a, 0) + shift, is max(scale * a + shift, shift), or min where the scale is
  negative: the scale goes into the weights before it, the shift into the bias, and what remains is one clamp. This
  holds at the zero-padded edges too, where folding into the convolution that follows would not.
- A Res2 stage overwrites its own group of channels; the pooling works on slices of channels that fit the cache, its
  weights divided by their sum at the end; large buffers are kept between calls; the last norms are in the last layer.

With precision `bf16` what the larger products take and give is rounded to bfloat16 (8 bits of mantissa), for the matrix
units that some CPUs have for it; gates, statistics and the embedding are computed in fp32.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etdnn.embed.extract import check_calibrated
from etdnn.errors import UserError
from etdnn.model.arch import RES2_SCALE
from etdnn.model.tdnn import AttentiveStatistics, Block, ConvReluNorm, Tdnn

PRECISIONS = ("fp32", "bf16")
MIN_BF16_WEIGHTS = 8192
"""Products of fewer weights stay in fp32: a bf16 call costs about 20 us before it multiplies anything."""
POOLING_CHANNELS = 512
"""Channels that are pooled together: 3 s of them take 600 KB."""
MAX_LOGIT = 40.0
"""Attention logits that cannot exceed this need no maximum taken off before the exponential."""
KEPT_BYTES = 1 << 26
"""Buffers of calls that needed more (about half a minute at the largest size) are freed after the call."""


def accelerate(net: Tdnn, precision: str = "fp32") -> "FastTdnn":
    """Return a module that computes what `net` does in eval mode, (batch, in_feats, frames) to (batch, embedding).

    fp32: equal to 1e-5 of the embedding's values, to 1e-4 where nothing moves in the input (a lasting tone: deviations
    over time are then rounding errors in either order); bf16: cosine above 0.9999. Weights are copied to the CPU, later
    changes of `net` do not count. UserError for an unknown precision and for an uncalibrated net.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision '{precision}' is not one of {', '.join(PRECISIONS)}")
    check_calibrated(net, "accelerate")
    with torch.no_grad():
        return FastTdnn(copy.deepcopy(net).cpu().float().eval(), torch.bfloat16 if precision == "bf16" else torch.float)


class Workspace:
    """Buffers that outlive a call, by name; fresh memory would cost as much as some of the layers."""

    def __init__(self):
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, *shape: int, dtype: torch.dtype = torch.float) -> Tensor:
        """Return an uninitialised tensor, valid until the same name is taken again."""
        size = math.prod(shape)
        buffer = self.buffers.get((name, dtype))
        if buffer is None or buffer.numel() < size:
            buffer = self.buffers[name, dtype] = torch.empty(size, dtype=dtype)
        return buffer[:size].view(shape)

    @property
    def bytes(self) -> int:
        """Memory that is held."""
        return sum(buffer.nbytes for buffer in self.buffers.values())


class Product:
    """Rows (n, inputs) to (n, outputs): `activation(x @ weight.T + bias)`.

    The activation is none, relu, tanh or sigmoid. No nn.Module, and so the parts below: what that would add to each
    of some hundred calls shows in small networks.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: str = "none"):
        self.dtype = dtype if weight.numel() >= MIN_BF16_WEIGHTS else torch.float
        self.activation = activation
        self.weight, self.transposed, self.bias = weight, weight.t(), bias
        self._bf16: Callable[[Tensor], Tensor] | None = None

    def __call__(self, x: Tensor, space: Workspace, out: Tensor | None = None) -> Tensor:
        """Return rows of the product's own type: `out` if they are fp32 and it is too, else new ones."""
        if x.dtype != self.dtype:
            x = space.take("operand", *x.shape, dtype=self.dtype).copy_(x)
        if self.dtype == torch.float:
            out = None if out is None or out.dtype != self.dtype else out
            if self.bias is None:
                return _activate(torch.mm(x, self.transposed, out=out), self.activation)
            return _activate(torch.addmm(self.bias, x, self.transposed, out=out), self.activation)
        if self._bf16 is None:
            self._bf16 = bf16_product(self.weight, self.bias, self.activation)
        return self._bf16(x)

    def __getstate__(self) -> dict:
        """Copies make their own packed weights."""
        return {**self.__dict__, "_bf16": None}


def bf16_product(weight: Tensor, bias: Tensor | None, activation: str) -> Callable[[Tensor], Tensor]:
    """Return the function from bf16 rows to bf16 rows, weights packed once where this PyTorch has oneDNN's product."""
    weight, bias = weight.bfloat16(), None if bias is None else bias.bfloat16()
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        torch.ops.mkldnn._linear_pointwise(weight[:1].clone(), packed, bias, activation, [], "")
    except (AttributeError, RuntimeError):
        return lambda x: _activate(F.linear(x, weight, bias), activation)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], "")


def _activate(x: Tensor, activation: str) -> Tensor:
    return x if activation == "none" else getattr(torch, f"{activation}_")(x)


class Layer:
    """A `ConvReluNorm` as a product and a clamp; `reach` are the frames that its kernel looks to either side."""

    def __init__(self, layer: ConvReluNorm, dtype: torch.dtype):
        sizes = layer.conv.kernel_size, layer.conv.dilation, layer.conv.padding
        self.kernel, self.dilation, self.reach = (size for (size,) in sizes)
        scale, shift = norm_map(layer.norm)
        weight = (layer.conv.weight.double() * scale[:, None, None]).transpose(1, 2).flatten(1)
        self.product = Product(weight.float(), shift.float(), dtype)
        infinity = torch.full_like(shift, torch.inf)
        self.low = torch.where(scale >= 0, shift, -infinity).to(self.product.dtype)
        self.high = torch.where(scale >= 0, infinity, shift).to(self.low.dtype) if (scale < 0).any() else None

    def __call__(self, x: Tensor, space: Workspace, out: Tensor | None = None) -> Tensor:
        """Rows (n, kernel * inputs) to `out`, or to new rows, (n, outputs)."""
        y = self.product(x, space, out)
        return torch.clamp(y, self.low, self.high, out=y if out is None else out)


class Frames:
    """The input of a wider kernel, (batch, frames, channels) in the midst of zeros, unfolded to rows of its type."""

    def __init__(self, space: Workspace, name: str, batch: int, frames: int, channels: int, layer: Layer):
        reach, dtype = layer.reach, layer.product.dtype
        padded = space.take(f"{name} padded", batch, frames + 2 * reach, channels, dtype=dtype)
        self.centre = padded[:, reach : reach + frames]
        self.rows = padded.flatten(0, 1)
        self.unfolded = self.windows = None
        if layer.kernel > 1:
            padded[:, :reach].zero_()
            padded[:, reach + frames :].zero_()
            shape = (batch, frames, layer.kernel, channels)
            steps = (padded.stride(0), channels, layer.dilation * channels, 1)
            self.windows = padded.as_strided(shape, steps)
            self.unfolded = space.take(f"{name} unfolded", *shape, dtype=dtype)
            self.rows = self.unfolded.view(batch * frames, layer.kernel * channels)

    def unfold(self) -> Tensor:
        """Return what stands in `centre` as rows (batch * frames, kernel * channels)."""
        if self.unfolded is not None:
            self.unfolded.copy_(self.windows)
        return self.rows


class FastBlock:
    """An SE-Res2 `Block`."""

    def __init__(self, block: Block, dtype: torch.dtype):
        self.first, self.last = Layer(block.first, dtype), Layer(block.last, dtype)
        self.stages = [Layer(stage, dtype) for stage in block.res2.stages]
        squeeze, excite = block.se.squeeze, block.se.excite
        self.squeeze = Product(squeeze.weight.detach(), squeeze.bias.detach(), torch.float, "relu")
        self.excite = Product(excite.weight.detach(), excite.bias.detach(), torch.float, "sigmoid")

    def __call__(self, x: Tensor, total: Tensor, out: Tensor, space: Workspace) -> None:
        """Write the block's output plus `total` to `out`.

        `x` are rows (batch * frames, channels); `out` and `total`, the running sum, are (batch, frames, channels).
        """
        batch, frames, _ = total.shape
        hidden = self.first(x, space)
        group = hidden.shape[1] // RES2_SCALE
        rows, grids = hidden.split(group, 1), hidden.view(batch, frames, -1).split(group, 2)
        inputs = Frames(space, "res2", batch, frames, group, self.stages[0])
        for index, stage in enumerate(self.stages):
            if index:
                torch.add(grids[index], grids[index - 1], out=inputs.centre)
            else:
                inputs.centre.copy_(grids[0])
            stage(inputs.unfold(), space, rows[index])
        exact = out.dtype == torch.float
        y = self.last(hidden, space, out.flatten(0, 1) if exact else None)
        y = out if exact else y.view(total.shape)
        summed = y if y.dtype == torch.float else space.take("values", *y.shape).copy_(y)
        gates = self.excite(self.squeeze(summed.sum(dim=1) / frames, space), space)
        torch.addcmul(total, y, gates.to(y.dtype).unsqueeze(1), out=out)


class FastPooling:
    """`AttentiveStatistics` of the aggregation's rows."""

    def __init__(self, pooling: AttentiveStatistics, dtype: torch.dtype):
        self.down = Product(pooling.down.weight.detach().squeeze(2), None, dtype, "tanh")
        up = pooling.up.weight.detach().squeeze(2)
        self.up = [Product(part, None, dtype) for part in up.split(POOLING_CHANNELS)]
        self.bounded = bool(up.abs().sum(dim=1).max() < MAX_LOGIT)

    def __call__(self, x: Tensor, batch: int, space: Workspace) -> Tensor:
        """Rows (batch * frames, channels) to (batch, 2 * channels): means, then deviations."""
        hidden, sums = self.down(x, space), []
        for up, part in zip(self.up, x.split(POOLING_CHANNELS, 1), strict=True):
            shape = (batch, len(x) // batch, part.shape[1])
            weights = space.take("weights", *part.shape)
            logits = up(hidden, space, weights)
            weights = (logits if logits is weights else weights.copy_(logits)).view(shape)
            values = part.view(shape)
            if values.dtype != torch.float:
                values = space.take("values", *shape).copy_(values)
            if not self.bounded or shape[1] == 1:  # a single frame weighs exactly 1, as its deviation is 0
                weights -= weights.amax(dim=1, keepdim=True)
            weights.exp_()
            sums.append([weights.sum(dim=1), weights.mul_(values).sum(dim=1), weights.mul_(values).sum(dim=1)])
        total, mean, square = (torch.cat(each, dim=1) for each in zip(*sums, strict=True))
        mean /= total
        variance = square / total - mean * mean
        return torch.cat([mean, variance.clamp(min=1e-9).sqrt()], dim=1)


class FastTdnn(nn.Module):
    """What `accelerate` returns; `precision` says which one was asked for. No gradients."""

    def __init__(self, net: Tdnn, dtype: torch.dtype):
        super().__init__()
        self.arch, self.calibrated = net.arch, net.calibrated
        self.precision = "fp32" if dtype == torch.float else "bf16"
        self.stem = Layer(net.stem, dtype)
        self.blocks = [FastBlock(block, dtype) for block in net.blocks]
        self.aggregation = Product(net.aggregation.weight.detach().squeeze(2), None, dtype, "relu")
        self.pooling = FastPooling(net.pooling, dtype)
        self.embedding = embedding_between_norms(net)
        self._spaces: list[Workspace] = []

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_feats, frames) to (batch, embedding)."""
        # taken from a list and put back, so that threads never share one
        try:
            space = self._spaces.pop()
        except IndexError:
            space = Workspace()
        pooled = self.pooling(self._aggregated(x.float(), space), len(x), space)
        if space.bytes <= KEPT_BYTES:
            self._spaces.append(space)
        return self.embedding(pooled)

    def _apply(self, fn, recurse: bool = True) -> nn.Module:
        """Refuse what `.to` and its like would change: all of it is laid out for fp32 buffers on the CPU."""
        probe = fn(torch.zeros(1))
        if probe.device.type != "cpu" or probe.dtype != torch.float:
            raise UserError(
                f"an accelerated network stays in float32 on the CPU, not {probe.dtype} on {probe.device.type}; "
                "move the Tdnn it was made from"
            )
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict:
        """Copies have their own buffers."""
        return {**self.__dict__, "_spaces": []}

    def _aggregated(self, x: Tensor, space: Workspace) -> Tensor:
        batch, in_feats, frames = x.shape
        channels, dtype = self.arch.widths[0], self.aggregation.dtype
        inputs = Frames(space, "stem", batch, frames, in_feats, self.stem)
        inputs.centre.copy_(x.transpose(1, 2))
        total = space.take("total", batch, frames, channels, dtype=dtype)
        x = self.stem(inputs.unfold(), space, total.flatten(0, 1))
        outputs = space.take("outputs", batch, frames, self.arch.depth * channels, dtype=dtype)
        parts = outputs.split(channels, 2)
        for index, block in enumerate(self.blocks):
            if index:
                total += parts[index - 1]
                x = parts[index - 1].flatten(0, 1)
            block(x, total, parts[index], space)
        return self.aggregation(outputs.flatten(0, 1), space)


def embedding_between_norms(net: Tdnn) -> nn.Linear:
    """Return the layer after the pooling with the batch norms before and after it folded in."""
    (before, offset), (after, shift) = (norm_map(norm) for norm in (net.pooling_norm, net.embedding_norm))
    layer, weight = copy.deepcopy(net.embedding), net.embedding.weight.double()
    layer.weight.copy_(weight * before * after[:, None])
    layer.bias.copy_((net.embedding.bias.double() + weight @ offset) * after + shift)
    return layer


def norm_map(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a batch norm in eval mode, in fp64."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale
