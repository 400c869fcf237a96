"""Scores, EER and minDCF of a subnet on its test lists; thresholds and calibration from dev.

    etdnn score --model DIR/model.safetensors --budget 204M --test data/test --dev data/dev --train data/train \
        --embeddings DIR/embeddings --out DIR/scores --results exp/x/results.tsv [--trials NAME ...]

Back-ends: cosine, mean (the cohort's mean subtracted), asnorm, mean-asnorm.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", required=True, help="model file of stage 5; takes up thresholds and results")
    parser.add_argument("--budget", required=True, help="name of the row in results.tsv")
    parser.add_argument("--test", required=True, help="test data directory with trials_NAME")
    parser.add_argument("--dev", help="dev data directory with trials_NAME (without: no calibration, no thresholds)")
    parser.add_argument("--train", help="training data directory (with --cohort-means)")
    parser.add_argument("--embeddings", required=True, help="folder of {test,dev,cohort}.scp (stage 6)")
    parser.add_argument("--out", required=True, help="folder for scores, thresholds.json, metrics.json")
    parser.add_argument("--results", required=True, help="results.tsv to bring up to date")
    parser.add_argument("--trials", action="append", metavar="NAME", help="a test list (repeatable; default all)")
    parser.add_argument("--backends", default="cosine mean asnorm", help="default 'cosine mean asnorm'")
    parser.add_argument("--top-n", type=int, default=300, help="cohort scores of AS-norm (default 300, clamped)")
    parser.add_argument("--cohort-means", action="store_true", help="the cohort is the means of its speakers")
    parser.add_argument("--prior", type=float, default=0.01, help="target prior of the calibration (default 0.01)")
    parser.add_argument("--qmf", action="store_true", help="also every back-end with durations in its score, NAME+qmf")
    parser.add_argument("--replicates", type=int, default=1000, help="bootstrap draws over speakers; 0: no intervals")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default 0)")
    parser.add_argument("--allow-missing", action="store_true", help="leave out trials without embeddings")


def run(args: argparse.Namespace) -> None:
    """Score, write, print a table."""
    from etdnn.errors import UsageError
    from etdnn.model.cost import CONVENTION
    from etdnn.scoring.results import show_results
    from etdnn.scoring.stage import score_model

    backends = args.backends.replace(",", " ").split()
    if not backends or args.replicates < 0:
        raise UsageError("--backends needs at least one name, --replicates a number from 0 up")
    rows = score_model(
        args.model, args.budget, args.test, args.dev, args.embeddings, args.out, args.results,
        train=args.train if args.cohort_means else None, names=args.trials, backends=backends, top=args.top_n,
        prior=args.prior, replicates=args.replicates, seed=args.seed, allow_missing=args.allow_missing,
        qmf=args.qmf,
    )  # fmt: skip
    print(show_results(rows))
    print(f"convention: {CONVENTION}; intervals: 95 %, bootstrap over speakers")
