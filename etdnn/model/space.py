"""SearchSpace: which archs a supernet holds; read from YAML, counted exactly."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from etdnn.errors import UserError
from etdnn.files import hash_text
from etdnn.model.arch import Arch
from etdnn.settings import load_settings


@dataclass(frozen=True)
class Steps:
    """An arithmetic range of choices: `first`, `first + step`, ... up to and including `last`."""

    first: int
    last: int
    step: int

    def __post_init__(self):
        if self.step < 1 or self.last < self.first:
            raise ValueError(f"first {self.first}, last {self.last}, step {self.step}: need first <= last, step >= 1")

    def values(self) -> tuple[int, ...]:
        """Return the choices in order."""
        return tuple(range(self.first, self.last + 1, self.step))


@dataclass(frozen=True)
class _SpaceFile:
    """The YAML form of a space; see egs/voxceleb/conf/space.yaml."""

    name: str
    depth: list[int]
    width: list[int] | Steps
    kernel: list[int]
    cat: list[int] | Steps
    in_feats: int = 80
    embedding: int = 192


@dataclass(frozen=True)
class SearchSpace:
    """The choices per dimension: depth, width (w0..wD alike), kernel (k0..kD alike), cat; each sorted, without doubles.

    `in_feats` mel bins go in, `embedding` numbers come out. Raises UserError when a dimension is empty or a choice is
    not allowed in an arch. Source: reference/efficienttdnn.md, section 2.
    """

    name: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    cats: tuple[int, ...]
    in_feats: int = 80
    embedding: int = 192
    largest: Arch = field(init=False, compare=False)
    smallest: Arch = field(init=False, compare=False)

    def __post_init__(self):
        for name in ("depths", "widths", "kernels", "cats"):
            choices = tuple(sorted({int(value) for value in getattr(self, name)}))
            if not choices:
                raise UserError(f"space {self.name}: no choice for {name}")
            object.__setattr__(self, name, choices)
        for name, pick in (("largest", -1), ("smallest", 0)):
            object.__setattr__(self, name, self._uniform(pick))
        for width in self.widths:
            Arch(1, (width, width), (1, 1), self.cats[0])
        for cat in self.cats:
            Arch(1, (8, 8), (1, 1), cat)
        for kernel in self.kernels:
            Arch(1, (8, 8), (kernel, kernel), 8)

    def _uniform(self, pick: int) -> Arch:
        depth = self.depths[pick]
        return Arch(depth, (self.widths[pick],) * (depth + 1), (self.kernels[pick],) * (depth + 1), self.cats[pick])

    @classmethod
    def named(cls, name: str) -> "SearchSpace":
        """Return a published space: `paper_coarse` (4,066,875 subnets) or `paper_fine` (1.002e13)."""
        folder = resources.files("etdnn.model") / "spaces"
        known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
        if name not in known:
            raise UserError(f"no space is named '{name}': {', '.join(known)}, or a YAML file with SearchSpace.load")
        return cls.load(Path(str(folder / f"{name}.yaml")))

    @classmethod
    def find(cls, name_or_path: str | Path) -> "SearchSpace":
        """Return the space of a YAML file, or the published one of that name."""
        return cls.load(name_or_path) if Path(name_or_path).is_file() else cls.named(str(name_or_path))

    @classmethod
    def load(cls, path: str | Path) -> "SearchSpace":
        """Read a space from YAML (name, depth, width, kernel, cat; lists, or first/last/step)."""
        file = load_settings(_SpaceFile, path)
        width = file.width.values() if isinstance(file.width, Steps) else file.width
        cat = file.cat.values() if isinstance(file.cat, Steps) else file.cat
        try:
            return cls(
                file.name,
                tuple(file.depth),
                tuple(width),
                tuple(file.kernel),
                tuple(cat),
                file.in_feats,
                file.embedding,
            )
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SearchSpace":
        """Return the space of `to_dict()`, as model files hold it."""
        try:
            return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
        except TypeError as error:
            raise UserError(f"not a search space: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the choices as JSON-ready values."""
        return {
            entry.name: list(value) if isinstance(value := getattr(self, entry.name), tuple) else value
            for entry in dataclasses.fields(self)
            if entry.init
        }

    @property
    def hash(self) -> str:
        """16 hex digits that identify the choices (not the name)."""
        values = self.to_dict()
        del values["name"]
        return hash_text(json.dumps(values, sort_keys=True))

    def contains(self, arch: Arch) -> bool:
        """Tell whether every choice of `arch` is a choice of this space."""
        return (
            arch.depth in self.depths
            and set(arch.widths) <= set(self.widths)
            and set(arch.kernels) <= set(self.kernels)
            and arch.cat in self.cats
        )

    def holds(self, arch: Arch) -> bool:
        """Tell whether a supernet of this space can be sliced to `arch`: no dimension beyond the largest."""
        big = self.largest
        return (
            arch.depth <= big.depth
            and max(arch.widths) <= big.widths[0]
            and max(arch.kernels) <= big.kernels[0]
            and arch.cat <= big.cat
        )

    def sample(self, generator: np.random.Generator) -> Arch:
        """Draw one arch as published: depth uniformly, then every width, every kernel and cat, each uniformly."""
        depth = int(generator.choice(self.depths))
        return Arch(
            depth,
            tuple(int(value) for value in generator.choice(self.widths, depth + 1)),
            tuple(int(value) for value in generator.choice(self.kernels, depth + 1)),
            int(generator.choice(self.cats)),
        )

    def count(self) -> int:
        """Return the exact number of archs."""
        per_layer = len(self.widths) * len(self.kernels)
        return len(self.cats) * sum(per_layer ** (depth + 1) for depth in self.depths)

    def restrict(
        self,
        *,
        depths: Sequence[int] | None = None,
        widths: Sequence[int] | None = None,
        kernels: Sequence[int] | None = None,
        cats: Sequence[int] | None = None,
        name: str | None = None,
    ) -> "SearchSpace":
        """Return a part of this space: choices per dimension (None keeps all); one outside is a UserError."""
        given = {"depths": depths, "widths": widths, "kernels": kernels, "cats": cats}
        chosen = {}
        for key, values in given.items():
            mine = getattr(self, key)
            chosen[key] = mine if values is None else tuple(values)
            outside = sorted(set(chosen[key]) - set(mine))
            if outside:
                raise UserError(f"space {self.name}: {outside[0]} is not among its {key} {list(mine)}")
        return SearchSpace(name or self.name, **chosen, in_feats=self.in_feats, embedding=self.embedding)
