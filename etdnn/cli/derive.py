"""Derive a subnet: weights sliced from the supernet, batch norm re-estimated on training crops.

etdnn derive --supernet exp/x/supernet --arch exp/x/search/204M/arch.txt --data data/train_all --out model.safetensors
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--supernet", required=True, help="supernet.safetensors of a phase")
    parser.add_argument("--arch", required=True, help="arch.txt of a search, an arch as text, 'largest' or 'smallest'")
    parser.add_argument("--data", required=True, help="training data without copies, with features")
    parser.add_argument("--out", required=True, help="model file to write")
    parser.add_argument("--crops", type=int, default=6000, help="crops, at most one per utterance (default 6000)")
    parser.add_argument("--frames", type=int, default=200, help="frames per crop (default 200: 2 s)")
    parser.add_argument("--batch", type=int, default=32, help="crops per batch (default 32)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the crops (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def run(args: argparse.Namespace) -> None:
    """Write the model file and say what it is."""
    from etdnn.embed.derive import derive_subnet
    from etdnn.model.budget import show_count

    made = derive_subnet(
        args.supernet, args.arch, args.data, args.out,
        seed=args.seed, crops=args.crops, frames=args.frames, batch=args.batch, device=args.device,
    )  # fmt: skip
    print(f"{args.out}: arch {made['arch']}, {show_count(made['macs'])} MACs, {show_count(made['params'])} parameters, "
          f"batch norm from {made['calibration']['crops']} crops of {args.frames} frames")  # fmt: skip
    print(f"convention: {made['convention']}")
