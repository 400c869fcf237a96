"""Give a data directory the features that make-fbank left: feats.scp, utt2num_frames, frontend.json.

etdnn merge-features data/train fbank/KEY/train/fbank.1 fbank/KEY/train/fbank.2

Utterances without features are dropped and counted; more than max(10, 0.1 %) of them, or features for under 95 % of the
utterances, are an error.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--check", type=int, default=200, help="utterances to read back; -1 all, 0 none [200]")
    parser.add_argument("--drop-trials", action="store_true", help="drop the trials of dropped utterances too (dev)")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("prefixes", type=Path, nargs="+", help="PREFIX of each make-fbank job")


def run(args: Namespace) -> int:
    """Merge the parts."""
    from etdnn.features.merge import merge_parts

    merge_parts(args.data, args.prefixes, args.check, trials_too=args.drop_trials)
    return 0
