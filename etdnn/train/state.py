"""Checkpoints of a training: everything the next step depends on, written atomically, refused by name when foreign."""

import json
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from etdnn.errors import UserError
from etdnn.files import atomic_path

_NAME = re.compile(r"step-(\d{8})\.pt")


class Checkpoints:
    """The folder `checkpoints/` of one phase: `step-00001234.pt` holds the state after 1234 steps."""

    def __init__(self, directory: Path):
        self.directory = directory

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints at hand, ascending."""
        if not self.directory.is_dir():
            return []
        return sorted(int(match[1]) for path in self.directory.iterdir() if (match := _NAME.fullmatch(path.name)))

    def path(self, step: int) -> Path:
        """Return the file of `step`."""
        return self.directory / f"step-{step:08d}.pt"

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write `state` after `step` steps; a kill while writing leaves the earlier files valid."""
        with atomic_path(self.path(step)) as temporary:
            try:
                torch.save({**state, "step": step}, temporary)
            except RuntimeError as error:  # torch reports a full disc as RuntimeError
                raise UserError(f"{self.path(step)}: cannot be written: {str(error).splitlines()[0]}") from None

    def load(self, step: int, device: torch.device) -> dict[str, Any]:
        """Return the state of `step`; UserError when the file is damaged."""
        path = self.path(step)
        try:
            return torch.load(path, map_location=device, weights_only=True)
        except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0][:160]
            raise UserError(f"{path}: damaged checkpoint ({reason}); remove it to go on from the one before") from None

    def prune(self, keep: int, regular: int, average: int, also: set[int]) -> None:
        """Keep the newest `keep` checkpoints, the newest `average` on multiples of `regular` steps, and `also`.

        What a killed run left half written goes too; one process at a time writes here.
        """
        steps = self.steps()
        kept = (
            also
            | set(steps[-keep:])
            | set([step for step in steps if step % regular == 0][-average:] if average else [])
        )
        for step in steps:
            if step not in kept:
                self.path(step).unlink()
        for broken in self.directory.glob(".step-*.pt.tmp*"):
            broken.unlink()

    def average(self, steps: list[int], part: str) -> dict[str, torch.Tensor]:
        """Return the mean of tensors `part` ("network", "head", "teacher") over the checkpoints of `steps`."""
        total: dict[str, torch.Tensor] = {}
        for step in steps:
            for name, tensor in self.load(step, torch.device("cpu"))[part].items():
                value = tensor.double() / len(steps) if tensor.is_floating_point() else tensor
                total[name] = total[name] + value if name in total and tensor.is_floating_point() else value
        first = self.load(steps[0], torch.device("cpu"))[part]
        return {name: value.to(first[name].dtype) for name, value in total.items()}


def check_identity(path: Path, identity: dict[str, Any], *, override: bool) -> None:
    """Compare what a training is made of with what `path`, if it is there, says that it was begun with.

    UserError names every difference (configuration, space, data, ranks, threads, ...) unless `override`.
    """
    if override or not path.is_file():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [
        f"{key} was {_short(before.get(key))}, now {_short(identity.get(key))}"
        for key in sorted(set(before) | set(identity))
        if before.get(key) != identity.get(key)
    ]
    if changed:
        raise UserError(
            f"{path}: this training was begun otherwise: {'; '.join(changed)}; "
            "go on as begun, use --override, or start anew with --force"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, keys joined by points, so that a difference is named exactly."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
