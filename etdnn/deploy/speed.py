"""How fast a network embeds on this CPU, beside the fastest matrix product that the CPU reaches in the same run."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from etdnn.deploy.fast import accelerate
from etdnn.deploy.latency import Setting, measuring
from etdnn.embed.extract import check_calibrated
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.model.cost import arch_macs
from etdnn.model.tdnn import Tdnn

PEAK_SIZE = 1024
"""Rows and columns of the matrices whose product is the peak: large enough to hide what a call costs."""


@dataclass(frozen=True)
class Speed:
    """One way to compute the network: seconds of a call, multiply-accumulates per second, and how they compare.

    `share` is of the measured peak in the way's own precision, `ratio` the median of the plain network's times over
    this way's, round by round.
    """

    way: str
    seconds: float
    macs_per_second: float
    share: float
    ratio: float


def clock(threads: int) -> Callable[[], float]:
    """Return the clock to measure with: CPU time of one thread, which other programs disturb least, else wall time."""
    return time.thread_time if threads == 1 else time.perf_counter


def alternate(
    calls: Mapping[str, Callable[[], object]], rounds: int, now: Callable[[], float]
) -> dict[str, list[float]]:
    """Return the seconds of each call, one per round; in a round each is called twice, of which the second counts.

    The first brings its own weights back to the caches, as if nothing else were computed in between.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            call()
            began = now()
            call()
            if round_:
                times[name].append(now() - began)
    return times


def measured_peaks(now: Callable[[], float], rounds: int = 10) -> dict[str, float]:
    """Return the most multiply-accumulates per second of a large product in fp32 and in bf16."""
    peaks = {}
    for name, dtype in (("fp32", torch.float), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE).to(dtype) for _ in range(2))
        peaks[name] = PEAK_SIZE**3 / min(alternate({name: lambda a=a, b=b: a @ b}, rounds, now)[name])
    return peaks


def ways(net: Tdnn, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return calls that embed `x` (batch, in_feats, frames) by the plain network and by both fast orders."""

    def call(module: torch.nn.Module) -> Callable[[], object]:
        def embed() -> None:
            with torch.inference_mode():
                module(x)

        return embed

    return {"plain": call(net), "fp32": call(accelerate(net)), "bf16": call(accelerate(net, "bf16"))}


def compare(times: Mapping[str, list[float]], macs: int, peaks: Mapping[str, float]) -> list[Speed]:
    """Return the speeds of measured ways, the first being what the others are compared with."""
    first = next(iter(times.values()))
    result = []
    for way, seconds in times.items():
        median = statistics.median(seconds)
        rate = macs / median
        ratio = statistics.median(a / b for a, b in zip(first, seconds, strict=True))
        result.append(Speed(way, median, rate, rate / peaks["bf16" if "bf16" in way else "fp32"], ratio))
    return result


def measure_speed(net: Tdnn, setting: Setting) -> tuple[list[Speed], dict[str, float]]:
    """Return the speeds of `net` on the CPU, and the measured peaks. UserError for an uncalibrated net."""
    check_calibrated(net)
    sizes = {"in_feats": net.stem.conv.in_channels, "embedding": net.embedding.out_features}
    x = torch.randn(setting.batch, sizes["in_feats"], setting.frames, generator=torch.Generator().manual_seed(0))
    macs = setting.batch * arch_macs(net.arch, setting.frames, batch_norm=False, **sizes)
    with measuring(setting):
        now = clock(setting.threads)
        peaks = measured_peaks(now)
        return compare(alternate(ways(net.eval(), x), setting.repeats, now), macs, peaks), peaks


def measure_front_end(frontend: FbankOptions, setting: Setting) -> float:
    """Return the seconds that the features of one utterance take."""
    samples = round(setting.frames * frontend.frame_shift * frontend.sample_frequency / 1000)
    wave = np.random.default_rng(0).standard_normal(samples).astype(np.float32) * 1000
    with measuring(setting):
        times = alternate({"fbank": lambda: compute_fbank(wave, frontend)}, setting.repeats, clock(setting.threads))
    return statistics.median(times["fbank"])
