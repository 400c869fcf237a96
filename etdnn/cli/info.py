"""What a model file is: arch, size, front end, training, results, thresholds.

etdnn info model.safetensors
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="model file of a subnet or of a supernet")
    parser.add_argument("--json", action="store_true", help="print everything that the file says as JSON")


def run(args: argparse.Namespace) -> None:
    """Print a summary, or all of it as JSON."""
    from pathlib import Path

    from etdnn.deploy.card import describe
    from etdnn.files import hash_file
    from etdnn.model.checkpoint import read_tensors

    tensors, metadata = read_tensors(args.model)
    stored = sum(tensor.numel() for tensor in tensors.values())
    facts = {
        "file": args.model,
        "bytes": Path(args.model).stat().st_size,
        "hash": hash_file(args.model),
        "stored": stored,
    }
    if args.json:
        print(json.dumps({**facts, **metadata}))
    else:
        print("\n".join(describe(facts, metadata)))
