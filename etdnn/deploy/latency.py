"""Measuring latency: the parts of a net on a grid of sizes, whole nets to correct the sum and to check it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from torch import Tensor, nn

from etdnn.deploy.latency_runner import median_seconds, onnx_call
from etdnn.deploy.onnx_tools import export_quietly, need
from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.model.latency import PARTS, Grid, LatencyTable, machine_name
from etdnn.model.space import SearchSpace
from etdnn.model.tdnn import AttentiveStatistics, Block, ConvReluNorm, Tdnn, same_conv
from etdnn.search.population import archs_to_rows
from etdnn.seeding import numpy_generator

GRID_CHOICES = 5
"""At most this many widths, inner widths and cats are measured; the rest is interpolated."""
BLOCK_DILATION = 3
"""Dilation of the measured block: the middle of the four; it hardly changes the time."""
CORRECTION_NETS = 12
"""Whole nets measured to correct the sum of the parts (scale and offset)."""


@dataclass(frozen=True)
class Setting:
    """How is measured: backend `pytorch` or `onnxruntime`, device, threads, batch, frames, calls per node."""

    backend: str = "pytorch"
    device: str = "cpu"
    threads: int = 1
    batch: int = 1
    frames: int = 300
    repeats: int = 15
    warmup: int = 3

    def __post_init__(self):
        if self.backend not in ("pytorch", "onnxruntime"):
            raise UserError(f"--backend '{self.backend}' is neither pytorch nor onnxruntime")
        if self.backend == "onnxruntime" and self.device != "cpu":
            raise UserError("--backend onnxruntime measures on the cpu only")
        for name in ("threads", "batch", "frames", "repeats"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: at least 1 is needed")


class Aggregation(nn.Module):
    """Concatenation of block outputs is part of the step, so the input comes in two halves."""

    def __init__(self, inputs: int, cat: int):
        super().__init__()
        self.conv = same_conv(inputs, cat)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames) to (batch, cat, frames)."""
        first, second = x.chunk(2, dim=1)
        return torch.relu(self.conv(torch.cat([first, second], dim=1)))


def part_module(part: str, sizes: Sequence[int], space: SearchSpace) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the module of one grid node and the shape of its input without the batch (0: frames)."""
    if part == "stem":
        return ConvReluNorm(space.in_feats, *sizes), (space.in_feats, 0)
    if part == "block":
        return Block(*sizes, dilation=BLOCK_DILATION), (sizes[0], 0)
    if part == "aggregation":
        return Aggregation(*sizes), (sizes[0], 0)
    (cat,) = sizes
    if part == "pooling":
        return AttentiveStatistics(cat), (cat, 0)
    head = nn.Sequential(nn.BatchNorm1d(2 * cat), nn.Linear(2 * cat, space.embedding), nn.BatchNorm1d(space.embedding))
    return head, (2 * cat,)


def thinned(choices: Sequence[int], count: int = GRID_CHOICES) -> tuple[int, ...]:
    """Return at most `count` of the choices, evenly spread, ends included."""
    places = np.unique(np.linspace(0, len(choices) - 1, min(count, len(choices))).round().astype(int))
    return tuple(choices[place] for place in places)


def grid_axes(space: SearchSpace) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Return the axes of each part for a space."""
    widths, cats = thinned(space.widths), thinned(space.cats)
    inputs = thinned(sorted({depth * width for depth in space.depths for width in widths}), 2 * GRID_CHOICES)
    return {
        "stem": (widths, space.kernels), "block": (widths, widths, space.kernels), "aggregation": (inputs, cats),
        "pooling": (cats,), "embedding": (cats,),
    }  # fmt: skip


def measure_table(space: SearchSpace, setting: Setting, *, seed: int = 0, say: Callable = print) -> LatencyTable:
    """Return the table of `space` on this machine; takes a minute or two. Nothing else should run meanwhile."""
    axes, parts = grid_axes(space), {}
    with measuring(setting):
        for part in PARTS:
            seconds = np.empty([len(axis) for axis in axes[part]])
            for place, sizes in grid_nodes(axes[part]):
                module, form = part_module(part, sizes, space)
                seconds[place] = measure(module, form, setting)
            parts[part] = Grid(axes[part], seconds)
            say(f"{part}: {seconds.size} sizes, {seconds.min() * 1e3:.3g} to {seconds.max() * 1e3:.3g} ms")
        nets = correction_nets(space, seed)
        found = np.array([measure_net(arch, space, setting) for arch in nets])
    return corrected_table(parts, about(setting), archs_to_rows(nets, space), found)


