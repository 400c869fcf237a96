"""The report as one HTML file: no script, nothing loaded from anywhere, readable on a phone and in the dark."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from etdnn.model.cost import CONVENTION
from etdnn.report.collect import COUNTS, Report
from etdnn.report.details import Details
from etdnn.report.document import results_table
from etdnn.report.drawing import Picture
from etdnn.report.style import STYLE
from etdnn.report.tables import Table

LONG = 20
"""Tables of more rows scroll in a window of their own."""
HEADINGS = {
    "results": "Results",
    "search": "Search",
    "networks": "Networks",
    "export": "Export",
    "scores": "Scores and thresholds",
    "training": "Training",
    "data": "Data",
    "provenance": "Provenance",
}


def render_page(
    report: Report, details: Details, pictures: Mapping[str, Sequence[Picture]], *, date: str, note: str = ""
) -> str:
    """Return the page. `date` is the one line of it that changes from day to day; `note` stands above all sections."""
    bodies = {
        "results": _results(report, details),
        "search": _search(report, details),
        "networks": "",
        "export": _export(details),
        "scores": _scores(details),
        "training": _tables(details.training) + _commands(details.commands.get("training", [])),
        "data": _data(report.data),
        "provenance": _provenance(report),
    }  # fmt: skip
    shown = {name: "".join(map(figure, pictures.get(name, ()))) for name in HEADINGS}
    sections = {name: (shown[name], body) for name, body in bodies.items() if shown[name] or body}
    links = " ".join(f'<a href="#{name}">{HEADINGS[name]}</a>' for name in sections)
    parts = [
        f'<section id="{name}"><h2>{HEADINGS[name]}</h2>'
        f"{f'<div class=pictures>{drawn}</div>' if drawn else ''}{body}</section>"
        for name, (drawn, body) in sections.items()
    ]
    title = escape(report.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{title}: subnets under budgets</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{title}: subnets under budgets</h1>\n"
        f"<p>Experiment <code>{escape(report.experiment)}</code>, revision {escape(report.provenance.revision)}</p>\n"
        f'<p class="date">Written {escape(date)}</p>\n'
        f"{f'<p class=note>{escape(note)}</p>' if note else ''}<nav>{links}</nav></header>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def figure(picture: Picture) -> str:
    """Return a picture with title and caption, its SVG inside the page."""
    source = b64encode(picture.svg).decode()
    return (
        f'\n<figure id="{escape(picture.name)}"><h3>{escape(picture.title)}</h3>'
        f'<img alt="{escape(picture.alt)}" src="data:image/svg+xml;base64,{source}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def table(content: Table, caption: str = "") -> str:
    """Return a table that scrolls sideways by itself where the screen is narrow."""
    right = [' class="right"' if index in content.right else "" for index in range(len(content.header))]
    head = "".join(
        f'<th scope="col"{side}>{escape(cell)}</th>' for cell, side in zip(content.header, right, strict=True)
    )
    rows = "\n".join(
        "<tr>" + "".join(f"<td{side}>{escape(cell)}</td>" for cell, side in zip(row, right, strict=True)) + "</tr>"
        for row in content.rows
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = f"<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody>"
    long = " long" if len(content.rows) > LONG else ""
    return f'\n<div class="wide{long}" tabindex="0"><table>{said}{body}</table></div>'


def _results(report: Report, details: Details) -> str:
    lists = {row["trials"]: f"{row['trials']} ({row['targets']} targets, {row['nontargets']} non-targets)"
             for row in report.results}  # fmt: skip
    about = (
        f"{CONVENTION}. largest is the whole network of the supernet, the others were found under the budget of their "
        f"name. Trial lists: {', '.join(lists.values())}. Intervals: bootstrap over speakers."
    )
    return (
        table(results_table(report.results), f"Results on {report.title}")
        + f"<p>{escape(about)}</p>"
        + _tables(details.results)
        + _commands(details.commands.get("results", []))
    )


def _search(report: Report, details: Details) -> str:
    if not report.searches:
        return ""
    words = "".join(
        f"<h3>{escape(search.budget)}: <code>{escape(search.arch)}</code></h3>"
        + _folded("what the search did and found", search.summary)
        for search in report.searches
    )
    return (
        "<p>Selected on dev speakers, who are in neither training nor test.</p>"
        + words
        + _tables(details.search)
        + _commands(details.commands.get("search", []))
    )


def _data(counts: Mapping[str, tuple[int, int, float]]) -> str:
    rows = [[name, speakers, utterances, f"{hours:.2f}"] for name, (speakers, utterances, hours) in counts.items()]
    return table(Table.make(["set", *COUNTS], rows, right=COUNTS)) if rows else ""


def _scores(details: Details) -> str:
    return _tables(details.scores) + _commands(details.commands.get("scores", []))


def _export(details: Details) -> str:
    if not details.export:
        return ""
    about = f"<p>{escape(details.export_about)}</p>" if details.export_about else ""
    return _tables(details.export) + about + _commands(details.commands.get("export", []))


def _provenance(report: Report) -> str:
    provenance = report.provenance
    libraries = ", ".join(f"{name} {number}" for name, number in provenance.versions.items())
    calls = "\n".join(f"{time} [{revision}] {command}" for time, revision, command in provenance.commands)
    return (
        f"<p>Revision {escape(provenance.revision)}; {escape(libraries)}.</p>"
        + (f"<p>Calls, with the revision each was made from:</p>{_block(calls)}" if calls else "")
        + "".join(_folded(path, text) for path, text in provenance.configurations.items())
    )


def _tables(tables: Sequence[tuple[str, Table]]) -> str:
    return "".join(table(content, caption) for caption, content in tables)


def _commands(commands: Sequence[str]) -> str:
    return (
        _folded(f"made by {len(commands)} command{'s' if len(commands) > 1 else ''}", "\n".join(commands))
        if commands
        else ""
    )


def _folded(head: str, text: str) -> str:
    return f"<details><summary>{escape(head)}</summary>{_block(text)}</details>"


def _block(text: str) -> str:
    return f'<pre tabindex="0">{escape(text)}</pre>'
