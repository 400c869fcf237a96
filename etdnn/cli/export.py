"""Write a model as ONNX, checked against PyTorch at several lengths.

etdnn export model.safetensors model.onnx                from fbank (N, T, 80), as sherpa-onnx reads it
etdnn export model.safetensors model.onnx --form wave    from samples (N, S) within -1..1, front end inside
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="model file of stage 5 or of etdnn import")
    parser.add_argument("out", help="ONNX file to write")
    parser.add_argument("--form", default="fbank", choices=("fbank", "wave"), help="what goes in (default fbank)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Write the file and say how far it is from PyTorch."""
    from dataclasses import asdict

    from etdnn.deploy.export import export_onnx
    from etdnn.deploy.runtime import load_model

    made = export_onnx(load_model(args.model), args.out, args.form)
    if args.json:
        print(json.dumps(asdict(made)))
    else:
        print(
            f"{made.path}: {made.form} form, {made.bytes / 1e6:.2f} MB; differs from PyTorch by at most "
            f"{made.largest_difference:.1e}, cosine to the recipe at least {made.lowest_cosine:.6f}"
        )
