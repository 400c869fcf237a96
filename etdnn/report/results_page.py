"""RESULTS.md: one table of an experiment, back-ends beside each other, with what is needed to make it again."""

from collections.abc import Mapping, Sequence

from etdnn.model.budget import show_count
from etdnn.model.cost import CONVENTION
from etdnn.report.collect import Report
from etdnn.report.published import published_eer
from etdnn.report.tables import Table, markdown

TITLES = {"cosine": "cosine", "mean": "mean subtracted", "asnorm": "AS-norm", "mean-asnorm": "mean, AS-norm"}
SHOWN = ("cosine", "asnorm")
"""Back-ends of the table; the others stand in report.md."""


def results_page(report: Report, *, date: str, published: bool = False) -> str:
    """Return the page; with `published` a column of the published EERs, marked as such, for VoxCeleb only."""
    provenance = report.provenance
    calls = "\n".join(f"{time} [{revision}] {command}" for time, revision, command in provenance.commands)
    libraries = ", ".join(f"{name} {number}" for name, number in provenance.versions.items())
    parts = [
        f"# Results on {report.title}",
        f"Written by stage 8 (`etdnn report`) on {date}, revision {provenance.revision}; {libraries}. {CONVENTION}. "
        "EER in percent, in brackets its 95 % interval (bootstrap over speakers).",
        markdown(side_by_side(report.results, published=published)),
    ]
    if published:
        parts.append(
            "Columns marked *published* are the authors' figures for the subnet in brackets, not measured here."
        )
    if calls:
        parts.append(f"Calls, with the revision each was made from:\n\n```\n{calls}\n```")
    return "\n\n".join(parts) + "\n"


def side_by_side(rows: Sequence[Mapping[str, str]], *, published: bool = False) -> Table:
    """Return a row per budget and list, with EER and minDCF of plain cosine and AS-norm beside each other."""
    backends = [name for name in SHOWN if any(row["backend"] == name for row in rows)]
    groups: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["budget"], row["trials"]), {})[row["backend"]] = row
    header = ["budget", "arch", "MACs", "params", "list"]
    for name in backends:
        header += [f"EER, {TITLES[name]}", f"minDCF(0.01), {TITLES[name]}"]
        header += [f"EER, {TITLES[name]}, *published*"] if published else []
    cells = []
    for (budget, trials), measured in groups.items():
        one = next(iter(measured.values()))
        line = [budget, one["arch"], show_count(int(one["macs"])), show_count(int(one["params"])), trials]
        for name in backends:
            row = measured.get(name)
            interval = f" ({row['eer_low']}-{row['eer_high']})" if row and row["eer_low"] else ""
            line += [row["eer"] + interval, row["mindcf_0.01"]] if row else ["", ""]
            line += [published_eer(budget, trials, name)] if published else []
        cells.append(line)
    return Table.make(header, cells, right=["MACs", "params"])
