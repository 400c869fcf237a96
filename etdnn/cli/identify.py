"""Tell who of a gallery is speaking, or that nobody of it is.

etdnn identify --model model.safetensors --gallery people.safetensors a.wav
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from etdnn.deploy.options import add_decision_options, add_model_options

    parser.add_argument("audio", help="audio file")
    parser.add_argument("--gallery", required=True, help="gallery file of etdnn enrol")
    parser.add_argument("--best", type=int, default=5, help="how many of the nearest people to show (default 5)")
    add_model_options(parser)
    add_decision_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the nearest people and the decision."""
    from etdnn.deploy.gallery import Gallery
    from etdnn.deploy.options import DIFFERENT, open_model
    from etdnn.errors import UsageError, UserError

    if args.best < 1:
        raise UsageError(f"--best {args.best}: at least 1 is needed")
    model, gallery = open_model(args), Gallery.load(args.gallery)
    gallery.check(model, args.gallery)
    ranked = gallery.rank(model.embed_file(args.audio))
    threshold, origin = model.threshold(args.point) if args.threshold is None else (args.threshold, "given")
    if threshold is None and args.exit_status:
        raise UserError("no decision: the model has no thresholds; give --threshold, or run etdnn calibrate")
    known = None if threshold is None else ranked[0][1] >= threshold
    nearest = [{"name": name, "score": score} for name, score in ranked[: args.best]]
    if args.json:
        found = {"name": ranked[0][0] if known else None, "threshold": threshold, "origin": origin}
        print(json.dumps({**found, "precision": model.precision, "nearest": nearest}))
    else:
        verdict = {None: "no decision", True: f"{ranked[0][0]}", False: "nobody of the gallery"}[known]
        limit = "" if threshold is None else f"threshold {threshold:.4f}, "
        note = "" if model.precision == "fp32" else f"; computed in {model.precision}"
        print(f"{verdict} ({limit}{origin}){note}")
        for entry in nearest:
            print(f"  {entry['score']:.4f}  {entry['name']}")
    return DIFFERENT if args.exit_status and not known else 0
