"""The one network: a static TDNN of any arch. It knows nothing of elasticity.

Tensors are (batch, channels, frames). Source: reference/efficienttdnn.md, section 1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etdnn.model.arch import RES2_SCALE, Arch
from etdnn.model.cost import BOTTLENECK, SE_REDUCTION


def same_conv(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Conv1d:
    """Return a convolution without bias that keeps the number of frames."""
    return nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=(kernel - 1) // 2 * dilation, bias=False)


class ConvReluNorm(nn.Module):
    """Convolution, ReLU, batch norm, in that order."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1):
        super().__init__()
        self.conv = same_conv(inputs, outputs, kernel, dilation)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames) to (batch, outputs, frames)."""
        return self.norm(F.relu(self.conv(x)))


class Res2(nn.Module):
    """Eight channel groups; each of the first seven is convolved after the result of its neighbour is added to it."""

    def __init__(self, channels: int, kernel: int, dilation: int):
        super().__init__()
        group = channels // RES2_SCALE
        self.stages = nn.ModuleList(ConvReluNorm(group, group, kernel, dilation) for _ in range(RES2_SCALE - 1))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to the same; the eighth group passes unchanged."""
        *groups, last = x.chunk(RES2_SCALE, dim=1)
        outputs = []
        for index, (stage, group) in enumerate(zip(self.stages, groups, strict=True)):
            outputs.append(stage(group + outputs[-1] if index else group))
        return torch.cat([*outputs, last], dim=1)


class SqueezeExcite(nn.Module):
    """Channel gates from the mean over time."""

    def __init__(self, channels: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // SE_REDUCTION)
        self.excite = nn.Linear(channels // SE_REDUCTION, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to the same."""
        gates = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(dim=2)))))
        return x * gates.unsqueeze(2)


class Block(nn.Module):
    """SE-Res2 block: 1x1 to the inner width, Res2, 1x1 back, squeeze-excite; no residual inside."""

    def __init__(self, channels: int, inner: int, kernel: int, dilation: int):
        super().__init__()
        self.first = ConvReluNorm(channels, inner)
        self.res2 = Res2(inner, kernel, dilation)
        self.last = ConvReluNorm(inner, channels)
        self.se = SqueezeExcite(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to the same."""
        return self.se(self.last(self.res2(self.first(x))))


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time, weighted per channel by attention without global context."""

    def __init__(self, channels: int):
        super().__init__()
        self.down = same_conv(channels, BOTTLENECK)
        self.up = same_conv(BOTTLENECK, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) to (batch, 2 * channels): means, then deviations; statistics in fp32."""
        logits = self.up(torch.tanh(self.down(x)))
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            weights = logits.float().softmax(dim=2)
            mean = (weights * x).sum(dim=2)
            variance = (weights * x * x).sum(dim=2) - mean * mean
            return torch.cat([mean, variance.clamp(min=1e-9).sqrt()], dim=1)


class Tdnn(nn.Module):
    """A speaker encoder of arch `arch`: (batch, in_feats, frames) to (batch, embedding).

    Stem; blocks i = 1..D of dilation i + 1, to whose output the running sum of the stem's and all earlier blocks'
    outputs is added; 1x1 aggregation of all block outputs; attentive statistics; batch norm, linear, batch norm.
    `calibrated` says whether the batch-norm statistics belong to these weights: False for a net straight from a
    supernet, which nothing may evaluate before `etdnn.embed.batchnorm.reestimate`.
    """

    def __init__(self, arch: Arch, in_feats: int = 80, embedding: int = 192):
        super().__init__()
        self.arch = arch
        self.calibrated = True
        channels = arch.widths[0]
        self.stem = ConvReluNorm(in_feats, channels, arch.kernels[0])
        self.blocks = nn.ModuleList(
            Block(channels, arch.widths[index], arch.kernels[index], dilation=index + 1)
            for index in range(1, arch.depth + 1)
        )
        self.aggregation = same_conv(arch.depth * channels, arch.cat)
        self.pooling = AttentiveStatistics(arch.cat)
        self.pooling_norm = nn.BatchNorm1d(2 * arch.cat)
        self.embedding = nn.Linear(2 * arch.cat, embedding)
        self.embedding_norm = nn.BatchNorm1d(embedding)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_feats, frames) to (batch, embedding)."""
        x = self.stem(x)
        total, outputs = x, []
        for block in self.blocks:
            x = block(x) + total
            total = total + x
            outputs.append(x)
        x = F.relu(self.aggregation(torch.cat(outputs, dim=1)))
        return self.embedding_norm(self.embedding(self.pooling_norm(self.pooling(x))))
