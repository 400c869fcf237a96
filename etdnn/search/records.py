"""Evaluations on disk: one tab-separated line per measured subnet, appended job by job, merged without doubles."""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from etdnn.errors import UserError
from etdnn.files import write_text

NUMBERS = ("objective", "smooth", "eer_clean", "eer_cross", "mindcf_clean", "mindcf_cross")


@dataclass(frozen=True)
class Protocol:
    """What an evaluation depends on besides the arch, as hashes; only evaluations of one protocol are compared."""

    supernet: str
    calibration: str
    dev: str


@dataclass(frozen=True)
class Evaluation:
    """One measured subnet: EER in percent, minDCF at 0.05, `status` ok or failed (a value was not finite).

    `objective` is the mean EER of the clean and the cross list; `smooth` is the mean of the EERs (percent) of Gaussians
    with the same means and variances as the scores, which moves less by chance.
    """

    arch: str
    macs: int
    params: int
    status: str
    objective: float
    smooth: float
    eer_clean: float
    eer_cross: float
    mindcf_clean: float
    mindcf_cross: float
    supernet: str
    calibration: str
    dev: str

    @property
    def protocol(self) -> Protocol:
        """What this evaluation may be compared with."""
        return Protocol(self.supernet, self.calibration, self.dev)


COLUMNS = [entry.name for entry in fields(Evaluation)]
HEADER = "\t".join(COLUMNS) + "\n"


def to_line(evaluation: Evaluation) -> str:
    """Return the line of one evaluation; numbers keep six decimals, so that a file read again is the same."""
    values = asdict(evaluation)
    return "\t".join(f"{values[key]:.6f}" if key in NUMBERS else str(values[key]) for key in COLUMNS) + "\n"


def from_line(line: str, where: str) -> Evaluation:
    """Read one line; a UserError names `where` when it is not one of ours."""
    words = line.rstrip("\n").split("\t")
    try:
        values = dict(zip(COLUMNS, words, strict=True))
        numbers = {key: float(values[key]) for key in NUMBERS}
        return Evaluation(**{**values, **numbers, "macs": int(values["macs"]), "params": int(values["params"])})
    except ValueError:
        raise UserError(f"{where}: not an evaluation ({len(COLUMNS)} columns are needed); remove the line") from None


def read_evaluations(path: str | Path) -> list[Evaluation]:
    """Read an evaluations file; a torn last line (a killed job) is dropped, other bad lines are a UserError."""
    path = Path(path)
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    return [from_line(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line != HEADER]


def merge(target: Path, parts: Iterable[Path]) -> list[Evaluation]:
    """Merge `parts` into `target` (atomically, without doubles, in a fixed order), remove them, return all of it."""
    parts = list(parts)
    known = {}
    for path in (target, *parts):
        for row in read_evaluations(path):
            known.setdefault((row.protocol, row.arch), row)
    merged = sorted(known.values(), key=lambda row: (row.supernet, row.calibration, row.dev, row.macs, row.arch))
    if parts or not target.is_file():
        write_text(target, HEADER + "".join(map(to_line, merged)))
        for path in parts:
            path.unlink()
    return merged


class Appender:
    """Appends evaluations to a job's own file, one whole line at a time, so that a kill loses at most the last."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.is_file() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
        if torn:
            whole = path.read_bytes()
            write_text(path, whole[: whole.rfind(b"\n") + 1].decode())
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def add(self, evaluation: Evaluation) -> None:
        """Write one line at once and have it on disc before returning."""
        line = to_line(evaluation).encode()
        if os.write(self._descriptor, line) != len(line):
            raise OSError("an evaluation could not be written whole; is the disc full?")
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
