"""What a model file is: arch, size, front end, training, results, thresholds.

etdnn info model.safetensors
etdnn info model.safetensors --card > MODEL_CARD.md
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="model file of a subnet or of a supernet")
    parser.add_argument("--card", action="store_true", help="print the model card of a subnet (Markdown)")
    parser.add_argument("--json", action="store_true", help="print everything that the file says as JSON")


def run(args: argparse.Namespace) -> None:
    """Print a summary, or all of it as JSON."""
    from pathlib import Path

    from etdnn.deploy.card import describe
    from etdnn.deploy.model_card import model_card
    from etdnn.errors import UserError
    from etdnn.files import hash_file
    from etdnn.model.checkpoint import read_tensors

    tensors, metadata = read_tensors(args.model)
    if args.card:
        if metadata["kind"] != "subnet":
            raise UserError(f"{args.model}: holds a {metadata['kind']}; only subnets have a card")
        print(model_card(metadata), end="")
        return
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
