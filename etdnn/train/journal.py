"""What a training tells: a line for people with the time left, and one for programs (JSON lines)."""

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from math import isfinite
from pathlib import Path
from typing import Any

from tqdm import tqdm

from etdnn.errors import UserError
from etdnn.files import write_text


class Journal:
    """Gathers loss, accuracy, rate and loader wait; writes `train.jsonl` every few steps, prints now and then.

    On a terminal a bar shows progress and the time left; with `tensorboard` the same numbers go there too.
    """

    def __init__(
        self,
        directory: Path,
        phase: str,
        batch: int,
        *,
        active: bool,
        seconds: float = 15.0,
        tensorboard: bool = False,
    ):
        self.path = directory / "train.jsonl"
        self.phase, self.batch, self.active, self.seconds = phase, batch, active, seconds
        self.board: Any = None
        self._open_board = _summary_writer() if tensorboard and active else None

    def begin(self, first: int, total: int) -> None:
        """Start at step `first` of `total`; lines of steps that are made again are dropped."""
        self.total, self.every = total, max(1, min(50, total // 100))
        self.first, self.started = first, time.monotonic()
        self.last_line, self.last_print = time.monotonic(), 0.0
        self.sums = [0.0, 0.0, 0.0]
        self.count = 0
        if self.active:
            kept = []
            if first and self.path.is_file():
                for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
                    if line.endswith("\n") and json.loads(line)["step"] <= first:
                        kept.append(line)
            write_text(self.path, "".join(kept))
            if self._open_board:
                self.board = self._open_board(str(self.path.with_name("tensorboard")), purge_step=first + 1)
            on_screen = sys.stderr.isatty()
            self.bar = tqdm(total=total, initial=first, desc=self.phase, unit="step", disable=not on_screen)
            self.seconds = max(self.seconds, 60.0) if on_screen else self.seconds
            state = f"resumes after step {first}" if first else "starts"
            self._say(f"phase {self.phase} {state}: {total} steps of {self.batch} crops")

    def step(self, step: int, loss: float, accuracy: float, rate: float, waited: float) -> None:
        """Take note of one step."""
        if not self.active:
            return
        self.sums = [total + value for total, value in zip(self.sums, (loss, accuracy, waited), strict=True)]
        self.count += 1
        done = step + 1
        self.bar.update()
        if done % self.every and done != self.total:
            return
        now = time.monotonic()
        loss, accuracy, waited = (total / self.count for total in self.sums)
        speed = self.count * self.batch / max(1e-9, now - self.last_line)
        line = {
            "phase": self.phase,
            "step": done,
            "loss": round(loss, 5),
            "accuracy": round(accuracy, 5),
            "rate": rate,
            "utterances_per_second": round(speed, 1),
            "loader_wait": round(waited, 5),
        }
        self._write(line)
        self.bar.set_postfix_str(f"loss {loss:.3f}, accuracy {100 * accuracy:.1f} %", refresh=False)
        if now - self.last_print >= self.seconds or done == self.total:
            left = (now - self.started) / (done - self.first) * (self.total - done)
            self._say(
                f"{self.phase} {done}/{self.total} ({100 * done / self.total:.0f} %) loss {loss:.3f} "
                f"accuracy {100 * accuracy:.1f} % rate {rate:.2g} {speed:.0f} utt/s "
                f"loader wait {1000 * waited:.0f} ms, {timedelta(seconds=round(left))} left"
            )
            self.last_print = now
        self.sums, self.count, self.last_line = [0.0, 0.0, 0.0], 0, now

    def measured(self, done: int, numbers: dict[str, float], best: int, seconds: float) -> None:
        """Take note of what was measured on dev after `done` steps (percent), when it was best, how long it took.

        A measurement that failed is infinite here and null in the file: JSON has no infinity.
        """
        if not self.active:
            return
        dev = {f"dev_{name}": round(value, 4) for name, value in numbers.items()}
        written = {name: value if isfinite(value) else None for name, value in dev.items()}
        self._write({"phase": self.phase, "step": done, **written, "best_step": best})
        shown = ", ".join(f"{name} {value:.2f} %" for name, value in dev.items())
        self._say(f"{self.phase} {done}/{self.total} {shown}" + (", the best so far" if best == done else ""))
        self.last_line += seconds  # not counted as training

    def note(self, text: str) -> None:
        """Say something about the phase."""
        if self.active:
            self._say(f"phase {self.phase} {text}")

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line, allow_nan=False) + "\n")
        if self.board:
            for name, value in line.items():
                if name not in ("phase", "step", "best_step") and value is not None:
                    self.board.add_scalar(f"{self.phase}/{name}", value, line["step"])

    def end(self) -> None:
        """Say that the phase is complete."""
        if self.active:
            self.bar.close()
            if self.board:
                self.board.close()
            took = timedelta(seconds=round(time.monotonic() - self.started))
            self._say(f"phase {self.phase} complete: {self.total - self.first} steps in {took}")

    def _say(self, text: str) -> None:
        with tqdm.external_write_mode(sys.stderr):
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _summary_writer() -> Callable[..., Any]:
    """Return TensorBoard's writer; UserError that names the extra where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            f"tensorboard: true in the training configuration needs the extra 'tensorboard' ({error}): "
            "pip install 'etdnn[tensorboard]', or set it to false"
        ) from None
    return SummaryWriter
