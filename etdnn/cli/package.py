"""Everything of a model that travels, in one folder: ONNX files, example.py, MODEL_CARD.md (stage 8).

etdnn package model.safetensors DIR
etdnn package model.safetensors DIR --precisions "fp32 fp16 int8" --data data       with size, ms and EER beside

fp16 and int8 are for size. onnxruntime on CPU has no bfloat16 convolutions and gains nothing from fp16; reduced
precision for speed is the PyTorch runtime's bfloat16.
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="model file of stage 5 or of etdnn import")
    parser.add_argument("dir", help="folder to write; an earlier package in it is replaced at the end")
    parser.add_argument("--precisions", default="fp32", help="of fp32, fp16, int8 (default fp32)")
    parser.add_argument("--data", help="folder of dev (calibrates int8) and test (its shortest trial list is scored)")
    parser.add_argument("--title", help="what the model was trained on; noted in the model file, for the card")
    parser.add_argument("--licence", default="", help="licence of that corpus; noted with it")
    parser.add_argument(
        "--reference", metavar="DIR", help="folder of another subnet with embeddings: are both comparable? (noted)"
    )
    parser.add_argument("--json", action="store_true", help="print the files as JSON")


def run(args: argparse.Namespace) -> None:
    """Write the folder and say what is in it."""
    import sys
    from pathlib import Path

    from etdnn.deploy.package import check_folder, note_corpus, package
    from etdnn.deploy.quantise import PRECISIONS
    from etdnn.errors import UsageError

    precisions = args.precisions.replace(",", " ").split()
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown or not precisions:
        raise UsageError(f"--precisions '{args.precisions}': one or several of {', '.join(PRECISIONS)}")
    if "int8" in precisions and not args.data:
        raise UsageError("--precisions int8 needs --data DIR with dev: int8 is calibrated on its features")
    if args.reference and not args.data:
        raise UsageError("--reference needs --data DIR with dev, whose trials are scored across both models")
    check_folder(Path(args.dir).resolve())  # before anything is noted in the model file
    if args.title is not None:
        note_corpus(args.model, args.title, args.licence, args.data)
    stream = sys.stderr if args.json else sys.stdout
    if args.reference:
        from etdnn.deploy.alignment import note_alignment
        from etdnn.deploy.model_card import show_alignment

        print(show_alignment(note_alignment(args.model, args.reference, Path(args.data) / "dev")), file=stream)
    rows = package(
        args.model, args.dir, precisions=precisions, data=args.data, say=lambda text: print(text, file=stream)
    )
    if args.json:
        print(json.dumps(rows))
        return
    for row in rows:
        if "ms" in row:
            tested = f", cosine {row['cosine']:.5f}, EER {row['eer']:.3f} %" if "eer" in row else ""
            print(f"{row['precision']}: {row['bytes'] / 1e6:.2f} MB, {row['ms']:.2f} ms{tested}")
    if rows:
        print(rows[0]["about"])
    print(f"{args.dir}: MODEL_CARD.md and {len(rows)} ONNX files")
