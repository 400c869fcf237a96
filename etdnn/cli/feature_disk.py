"""Say how much disc features will take and print the front end's folder name; exit 1 when they do not fit.

key=$(etdnn feature-disk --config conf/fbank.conf --compression cm2 --featdir fbank data/train data/test)
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, required=True, help="front end, Kaldi's syntax")
    parser.add_argument("--compression", default="cm2", help="cm2, cm3, cm or fm")
    parser.add_argument("--vad", action="store_true", help="voiced frames only, as --vad=true in the configuration")
    parser.add_argument("--featdir", type=Path, required=True, help="folder in which features will lie")
    parser.add_argument("data", type=Path, nargs="+", help="data directories with utt2dur")


def run(args: Namespace) -> int:
    """Print the sizes to standard error, the folder name to standard output."""
    import sys

    from etdnn.data.ark_format import BYTES_PER_VALUE
    from etdnn.errors import UsageError
    from etdnn.features.fbank import read_fbank_conf
    from etdnn.features.merge import check_disc

    if args.compression not in BYTES_PER_VALUE:
        raise UsageError(f"--compression {args.compression} is not one of {', '.join(BYTES_PER_VALUE)}")
    options = read_fbank_conf(args.config, vad=args.vad)
    for line in check_disc(args.data, args.featdir, options, args.compression):
        print(line, file=sys.stderr)
    print(options.key)
    return 0
