"""MACs, parameters and memory of whole populations against a loop over modules.

    python3 bench/cost.py [--archs 1000000] [--loop 20]

Archs per second of one core (CPU time, OMP_NUM_THREADS=1) of the closed forms on the fine space; beside them a loop
that builds each network and counts its modules with PyTorch's flop counter, and a loop over single archs.
"""

import argparse
import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from etdnn.model.arch import Arch
from etdnn.model.cost import PAPER_FRAMES, arch_macs, arch_params, macs, memory, params
from etdnn.model.space import SearchSpace
from etdnn.model.tdnn import Tdnn
from etdnn.search.population import ArchRows, sample


def count_modules(arch: Arch) -> tuple[int, int]:
    """Return MACs of convolutions and linears, and parameters, of a network that is built for it."""
    net = Tdnn(arch).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 80, PAPER_FRAMES))
    return counter.get_total_flops() // 2, sum(weight.numel() for weight in net.parameters())


def rate(function, count: int) -> float:
    """Return how many archs a second of CPU time `function` handles when one call handles `count`."""
    start = time.process_time()
    function()
    return count / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=1_000_000)
    parser.add_argument("--loop", type=int, default=20, help="archs of the loop over modules")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = sample(SearchSpace.named("paper_fine"), options.archs, np.random.default_rng(0))
    few = list(ArchRows(rows[: options.loop]))
    for arch in few:
        assert count_modules(arch) == (arch_macs(arch, batch_norm=False), arch_params(arch))
    loop = rate(lambda: [count_modules(arch) for arch in few], len(few))
    several = list(ArchRows(rows[:2000]))
    single = rate(lambda: [(arch_macs(arch), arch_params(arch)) for arch in several], len(several))
    whole = np.median([rate(lambda: (macs(rows), params(rows)), len(rows)) for _ in range(5)])
    bytes_too = np.median([rate(lambda: memory(rows), len(rows)) for _ in range(5)])
    print(f"loop over modules             {loop:12.1f} archs/s")
    print(f"one arch at a time            {single:12.1f} archs/s {single / loop:10.0f} x")
    print(f"MACs and params of {len(rows):>10,} {whole:12.0f} archs/s {whole / loop:10.0f} x")
    print(f"memory of          {len(rows):>10,} {bytes_too:12.0f} archs/s")


if __name__ == "__main__":
    main()
