"""Add recordings of a person to a gallery file.

etdnn enrol --model model.safetensors --gallery people.safetensors --name Ada a.wav b.wav
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from etdnn.deploy.options import add_model_options

    parser.add_argument("audio", nargs="+", help="recordings of the person; several are better")
    parser.add_argument("--gallery", required=True, help="gallery file; made when it is not there")
    parser.add_argument("--name", required=True, help="the person; a known one gets the recordings added")
    parser.add_argument("--min-speech", type=float, default=2.0, help="seconds of net speech needed in all (default 2)")
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Write the gallery with the person in it."""
    from pathlib import Path

    from etdnn.deploy.gallery import Gallery, enrol_files
    from etdnn.deploy.options import open_model

    model = open_model(args)
    gallery = Gallery.load(args.gallery) if Path(args.gallery).exists() else Gallery.empty(model)
    gallery.check(model, args.gallery)
    speech = enrol_files(gallery, model, args.name, args.audio, args.min_speech)
    gallery.save(args.gallery)
    count = int(gallery.counts[gallery.names.index(args.name)])
    row = {"name": args.name, "recordings": count, "speech": round(speech, 2), "people": len(gallery.names)}
    if args.json:
        print(json.dumps(row))
    else:
        added = f"{speech:.1f} s of speech added"
        print(f"{args.gallery}: {args.name} with {count} recordings ({added}), {row['people']} people")
