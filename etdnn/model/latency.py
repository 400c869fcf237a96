"""Latency tables: seconds of a net's parts as measured on one machine, added up and interpolated for any arch."""

import json
import platform
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from etdnn.errors import UserError
from etdnn.files import hash_text, write_json
from etdnn.model.cost import split_rows

FORMAT = 1
PARTS = {
    "stem": ("width", "kernel"),
    "block": ("width", "inner", "kernel"),
    "aggregation": ("inputs", "cat"),
    "pooling": ("cat",),
    "embedding": ("cat",),
}
"""The axes of each part: stem w0, k0; block w0, w_i, k_i; aggregation D * w0, cat; pooling and embedding cat."""


@dataclass(frozen=True)
class Grid:
    """Seconds [len(axis 0), len(axis 1), ...] at the crossings of rising axes; linear in between and beyond."""

    axes: tuple[tuple[float, ...], ...]
    seconds: np.ndarray

    def __call__(self, *columns: np.ndarray) -> np.ndarray:
        """Return the interpolated seconds [n] at the points of `columns` (one array [n] per axis)."""
        places, shares = [], []
        for axis, column in zip(self.axes, columns, strict=True):
            points = np.asarray(axis, dtype=np.float64)
            low = np.clip(np.searchsorted(points, column, side="right") - 1, 0, max(len(points) - 2, 0))
            high = np.minimum(low + 1, len(points) - 1)
            gap = np.where(high > low, points[high] - points[low], 1.0)
            places.append((low, high))
            shares.append((column - points[low]) / gap * (high > low))
        total = np.zeros(len(columns[0]))
        for corner in product((0, 1), repeat=len(self.axes)):
            weight = np.ones(len(total))
            for side, share in zip(corner, shares, strict=True):
                weight = weight * (share if side else 1 - share)
            total += weight * self.seconds[tuple(place[side] for side, place in zip(corner, places, strict=True))]
        return total


@dataclass(frozen=True)
class LatencyTable:
    """Latency of one utterance batch on one machine: `parts` by name, then `scale` and `offset` fitted on whole nets.

    `about` says what was measured: machine, backend, threads, batch, frames, versions, date.
    """

    parts: dict[str, Grid]
    about: dict[str, Any]
    scale: float = 1.0
    offset: float = 0.0
    format: int = field(default=FORMAT)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return predicted seconds [n] of population `rows`."""
        return self.scale * self.sum_of_parts(rows) + self.offset

    def sum_of_parts(self, rows: np.ndarray) -> np.ndarray:
        """Return the uncorrected sums of the parts' seconds [n]."""
        depth, widths, kernels, cat = (np.asarray(part, dtype=np.float64) for part in split_rows(rows))
        stem = widths[:, 0]
        total = self.parts["stem"](stem, kernels[:, 0])
        for index in range(1, widths.shape[1]):
            block = self.parts["block"](stem, widths[:, index], kernels[:, index])
            total = total + np.where(index <= depth, block, 0.0)
        total = total + self.parts["aggregation"](depth * stem, cat)
        return total + self.parts["pooling"](cat) + self.parts["embedding"](cat)

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON-ready values."""
        parts = {name: {**asdict(grid), "seconds": grid.seconds.tolist()} for name, grid in self.parts.items()}
        return {"format": self.format, "about": self.about, "scale": self.scale, "offset": self.offset, "parts": parts}

    @property
    def hash(self) -> str:
        """16 hex digits that identify the numbers, not what was said about them."""
        return hash_text(json.dumps({**self.to_dict(), "about": None}, sort_keys=True))

    def save(self, path: str | Path) -> None:
        """Write the table as JSON, atomically."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> "LatencyTable":
        """Read a table; a UserError says what is wrong with it."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise UserError(f"{path}: format {values['format']} is not {FORMAT}; measure it again (etdnn latency)")
            parts = {}
            for name, axes in PARTS.items():
                given = values["parts"][name]
                grid = Grid(tuple(tuple(axis) for axis in given["axes"]), np.array(given["seconds"], dtype=np.float64))
                if len(grid.axes) != len(axes) or grid.seconds.shape != tuple(len(axis) for axis in grid.axes):
                    raise ValueError(f"part {name} has the wrong shape")
                if not np.isfinite(grid.seconds).all() or any(np.any(np.diff(axis) <= 0) for axis in grid.axes):
                    raise ValueError(f"part {name} has values that are no latencies")
                parts[name] = grid
            return cls(parts, values["about"], float(values["scale"]), float(values["offset"]))
        except FileNotFoundError:
            raise UserError(f"{path}: no such latency table; etdnn latency makes one") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a latency table ({error}); etdnn latency makes one") from None

    def foreign(self) -> str | None:
        """Return what this table was measured on if that is not this machine, else None."""
        theirs, ours = self.about.get("machine"), machine_name()
        return None if theirs == ours else f"measured on '{theirs}', this is '{ours}'"


def machine_name() -> str:
    """Return the processor's model name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
