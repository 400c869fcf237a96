"""Folder names of budgets, one per line; stops where a space has no subnet within one of them."""

import argparse


def add_budgets(parser: argparse.ArgumentParser) -> None:
    """Declare an option per kind of budget, and the latency table."""
    from etdnn.model.budget import EXAMPLES

    for kind, example in EXAMPLES.items():
        parser.add_argument(f"--{kind}-budget", default="", help=f'one or several, for example "{example}"')
    parser.add_argument("--latency-table", default="", help="table of etdnn latency, for a latency budget")


def budgets_of(args: argparse.Namespace) -> list:
    """Return the budgets of these options in the order macs, params, latency, memory, without doubles."""
    from etdnn.model.budget import KINDS, Budget

    budgets = [Budget.parse(word, kind) for kind in KINDS for word in getattr(args, f"{kind}_budget").split()]
    return list({budget.folder: budget for budget in budgets}.values())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--space", help="the search space (YAML file or published name) whose smallest subnet must fit")
    parser.add_argument("--search-config", help="options of stage 4; a space named there comes before --space")
    add_budgets(parser)


def run(args: argparse.Namespace) -> None:
    """Print the names in the order macs, params, latency, memory."""
    name = args.space
    if args.search_config:
        from etdnn.search.settings import SearchSettings
        from etdnn.settings import load_settings

        name = load_settings(SearchSettings, args.search_config).space or name
    budgets = budgets_of(args)
    if name:
        from etdnn.model.space import SearchSpace
        from etdnn.search.limits import Limits

        space = SearchSpace.find(name)
        for budget in budgets:
            Limits.make(space, **{budget.kind: budget}, latency_table=args.latency_table or None)
    for budget in budgets:
        print(budget.folder)
