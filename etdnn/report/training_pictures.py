"""Training curves of all phases, one after the other as they were trained."""

import numpy as np

from etdnn.report.drawing import Picture, canvas, colour, finish
from etdnn.report.measured import Curve


def training_pictures(curves: list[Curve], title: str) -> list[Picture]:
    """Return loss, accuracy and learning rate over the steps of all phases; nothing without journals."""
    if not curves:
        return []
    with canvas(5.4, 6.2) as figure:
        loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
        start = 0.0
        for index, curve in enumerate(curves):
            steps = start + curve.steps
            for axes, values in ((loss, curve.loss), (accuracy, 100 * curve.accuracy)):
                axes.plot(steps, values, color=colour(index), alpha=0.25, linewidth=0.8)
                axes.plot(steps, smoothed(values), color=colour(index), linewidth=1.6, label=curve.phase)
            rate.plot(steps, curve.rate, color=colour(index), linewidth=1.4)
            start = float(steps[-1])
            for axes in (loss, accuracy, rate):
                axes.axvline(start, color="#b8bec6", linewidth=0.7, linestyle=":")
        loss.set_ylabel("loss")
        accuracy.set_ylabel("accuracy, %")
        rate.set(ylabel="learning rate", xlabel="training steps, all phases in order")
        rate.set_yscale("log")
        loss.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(5, len(curves)), columnspacing=1.2)
        ends = "; ".join(
            f"{curve.phase}: {int(curve.steps[-1])} steps, loss {curve.loss[0]:.2f} to {curve.loss[-1]:.2f}, "
            f"accuracy {100 * curve.accuracy[-1]:.0f} %"
            for curve in curves
        )
        return [
            finish(
                figure,
                "training",
                f"Training on {title}",
                f"Three curves over training steps: loss, accuracy and learning rate. {ends}.",
                "Faint: as noted while training; strong: moving mean. The loss holds the margin, so it rises where a "
                "phase brings smaller subnets or a larger margin.",
            )
        ]


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the centred moving mean over about a twentieth of the points, one-sided at the ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)
