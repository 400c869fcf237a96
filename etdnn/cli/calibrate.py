"""Set the thresholds of a model on your own recordings.

etdnn calibrate --model model.safetensors --trials mine.txt
Lines of the list: `a.wav b.wav target` for one speaker, `a.wav c.wav nontarget` for two.
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", required=True, help="model file")
    parser.add_argument("--trials", required=True, help="list of trials with both kinds in it")
    parser.add_argument("--wav-scp", help="wav.scp (and segments) with the names of the list (default: they are paths)")
    parser.add_argument("--out", help="model file to write (default: the same, its thresholds replaced)")
    parser.add_argument("--prior", type=float, default=0.01, help="prior of a target, for log likelihood ratios")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or auto")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Write the model with the thresholds and print them."""
    from etdnn.deploy.calibrate import calibrate
    from etdnn.deploy.listed_audio import ListedAudio

    audio = ListedAudio(args.wav_scp) if args.wav_scp else None
    out = args.out or args.model
    own = calibrate(args.model, args.trials, out, audio=audio, prior=args.prior, device=args.device)
    if args.json:
        print(json.dumps(own))
        return
    print(f"{out}: {own['targets']} target and {own['nontargets']} nontarget trials, EER {100 * own['eer']:.2f} %")
    for name, point in own["points"].items():
        rates = f"misses {100 * point['miss']:.2f} %, accepts falsely {100 * point['false_accept']:.2f} %"
        print(f"  {name:<20} {point['threshold']:.4f}  {rates}")
    if own["nontargets"] < 100 or own["targets"] < 30:
        print("few trials: these rates are rough")
