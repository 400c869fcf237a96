"""Turn the authors' released checkpoints into model files of this project.

etdnn import width2.torchparams supernet.safetensors                                  a supernet, for stage 4
etdnn import width2.torchparams --subnet small.bn.tar model.safetensors               a subnet, for stages 6 to 8
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("supernet", help="published supernet (.torchparams)")
    parser.add_argument("out", help="model file to write (.safetensors)")
    parser.add_argument("--subnet", help="published subnet file (.bn.tar): write this subnet, not the supernet")
    parser.add_argument("--arch", help="with --subnet: refuse a file that holds another arch than this")
    parser.add_argument("--json", action="store_true", help="print the metadata as JSON")


def run(args: argparse.Namespace) -> None:
    """Write the model file and say what it is."""
    from etdnn.deploy.published import import_checkpoint

    metadata = import_checkpoint(args.supernet, args.out, args.subnet, args.arch)
    if args.json:
        print(json.dumps(metadata))
        return
    if metadata["kind"] == "supernet":
        space = metadata["space"]
        most = f"depth {space['depths'][-1]}, width {space['widths'][-1]}, cat {space['cats'][-1]}"
        print(f"{args.out}: supernet, largest: {most}")
    else:
        said = ", ".join(f"{key} {value}" for key, value in metadata["published"].items() if key != "file")
        print(f"{args.out}: subnet {metadata['arch']}; published with it: {said or 'nothing'}")
    print("normalisation: mean and variance; front end: efficienttdnn (as egs/voxceleb/conf/fbank_paper.conf)")
