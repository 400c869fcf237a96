"""Tell whether two recordings are of one speaker.

etdnn verify --model model.safetensors a.wav b.wav
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from etdnn.deploy.options import add_decision_options, add_model_options

    parser.add_argument("a", help="audio file")
    parser.add_argument("b", help="audio file")
    add_model_options(parser)
    add_decision_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print score, threshold and decision."""
    from dataclasses import asdict

    from etdnn.deploy.options import DIFFERENT, open_model
    from etdnn.errors import UserError

    found = open_model(args).verify(args.a, args.b, threshold=args.threshold, point=args.point)
    if found.same is None and args.exit_status:
        raise UserError("no decision: the model has no thresholds; give --threshold, or run etdnn calibrate")
    note = "" if found.precision == "fp32" else f"; computed in {found.precision}"
    if args.json:
        print(json.dumps(asdict(found)))
    elif found.same is None:
        print(f"score {found.score:.4f}, no decision (threshold {found.origin}){note}")
    else:
        decision = "same speaker" if found.same else "different speakers"
        print(f"{decision}: score {found.score:.4f}, threshold {found.threshold:.4f} ({found.origin}){note}")
    return DIFFERENT if args.exit_status and not found.same else 0
