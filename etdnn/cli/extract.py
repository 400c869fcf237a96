"""Embeddings of whole utterances as Kaldi ark/scp, in parallel jobs.

etdnn extract --model model.safetensors --data data/test --out embeddings/test --job 1/4     (and 2/4, ...)
etdnn extract --out embeddings/test --join 4                                                 (when all have ended)
etdnn extract ... --data data/train --out embeddings/cohort --cohort utterances --cohort-size 6000
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", help="model file of stage 5")
    parser.add_argument("--data", help="data directory with features")
    parser.add_argument("--out", required=True, help="prefix: OUT.JOB.ark, OUT.JOB.scp, OUT.scp")
    parser.add_argument("--job", metavar="I/N", help="do the I-th of N shares (default: all, then join)")
    parser.add_argument("--join", type=int, metavar="N", help="only join the outputs of N jobs into OUT.scp")
    parser.add_argument("--utt-list", metavar="FILE", help="only the utterances of this list")
    parser.add_argument("--cohort", metavar="KIND", help="draw a cohort: of 'utterances' or, for means, of 'speakers'")
    parser.add_argument("--cohort-size", type=int, default=6000, help="utterances (of each speaker) (default 6000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cohort (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--force", action="store_true", help="extract again what is there already")


def run(args: argparse.Namespace) -> None:
    """Extract one share, all, or join."""
    from etdnn.errors import UsageError

    if args.join is None and not (args.model and args.data):
        raise UsageError("--model and --data are needed (only --join does without)")
    if args.cohort and args.utt_list:
        raise UsageError("--cohort and --utt-list exclude each other")
    if args.join is not None:
        from etdnn.embed.jobs import join_jobs

        print(f"{args.out}.scp: {join_jobs(args.out, args.join)} embeddings")
        return
    from etdnn.data.datadir import DataDir
    from etdnn.embed.jobs import cohort_ids, extract_job, join_jobs, listed_ids, parse_job

    job, jobs = parse_job(args.job) if args.job else (1, 1)
    data = DataDir(args.data)
    if args.cohort:
        ids = cohort_ids(data, args.cohort, args.cohort_size, args.seed)
    else:
        ids = listed_ids(args.utt_list, data) if args.utt_list else sorted(data.feats_scp)
    done = extract_job(args.model, data, ids, args.out, job=job, jobs=jobs, device=args.device, force=args.force)
    print(f"{args.out}: job {job} of {jobs}: {done}")
    if not args.job:
        print(f"{args.out}.scp: {join_jobs(args.out, 1)} embeddings")
