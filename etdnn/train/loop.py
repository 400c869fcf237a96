"""One phase of training: draws subnets, steps the supernet, writes checkpoints, resumes as if unbroken."""

import math
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from etdnn.errors import UserError
from etdnn.files import write_json
from etdnn.model.arch import Arch
from etdnn.model.supernet import Supernet
from etdnn.train.dataset import Batch, TrainingSet, mask
from etdnn.train.journal import Journal
from etdnn.train.keeper import Keeper
from etdnn.train.losses import MarginHead, distillation
from etdnn.train.optimiser import make_optimiser, rate_factor
from etdnn.train.ranks import FlatGradients, Ranks
from etdnn.train.schedule import count_steps, learning_rate, margin
from etdnn.train.settings import Phase, TrainSettings
from etdnn.train.state import Checkpoints
from etdnn.train.teacher import Teacher
from etdnn.train.validation import Validator

INTERRUPTED = 85
"""Exit status when a signal or a time limit has stopped a training with a checkpoint written: start again to go on."""


class InterruptedTrainingError(UserError):
    """The training was asked to stop and has written a checkpoint."""

    exit_code = INTERRUPTED


@dataclass
class Stepper:
    """What one optimiser step consists of; `take(step)` makes it and returns loss and accuracy.

    `network(x, arch)` gives embeddings: a supernet, or one static network. `archs(step)` names the subnets of a step;
    it is a function of the step alone, so that all ranks and every resumed run agree. Where the phase asks for
    distillation, the largest network teaches the others of the step; a `teacher` given here teaches all, and so do the
    embeddings of an `external` one.
    """

    network: nn.Module
    archs: Callable[[int], list[Arch]]
    head: MarginHead
    data: TrainingSet
    settings: TrainSettings
    phase: Phase
    ranks: Ranks
    seed: int
    teacher: Callable[[Tensor], Tensor] | None = None
    external: Teacher | None = None

    def __post_init__(self):
        crops = self.data.items if self.settings.epoch == "all" else self.data.originals
        self.steps_per_epoch, self.total = count_steps(self.phase.epochs, crops, self.settings.batch)
        self.modules = {"network": self.network, "head": self.head}
        if self.external is not None:
            self.modules["teacher"] = self.external
        parameters = [parameter for module in self.modules.values() for parameter in module.parameters()]
        self.gradients = FlatGradients(parameters, self.ranks.device)
        if isinstance(self.network, Supernet):
            self.network.gradients_in_place = True  # every .grad is kept, and nothing hooks into backward
        self.rate_factor = rate_factor(self.settings)
        self.optimiser = make_optimiser(self.settings, *self.modules.values())
        self.scaler = torch.amp.GradScaler(self.ranks.device.type, enabled=self.settings.precision == "fp16")
        self.stop_wanted = ""  # what asks this rank to stop
        self.stopping = False  # agreed by all ranks

    def batches(self, step: int) -> list[Batch]:
        """Return this rank's micro-batches of `step` on its device: noise mixed in, normalised, masked."""
        count = self.ranks.count * self.settings.accumulate
        size = self.settings.batch // count
        utterances, starts = self.data.draw(self.seed, self.phase.name, step, self.settings.batch, self.phase.frames)
        mixes = self.data.mixes(self.seed, self.phase.name, step, utterances)
        result = []
        for part in range(self.ranks.rank * self.settings.accumulate, (self.ranks.rank + 1) * self.settings.accumulate):
            piece = slice(part * size, (part + 1) * size)
            batch = self.data.read(
                utterances[piece],
                starts[piece],
                self.phase.frames,
                self.settings.normalisation,
                mixes=None if mixes is None else mixes[piece],
                device=self.ranks.device,
            )
            mask(batch.crops, self.settings.spec_augment, self.seed, "mask", self.phase.name, step, part)
            result.append(batch)
        return result

    def take(self, step: int, batches: list[Batch]) -> tuple[float, float, float]:
        """Make one step; return (loss, accuracy, learning rate) averaged over paths and ranks.

        Raises UserError at the first loss or gradient that is not finite, naming the step and the utterances.
        """
        rate = self.rate_factor * learning_rate(self.phase.schedule, step, self.total, self.steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.gradients.zero()
        loss, correct = self._accumulate(step, batches)
        local = torch.stack(
            [loss, correct, torch.tensor(float(bool(self.stop_wanted)), device=loss.device), (~loss.isfinite()).float()]
        )
        self.gradients.extras.copy_(local.nan_to_num())
        agreed = self.gradients.mean_over(self.ranks)
        norm = self.gradients.gradients.norm()
        # one question for all numbers: each question waits until the device has done all that was asked of it before
        loss, correct, stop, broken, size = torch.cat([agreed, norm[None]]).tolist()
        if broken:
            raise UserError(self._not_finite(step, batches, "the loss", here=bool(local[3])))
        self.stopping = stop > 0
        if not self.scaler.is_enabled() and not math.isfinite(size):
            raise UserError(self._not_finite(step, batches, "a gradient"))
        self.scaler.unscale_(self.optimiser)
        self.gradients.clip(self.settings.optimiser.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss, correct, rate

    def _accumulate(self, step: int, batches: list[Batch]) -> tuple[Tensor, Tensor]:
        archs = self.archs(step)
        push = margin(self.phase, self.settings.loss.margin, step, self.steps_per_epoch)
        share = 1.0 / (len(archs) * len(batches))
        loss_sum = correct = torch.zeros((), device=self.ranks.device)
        for batch in batches:
            crops, labels = batch.crops, batch.labels
            teacher = self._taught(crops)
            for arch in archs:
                embeddings = self._embed(self.network, crops, arch)
                cosines = self.head.cosines(embeddings)
                classification = self.head(cosines, labels, push)
                loss = classification
                if teacher is not None:
                    loss = loss + self._distil(cosines, embeddings, teacher)
                elif self.phase.distillation:
                    teacher = (cosines.detach(), embeddings.detach())
                if self.external is not None:
                    loss = loss + self.phase.distillation.external * self.external(embeddings, batch.utterances)
                self.scaler.scale(loss * share).backward()
                loss_sum = loss_sum + classification.detach() * share
                correct = correct + (cosines.argmax(1) == labels).float().mean() * share
        return loss_sum, correct

    def _taught(self, crops: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return cosines and embeddings of the teacher of its own, where there is one."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            embeddings = self._embed(self.teacher, crops)
            return self.head.cosines(embeddings), embeddings

    def _embed(self, network: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """Return the embeddings of `network(*inputs)` in fp32, computed in the precision of the settings."""
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.settings.precision, torch.float32)
        with torch.autocast(self.ranks.device.type, kind, enabled=kind != torch.float32):
            return network(*inputs).float()

    def _distil(self, cosines: Tensor, embeddings: Tensor, teacher: tuple[Tensor, Tensor]) -> Tensor:
        weights = self.phase.distillation
        divergence, distance = distillation(cosines, teacher[0], embeddings, teacher[1], self.settings.loss.scale)
        return weights.logits * divergence + weights.embedding * distance

    def _not_finite(self, step: int, batches: list[Batch], what: str, *, here: bool = True) -> str:
        archs = ", ".join(map(str, self.archs(step)))
        place = f"at step {step} of phase {self.phase.name} (arch {archs})"
        if not here:
            return f"{what} of another rank is not finite {place}; that rank names the utterances"
        keys = [self.data.reader.keys[number] for batch in batches for number in batch.utterances]
        return (
            f"{what} is not finite {place}; utterances of the batch on rank {self.ranks.rank}: {' '.join(keys)}; lower "
            "the rate or look at these files"
        )

    def state(self) -> dict[str, Any]:
        """Return everything that later steps depend on."""
        return {
            **{name: module.state_dict() for name, module in self.modules.items()},
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over a `state()`; what the optimiser's options are, this configuration says.

        RuntimeError or ValueError for a state of other modules, of another optimiser or of other parameter groups.
        """
        for name, module in self.modules.items():
            module.load_state_dict(state[name])
        own, saved = self.optimiser.param_groups, state["optimiser"]["param_groups"]
        if ["betas" in group for group in own] != ["betas" in group for group in saved]:  # Adam's; SGD has none
            raise ValueError("its optimiser is of another kind, or spares other parameters decay")
        groups = [{**mine, "params": theirs["params"]} for mine, theirs in zip(own, saved, strict=True)]
        self.optimiser.load_state_dict({**state["optimiser"], "param_groups": groups})
        if state["scaler"]:  # empty where the precision was another
            self.scaler.load_state_dict(state["scaler"])


def train(
    stepper: Stepper,
    directory: Path,
    identity: dict[str, Any],
    journal: Journal,
    validator: Validator | None = None,
    until: float = math.inf,
) -> None:
    """Take the steps that are left; checkpoint every so many epochs and minutes; end with the weights asked for.

    `identity`, what the training is made of, is left in `training.json`. Raises InterruptedTrainingError, with a
    checkpoint written, after SIGTERM or SIGINT, and after the first step that begins when `time.monotonic()` is past
    `until`; what a step does depends on no clock.
    """
    keeper = Keeper(stepper, Checkpoints(directory / "checkpoints"), journal, validator)
    first = keeper.resume()
    if stepper.ranks.first:  # not before: a checkpoint that does not fit leaves the training as it was begun
        write_json(directory / "training.json", identity)
    journal.begin(first, stepper.total)
    _watch_signals(stepper)
    stepper.network.train()
    with ThreadPoolExecutor(1) as loader:
        ahead = loader.submit(stepper.batches, first) if first < stepper.total else None
        for step in range(first, stepper.total):
            begin = time.monotonic()
            batches = ahead.result()
            ahead = loader.submit(stepper.batches, step + 1) if step + 1 < stepper.total else None
            waited = time.monotonic() - begin
            if time.monotonic() > until:
                stepper.stop_wanted = "the time limit"
            loss, accuracy, rate = stepper.take(step, batches)
            journal.step(step, loss, accuracy, rate, waited)
            keeper.after(step + 1)
            if stepper.stopping and step + 1 < stepper.total:
                stepper.ranks.wait()
                raise InterruptedTrainingError(
                    f"stopped by {stepper.stop_wanted or 'another rank'} after step {step + 1}; start again to go on "
                    "from there"
                )
    if stepper.ranks.first:
        keeper.finish(directory)
    journal.end()


def _watch_signals(stepper: Stepper) -> None:
    def wish(_number, _frame):
        stepper.stop_wanted = "a signal"

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, wish)
