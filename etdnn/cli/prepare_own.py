"""Make data directories from a folder of recordings: SPEAKER/SESSION/UTTERANCE.{wav,flac,ogg,opus,mp3,m4a}.

Leaves DATA/{train,dev,test} (wav.scp, utt2spk, spk2utt, utt2session, utt2dur), DATA/test/trials_NAME,
DATA/dev/trials_clean and trials_cross, DATA/noise/{train,dev}/{noise,music,babble,rir}.scp and DATA/split.tsv.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("corpus", help="folder SPEAKER/SESSION/UTTERANCE")
    parser.add_argument("data", help="where the data directories go")
    parser.add_argument(
        "--segments", metavar="FILE", help="lines 'FILE START END [NAME]': parts that are the utterances"
    )
    parser.add_argument("--split", metavar="TSV", help="table with columns id, set (train, dev, test), maybe gender")
    parser.add_argument(
        "--trials", metavar="FILE", action="append", default=[], help="trial list over the test speakers (repeatable)"
    )
    parser.add_argument(
        "--enrol", metavar="FILE", action="append", default=[], help="enrol_NAME.txt, lines 'NAME FILE...', for the "
        "trials of that name (repeatable)",
    )  # fmt: skip
    parser.add_argument("--dev-speakers", type=int, metavar="N", help="speakers cut from train [a tenth, 20 to 120]")
    parser.add_argument("--test-speakers", type=int, metavar="N", help="test speakers without --split and --trials")
    parser.add_argument("--musan", metavar="DIR", help="noises in MUSAN's form: noise, music, speech [synthetic]")
    parser.add_argument("--rirs", metavar="DIR", help="room impulse responses: simulated_rirs/ROOM [synthetic]")
    parser.add_argument("--min-seconds", type=float, default=0.3, help="shorter files are listed and skipped [0.3]")
    parser.add_argument("--allow-missing", action="store_true", help="drop trials whose audio is not there")
    parser.add_argument("--nj", type=int, default=1, help="parallel jobs [1]")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw [0]")


def run(args: argparse.Namespace) -> None:
    """Prepare the corpus."""
    from etdnn.data.own import prepare_own

    prepare_own(
        args.corpus,
        args.data,
        segments=args.segments,
        split=args.split,
        trials=args.trials,
        enrol=args.enrol,
        dev_speakers=args.dev_speakers,
        test_speakers=args.test_speakers,
        musan=args.musan,
        rirs=args.rirs,
        seed=args.seed,
        jobs=args.nj,
        min_seconds=args.min_seconds,
        allow_missing=args.allow_missing,
    )
