"""Embeddings of all utterances of a wav.scp as Kaldi ark and scp; a broken run goes on where it stopped.

etdnn embed-scp --model model.safetensors data/test/wav.scp test.ark test.scp
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from etdnn.deploy.options import add_model_options

    parser.add_argument("wav_scp", help="`id path` lines, sorted; `segments` beside a wav.scp is heeded")
    parser.add_argument("ark", help="ark to write")
    parser.add_argument("scp", help="scp to write")
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Write ark and scp and say how many."""
    import sys

    from etdnn.deploy.embed_scp import embed_scp
    from etdnn.deploy.options import open_model

    model = open_model(args)
    count, broken = embed_scp(model, args.wav_scp, args.ark, args.scp, say=lambda text: print(text, file=sys.stderr))
    for reason in broken.values():
        print(f"left out: {reason}", file=sys.stderr)
    if args.json:
        print(json.dumps({"scp": args.scp, "embeddings": count, "precision": model.precision, "broken": broken}))
    else:
        print(f"{args.scp}: {count} embeddings ({model.precision}), {len(broken)} broken recordings left out")
