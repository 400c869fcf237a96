"""Write the report of an experiment (report.md, RESULTS.md, report.html, pictures) and print its table."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", help="data directories of the experiment")
    parser.add_argument("expdir", help="experiment with results.tsv")
    parser.add_argument("--title", default="", help="what the corpus is; stands over every table [name of EXPDIR]")
    parser.add_argument("--published", action="store_true", help="mark the published subnets (VoxCeleb only)")


def run(args: argparse.Namespace) -> None:
    """Collect, write, print."""
    from datetime import date
    from pathlib import Path

    from etdnn.files import write_text
    from etdnn.model.cost import CONVENTION
    from etdnn.report.collect import collect
    from etdnn.report.document import render
    from etdnn.report.results_page import results_page
    from etdnn.report.write import write_page
    from etdnn.scoring.results import show_results

    report = collect(args.title or Path(args.expdir).name, args.data, args.expdir)
    path = Path(args.expdir) / "report" / "report.md"
    write_text(path, render(report))
    today = date.today().isoformat()
    write_text(path.with_name("RESULTS.md"), results_page(report, date=today, published=args.published))
    page = write_page(report, args.data, path.parent, date=today, published=args.published)
    print(f"\nResults on {report.title}; {CONVENTION}\n\n{show_results(report.results)}\n\nreport: {path}, {page}")
