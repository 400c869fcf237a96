"""Compute features of (a part of) a data directory: ark, scp, utt2num_frames, front end and list of failures.

etdnn make-fbank --config conf/fbank.conf --compression cm2 --seed 0 data/train/split2utt/1 fbank/KEY/train/fbank.1
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, required=True, help="front end, Kaldi's syntax")
    parser.add_argument("--compression", default="cm2", help="cm2 (16 bit), cm3 (8 bit), cm (8 bit, Kaldi's) or fm")
    parser.add_argument("--seed", type=int, default=0, help="seed of what utt2aug leaves open: places in noises")
    parser.add_argument("--vad", action="store_true", help="voiced frames only, as --vad=true in the configuration")
    parser.add_argument("--original-vad", action="store_true", help="VAD hears copies before noise is added")
    parser.add_argument("--all-frames", action="store_true", help="no VAD here, whatever the front end says: noises")
    parser.add_argument("--force", action="store_true", help="also when it was done with the same inputs")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("prefix", type=Path, help="outputs are PREFIX.ark, PREFIX.scp, ...")


def run(args: Namespace) -> int:
    """Compute the features."""
    from functools import partial

    from etdnn.features.fbank import read_fbank_conf
    from etdnn.features.jobs import make_part

    options = read_fbank_conf(args.config, vad=args.vad)
    make_part(
        args.data, args.prefix, options, compression=args.compression, seed=args.seed, force=args.force,
        all_frames=args.all_frames, original_vad=args.original_vad, say=partial(print, flush=True),
    )  # fmt: skip
    return 0
