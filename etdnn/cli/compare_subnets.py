"""Test EER of the chosen subnets beside their rivals (best of the sample, largest that fits, ...), after stage 4.

etdnn compare-subnets --supernet exp/mini/supernet/supernet.safetensors --data data --search exp/mini/search
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("budgets", nargs="*", metavar="BUDGET", help="folders below --search (default: all)")
    parser.add_argument("--supernet", required=True, type=Path, help="the supernet that was searched")
    parser.add_argument("--data", required=True, type=Path, help="folder with train and test (features, trials)")
    parser.add_argument("--search", required=True, type=Path, help="folder of stage 4, for example exp/mini/search")
    parser.add_argument("--trials", action="append", default=[], metavar="NAME", help="a test list; repeatable (all)")
    parser.add_argument("--frames", type=int, default=0, help="embed the middle so many frames (default: everything)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def run(args: argparse.Namespace) -> None:
    """Print the comparisons and name the files."""
    from etdnn.embed.extract import pick_device
    from etdnn.errors import UsageError
    from etdnn.search.on_test import compare_on_test

    if args.frames < 0:
        raise UsageError(f"--frames {args.frames}: at least 0 is needed")
    device = pick_device(args.device)
    written = compare_on_test(
        args.supernet, args.data, args.search, args.budgets, args.trials, frames=args.frames, device=device
    )
    print(f"written: {' '.join(map(str, written))}")
