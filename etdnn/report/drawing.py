"""Pictures in one style and the same bytes every time: SVG for the page, PNG for slides; needs matplotlib."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5539", "#4d4d4d")
"""Okabe and Ito's, told apart with colour blindness too."""
MARKERS = "osD^vPX*"
GREY = "#8a9099"
MANY = 3000
"""Points above which a cloud is stored as a bitmap inside the SVG, so that the page stays small."""

_STYLE = {
    "font.family": "DejaVu Sans", "font.size": 11, "axes.titlesize": 11, "axes.labelsize": 11, "legend.fontsize": 9.5,
    "xtick.labelsize": 10, "ytick.labelsize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#d9dde2", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "axes.edgecolor": "#4a5058", "text.color": "#1b1f24", "axes.labelcolor": "#1b1f24", "xtick.color": "#4a5058",
    "ytick.color": "#4a5058", "legend.frameon": False, "figure.facecolor": "white", "axes.facecolor": "white",
    "svg.hashsalt": "etdnn", "svg.fonttype": "path", "figure.dpi": 100,
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """One picture: `name` of its files, `title` and `caption` around it, `alt` for those who do not see it."""

    name: str
    title: str
    alt: str
    caption: str
    svg: bytes
    png: bytes


def can_draw() -> bool:
    """Tell whether matplotlib is installed (extra `plots`)."""
    return find_spec("matplotlib") is not None


@contextmanager
def canvas(width: float = 5.4, height: float = 4.0) -> Iterator["Figure"]:
    """Give a figure of `width` x `height` inches in the report's style; no display is needed."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def finish(figure: "Figure", name: str, title: str, alt: str, caption: str = "") -> Picture:
    """Return the figure as a Picture; no dates or versions are in it. To be called inside `canvas`."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    return Picture(file_name(name), title, alt, caption, svg.getvalue(), png.getvalue())


def file_name(text: str) -> str:
    """Return `text` with only letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^\w.-]+", "-", text)


def colour(index: int) -> str:
    """Return the colour of budget or phase number `index`."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """Return the marker that goes with `colour(index)`."""
    return MARKERS[index % len(MARKERS)]


def count_axis(axes: "Axes", values: list[float]) -> None:
    """Make x logarithmic, labelled in the units in which people read MACs, at rounded values that fit the range."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    low, high = min(values) / 1.15, max(values) * 1.15
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    steps = (1, 2, 5) if high / low > 6 else (1, 1.5, 2, 3, 4, 5, 7)
    ticks = [step * 10**power for power in range(3, 14) for step in steps if low <= step * 10**power <= high]
    if len(ticks) >= 2:
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def short_count(value: float) -> str:
    """Write 2e8 as 200M, 1.5e9 as 1.5G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
