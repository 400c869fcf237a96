"""Write a model as ONNX, checked against PyTorch at several lengths.

etdnn export model.safetensors model.onnx                from fbank (N, T, 80), as sherpa-onnx reads it
etdnn export model.safetensors model.onnx --form wave    from samples (N, S) within -1..1, front end inside
etdnn export model.safetensors model.onnx --precision int8 --calibration data/dev

fp16 stores the weights in half the bytes and computes in fp32; int8 makes those layers int8 that the table printed
beside allows. Both are for size: etdnn package compares size, ms and EER.
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="model file of stage 5 or of etdnn import")
    parser.add_argument("out", help="ONNX file to write")
    parser.add_argument("--form", default="fbank", choices=("fbank", "wave"), help="what goes in (default fbank)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16", "int8"), help="default fp32")
    parser.add_argument("--calibration", metavar="DIR", help="data directory with features of dev, for int8")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Write the file and say how far it is from PyTorch."""
    from dataclasses import asdict

    from etdnn.errors import UsageError

    if args.precision == "int8" and not args.calibration:
        raise UsageError("--precision int8 needs --calibration DIR: a data directory with features, data/dev for one")
    from etdnn.deploy.export import Exporter
    from etdnn.deploy.package import calibration_features
    from etdnn.deploy.quantise import layer_table
    from etdnn.deploy.runtime import load_model

    model = load_model(args.model)
    features = calibration_features(args.calibration, model) if args.precision == "int8" else ()
    exporter = Exporter(model, features)
    made = exporter.write(args.out, args.form, args.precision)
    if args.json:
        print(json.dumps({**asdict(made), "layers": [asdict(layer) for layer in exporter.layers]}))
        return
    if exporter.layers:
        print(layer_table(exporter.layers))
    print(
        f"{made.path}: {made.form} form in {made.precision}, {made.bytes / 1e6:.2f} MB; differs from PyTorch by "
        f"at most {made.largest_difference:.1e}, cosine to the recipe at least {made.lowest_cosine:.6f}"
    )
