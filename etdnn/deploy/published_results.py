"""The authors' published results held against measured ones: what must come out beside what did."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etdnn.data.datadir import read_lines
from etdnn.data.voxceleb_release import CLEANED
from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.text import aligned

LIST = "vox1_O_cleaned"
TRIALS = next(known.trials for known in CLEANED if known.name == LIST)
"""Trials of the list: a verdict needs all of them scored."""
COLUMNS = ("model", "arch", "supernet", "subnet", "eer", "mindcf", "asnorm_eer", "asnorm_mindcf")


@dataclass(frozen=True)
class Published:
    """A published model on a trial list: its arch, its files, and per back-end (EER in percent, minDCF(0.01))."""

    trials: str
    model: str
    arch: str
    supernet: str
    subnet: str
    figures: dict[str, tuple[float, float]]


_BASE = (
    "base", "3-512-512-512-512-5-3-3-3-1536",
    "depth/depth.torchparams", "depth/depth.ecapa-tdnn.3.512.512.512.512.5.3.3.3.1536.bn.tar",
)  # fmt: skip
_MOBILE = (
    "mobile", "3-384-256-256-256-5-3-3-3-768",
    "width1/width1.torchparams", "width1/width1.3.383.256.256.256.5.3.3.3.768.bn.tar",
)  # fmt: skip
_SMALL = (
    "small", "2-256-256-256-3-3-3-400",
    "width2/width2.torchparams", "width2/width2.2.256.256.256.3.3.3.400.bn.tar",
)  # fmt: skip
PUBLISHED = (
    Published(LIST, *_BASE, {"cosine": (1.14, 0.106), "asnorm": (0.94, 0.089)}),
    Published(LIST, *_MOBILE, {"cosine": (1.61, 0.152), "asnorm": (1.41, 0.124)}),
    Published(LIST, *_SMALL, {"cosine": (2.33, 0.241), "asnorm": (2.20, 0.219)}),
    Published("vox1_E_cleaned", *_BASE, {"cosine": (1.31, 0.148), "asnorm": (1.20, 0.131)}),
    Published("vox1_H_cleaned", *_BASE, {"cosine": (2.41, 0.238), "asnorm": (2.18, 0.206)}),
)
"""What the authors published, of their model card; files as the card names them."""


@dataclass(frozen=True)
class Comparison:
    """One line of the comparison; `eer` is None where nothing was measured, `trials` how many were scored."""

    published: Published
    backend: str
    eer: float | None
    mindcf: float | None
    tolerance: float
    wrong_arch: str = ""
    trials: int = 0

    @property
    def verdict(self) -> str:
        """PASS, FAIL or NONE (of another test than the published figures), with what is wrong."""
        if self.eer is not None and self.trials != TRIALS:
            return f"NONE ({self.trials} of {TRIALS} trials)"
        wrong = f" (arch {self.wrong_arch}, published {self.published.arch})" if self.wrong_arch else ""
        return ("PASS" if self.passed else "FAIL") + wrong

    @property
    def passed(self) -> bool:
        """True when the EER is the published one within the tolerance, of the published arch and all trials."""
        if self.eer is None or self.wrong_arch or self.trials != TRIALS:
            return False
        return abs(self.eer - self.published.figures[self.backend][0]) <= self.tolerance + 1e-9


def read_published(path: str | Path | None = None) -> list[Published]:
    """Return what is published on Vox1-O: the authors' results, or those of a table (UserError with file and line)."""
    if path is None:
        return [one for one in PUBLISHED if one.trials == LIST]
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line and not line.startswith("#")]
    rows = list(csv.reader((line for _, line in lines), delimiter="\t"))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise UserError(f"{path}: its header is not {' '.join(COLUMNS)} (tabs between)")
    if len(rows) == 1:
        raise UserError(f"{path}: no models below its header, so nothing to compare with")
    result = []
    for (number, _), row in zip(lines[1:], rows[1:], strict=True):
        try:
            eer, mindcf, asnorm_eer, asnorm_mindcf = map(float, row[4:])
            arch = str(Arch.parse(row[1]))
        except (ValueError, IndexError, UserError) as error:
            raise UserError(f"{path}:{number}: {error or 'too few columns'}") from None
        figures = {"cosine": (eer, mindcf), "asnorm": (asnorm_eer, asnorm_mindcf)}
        result.append(Published(LIST, row[0], arch, row[2], row[3], figures))
    return result


def compare(
    published: Sequence[Published], results: Sequence[Mapping[str, str]], tolerances: Mapping[str, float]
) -> list[Comparison]:
    """Return a line per published model and back-end of `tolerances` (points of EER); `results` are results.tsv's rows.

    A model's budget in `results` is its name. Other lists than Vox1-O in `results` do not count.
    """
    measured = {(row["budget"], row["backend"]): row for row in results if row["trials"] == LIST}
    lines = []
    for one in published:
        for backend, tolerance in tolerances.items():
            row = measured.get((one.model, backend))
            if row is None:
                lines.append(Comparison(one, backend, None, None, tolerance))
                continue
            wrong = row["arch"] if row["arch"] != one.arch else ""
            figures = float(row["eer"]), float(row["mindcf_0.01"])
            trials = int(row["targets"]) + int(row["nontargets"])
            lines.append(Comparison(one, backend, *figures, tolerance, wrong, trials))
    return lines


def show_comparison(lines: Sequence[Comparison]) -> str:
    """Return the comparison as an aligned table, the verdict at the end of every line."""
    table = [("model", "back-end", "EER %", "published", "difference", "allowed", "minDCF(0.01)", "published", "")]
    for line in lines:
        eer, mindcf = line.published.figures[line.backend]
        name, allowed = line.published.model, f"{line.tolerance:.2f}"
        if line.eer is None or line.mindcf is None:
            table.append((name, line.backend, "none", f"{eer:.2f}", "", allowed, "", f"{mindcf:.3f}", line.verdict))
            continue
        table.append(
            (name, line.backend, f"{line.eer:.3f}", f"{eer:.2f}", f"{line.eer - eer:+.3f}", allowed,
             f"{line.mindcf:.4f}", f"{mindcf:.3f}", line.verdict)
        )  # fmt: skip
    return aligned(table)
