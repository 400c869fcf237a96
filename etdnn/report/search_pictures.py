"""Pictures of the search: error against cost, the way of the search, predicted against measured."""

from pathlib import Path

import numpy as np

from etdnn.model.arch import Arch
from etdnn.model.cost import CONVENTION
from etdnn.report.drawing import GREY, MANY, Picture, canvas, colour, count_axis, file_name, finish, marker
from etdnn.report.measured import SearchRun
from etdnn.report.published import published_models
from etdnn.search.population import archs_to_rows
from etdnn.search.predictor import FOLDS, Predictor, fit_predictor, kendall_tau
from etdnn.search.records import Evaluation
from etdnn.seeding import numpy_generator

PUBLISHED_LIST = "vox1_O_cleaned"
PUBLISHED = published_models(PUBLISHED_LIST, "asnorm")
"""MACs and EER (%) on VoxCeleb1-O with AS-norm of the published subnets."""
HELD_OUT_AT_MOST = 600
"""Evaluations used for predicted against measured; a predictor is fitted five times, at a cubic cost."""


def pareto_picture(evaluations: list[Evaluation], runs: list[SearchRun], title: str) -> list[Picture]:
    """Draw EER on dev against MACs of every measured subnet, its front, and the chosen ones."""
    if not evaluations:
        return []
    by_arch = {row.arch: row for row in evaluations}
    macs = np.array([row.macs for row in evaluations], dtype=float)
    errors = np.array([row.objective for row in evaluations])
    front = lower_front(macs, errors)
    chosen = [(run.budget, by_arch[run.arch]) for run in runs if run.arch in by_arch]
    with canvas() as figure:
        axes = figure.subplots()
        axes.scatter(macs, errors, s=14, color=GREY, alpha=0.55, linewidths=0, rasterized=len(macs) > MANY,
                     label=f"measured ({len(macs)})")  # fmt: skip
        axes.plot(macs[front], errors[front], color="#4a5058", linewidth=1.2, drawstyle="steps-post", label="front")
        for index, (budget, row) in enumerate(chosen):
            axes.scatter(row.macs, row.objective, s=80, color=colour(index), marker=marker(index), edgecolors="white",
                         linewidths=0.8, zorder=5, label=f"chosen for {budget}")  # fmt: skip
        count_axis(axes, macs.tolist())
        axes.set(xlabel="MACs at 3 s", ylabel="EER on dev, %")
        axes.legend(loc="best")
        words = ", ".join(f"for {budget} {row.arch} with {row.objective:.2f} %" for budget, row in chosen) or "none"
        return [
            finish(
                figure, "pareto-dev", f"Search on {title}: error against cost",
                f"{len(macs)} measured subnets, {errors.min():.2f} to {errors.max():.2f} % EER on dev at "
                f"{macs.min() / 1e6:.4g}M to {macs.max() / 1e6:.4g}M MACs. Chosen: {words}.",
                f"EER: mean of the clean and the cross list of the dev speakers. {CONVENTION}. The choice is made "
                "by measurement among those that the predictor ranks best, so it need not lie on the front.",
            )
        ]  # fmt: skip


