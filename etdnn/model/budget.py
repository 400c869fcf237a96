"""Budgets as people write them: `204M`, `0.204G`, `204e6`, `204000000`, `8ms`, `4MB`."""

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np

from etdnn.errors import UsageError

_UNITS = {"": 0, "K": 3, "M": 6, "G": 9, "T": 12}
_SECONDS = {"s": 0, "ms": -3, "us": -6}
_COUNT = re.compile(r"(\d+)(?:\.(\d*))?(?:[eE]\+?(\d{1,2}))?\s*([KMGT]?)", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|ms|us)")
_BYTES = re.compile(r"(\d+(?:\.\d*)?)\s*([KMGT]?)(i?)B", re.IGNORECASE)
KINDS = ("macs", "params", "latency", "memory")
EXAMPLES = {"macs": "204M 571M", "params": "500K 2M", "latency": "8ms", "memory": "4MB"}
"""What a budget of each kind looks like, for help texts."""
PRECISE_DIGITS = 3
"""From this many significant digits on, a written budget holds to the precision it is written with."""


@dataclass(frozen=True)
class Budget:
    """An upper bound: `kind`, `limit` (the largest count, seconds or bytes admitted), `name` (canonical text).

    A count written with three or more significant digits admits what prints the same: `204M` admits 204.07M, `204.0M`
    does not. Fewer digits, plain integers, Python numbers, latencies and bytes (1 KB = 1000, 1 KiB = 1024) are strict.
    """

    kind: str
    limit: int | float
    name: str

    @classmethod
    def parse(cls, text: "str | int | float | Budget", kind: str = "macs") -> "Budget":
        """Read a budget; raises UsageError that shows the allowed forms."""
        if isinstance(text, Budget):
            return text
        if kind == "latency":
            return _parse_latency(text)
        if kind == "memory" and isinstance(text, str) and not text.strip().isdigit():
            return _parse_memory(text)
        if isinstance(text, int | float | np.integer | np.floating) and not isinstance(text, bool):
            if not text > 0 or text == float("inf"):
                raise UsageError(f"{kind} budget {text}: a positive number is needed")
            return cls(kind, int(text), str(int(text)))
        return _parse_count(str(text), kind)

    @property
    def folder(self) -> str:
        """Return the name of its folder: `204M` for MACs; the other kinds say theirs, as `params-500K`."""
        return self.name if self.kind == "macs" else f"{self.kind}-{self.name}"

    def admits(self, values: np.ndarray | int | float) -> np.ndarray | bool:
        """Tell, for each of `values`, whether it is within the budget."""
        return values <= self.limit

    def __str__(self) -> str:
        return self.name


def _parse_count(text: str, kind: str) -> Budget:
    match = _COUNT.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{kind} budget '{text}': write it as 204M, 0.204G, 204e6 or 204000000")
    whole, decimals, exponent, unit = match.groups(default="")
    plain = not (decimals or exponent or unit or "." in text)
    digits = (whole + decimals).lstrip("0")
    place = int(exponent or 0) + _UNITS[unit.upper()] - len(decimals)
    value = Fraction(int(digits or 0)) * Fraction(10) ** place
    if value < 1:
        raise UsageError(f"{kind} budget '{text}': at least 1 is needed")
    if plain:
        return Budget(kind, int(value), digits)
    if len(digits) < PRECISE_DIGITS:
        return Budget(kind, int(value), _name(digits, place))
    # the largest whole number that still prints as written, half a unit of the last place being the next value up
    edge = value + Fraction(10) ** place / 2
    limit = int(edge) - (1 if edge.denominator == 1 else 0)
    return Budget(kind, limit, _name(digits, place))


def _name(digits: str, place: int) -> str:
    """Write digits * 10^place in the largest unit that keeps every digit and adds none, so that it parses back."""
    leading = place + len(digits) - 1
    fitting = [(unit, power) for unit, power in _UNITS.items() if unit and place <= power]
    within = [(unit, power) for unit, power in fitting if power <= leading]
    unit, power = within[-1] if within else (fitting[0] if fitting else ("T", 12))
    decimals = max(0, power - place)
    padded = digits.rjust(decimals + 1, "0") + "0" * max(0, place - power)
    return (padded[: len(padded) - decimals] + ("." + padded[-decimals:] if decimals else "")) + unit


def _parse_latency(text: str | int | float) -> Budget:
    match = _TIME.fullmatch(str(text).strip())
    if not match or float(match[1]) <= 0:
        raise UsageError(f"latency budget '{text}': write it with its unit, as 8ms, 800us or 0.008s")
    seconds = float(match[1]) * 10.0 ** _SECONDS[match[2]]
    milliseconds = f"{seconds * 1e3:.6f}".rstrip("0").rstrip(".")
    return Budget("latency", seconds, f"{milliseconds}ms")


def _parse_memory(text: str) -> Budget:
    match = _BYTES.fullmatch(text.strip())
    number, unit, binary = match.groups() if match else ("0", "", "")
    factor = 1024 ** (_UNITS[unit.upper()] // 3) if binary else 10 ** _UNITS[unit.upper()]
    limit = int(Fraction(number.rstrip(".")) * factor)
    if limit < 1 or (binary and not unit):
        raise UsageError(f"memory budget '{text}': write it with its unit, as 4MB, 512KB, 2MiB or 300000")
    unit, power = max((pair for pair in _UNITS.items() if 10 ** pair[1] <= limit), key=lambda pair: pair[1])
    return Budget("memory", limit, f"{Decimal(limit).scaleb(-power).normalize():f}{unit}B")


def show_count(number: int) -> str:
    """Write a count in the unit people read: 204.07M, 1.45G, 899.20K."""
    for unit, power in (("G", 9), ("M", 6), ("K", 3)):
        if number >= 10**power:
            return f"{number / 10**power:.2f}{unit}"
    return str(number)
