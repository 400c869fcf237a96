"""results.tsv: one row per budget, trial list and back-end; rewritten whole, rows replaced and never doubled."""

import csv
import fcntl
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from etdnn.errors import UserError
from etdnn.files import write_text
from etdnn.text import aligned

COLUMNS = (
    "budget", "arch", "macs", "params", "model", "supernet", "trials", "backend", "targets", "nontargets",
    "eer", "eer_low", "eer_high", "mindcf_0.01", "mindcf_0.01_low", "mindcf_0.01_high",
    "mindcf_0.05", "mindcf_0.05_low", "mindcf_0.05_high", "actdcf_0.01", "cllr",
)  # fmt: skip
"""EER in percent, costs normalised; `_low`, `_high`: 95 % interval, bootstrap over speakers; macs: 3 s, 301 frames,
batch norm 2 per element; `model`: hash of the weights; `supernet`: hash of the file that they were sliced from; actdcf
and cllr with the calibration fitted on dev."""

_KEY = ("budget", "trials", "backend")


def read_results(path: str | Path) -> list[dict[str, str]]:
    """Return the rows of results.tsv as text by column name, [] if there is no file; UserError if it is another's."""
    path = Path(path)
    if not path.is_file():
        return []
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t"))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise UserError(f"{path}:1: columns are not those of this version; move the file away and run stage 7 again")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(COLUMNS):
            raise UserError(f"{path}:{number}: {len(row)} columns, expected {len(COLUMNS)}; move the file away")
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows[1:]]


def update_results(
    path: str | Path, rows: Iterable[Mapping[str, str]], supernets: Collection[str] = ()
) -> list[dict[str, str]]:
    """Put `rows` in place of those with the same budget, trial list and back-end; return all rows as written.

    Rows that describe a network that is gone are dropped: those of the same budgets from another model, and, where
    `supernets` names the hashes of the supernets that there are, those of any other supernet. Rows are sorted by MACs,
    budget, trial list and back-end, so the order of the calls leaves no trace.
    """
    rows = [{column: str(row[column]) for column in COLUMNS} for row in rows]
    models = {row["budget"]: row["model"] for row in rows}
    path = Path(path)
    with _locked(path):
        kept = {tuple(row[column] for column in _KEY): row for row in read_results(path)
                if models.get(row["budget"], row["model"]) == row["model"]
                and (not supernets or row["supernet"] in ("", *supernets))}  # fmt: skip
        kept |= {tuple(row[column] for column in _KEY): row for row in rows}
        ordered = sorted(kept.values(), key=lambda row: (int(row["macs"]), *(row[column] for column in _KEY)))
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([row[column] for column in COLUMNS] for row in ordered)
        write_text(path, text.getvalue())
    return ordered


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep two budgets that are scored at the same time from losing each other's rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def show_results(rows: Iterable[Mapping[str, str]]) -> str:
    """Return rows as an aligned table for the terminal."""
    from etdnn.model.budget import show_count

    table = [("budget", "arch", "MACs", "params", "trials", "back-end", "EER %", "(95 %)", "minDCF .01", ".05")]
    table += [
        (
            row["budget"], row["arch"], show_count(int(row["macs"])), show_count(int(row["params"])), row["trials"],
            row["backend"], row["eer"], f"({row['eer_low']}-{row['eer_high']})" if row["eer_low"] else "",
            row["mindcf_0.01"], row["mindcf_0.05"],
        )
        for row in rows
    ]  # fmt: skip
    return aligned(table)
