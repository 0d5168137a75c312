"""Style that every figure shares: colors, letters, legends, limits, and how a figure reaches a file."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pushforward.errors import InputError
from pushforward.files.writing import written_whole

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLORS", "DPI", "FONT", "array", "axis", "blank", "color", "legend", "span", "whole"]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")  # one per round through the colors
FONT = 13  # points; readable when the figure is shown at half its size
DPI = 128  # a power of two, so that a whole number of pixels stays whole on its way through inches


def array(x: Tensor) -> NDArray[np.float64]:
    """Turn a tensor into a float64 array."""
    return np.asarray(x.detach().cpu().double().numpy())


def span(x: NDArray[np.float64]) -> tuple[float, float]:
    """Find the smallest and the largest finite value, pushed apart when they are as good as equal."""
    finite = x[np.isfinite(x)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    size = max(1.0, abs(low), abs(high)) if low == high else max(abs(low), abs(high))
    return (low, high) if high - low > 1e-9 * size else (low - 0.5 * size, high + 0.5 * size)


def color(i: int) -> str:
    """The color of set number i."""
    return COLORS[i % len(COLORS)]


def short(text: str, letters: int) -> str:
    """Cut text to so many letters."""
    return text if len(text) <= letters else text[: max(0, letters - 1)] + "…"


def counted(name: str, x: NDArray[np.float64]) -> str:
    """Write a set's name, with a count of the points that a picture cannot show."""
    lost = int((~np.isfinite(x).all(axis=1)).sum())
    return f"{name} ({lost} not finite)" if lost else name


def blank(width: float, height: float, layout: Literal["constrained", "compressed", "none"] = "constrained") -> Figure:
    """Make a figure of this size in inches that belongs to no window and to no list of open figures."""
    from pushforward.plot.inline import InlineFigure

    figure = InlineFigure(figsize=(width, height), dpi=DPI)
    if layout != "none":
        figure.set_layout_engine(layout, w_pad=0.06, h_pad=0.06)
    return figure


def legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Write the names above all panels, never on top of the data."""
    names = [short(name, 40).lstrip("_") for name in names]  # matplotlib hides names that begin with _
    beside = int(figure.get_figwidth() * 72 / (0.62 * FONT * (max(map(len, names)) + 6)))  # entries side by side
    box = figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=min(len(names), max(1, beside)),
        frameon=False,
        fontsize=FONT,
        markerscale=1.5,
    )
    for text in box.get_texts():
        text.set_parse_math(False)
    for handle in box.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def axis(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Label the axes of a panel, and take away its upper and right spines."""
    ax.set_xlabel(xlabel, fontsize=FONT)
    ax.set_ylabel(ylabel, fontsize=FONT)
    ax.tick_params(labelsize=FONT - 2)
    ax.spines[["top", "right"]].set_visible(False)


def panels(n: int, across: int = 4) -> tuple[int, int]:
    """Count the rows and columns of a figure with n panels."""
    width = min(across, n)
    return math.ceil(n / width), width


@contextmanager
def whole(path: str | os.PathLike[str], endings: Sequence[str]) -> Iterator[Path]:
    """Give a temporary file that takes the place of ``path`` when all went well: nobody meets half a picture.

    Raises InputError when the path has none of the endings or its folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise InputError(f"{path}: cannot write the ending {path.suffix!r}; this is written as {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; create it first")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with written_whole(path) as temporary:
        yield temporary
