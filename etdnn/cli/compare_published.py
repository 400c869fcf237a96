"""Published results beside measured ones, PASS or FAIL for each; exit status 1 unless all pass.

Where not all trials of the published list were scored, there is no verdict.

etdnn compare-published exp/published/results.tsv
etdnn compare-published --list                       the published models and the names of their files
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("results", nargs="?", help="results.tsv of stage 7 whose budgets are the models' names")
    parser.add_argument("--list", action="store_true", help="print model, arch, supernet file, subnet file instead")
    parser.add_argument("--published", metavar="FILE", help="another table of published results [the authors']")
    parser.add_argument("--models", default="", help="names to compare, with blanks between [all]")
    parser.add_argument("--backends", default="cosine asnorm", help="back-ends to compare ['cosine asnorm']")
    parser.add_argument("--tolerance", type=float, default=0.03, help="points of EER for plain cosine [0.03]")
    parser.add_argument("--asnorm-tolerance", type=float, default=0.1, help="points of EER for AS-norm [0.1]")


def run(args: argparse.Namespace) -> int:
    """Print the comparison."""
    from etdnn.deploy.published_results import compare, read_published, show_comparison
    from etdnn.errors import UsageError
    from etdnn.scoring.results import read_results

    if args.list == bool(args.results):
        raise UsageError("either results.tsv or --list is needed")
    published = read_published(args.published or None)
    names = args.models.split() or [one.model for one in published]
    unknown = set(names) - {one.model for one in published}
    if unknown:
        known = ", ".join(one.model for one in published)
        raise UsageError(f"--models {min(unknown)}: not in {args.published or 'the published ones'} ({known})")
    published = [one for one in published if one.model in names]
    if args.list:
        for one in published:
            print(one.model, one.arch, one.supernet, one.subnet)
        return 0
    tolerances = {"cosine": args.tolerance, "asnorm": args.asnorm_tolerance}
    wanted = args.backends.split()
    if not wanted or set(wanted) - tolerances.keys():
        raise UsageError(f"--backends '{args.backends}': of cosine and asnorm")
    lines = compare(published, read_results(args.results), {name: tolerances[name] for name in wanted})
    print(show_comparison(lines))
    passed = sum(line.passed for line in lines)
    print(f"{passed} of {len(lines)} PASS")
    return 0 if passed == len(lines) else 1
