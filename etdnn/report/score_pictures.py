"""Pictures of the scores: DET curves, and histograms with the thresholds that dev gave."""

from pathlib import Path

import numpy as np

from etdnn.report.drawing import Picture, canvas, colour, file_name, finish
from etdnn.report.measured import Scores, read_det, read_scores, read_thresholds

RATES = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Rates at which a DET picture has lines; a wide one only at some."""
FEW_RATES = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8)
POINTS = {"eer": ("EER", "-"), "min_dcf_0.01": ("minDCF(0.01)", "--"), "false_accept_0.01": ("1 % false accept", ":")}
"""Thresholds that are drawn, with their names and line styles."""
BINS = 60


def det_pictures(experiment: Path, rows: list[dict[str, str]], backend: str, title: str) -> list[Picture]:
    """Draw a DET picture per test list: a curve per budget, both rates in probit units."""
    from scipy.special import ndtri

    pictures = []
    for trials in sorted({row["trials"] for row in rows}):
        mine = [row for row in rows if row["trials"] == trials and row["backend"] == backend]
        curves = {row["budget"]: read_det(_score_file(experiment, row, "det.tsv")) for row in mine}
        if all(points is None for points in curves.values()):
            continue
        with canvas(5.4, 5.0) as figure:
            axes = figure.subplots()
            for index, row in enumerate(mine):
                points = curves[row["budget"]]
                if points is not None:
                    axes.plot(*ndtri(points).T, color=colour(index), linewidth=1.5,
                              label=f"{row['budget']} (EER {float(row['eer']):.2f} %)")  # fmt: skip
            drawn = np.concatenate([points for points in curves.values() if points is not None])
            low, high = max(1e-5, drawn.min() / 1.5), min(0.99, drawn.max() * 1.2)
            ticks = [rate for rate in RATES if low <= rate <= high]
            if len(ticks) > 6:
                ticks = [rate for rate in FEW_RATES if low <= rate <= high]
            labels = [f"{100 * rate:g}" for rate in ticks]
            axes.plot(ndtri([low, high]), ndtri([low, high]), color="#b8bec6", linewidth=0.9, linestyle="--")
            axes.set_xticks(ndtri(ticks), labels)
            axes.set_yticks(ndtri(ticks), labels)
            axes.set(xlim=ndtri([low, high]), ylim=ndtri([low, high]), xlabel="false accepts, %", ylabel="misses, %")
            axes.set_aspect("equal")
            axes.legend(loc="upper right")
            words = ", ".join(f"{row['budget']} {float(row['eer']):.2f} %" for row in mine)
            alt = f"Misses against false accepts of {len(mine)} subnets on probit axes. EER: {words}."
            caption = f"Back-end {backend}. Lower left is better; on the dashed line both rates are equal (EER)."
            pictures.append(finish(figure, f"det-{file_name(trials)}", f"DET curves, test list {trials} of {title}",
                                   alt, caption))  # fmt: skip
    return pictures


def histogram_pictures(
    data: Path, experiment: Path, rows: list[dict[str, str]], backend: str, title: str
) -> list[Picture]:
    """Draw, per test list, the scores of both classes for each budget, with the thresholds from dev."""
    pictures = []
    for trials in sorted({row["trials"] for row in rows}):
        mine = [row for row in rows if row["trials"] == trials and row["backend"] == backend]
        listed = data / "test" / f"trials_{trials}"
        found = {row["budget"]: read_scores(_score_file(experiment, row, "scores"), listed) for row in mine}
        scores = {budget: one for budget, one in found.items() if one is not None}
        if scores:
            pictures.append(_histograms(experiment, scores, trials, backend, title))
    return pictures


def _histograms(experiment: Path, scores: dict[str, Scores], trials: str, backend: str, title: str) -> Picture:
    values = np.concatenate([side for one in scores.values() for side in (one.targets, one.nontargets)])
    edges = np.linspace(values.min(), values.max() + 1e-9, BINS + 1)
    with canvas(5.4, 0.9 + 1.8 * len(scores)) as figure:
        every = figure.subplots(len(scores), 1, sharex=True, squeeze=False)[:, 0]
        words, seen = [], False
        for axes, (budget, one) in zip(every, scores.items(), strict=True):
            for side, paint, label in ((one.nontargets, colour(1), "different speakers"),
                                       (one.targets, colour(0), "same speaker")):  # fmt: skip
                axes.hist(side, edges, weights=np.full(side.size, 100 / side.size), color=paint, alpha=0.55,
                          label=label)  # fmt: skip
            points = read_thresholds(experiment, budget).get(backend, {}).get("points", {})
            for name, (label, line) in POINTS.items():
                value = points.get(name, {}).get("threshold")
                if value is not None and edges[0] <= value <= edges[-1]:
                    axes.axvline(value, color="#1b1f24", linewidth=1.1, linestyle=line, label=label)
                    seen = True
            axes.set_title(budget, loc="left")
            axes.set_ylabel("% of class")
            words.append(f"{budget}: means {one.targets.mean():.3f} and {one.nontargets.mean():.3f}")
        handles = {
            label: handle for axes in every for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, columnspacing=1.2)
        every[-1].set_xlabel(f"score ({backend})")
        note = ("Lines: decision thresholds from the dev speakers; they were not fitted to these trials."
                if seen else "No thresholds: dev gave none that lie among these scores.")  # fmt: skip
        return finish(
            figure, f"scores-{file_name(trials)}", f"Scores, test list {trials} of {title}",
            f"Histograms of scores of the same and of different speakers. {'; '.join(words)}.",
            f"Back-end {backend}; each class sums to 100 %. {note}",
        )  # fmt: skip


def _score_file(experiment: Path, row: dict[str, str], ending: str) -> Path:
    name = f"{row['trials']}.{row['backend']}.{ending}"
    return experiment / "subnet" / row["budget"] / "scores" / "test" / name
