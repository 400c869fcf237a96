"""Write augmented and speed-perturbed copies of a data directory (recipes only; make-fbank applies them).

etdnn make-copies --plan conf/augment.yaml --noise data/noise/train --noise-set data/train_noise --seed 0 \\
  data/train data/train_copies
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--plan", type=Path, required=True, help="YAML: which copies, see etdnn/features/plan.py")
    parser.add_argument("--noise", type=Path, help="folder with noise.scp, music.scp, babble.scp, rir.scp")
    parser.add_argument("--noise-set", type=Path, help="data directory of the noises, if the plan has store_noise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("source", type=Path, help="data directory of originals")
    parser.add_argument("target", type=Path, help="data directory of copies, made anew")


def run(args: Namespace) -> int:
    """Make the copies."""
    import shutil

    from etdnn.features.copies import make_copies
    from etdnn.features.noise_set import make_noise_set
    from etdnn.features.plan import read_plan

    plan = read_plan(args.plan)
    if args.noise_set:
        make_noise_set(args.noise if plan.store_noise else None, args.noise_set)
    if args.target.exists():
        shutil.rmtree(args.target)
    number = make_copies(args.source, args.target, plan, args.noise, args.seed)
    print(f"{args.target}: {number} copies")
    return 0
