"""Latency of a device without PyTorch: a bundle of ONNX files and a runner goes there, its measurements come back."""

import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from etdnn.deploy import latency_runner as runner
from etdnn.deploy.latency import (
    Setting,
    corrected_table,
    correction_nets,
    grid_axes,
    grid_nodes,
    part_module,
    random_nets,
    to_onnx,
)
from etdnn.errors import UserError
from etdnn.files import atomic_path, write_json, write_text
from etdnn.model.arch import Arch
from etdnn.model.latency import PARTS, Grid, LatencyTable
from etdnn.model.space import SearchSpace
from etdnn.model.tdnn import Tdnn
from etdnn.search.population import archs_to_rows

RUNNER = "measure.py"


def write_bundle(folder: str | Path, space: SearchSpace, setting: Setting, *, check: int = 0, seed: int = 0) -> int:
    """Write the parts of `space` on a grid, nets to correct their sum and `check` nets as a bundle; return how many.

    `folder` gets bundle.json (what the models are), models.zip and measure.py, which needs numpy and onnxruntime only.
    Weights are constants, so that hundreds of megabytes pack into few: how long a layer takes does not depend on them.
    """
    folder, axes = Path(folder), grid_axes(space)
    nets = {"correction": correction_nets(space, seed), "check": random_nets(space, check, seed)}
    models: dict[str, list[int]] = {}
    with atomic_path(folder / runner.MODELS) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, module: nn.Module, form: tuple[int, ...]) -> None:
            shape = [setting.batch, *(size or setting.frames for size in form)]
            archive.writestr(name, to_onnx(with_constant_weights(module), torch.zeros(shape)))
            models[name] = shape

        for kind in PARTS:
            for _, sizes in grid_nodes(axes[kind]):
                add(part_name(kind, sizes), *part_module(kind, sizes, space))
        for arch in dict.fromkeys([*nets["correction"], *nets["check"]]):
            add(f"net-{arch}", Tdnn(arch, space.in_feats, space.embedding), (space.in_feats, 0))
    write_text(folder / RUNNER, Path(runner.__file__).read_text(encoding="utf-8"))
    write_json(folder / runner.BUNDLE, {
        "format": runner.FORMAT, "about": {"batch": setting.batch, "frames": setting.frames},
        "space": space.to_dict(), "axes": axes, "models": models,
        "nets": {purpose: [str(arch) for arch in archs] for purpose, archs in nets.items()},
    })  # fmt: skip
    return len(models)


def part_name(kind: str, sizes: list[int]) -> str:
    """Return the name of a part's model in a bundle."""
    return "-".join(map(str, [kind, *sizes]))


@torch.no_grad()
def with_constant_weights(module: nn.Module) -> nn.Module:
    """Give every weight tensor one value, which packs well; values differ, for equal tensors might be shared."""
    for number, weight in enumerate(module.parameters()):
        weight.fill_((1 + 0.01 * number) / max(weight[0].numel(), 1))
    return module


def read_measured(path: str | Path) -> tuple[LatencyTable, list[tuple[Arch, float, float]]]:
    """Return the table of what measure.py measured, and (arch, predicted, measured seconds) of its check nets."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if found["format"] != runner.FORMAT:
            raise UserError(f"{path}: format {found['format']} is not {runner.FORMAT}; make the bundle again")
        space, seconds, parts = SearchSpace.from_dict(found["space"]), found["seconds"], {}
        for kind, axes in found["axes"].items():
            values = np.empty([len(axis) for axis in axes])
            for place, sizes in grid_nodes(axes):
                values[place] = seconds[part_name(kind, sizes)]
            parts[kind] = Grid(tuple(map(tuple, axes)), values)
        nets = {purpose: [Arch.parse(text) for text in texts] for purpose, texts in found["nets"].items()}
        measured = {purpose: np.array([seconds[f"net-{arch}"] for arch in archs]) for purpose, archs in nets.items()}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; measure.py of a bundle makes it on the device") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not what measure.py of a bundle writes ({error})") from None
    rows = {purpose: archs_to_rows(archs, space) for purpose, archs in nets.items()}
    table = corrected_table(parts, found["about"], rows["correction"], measured["correction"])
    predicted = table.predict(rows["check"])
    return table, list(zip(nets["check"], predicted.tolist(), measured["check"].tolist(), strict=True))
