"""Subnets against each other on the same trials: mean EER, its interval, paired differences to the first of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etdnn.embed.dev_set import TrialList
from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.model.budget import show_count
from etdnn.model.cost import arch_macs
from etdnn.scoring.bootstrap import ScoredList, bootstrap_lists
from etdnn.scoring.metrics import eer

TAIL = 0.025
"""Share of the draws left out on each side of an interval (95 %)."""
COLUMNS = ("name", "arch", "macs", "eer", "eer_low", "eer_high", "difference", "difference_low", "difference_high")


@dataclass(frozen=True)
class Compared:
    """One subnet: mean EER (%) over the lists with its interval, and by how much it exceeds the first one's, paired.

    `interval` and `difference` (value, low, high) are None for a subnet without finite scores; the first one has no
    difference.
    """

    name: str
    arch: Arch
    macs: int
    eer: float
    interval: tuple[float, float] | None
    difference: tuple[float, float, float] | None

    @property
    def outside(self) -> bool:
        """Tell whether it is worse than the first one beyond chance: the whole interval lies above 0."""
        return self.difference is not None and self.difference[1] > 0


def compare(
    archs: Mapping[str, Arch],
    scores: Mapping[str, Mapping[str, np.ndarray] | None],
    lists: Mapping[str, TrialList],
    *,
    seed: int,
    replicates: int,
    sizes: Mapping[str, int],
) -> list[Compared]:
    """Compare `archs` (name -> arch) by their `scores` (name -> list -> array, None where not finite) of `lists`.

    The first must be finite. Speakers are drawn once for all subnets and lists. `sizes`: `in_feats` and `embedding`.
    """
    first, *_ = archs
    finite = [name for name in archs if scores[name] is not None]
    drawn = bootstrap_lists(
        [
            ScoredList([scores[name][kind] for name in finite], part.target, part.enrol_speaker, part.test_speaker)
            for kind, part in lists.items()
        ],
        seed=seed, replicates=replicates, p_targets=(),
    )  # fmt: skip
    means = dict(zip(finite, 100 * drawn[..., 0].mean(axis=1).T, strict=True))
    errors = {name: mean_eer(scores[name], lists) for name in finite}
    rows = []
    for name, arch in archs.items():
        value, interval, difference = float("nan"), None, None
        if name in means:
            value, interval = errors[name], _interval(means[name])
            if arch != archs[first]:
                difference = (value - errors[first], *_interval(means[name] - means[first]))
        rows.append(Compared(name, arch, arch_macs(arch, **sizes), value, interval, difference))
    return rows


def mean_eer(scores: Mapping[str, np.ndarray], lists: Mapping[str, TrialList]) -> float:
    """Return the mean EER in percent over the lists."""
    values = [eer(scores[name][part.target], scores[name][~part.target]) for name, part in lists.items()]
    return 100 * float(np.mean(values))


def _interval(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [TAIL, 1 - TAIL])
    return float(low), float(high)


def comparison_lines(rows: Sequence[Compared]) -> list[str]:
    """Return the table in words: a line per subnet, then whether the first one wins outside the interval."""
    lines = []
    for row in rows:
        if row.interval is None:
            lines.append(f"  {row.name:<20} failed  {row.arch}")
            continue
        text = f"  {row.name:<20} {row.eer:6.3f} [{row.interval[0]:5.2f}, {row.interval[1]:5.2f}]"
        text += " {:+7.3f} [{:+.2f}, {:+.2f}]".format(*row.difference) if row.difference else f" {'':>23}"
        lines.append(f"{text:<67} {show_count(row.macs):>8}  {row.arch}")
    rivals = [row for row in rows if row.difference is not None]
    beaten = [row.name for row in rivals if row.outside]
    level = [row.name for row in rivals if not row.outside]
    if beaten:
        lines.append(f"The {rows[0].name} subnet is better, outside the interval, than: {', '.join(beaten)}.")
    if level:
        lines.append(f"No difference outside the interval can be shown from: {', '.join(level)}.")
    return lines


def comparison_table(rows: Sequence[Compared]) -> str:
    """Return the same as a tab-separated file; what is not known stays empty."""
    lines = ["\t".join(COLUMNS)]
    for row in rows:
        numbers = (row.eer, *(row.interval or (None,) * 2), *(row.difference or (None,) * 3))
        shown = ["" if number is None else f"{number:.6f}" for number in numbers]
        lines.append("\t".join([row.name, str(row.arch), str(row.macs), *shown]))
    return "\n".join(lines) + "\n"


def read_comparison(path: str | Path) -> list[Compared]:
    """Read what `comparison_table` wrote; UserError when it is not there or not that."""
    try:
        header, *lines = Path(path).read_text(encoding="utf-8").splitlines()
        if tuple(header.split("\t")) != COLUMNS:
            raise ValueError
        return [_read_row(line.split("\t")) for line in lines]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; stage 4 makes it") from None
    except ValueError:
        raise UserError(f"{path}: not a comparison of subnets; make it again with stage 4 and --force true") from None


def _read_row(words: list[str]) -> Compared:
    name, arch, macs, *shown = words
    value, low, high, difference, below, above = (float(word) if word else None for word in shown)
    interval = None if low is None else (low, high)
    return Compared(
        name, Arch.parse(arch), int(macs), value, interval, None if difference is None else (difference, below, above)
    )
