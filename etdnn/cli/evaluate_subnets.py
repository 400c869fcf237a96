"""Measure the subnets of a plan on the dev trials; one job of several, each with its own file."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from etdnn.cli.search import add_common

    add_common(parser)
    parser.add_argument("--job", default="1/1", help="which part of how many, e.g. 2/8 (default 1/1)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def run(args: argparse.Namespace) -> None:
    """Measure this job's share."""
    import re

    from etdnn.cli.search import inputs_of
    from etdnn.errors import UsageError
    from etdnn.search.work import evaluate_plan

    match = re.fullmatch(r"(\d+)/(\d+)", args.job)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--job '{args.job}': write it as 2/8")
    count = evaluate_plan(inputs_of(args), args.plan, int(match[1]), int(match[2]), device=args.device)
    print(f"job {args.job}: {count} subnets of the plan are measured")
