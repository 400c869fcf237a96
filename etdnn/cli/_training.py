"""What the commands `train` and `finetune` share."""

import argparse
from pathlib import Path


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that every training takes."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, help="threads per process; with more than 1 CPU runs differ")
    parser.add_argument("--stage-to", type=Path, help="copy the features to this folder of a local disc, train from it")
    parser.add_argument(
        "--stop-after", type=_minutes, metavar="MINUTES",
        help="then write a checkpoint and end with code 85, as after SIGTERM; started again, it goes on from there",
    )  # fmt: skip
    parser.add_argument("--override", action="store_true", help="resume although configuration, data or ranks changed")
    parser.add_argument("--force", action="store_true", help="discard what is there and start anew")


def _minutes(text: str) -> float:
    """Return a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of minutes above 0")
    return number