def lower_front(macs: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the indices of the points that no cheaper or equal one beats, cheap first."""
    order = np.lexsort((errors, macs))
    best = np.minimum.accumulate(errors[order])
    return order[np.concatenate([[True], best[1:] < best[:-1]])]


def scored_pareto_pictures(rows: list[dict[str, str]], backend: str, title: str, published: bool) -> list[Picture]:
    """Draw EER on each test list against MACs of every scored subnet, with its interval.

    `published` adds the published subnets where the list is VoxCeleb1-O, the one that their numbers are of.
    """
    pictures = []
    for trials in sorted({row["trials"] for row in rows}):
        mine = [row for row in rows if row["trials"] == trials and row["backend"] == backend]
        if mine:
            pictures.append(
                _scored_pareto(
                    mine, trials, backend, title, PUBLISHED if published and trials == PUBLISHED_LIST else {}
                )
            )
    return pictures


def _scored_pareto(
    rows: list[dict[str, str]], trials: str, backend: str, title: str, published: dict[str, tuple[int, float]]
) -> Picture:
    with canvas(5.4, 3.8) as figure:
        axes = figure.subplots()
        macs, errors = [int(row["macs"]) for row in rows], [float(row["eer"]) for row in rows]
        axes.plot(macs, errors, color="#b8bec6", linewidth=1.2, zorder=1)
        for index, row in enumerate(rows):
            spread = [[max(0.0, float(row["eer"]) - float(row["eer_low"]))],
                      [max(0.0, float(row["eer_high"]) - float(row["eer"]))]] if row["eer_low"] else None  # fmt: skip
            axes.errorbar(macs[index], errors[index], spread, fmt=marker(index), color=colour(index), markersize=8,
                          capsize=3, linewidth=1.2, label=row["budget"])  # fmt: skip
        for index, (name, (cost, error)) in enumerate(published.items()):
            axes.scatter(cost, error, s=70, facecolors="none", edgecolors="#1b1f24", marker="D", zorder=4,
                         label="" if index else "published, VoxCeleb1-O, AS-norm")  # fmt: skip
            axes.annotate(name, (cost, error), xytext=(7, 5), textcoords="offset points", fontsize=9)
        count_axis(axes, [*macs, *(cost for cost, _ in published.values())])
        axes.set(xlabel="MACs at 3 s", ylabel=f"EER on test list {trials}, %")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.2)
        words = ", ".join(f"{row['budget']} {row['eer']} %" for row in rows)
        known = "Diamonds: as published on VoxCeleb1-O with AS-norm, not measured here. " if published else ""
        return finish(
            figure, f"pareto-test-{file_name(trials)}", f"Test list {trials} of {title}: error against cost",
            f"EER of {len(rows)} subnets against their MACs: {words}.",
            f"Back-end {backend}; bars: 95 % interval by bootstrap over speakers, where there is one. {known}".strip(),
        )  # fmt: skip


def progress_pictures(runs: list[SearchRun], title: str) -> list[Picture]:
    """Draw, per budget, the best EER so far over the subnets measured; nothing where stage 4 left no course."""
    runs = [run for run in runs if any(row[3] for row in run.progress)]
    if not runs:
        return []
    with canvas(5.4, 1.0 + 2.1 * len(runs)) as figure:
        every = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
        words = []
        for index, (axes, run) in enumerate(zip(every, runs, strict=True)):
            fitting = [row for row in run.progress if row[3]]
            numbers, errors = np.array([row[0] for row in fitting]), np.array([row[2] for row in fitting])
            best = np.minimum.accumulate(errors)
            sampled = sum(row[4] for row in run.progress)
            axes.axvspan(0, sampled + 0.5, color="#eef0f3", zorder=0)
            axes.scatter(numbers, errors, s=12, color=colour(index), alpha=0.5, linewidths=0)
            axes.plot([*numbers, run.progress[-1][0]], [*best, best[-1]], color=colour(index), linewidth=1.6,
                      drawstyle="steps-post")  # fmt: skip
            axes.set_title(f"{run.budget}: {len(fitting)} of {len(run.progress)} keep the budget", loc="left")
            axes.set_ylabel("EER on dev, %")
            axes.set_xlim(0, len(run.progress) + 1)
            in_sample = [row[2] for row in fitting if row[4]]
            words.append(f"{run.budget}: {min(in_sample, default=float('nan')):.2f} % in the sample of {sampled}, "
                         f"{best[-1]:.2f} % after {len(run.progress)}")  # fmt: skip
        every[-1].set_xlabel("subnets measured")
        return [
            finish(
                figure, "search-progress", f"Course of the search on {title}",
                f"Best EER on dev over the number of measured subnets. {'; '.join(words)}.",
                "Shaded: the random sample that all budgets share; then the rounds in which the predictor chooses. "
                "Points: subnets that keep the budget; line: best so far.",
            )
        ]  # fmt: skip


def prediction_pictures(experiment: Path, evaluations: list[Evaluation], title: str) -> list[Picture]:
    """Draw predicted against measured EER, every subnet predicted by a fit that has not seen it (five folds)."""
    kept = sorted((experiment / "search").glob("predictor.*.npz"))
    if not kept or len(evaluations) < 20:
        return []
    predictor = Predictor.load(kept[0])
    evaluations = [row for row in evaluations if predictor.space.holds(Arch.parse(row.arch))]
    rng = numpy_generator(0, "report folds")
    evaluations = [evaluations[place] for place in sorted(rng.permutation(len(evaluations))[:HELD_OUT_AT_MOST])]
    measured = np.array([row.objective for row in evaluations])
    predicted = held_out(predictor, evaluations, measured, rng)
    tau, error = kendall_tau(predicted, measured), float(np.abs(predicted - measured).mean())
    with canvas(5.4, 4.6) as figure:
        axes = figure.subplots()
        ends = [min(measured.min(), predicted.min()), max(measured.max(), predicted.max())]
        axes.plot(ends, ends, color=GREY, linewidth=1, linestyle="--")
        axes.scatter(measured, predicted, s=14, color=colour(0), alpha=0.6, linewidths=0)
        axes.set(xlabel="measured EER on dev, %", ylabel="predicted, %")
        return [
            finish(
                figure, "predicted-measured", f"Predicted against measured, {title}",
                f"{len(measured)} subnets, predicted by fits that had not seen them: Kendall tau {tau:.3f}, mean "
                f"absolute error {error:.3f} percentage points.",
                f"{predictor.kind}, {FOLDS} folds over {len(measured)} subnets: Kendall tau {tau:.3f}, mean absolute "
                f"error {error:.3f} points. On the dashed line both are equal.",
            )
        ]  # fmt: skip


def held_out(
    predictor: Predictor, evaluations: list[Evaluation], measured: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return for each evaluation the prediction of a fit to the other folds, of the same kind as `predictor`."""
    rows = archs_to_rows([Arch.parse(row.arch) for row in evaluations], predictor.space)
    folds = rng.permutation(len(rows)) % FOLDS
    predicted = np.empty(len(rows))
    for fold in range(FOLDS):
        held = folds == fold
        fit = fit_predictor(predictor.kind, predictor.space, rows[~held], measured[~held], seed=0)
        predicted[held] = fit.predict(rows[held])
    return predicted
