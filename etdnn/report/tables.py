"""Tables as text, in Markdown's pipe form."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A header and rows of equal length, all text; `right` holds the indices of the columns of numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()

    @classmethod
    def make(cls, header: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> "Table":
        """Return a table of the cells' `str`; `right` names the columns to align right."""
        numbers = frozenset(index for index, name in enumerate(header) if name in right)
        return cls(tuple(header), tuple(tuple(map(str, row)) for row in rows), numbers)


def markdown(table: Table) -> str:
    """Return the table in Markdown; pipes inside cells are escaped."""
    lines = [table.header, *([cell.replace("|", "\\|") for cell in row] for row in table.rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * (width - 1) + (":" if index in table.right else "-") for index, width in enumerate(widths)]
    head, *body = [
        [cell.rjust(width) if index in table.right else cell.ljust(width) for index, (cell, width) in
         enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])
