"""Make data directories from VoxCeleb1 and VoxCeleb2 as they lie on disk (wav or m4a, any of the releases' layouts).

Leaves DATA/{train,dev,test}, DATA/test/trials_vox1_{O,E,H}_cleaned, DATA/dev/trials_clean and trials_cross,
DATA/noise/{train,dev}/{noise,music,babble,rir}.scp and DATA/split.tsv. With --test-only, for a model that is already
trained: DATA/test with Vox1-O, and from --voxceleb2 DATA/cohort, utterances drawn from its dev part.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", help="where the data directories go")
    parser.add_argument("--voxceleb1", metavar="DIR", required=True, help="VoxCeleb1: [dev|test]/[wav]/idNNNNN")
    parser.add_argument("--voxceleb2", metavar="DIR", help="VoxCeleb2: [dev|test]/[wav|aac]/idNNNNN")
    parser.add_argument("--trials-dir", metavar="DIR", help="folder of the cleaned lists [in VoxCeleb1's, or fetched]")
    parser.add_argument(
        "--trials", metavar="FILE", action="append", default=[], help="a trial list instead of O, E, H (repeatable)"
    )
    parser.add_argument("--meta-dir", metavar="DIR", help="folder of vox1_meta.csv, vox2_meta.csv [in the corpora's]")
    parser.add_argument("--m4a", choices=("decode", "pipe"), default="decode", help="m4a files: once, or each time")
    parser.add_argument("--decoded", metavar="DIR", help="where decoded m4a files go [DATA/decoded]")
    parser.add_argument("--dev-speakers", type=int, metavar="N", help="cut from train without VoxCeleb2's test part")
    parser.add_argument("--allow-partial", action="store_true", help="go on with other counts than the releases'")
    parser.add_argument("--musan", metavar="DIR", help="MUSAN [synthetic noises]")
    parser.add_argument("--rirs", metavar="DIR", help="RIRS_NOISES [synthetic rooms]")
    parser.add_argument("--test-only", action="store_true", help="Vox1-O and a cohort, no training data")
    parser.add_argument("--cohort-size", type=int, default=6000, help="utterances of the cohort of --test-only [6000]")
    parser.add_argument("--nj", type=int, default=1, help="parallel jobs [1]")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw [0]")


def run(args: argparse.Namespace) -> None:
    """Prepare the corpora."""
    from etdnn.data.voxceleb import prepare_voxceleb
    from etdnn.data.voxceleb_test import prepare_test
    from etdnn.errors import UsageError

    common = {
        "voxceleb1": args.voxceleb1,
        "voxceleb2": args.voxceleb2,
        "trials_dir": args.trials_dir,
        "m4a": args.m4a,
        "decoded": args.decoded,
        "allow_partial": args.allow_partial,
        "seed": args.seed,
        "jobs": args.nj,
    }
    if args.test_only:
        if args.cohort_size < 2:
            raise UsageError("--cohort-size: a cohort needs at least 2 utterances")
        prepare_test(args.data, cohort_size=args.cohort_size, **common)
        return
    prepare_voxceleb(
        args.data,
        trials=args.trials,
        meta_dir=args.meta_dir,
        musan=args.musan,
        rirs=args.rirs,
        dev_speakers=args.dev_speakers,
        **common,
    )
