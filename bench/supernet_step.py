"""Cost of slicing: a training step through the supernet against the equal static network, one thread.

python3 bench/supernet_step.py [--rounds 15] [--sizes full smallest] [--batch 8] [--frames 200]

Forward and backward at 8 x 80 x 200 in CPU time, as the training loop makes them: gradients in one buffer, added in
place, glibc keeping its blocks as local/train_phase.sh has it. Variants alternated; median of the paired ratios.
Aims: 1.05 at full size, 1.10 in the middle, 1.15 at the smallest. `drawn`: another arch of the published space in
every round, what is kept for its depth and kernels made beforehand, as after the first steps of a training. Beside:
zeroing the gradients (once per step, whatever is drawn), deriving a static network, the step under bf16 autocast.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch

from etdnn.model import Arch, SearchSpace
from etdnn.model.supernet import Supernet
from etdnn.seeding import numpy_generator
from etdnn.train.ranks import FlatGradients

AIMS = {"full": 1.05, "middle": 1.10, "smallest": 1.15, "drawn": None}
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
WARM_UP = 3


class Bench:
    """Times steps of one supernet and of static networks on the same crops."""

    def __init__(self, batch: int, frames: int):
        self.space = SearchSpace.named("paper_coarse")
        self.supernet = Supernet(self.space).train()
        self.supernet.gradients_in_place = True
        self.gradients = FlatGradients(self.supernet.parameters(), torch.device("cpu"))
        self.crops = torch.randn(batch, self.space.in_feats, frames)
        self.direction = torch.randn(batch, self.space.embedding)

    def step(self, gradients: FlatGradients, call: Callable[[], torch.Tensor], bf16: bool = False) -> tuple:
        """Return the CPU seconds of zeroing the gradients, and of one forward and backward pass."""
        began = time.process_time()
        gradients.zero()
        zeroed = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            embeddings = call().float()
        (embeddings * self.direction).sum().backward()
        return zeroed - began, time.process_time() - zeroed

    def compare(self, archs: list[Arch]) -> dict[str, list[float]]:
        """Return the seconds of each variant over the archs, one round each; the first rounds are not counted."""
        result: dict[str, list[float]] = {key: [] for key in ("static", "sliced", "bf16", "zero", "derive")}
        for number, arch in enumerate(archs):
            began = time.process_time()
            static = self.supernet.derive(arch)
            derived = time.process_time() - began
            static.train()
            own = FlatGradients(static.parameters(), torch.device("cpu"))
            self.supernet(self.crops[:2], arch)
            calls = {
                "static": lambda own=own, static=static: self.step(own, lambda: static(self.crops)),
                "sliced": lambda arch=arch: self.step(self.gradients, lambda: self.supernet(self.crops, arch)),
                "bf16": lambda arch=arch: self.step(self.gradients, lambda: self.supernet(self.crops, arch), True),
            }
            calls["static"]()  # a new network's memory is touched for the first time
            for name in sorted(calls, reverse=bool(number % 2)):
                zero, seconds = calls[name]()
                if number >= WARM_UP:
                    result[name].append(seconds)
                    if name == "sliced":
                        result["zero"].append(zero)
            if number >= WARM_UP:
                result["derive"].append(derived)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds per size (default 15)")
    parser.add_argument("--sizes", nargs="+", choices=list(AIMS), default=list(AIMS), help="which rows (default all)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=200)
    args = parser.parse_args()
    if any(name not in os.environ for name in MALLOC):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bench = Bench(args.batch, args.frames)
    rounds = args.rounds + WARM_UP
    sizes = {
        "full": [bench.space.largest] * rounds,
        "middle": [Arch.parse("3-256-256-256-256-3-3-3-3-768")] * rounds,
        "smallest": [bench.space.smallest] * rounds,
        "drawn": [bench.space.sample(numpy_generator("bench", number)) for number in range(rounds)],
    }
    print(f"{args.batch} x {bench.space.in_feats} x {args.frames}, one thread, milliseconds of CPU time")
    head = f"{'size':9}{'arch':40}{'static':>9}{'sliced':>9}{'ratio':>8}{'aim':>6}{'zeroing':>9}{'derive':>8}"
    print(f"{head}{'bf16':>9}{'fp32/bf16':>11}")
    for size in args.sizes:
        archs = sizes[size]
        times = bench.compare(archs)
        ratio = statistics.median(b / a for a, b in zip(times["static"], times["sliced"], strict=True))
        gain = statistics.median(a / b for a, b in zip(times["sliced"], times["bf16"], strict=True))
        static, sliced, bf16, zero, derive = (1e3 * statistics.median(values) for values in times.values())
        shown = "one per round" if size == "drawn" else str(archs[0])
        aim = f"{AIMS[size]:.2f}" if AIMS[size] else ""
        line = f"{size:9}{shown:40}{static:9.1f}{sliced:9.1f}{ratio:8.3f}{aim:>6}{zero:9.1f}{derive:8.1f}"
        print(f"{line}{bf16:9.1f}{gain:11.2f}", flush=True)


if __name__ == "__main__":
    main()
