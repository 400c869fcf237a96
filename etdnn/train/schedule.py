"""Learning rate and margin as functions of the step; nothing here counts seconds."""

import math

from etdnn.train.settings import Phase, Schedule


def count_steps(epochs: float, crops: int, batch: int) -> tuple[float, int]:
    """Return steps per epoch of `crops` crops (a fraction), and the whole steps of `epochs` epochs, at least 1."""
    return crops / batch, max(1, round(epochs * crops / batch))


def learning_rate(schedule: Schedule, step: int, total: int, steps_per_epoch: float) -> float:
    """Return the rate at `step` (from 0) of `total`; source of triangular2: reference/efficienttdnn.md, 4.2."""
    if schedule.kind == "triangular2":
        half = max(1.0, schedule.half_cycle * steps_per_epoch)
        cycle = math.floor(1 + step / (2 * half))
        height = max(0.0, 1 - abs(step / half - 2 * cycle + 1))
        return schedule.min + (schedule.max - schedule.min) * height / 2 ** (cycle - 1)
    warmup = schedule.warmup * steps_per_epoch
    climb = min(1.0, (step + 1) / warmup) if warmup >= 1 else 1.0
    if schedule.kind == "constant":
        return schedule.max * climb
    if schedule.kind == "exponential":
        return schedule.max * (schedule.min / schedule.max) ** (step / max(1, total - 1)) * climb
    done = max(0.0, step - warmup) / max(1.0, total - 1 - warmup)
    return climb * (schedule.min + (schedule.max - schedule.min) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def margin(phase: Phase, full: float, step: int, steps_per_epoch: float) -> float:
    """Return the margin at `step`: 0, then a straight line over the phase's `margin_ramp` epochs, then `full`."""
    if not phase.margin_ramp:
        return full
    first, last = (epochs * steps_per_epoch for epochs in phase.margin_ramp)
    if step >= last:
        return full
    return full * (step - first) / (last - first) if step > first else 0.0
