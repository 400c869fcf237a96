"""Folder names of budgets, one per line; stops where a space has no subnet within one of them."""

import argparse

EXAMPLES = {"macs": "204M 571M", "params": "500K 2M", "latency": "8ms"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--space", help="the search space (YAML file or published name) whose smallest subnet must fit")
    parser.add_argument("--search-config", help="options of stage 4; a space named there comes before --space")
    for kind, example in EXAMPLES.items():
        parser.add_argument(f"--{kind}-budget", default="", help=f'one or several, for example "{example}"')


def run(args: argparse.Namespace) -> None:
    """Print the names in the order macs, params, latency."""
    from etdnn.errors import UsageError
    from etdnn.model import SearchSpace
    from etdnn.model.budget import Budget

    name = args.space
    if args.search_config:
        from etdnn.search.settings import SearchSettings
        from etdnn.settings import load_settings

        name = load_settings(SearchSettings, args.search_config).space or name
    space = SearchSpace.find(name) if name else None
    kinds: dict[str, str] = {}
    for kind in EXAMPLES:
        for text in getattr(args, f"{kind}_budget").split():
            budget = Budget.parse(text, kind)
            if space and kind != "latency":
                _check_floor(budget, text, space)
            if kinds.setdefault(budget.name, kind) != kind:
                raise UsageError(f"'{text}' is given for {kinds[budget.name]} and {kind}: write one of them otherwise")
    for name in kinds:
        print(name)


def _check_floor(budget, text: str, space) -> None:
    from etdnn.errors import UsageError
    from etdnn.model.budget import show_count
    from etdnn.model.cost import arch_macs, arch_params

    count = {"macs": arch_macs, "params": arch_params}[budget.kind]
    floor = count(space.smallest, in_feats=space.in_feats, embedding=space.embedding)
    if not budget.admits(floor):
        raise UsageError(
            f"{budget.kind} budget {text} is below the floor: the smallest subnet of space {space.name}, "
            f"{space.smallest}, has {floor} ({show_count(floor)})"
        )
