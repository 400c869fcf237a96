"""One step of stage 4: write which subnets must be measured next, or the results when none is left.

etdnn search --supernet S --data data --dir exp/x/search --macs-budget "204M 571M" --plan plan.txt
local/search.sh alternates it with `etdnn evaluate-subnets` until the plan is empty.
"""

import argparse
from pathlib import Path

from etdnn.cli.budgets import add_budgets, budgets_of


def add_common(parser: argparse.ArgumentParser) -> None:
    """Declare the options that `search` and `evaluate-subnets` share."""
    parser.add_argument("--supernet", required=True, type=Path, help="supernet.safetensors of a phase")
    parser.add_argument("--data", required=True, type=Path, help="folder with train and dev (features, dev trials)")
    parser.add_argument("--dir", required=True, type=Path, help="where evaluations, predictor and results are kept")
    parser.add_argument("--search-config", type=Path, help="options of the search (YAML)")
    parser.add_argument("--seed", type=int, default=0, help="seed of sample, calibration crops and search (default 0)")
    parser.add_argument("--plan", required=True, type=Path, help="the list of subnets to measure")


def inputs_of(args: argparse.Namespace):
    """Return the Inputs of the shared options."""
    from etdnn.search.work import Inputs

    return Inputs(args.supernet, args.data, args.dir, args.search_config, args.seed)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    add_budgets(parser)


def run(args: argparse.Namespace) -> None:
    """Plan or finish, and say which."""
    from etdnn.errors import UserError
    from etdnn.search.work import plan_search

    budgets = budgets_of(args)
    if not budgets:
        raise UserError("no budget is given; e.g. --macs-budget 204M")
    missing = plan_search(inputs_of(args), budgets, args.plan, args.latency_table or None)
    if missing:
        print(f"{args.plan}: {missing} subnets to measure")
