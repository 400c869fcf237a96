"""The report as a Markdown document."""

from collections.abc import Mapping, Sequence

from etdnn.model.budget import show_count
from etdnn.model.cost import CONVENTION
from etdnn.report.collect import COUNTS, Provenance, Report, Search
from etdnn.report.tables import Table, markdown


def render(report: Report) -> str:
    """Return the Markdown text of a report."""
    sections = [
        f"# {report.title}: subnets under budgets",
        f"Experiment `{report.experiment}`. Every number below was printed by a command of section Provenance.",
        _results(report),
        _data(report.data),
        *([_searches(report.searches)] if report.searches else []),
        _provenance(report.provenance),
    ]
    return "\n\n".join(sections) + "\n"


def results_table(rows: Sequence[Mapping[str, str]]) -> Table:
    """Return the main table: a row per budget, trial list and back-end, by MACs."""
    numbers = ["MACs", "params", "EER %", "minDCF(0.01)", "minDCF(0.05)"]
    # what is looked for stands first: a phone shows the left of a table
    header = ["budget", "trials", "back-end", "EER %", "95 %", "minDCF(0.01)", "minDCF(0.05)", "MACs", "params", "arch"]
    cells = [
        [
            row["budget"], row["trials"], row["backend"], row["eer"],
            f"{row['eer_low']} to {row['eer_high']}" if row["eer_low"] else "", row["mindcf_0.01"], row["mindcf_0.05"],
            show_count(int(row["macs"])), show_count(int(row["params"])), row["arch"],
        ]
        for row in rows
    ]  # fmt: skip
    return Table.make(header, cells, right=numbers)


def _results(report: Report) -> str:
    lists = {
        row["trials"]: f"{row['trials']} ({row['targets']} targets, {row['nontargets']} non-targets)"
        for row in report.results
    }
    return "\n\n".join(
        [
            f"## Results on {report.title}",
            markdown(results_table(report.results)),
            f"{CONVENTION}. `largest` is the whole network of the supernet, the others were found under the budget of "
            f"their name. Trial lists: {', '.join(lists.values())}. The interval is a bootstrap over speakers.",
        ]
    )


def _data(counts: Mapping[str, tuple[int, int, float]]) -> str:
    rows = [[name, speakers, utterances, f"{hours:.2f}"] for name, (speakers, utterances, hours) in counts.items()]
    return "## Data\n\n" + markdown(Table.make(["set", *COUNTS], rows, right=COUNTS))


def _searches(searches: Sequence[Search]) -> str:
    parts = ["## Search", "Selected on dev speakers, who are in neither training nor test."]
    for search in searches:
        parts += [f"### {search.budget}: `{search.arch}`", _block(search.summary)]
    return "\n\n".join(parts)


def _provenance(provenance: Provenance) -> str:
    calls = [f"{time} [{revision}] {command}" for time, revision, command in provenance.commands]
    libraries = ", ".join(f"{name} {number}" for name, number in provenance.versions.items())
    parts = ["## Provenance", f"Revision {provenance.revision}; {libraries}."]
    if calls:
        parts += ["Calls, with the revision each was made from:", _block("\n".join(calls))]
    for path, text in provenance.configurations.items():
        parts += [f"`{path}`:", _block(text, "yaml")]
    return "\n\n".join(parts)


def _block(text: str, language: str = "") -> str:
    return f"```{language}\n{text}\n```"
