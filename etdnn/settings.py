"""Configuration: a dataclass filled from YAML, the command line on top; what is unknown or mistyped stops by name."""

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from etdnn.errors import UserError

T = TypeVar("T")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in YAML file `path`; a missing, unreadable or non-mapping file is a UserError."""
    path = Path(path)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else f"{path}"
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(f"{place}: not valid YAML: {reason}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected 'key: value' lines, found a {type(value).__name__}")
    return value


def load_settings(cls: type[T], path: str | Path | None = None, overrides: dict[str, Any] | None = None) -> T:
    """Fill dataclass `cls` from YAML file `path`, then from `overrides` (command line; None means not given).

    Nested dataclasses, lists of dataclasses, tuples and optional types are followed. A dataclass checks its own ranges
    in `__post_init__` by raising ValueError. Unknown keys, wrong types and values out of range are a UserError that
    names the file, the key and the nearest valid key.
    """
    where = str(path) if path else "options"
    values = read_yaml(path) if path else {}
    values.update({key: value for key, value in (overrides or {}).items() if value is not None})
    return fill(cls, values, where)


def fill(cls: type[T], values: dict[str, Any], where: str) -> T:
    """Make a `cls` from a mapping; see `load_settings`. `where` begins every error message."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1) or difflib.get_close_matches(str(key), names, 1, 0.0)
            raise UserError(f"{where}: unknown key '{key}' (did you mean '{near[0]}'?)")
    converted = {key: _convert(value, hints[key], f"{where}: {key}") for key, value in values.items()}
    try:
        return cls(**converted)
    except TypeError as error:
        raise UserError(f"{where}: {error}".replace(f"{cls.__name__}.__init__() ", "")) from None
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _convert(value: Any, kind: Any, where: str) -> Any:
    """Return `value` as annotated type `kind`, or raise a UserError that says what was expected."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        choices = [arg for arg in args if arg is not type(None)]
        for choice in choices[:-1]:
            try:
                return _convert(value, choice, where)
            except UserError:
                continue
        return _convert(value, choices[-1], where)
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}: expected a list, got {value!r}")
        items = [_convert(item, args[0], f"{where}[{index}]") for index, item in enumerate(value)]
        return origin(items)
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where}: expected a mapping, got {value!r}")
        return {key: _convert(item, args[1], f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise UserError(f"{where}: expected a mapping, got {value!r}")
        return fill(kind, value, where)
    if origin is typing.Literal:
        if value not in args:
            raise UserError(f"{where}: {value!r} is not one of {', '.join(map(str, args))}")
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 reads 1e-3 (no point) as text
        except ValueError:
            pass
    if kind is Any or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    raise UserError(f"{where}: expected {getattr(kind, '__name__', kind)}, got {value!r}")