def grid_nodes(axes: Sequence[Sequence[int]]) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Yield place and sizes of every crossing of a part's axes."""
    for place in np.ndindex(*(len(axis) for axis in axes)):
        yield place, [int(axis[index]) for axis, index in zip(axes, place, strict=True)]


def corrected_table(parts: dict[str, Grid], about: dict, rows: np.ndarray, found: np.ndarray) -> LatencyTable:
    """Return the table of measured `parts` whose sums are corrected by whole nets `rows` that took `found` seconds."""
    scale, offset = fit_correction(LatencyTable(parts, about).sum_of_parts(rows), found)
    return LatencyTable(parts, about, scale, offset)


def fit_correction(predicted: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Return (scale, offset >= 0) that bring the sums of parts to measured nets, relative errors weighing alike."""
    weights = 1 / found
    design = np.stack([predicted * weights, weights], axis=1)
    scale, offset = np.linalg.lstsq(design, np.ones(len(found)), rcond=None)[0]
    if offset >= 0 and scale > 0:
        return float(scale), float(offset)
    ratio = predicted * weights
    return float((ratio @ np.ones(len(found))) / (ratio @ ratio)), 0.0


def correction_nets(space: SearchSpace, seed: int) -> list[Arch]:
    """Return nets spread over the space, its corners included."""
    return [space.smallest, space.largest, *random_nets(space, CORRECTION_NETS - 2, seed, "latency correction")]


def random_nets(space: SearchSpace, count: int, seed: int, purpose: str = "latency check") -> list[Arch]:
    """Return seeded random archs (depth uniform, then each dimension)."""
    rng = numpy_generator(seed, purpose)
    nets = []
    for _ in range(count):
        depth = int(rng.choice(space.depths))
        widths, kernels = (rng.choice(choices, depth + 1).tolist() for choices in (space.widths, space.kernels))
        nets.append(Arch(depth, tuple(widths), tuple(kernels), int(rng.choice(space.cats))))
    return nets


def check_table(table: LatencyTable, space: SearchSpace, setting: Setting, count: int, seed: int):
    """Return (arch, predicted seconds, measured seconds) of `count` random nets that the table has not seen."""
    nets = random_nets(space, count, seed)
    predicted = table.predict(archs_to_rows(nets, space))
    with measuring(setting):
        return [
            (arch, float(guess), measure_net(arch, space, setting)) for arch, guess in zip(nets, predicted, strict=True)
        ]


def measure_net(arch: Arch, space: SearchSpace, setting: Setting) -> float:
    """Return the seconds of one forward pass of a whole net."""
    return measure(Tdnn(arch, space.in_feats, space.embedding), (space.in_feats, 0), setting)


def measure(module: nn.Module, form: tuple[int, ...], setting: Setting) -> float:
    """Return the median seconds of one call; `form` is the input's shape without batch, 0 standing for frames."""
    shape = (setting.batch, *(size or setting.frames for size in form))
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if setting.backend == "onnxruntime":
        call = onnx_call(to_onnx(module, inputs), inputs.numpy(), setting.threads)
    else:
        call = _torch_call(module.eval(), inputs, setting)
    return median_seconds(call, setting.repeats, setting.warmup)


def _torch_call(module: nn.Module, inputs: Tensor, setting: Setting) -> Callable:
    module, inputs = module.to(setting.device), inputs.to(setting.device)

    def call():
        with torch.inference_mode():
            module(inputs)
        if setting.device == "cuda":
            torch.cuda.synchronize()

    return call


def to_onnx(module: nn.Module, inputs: Tensor) -> bytes:
    """Return the module as an ONNX file for inputs of this shape; UserError when a package for it is missing."""
    need("onnxruntime")
    return export_quietly(module, inputs).SerializeToString()


class measuring:  # noqa: N801 (used as a function)
    """Context: the asked number of threads, the former one afterwards."""

    def __init__(self, setting: Setting):
        self.threads = setting.threads

    def __enter__(self):
        self.before = torch.get_num_threads()
        torch.set_num_threads(self.threads)

    def __exit__(self, *_):
        torch.set_num_threads(self.before)


def about(setting: Setting) -> dict:
    """Return what the table was measured with."""
    versions = {"torch": torch.__version__}
    if setting.backend == "onnxruntime":
        import onnxruntime

        versions["onnxruntime"] = onnxruntime.__version__
    machine = torch.cuda.get_device_name() if setting.device == "cuda" else machine_name()
    return {
        "machine": machine, "backend": setting.backend, "device": setting.device, "threads": setting.threads,
        "batch": setting.batch, "frames": setting.frames, "repeats": setting.repeats, "versions": versions,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }  # fmt: skip
