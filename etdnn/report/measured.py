"""What the stages measured, read for drawing: training curves, subnet evaluations, trial scores, thresholds."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from etdnn.data.trials import read_trials
from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.model.cost import arch_macs
from etdnn.scoring.quality import SUFFIX
from etdnn.search.records import Evaluation, Protocol, read_evaluations


@dataclass(frozen=True)
class Curve:
    """One training phase: steps, and loss, accuracy (fraction), rate and utterances per second at them."""

    phase: str
    steps: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    rate: np.ndarray
    speed: np.ndarray


def read_curves(experiment: Path) -> list[Curve]:
    """Return the curves of all phases in the order in which they were trained (phase after the one it began from)."""
    curves = []
    for path in sorted(experiment.glob("*/train.jsonl")):
        if path.parent.is_symlink():  # `supernet` points to the last phase
            continue
        lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        try:
            rows = [row for line in lines if "dev_eer" not in (row := json.loads(line))]
            columns = [np.array([row[key] for row in rows], dtype=float)
                       for key in ("step", "loss", "accuracy", "rate", "utterances_per_second")]  # fmt: skip
        except (ValueError, KeyError):
            raise UserError(f"{path}: not a training journal; train this phase again with --force") from None
        if rows:
            curves.append(Curve(path.parent.name, *columns))
    order = _phase_order(experiment)
    return sorted(curves, key=lambda curve: order.get(curve.phase, len(order)))


def _phase_order(experiment: Path) -> dict[str, int]:
    """Return phase -> place by the hashes of training.json: `init` is the hash of the supernet it began from."""
    from etdnn.files import hash_file

    begun, made = {}, {}
    for path in sorted(experiment.glob("*/training.json")):
        if path.parent.is_symlink():
            continue
        begun[path.parent.name] = json.loads(path.read_text(encoding="utf-8")).get("init", "")
        supernet = path.with_name("supernet.safetensors")
        if supernet.is_file():
            made[hash_file(supernet)] = path.parent.name

    def depth(phase: str) -> int:
        before = made.get(begun[phase])
        return 0 if before is None or before == phase else 1 + depth(before)

    return {phase: place for place, phase in enumerate(sorted(begun, key=lambda phase: (depth(phase), phase)))}


@dataclass(frozen=True)
class SearchRun:
    """One searched budget: its chosen arch, its front (MACs, EER) and how the best found came down.

    `progress` rows are (number measured so far, MACs, EER, keeps the budget, was in the common sample); empty where
    stage 4 left none.
    """

    budget: str
    arch: str
    front: list[dict[str, str]]
    progress: list[tuple[int, int, float, bool, bool]]
    protocol: Protocol | None


def read_search_runs(experiment: Path) -> list[SearchRun]:
    """Return the searches, cheapest arch first."""
    runs = []
    for path in sorted(experiment.glob("search/*/arch.txt")):
        folder = path.parent
        progress = [
            (number, int(row["macs"]), float(row["objective"]), row["fits"] == "1", row["source"] == "sample")
            for number, row in enumerate(_table(folder / "progress.tsv"), 1)
        ]
        settings = folder / "search.yaml"
        known = yaml.safe_load(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
        protocol = ((known or {}).get("protocols") or {}).get("measure")
        arch = path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
        runs.append(
            SearchRun(
                folder.name, arch, _table(folder / "pareto.tsv"), progress, Protocol(**protocol) if protocol else None
            )
        )
    return sorted(runs, key=lambda run: (arch_macs(Arch.parse(run.arch)), run.budget))


def _table(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    header, *rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def comparable_evaluations(experiment: Path, runs: list[SearchRun]) -> list[Evaluation]:
    """Return the finite evaluations of one protocol: that of the searches, else the one with most; others don't mix."""
    rows = [row for row in read_evaluations(experiment / "search" / "evaluations.tsv") if row.status == "ok"]
    counted = Counter(row.protocol for row in rows)
    wanted = [run.protocol for run in runs if run.protocol in counted]
    if not counted:
        return []
    protocol = max(wanted or counted, key=lambda key: (counted[key], key.supernet, key.calibration, key.dev))
    return [row for row in rows if row.protocol == protocol]


@dataclass(frozen=True)
class Scores:
    """Scores of one test list by one back-end and budget, by class."""

    targets: np.ndarray
    nontargets: np.ndarray


def read_scores(path: Path, trials: Path) -> Scores | None:
    """Return the scores of file `path` by the classes of trial list `trials`; None when either is absent."""
    if not (path.is_file() and trials.is_file()):
        return None
    listed = read_trials(trials)
    label = dict(zip(zip(listed.enrol, listed.test, strict=True), listed.target.tolist(), strict=True))
    sides: dict[bool, list[float]] = {True: [], False: []}
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            columns = line.split()
            if len(columns) != 3 or (columns[0], columns[1]) not in label:
                raise UserError(f"{path}:{number}: not a trial of {trials}; run stage 7 again with --force")
            sides[label[columns[0], columns[1]]].append(float(columns[2]))
    return Scores(np.array(sides[True]), np.array(sides[False]))


def read_det(path: Path) -> np.ndarray | None:
    """Return the DET points [n, 2] (false accept, miss; fractions), None when the file is absent or has none."""
    rows = [(float(row["false_accept"]), float(row["miss"])) for row in _table(path)]
    return np.array(rows) if rows else None


def read_thresholds(experiment: Path, budget: str) -> dict:
    """Return thresholds.json's back-ends of a budget, {} when stage 7 left none."""
    path = experiment / "subnet" / budget / "scores" / "thresholds.json"
    return json.loads(path.read_text(encoding="utf-8"))["backends"] if path.is_file() else {}


def main_backend(experiment: Path, rows: list[dict[str, str]]) -> str:
    """Return the back-end shown in pictures: of lowest mean EER on dev; cosine where there is none.

    Those with durations in their scores do not compete: they were fitted on the dev trials themselves.
    """
    names = sorted({row["backend"] for row in rows if not row["backend"].endswith(SUFFIX)})
    errors: dict[str, list[float]] = {name: [] for name in names}
    for budget in sorted({row["budget"] for row in rows}):
        for name, values in read_thresholds(experiment, budget).items():
            if name in errors and "eer" in values:
                errors[name].append(values["eer"])
    most = max(map(len, errors.values()))
    if not most:
        return "cosine" if "cosine" in names else names[0]
    return min((name for name in names if len(errors[name]) == most), key=lambda name: (np.mean(errors[name]), name))
