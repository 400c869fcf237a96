"""Make data directories from CN-Celeb (OpenSLR 82) as it lies on disk, with or without CN-Celeb2.

Leaves DATA/{train,dev,test}, DATA/test/trials_main and enrol_main, DATA/dev/trials_clean and trials_cross,
DATA/noise/{train,dev}/{noise,music,babble,rir}.scp and DATA/split.tsv.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", help="where the data directories go")
    parser.add_argument("--cnceleb", metavar="DIR", required=True, help="CN-Celeb: data, dev/dev.lst, eval")
    parser.add_argument("--cnceleb2", metavar="DIR", help="CN-Celeb2: data, spk.lst (more training speakers)")
    parser.add_argument(
        "--enrolment",
        choices=("files", "concatenated"),
        default="files",
        help="enrol with the files of enroll.map (averaged), or with the one file of eval/enroll",
    )
    parser.add_argument("--dev-speakers", type=int, metavar="N", help="dev speakers cut from train")
    parser.add_argument("--allow-partial", action="store_true", help="go on without listed files that are not there")
    parser.add_argument("--musan", metavar="DIR", help="MUSAN [synthetic noises]")
    parser.add_argument("--rirs", metavar="DIR", help="RIRS_NOISES [synthetic rooms]")
    parser.add_argument("--nj", type=int, default=1, help="parallel jobs [1]")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw [0]")


def run(args: argparse.Namespace) -> None:
    """Prepare the corpus."""
    from etdnn.data.cnceleb import prepare_cnceleb

    prepare_cnceleb(
        args.data,
        cnceleb=args.cnceleb,
        cnceleb2=args.cnceleb2,
        enrolment=args.enrolment,
        dev_speakers=args.dev_speakers,
        allow_partial=args.allow_partial,
        musan=args.musan,
        rirs=args.rirs,
        seed=args.seed,
        jobs=args.nj,
    )
