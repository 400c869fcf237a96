"""Embeddings of audio files.

etdnn embed --model model.safetensors a.wav b.flac              Kaldi's text form, one line per file
etdnn embed --model model.safetensors --out x.npy a.wav b.flac  a NumPy array, one row per file
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from etdnn.deploy.options import add_model_options

    parser.add_argument("audio", nargs="+", help="audio files of any rate, channels and length from 0.5 s")
    parser.add_argument("--out", help="write a .npy file instead of printing")
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Print or write one embedding per file."""
    import numpy as np

    from etdnn.deploy.options import open_model
    from etdnn.files import atomic_path

    model = open_model(args)
    found = [model.extract_file(path) for path in args.audio]
    if args.out:
        with atomic_path(args.out) as part, part.open("wb") as handle:
            np.save(handle, np.stack([extraction.embedding for extraction in found]))
    for path, extraction in zip(args.audio, found, strict=True):
        row = {
            "file": path,
            "seconds": round(extraction.seconds, 3),
            "windows": extraction.windows,
            "precision": extraction.precision,
        }
        if args.json:
            if not args.out:
                row["embedding"] = [round(float(value), 6) for value in extraction.embedding]
            print(json.dumps(row))
        elif args.out:
            windows = f"{row['windows']} window{'s' * (row['windows'] > 1)}"
            print(f"{path}: {row['seconds']} s in {windows}, {row['precision']}")
        else:
            print(f"{path}  [ {' '.join(f'{value:.6g}' for value in extraction.embedding)} ]")
