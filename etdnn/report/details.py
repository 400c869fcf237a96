"""Tables beside the main one, and the command lines that made them, as the logs of the stages hold them."""

import json
from dataclasses import dataclass
from pathlib import Path

from etdnn.model.budget import show_count
from etdnn.report.collect import Report
from etdnn.report.measured import read_curves, read_search_runs, read_thresholds
from etdnn.report.tables import Table

LOGS = {
    "results": ["subnet/*/log/score.log"],
    "search": ["search/log/search.1.log", "search/log/evaluate.1.*.log"],
    "export": ["subnet/*/log/export.log"],
    "scores": ["subnet/*/log/derive.log", "subnet/*/embeddings/log/*.log"],
    "training": ["*/log/train.log"],
}


EXPORT_NUMBERS = (("ms", ".2f"), ("cosine", ".5f"), ("eer", ".3f"))


@dataclass(frozen=True)
class Details:
    """Tables with their captions by section, and section -> command lines."""

    results: list[tuple[str, Table]]
    search: list[tuple[str, Table]]
    export: list[tuple[str, Table]]
    export_about: str
    scores: list[tuple[str, Table]]
    training: list[tuple[str, Table]]
    commands: dict[str, list[str]]


def read_details(report: Report) -> Details:
    """Gather the tables of an experiment; those without files are left out."""
    experiment = Path(report.experiment)
    exports, about = _exports(experiment, report.results)
    return Details(
        results=_costs(report.results),
        search=_fronts(experiment),
        export=exports,
        export_about=about,
        scores=_thresholds(experiment, report.results),
        training=_phases(experiment),
        commands={section: log_commands(experiment, patterns) for section, patterns in LOGS.items()},
    )


def log_commands(experiment: Path, patterns: list[str]) -> list[str]:
    """Return the command lines that head the logs (run.pl's form), without doubles."""
    commands: dict[str, None] = {}
    for path in (path for pattern in patterns for path in sorted(experiment.glob(pattern))):
        with path.open(encoding="utf-8", errors="replace") as lines:
            first = next(lines, "")
        if first.startswith("# "):
            commands[first[2:].strip()] = None
    return list(commands)


def _costs(rows: list[dict[str, str]]) -> list[tuple[str, Table]]:
    numbers = ["minDCF(0.01) 95 %", "minDCF(0.05) 95 %", "actDCF(0.01)", "Cllr, bits", "MACs", "parameters"]
    cells = [
        [
            row["budget"], row["trials"], row["backend"], _range(row, "mindcf_0.01"), _range(row, "mindcf_0.05"),
            row["actdcf_0.01"], row["cllr"], row["macs"], row["params"], row["model"],
        ]
        for row in rows
    ]  # fmt: skip
    header = ["budget", "trials", "back-end", *numbers, "weights"]
    return [("Intervals of minDCF, and costs with the calibration from dev", Table.make(header, cells, right=numbers))]


def _range(row: dict[str, str], name: str) -> str:
    return f"{row[f'{name}_low']} to {row[f'{name}_high']}" if row[f"{name}_low"] else ""


def _fronts(experiment: Path) -> list[tuple[str, Table]]:
    tables = []
    for run in read_search_runs(experiment):
        if run.front:
            header = ["arch", "MACs", "parameters", "EER %", "clean", "cross"]
            cells = [
                [row["arch"], show_count(int(row["macs"])), show_count(int(row["params"])),
                 *(f"{float(row[key]):.3f}" for key in ("objective", "eer_clean", "eer_cross"))]
                for row in run.front
            ]  # fmt: skip
            tables.append((f"Front under {run.budget}: EER on dev", Table.make(header, cells, right=header[1:])))
    return tables


def _thresholds(experiment: Path, rows: list[dict[str, str]]) -> list[tuple[str, Table]]:
    cells = []
    for budget in dict.fromkeys(row["budget"] for row in rows):
        for backend, values in read_thresholds(experiment, budget).items():
            for name, point in values["points"].items():
                cells.append([budget, backend, name, f"{point['threshold']:.4f}", f"{100 * point['miss']:.3f}",
                              f"{100 * point['false_accept']:.3f}"])  # fmt: skip
    header = ["budget", "back-end", "threshold", "score", "misses on dev %", "false accepts on dev %"]
    return [("Decision thresholds, from dev", Table.make(header, cells, right=header[3:]))] if cells else []


def _exports(experiment: Path, rows: list[dict[str, str]]) -> tuple[list[tuple[str, Table]], str]:
    """Return the ONNX files of each budget (size; ms, cosine, EER of those compared), and how that was measured."""
    cells, about = [], ""
    for budget in dict.fromkeys(row["budget"] for row in rows):
        path = experiment / "subnet" / budget / "export" / "precisions.json"
        for row in json.loads(path.read_text(encoding="utf-8")) if path.is_file() else ():
            about = row.get("about", about)
            numbers = [f"{row[key]:{form}}" if key in row else "" for key, form in EXPORT_NUMBERS]
            cells.append([budget, row["file"], row["precision"], f"{row['bytes'] / 1e6:.2f}", *numbers])
    header = ["budget", "file", "precision", "MB", "ms for 3 s", "cosine", "EER %"]
    return ([("ONNX files", Table.make(header, cells, right=header[3:]))], about) if cells else ([], "")


def _phases(experiment: Path) -> list[tuple[str, Table]]:
    cells = [
        [curve.phase, int(curve.steps[-1]), f"{curve.loss[-1]:.4f}", f"{100 * curve.accuracy[-1]:.2f}",
         f"{curve.rate.max():.3g}", f"{curve.speed.mean():.1f}"]
        for curve in read_curves(experiment)
    ]  # fmt: skip
    header = ["phase", "steps", "last loss", "last accuracy %", "highest rate", "utterances/s"]
    return [("Training phases", Table.make(header, cells, right=header[1:]))] if cells else []
