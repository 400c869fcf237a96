"""Options that the daily commands share."""

import argparse
import math
import os
from typing import TYPE_CHECKING

from etdnn.errors import UsageError

if TYPE_CHECKING:
    from etdnn.deploy.runtime import Embedder

DIFFERENT = 3
"""Exit status of `--exit-status` when the decision is 'another speaker' (1 and 2 are errors)."""


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --model, --device, --precision and --json."""
    parser.add_argument("--model", help="model file of stage 5 or of etdnn import (default: $ETDNN_MODEL)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or auto")
    add_precision_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, one object per line")


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """Add --precision."""
    parser.add_argument(
        "--precision", default="fp32", help="fp32 (default), bf16, or auto: bf16 where the CPU has matrix units for it"
    )


def add_decision_options(parser: argparse.ArgumentParser) -> None:
    """Add --threshold, --point and --exit-status."""
    parser.add_argument("--threshold", type=_finite, help="accept from this cosine on (default: the model's threshold)")
    parser.add_argument("--point", default="eer", help="operating point of the model's threshold (default eer)")
    parser.add_argument(
        "--exit-status", action="store_true", help=f"exit with 0 for the same speaker, {DIFFERENT} for another"
    )


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is no finite number")
    return value


def open_model(args: argparse.Namespace) -> "Embedder":
    """Return the embedder of --model or $ETDNN_MODEL."""
    path = args.model or os.environ.get("ETDNN_MODEL")
    if not path:
        raise UsageError("no model: give --model FILE or set ETDNN_MODEL")
    from etdnn.deploy.runtime import load_model

    return load_model(path, args.device, args.precision)
