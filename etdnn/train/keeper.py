"""What is kept of a training: the last checkpoints, those to average, the best on dev; and the final weights."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from etdnn.errors import UserError
from etdnn.files import write_text
from etdnn.train.journal import Journal
from etdnn.train.state import Checkpoints
from etdnn.train.validation import Validator, validation_due

if TYPE_CHECKING:
    from etdnn.train.loop import Stepper


class Keeper:
    """Decides after each step what to write; only the first rank does, the others wait while it measures.

    `best`: step and dev EER of the best so far.
    """

    def __init__(self, stepper: "Stepper", checkpoints: Checkpoints, journal: Journal, validator: Validator | None):
        self.stepper, self.checkpoints, self.journal, self.validator = stepper, checkpoints, journal, validator
        self.settings = stepper.settings
        self.regular = max(1, round(self.settings.checkpoint_epochs * stepper.steps_per_epoch))
        self.saved = time.monotonic()
        self.best: dict[str, float] = {}

    def resume(self) -> int:
        """Load the newest checkpoint; return the number of steps it has behind it, 0 without one."""
        done = self.checkpoints.steps()
        if not done:
            return 0
        state = self.checkpoints.load(done[-1], self.stepper.ranks.device)
        begun = [part for part in ("network", "head", "teacher") if part in state]
        if set(begun) != set(self.stepper.modules):
            raise UserError(
                f"{self.checkpoints.path(done[-1])}: holds {', '.join(begun)}, this training has "
                f"{', '.join(self.stepper.modules)}; a teacher cannot come or go on the way: start anew with --force"
            )
        try:
            self.stepper.load(state)
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"{self.checkpoints.path(done[-1])}: does not fit this training ({reason}), and --override cannot make "
                "it fit: go on as begun, or start anew with --force"
            ) from None
        self.best = state.get("best", {})
        return done[-1]

    def after(self, done: int) -> None:
        """Measure on dev and write a checkpoint after `done` steps, where either is due."""
        ranks, total = self.stepper.ranks, self.stepper.total
        measured = validation_due(self.settings.validation.epochs, done, total, self.stepper.steps_per_epoch)
        if measured:
            with ranks.together():  # minutes on a large dev set: longer than an all-reduce waits
                if ranks.first:
                    self._measure(done)
        if not ranks.first:
            return
        late = time.monotonic() - self.saved > 60 * self.settings.checkpoint_minutes
        if measured or late or done == total or done % self.regular == 0 or self.stepper.stopping:
            self.checkpoints.save(done, {**self.stepper.state(), "best": self.best})
            best = {int(self.best["step"])} if self.best else set()
            self.checkpoints.prune(self.settings.keep, self.regular, self.settings.average, best)
            self.saved = time.monotonic()

    def _measure(self, done: int) -> None:
        begin = time.monotonic()
        found = self.validator.measure()
        if not self.best or found["eer"] < self.best["eer"]:
            self.best = {"step": done, "eer": found["eer"]}
        self.journal.measured(done, found, int(self.best["step"]), time.monotonic() - begin)

    def finish(self, directory: Path) -> None:
        """Load the final weights into the stepper: the last, the mean of the last `average`, or the best on dev."""
        average, stepper = self.settings.average, self.stepper
        if self.settings.validation.take_best and self.best:
            state = self.checkpoints.load(int(self.best["step"]), stepper.ranks.device)
            for name, module in stepper.modules.items():
                module.load_state_dict(state[name])
            self.journal.note(f"ends with the weights after step {self.best['step']:.0f}, the best on dev")
            return
        steps = [step for step in self.checkpoints.steps() if step % self.regular == 0 or step == stepper.total]
        steps = steps[-average:] if average else []
        if len(steps) > 1:
            for name, module in stepper.modules.items():
                module.load_state_dict(self.checkpoints.average(steps, name))
            write_text(directory / "averaged.txt", "".join(f"{step}\n" for step in steps))
            self.journal.note(f"ends with the mean of the weights after steps {', '.join(map(str, steps))}")
