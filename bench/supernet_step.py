"""Cost of slicing: a training step through the supernet against the equal static network, one thread.

python3 bench/supernet_step.py [--rounds 15] [--batch 8] [--frames 200]

Forward and backward (no optimiser) at 8 x 80 x 200 in CPU time, setting the gradients to zero in place included, as
training does; variants alternated, median of the paired ratios. Also the time to derive a static network.
Aims: 1.05 at full size, 1.10 in the middle, 1.15 at the smallest.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from etdnn.model import Arch, SearchSpace
from etdnn.model.supernet import Supernet

AIMS = {"full": 1.05, "middle": 1.10, "smallest": 1.15}


def step(module: torch.nn.Module, call: Callable[[], torch.Tensor], direction: torch.Tensor) -> float:
    """Return the CPU seconds of one forward and backward pass into gradients that are kept, as training keeps them."""
    began = time.process_time()
    module.zero_grad(set_to_none=False)
    (call() * direction).sum().backward()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="pairs of steps per size (default 15)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    space = SearchSpace.named("paper_fine")
    supernet = Supernet(space).train()
    archs = {"full": space.largest, "middle": Arch.parse("3-256-256-256-256-3-3-3-3-768"), "smallest": space.smallest}
    for parameter in supernet.parameters():
        parameter.grad = torch.zeros_like(parameter)
    x = torch.randn(args.batch, space.in_feats, args.frames)
    direction = torch.randn(args.batch, space.embedding)
    print(f"{'size':9}{'arch':40}{'static':>10}{'sliced':>10}{'ratio':>8}{'aim':>7}{'derive':>10}")
    for size, arch in archs.items():
        static = supernet.derive(arch).train()
        times = {"static": [], "sliced": []}
        for round_ in range(args.rounds + 3):
            pair = {
                "static": lambda static=static: step(static, lambda: static(x), direction),
                "sliced": lambda arch=arch: step(supernet, lambda: supernet(x, arch), direction),
            }
            for name in sorted(pair, reverse=bool(round_ % 2)):
                seconds = pair[name]()
                if round_ >= 3:
                    times[name].append(seconds)
        ratio = statistics.median(b / a for a, b in zip(times["static"], times["sliced"], strict=True))
        derive = []
        for _ in range(5):
            began = time.process_time()
            supernet.derive(arch)
            derive.append(time.process_time() - began)
        medians = [1e3 * statistics.median(values) for values in (*times.values(), derive)]
        times_shown = "".join(f"{value:7.1f} ms" for value in medians[:2])
        print(f"{size:9}{arch!s:40}{times_shown}{ratio:8.3f}{AIMS[size]:7.2f}{medians[2]:7.1f} ms")


if __name__ == "__main__":
    main()
