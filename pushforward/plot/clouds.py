"""Draw sets of points: in the plane, column by column, pair by pair, and against a density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from pushforward.errors import InputError
from pushforward.plot import layers
from pushforward.plot.layers import Box
from pushforward.plot.style import FONT, array, axis, blank, color, counted, legend, panels, short, span

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["columns", "density", "pairs", "scatter"]

PANELS = 16  # histograms in one figure
PAIRS = 6  # columns in one pair plot
CLOUD = 2000  # points drawn in one panel of a pair plot


def _sets(sets: dict[str, Tensor], width: int | None) -> dict[str, NDArray[np.float64]]:
    """Turn named sets of points into arrays ``[n, d]`` that all have one width."""
    if not sets:
        raise InputError("there is no set to plot")
    width = width or next(iter(sets.values())).shape[-1]
    for name, x in sets.items():
        if x.ndim != 2 or x.shape[1] != width:
            raise InputError(f"set {name!r} has shape {list(x.shape)}; [n, {width}] is needed")
    return {name: array(x) for name, x in sets.items()}


def _plane(ax: Axes, box: Box, equal: bool, left: bool) -> None:
    ax.set_xlim(*box[:2])
    ax.set_ylim(*box[2:])
    if equal:
        ax.set_aspect("equal")
    axis(ax, "$x_1$", "$x_2$" if left else "")
    ax.tick_params(labelleft=left)
    ax.locator_params(nbins=5)


def scatter(sets: dict[str, Float[Tensor, "_ 2"]]) -> Figure:
    """Draw sets of points in the plane, side by side on equal axes.

    Each set is ``[n, 2]``, in a panel titled by its name; all panels share limits, which hold every finite point. One
    unit is as long on both axes unless one range is more than twice the other. A count of points that are not finite
    follows the name. Points are semi-transparent, the more so the more there are.

    Raises InputError when there is no set or one is not ``[n, 2]``.
    """
    points = _sets(sets, 2)
    rows, width = panels(len(points))
    (left, right), (bottom, top) = (span(np.concatenate([p[:, i] for p in points.values()])) for i in (0, 1))
    ratio = (top - bottom) / (right - left)
    height = 3.6 * min(2.0, max(0.5, ratio))
    x, y = 0.04 * (right - left), 0.04 * (top - bottom)
    figure = blank(0.7 + 3.6 * width, (0.9 + height) * rows)
    for i, (name, tensor) in enumerate(sets.items()):
        ax = figure.add_subplot(rows, width, i + 1)
        layers.points(ax, tensor, color(i))
        _plane(ax, (left - x, right + x, bottom - y, top + y), 0.5 <= ratio <= 2, i % width == 0)
        ax.set_title(short(counted(name, points[name]), 32), fontsize=FONT, parse_math=False)
    return figure


def density(
    densities: dict[str, Float[Tensor, "rows columns"]], box: Box, points: Float[Tensor, "_ 2"] | None = None
) -> Figure:
    """Draw densities over one rectangle side by side on one scale of blue, with points on top of each if given.

    Each is ``[rows, columns]``, its first row at the bottom of ``box = (left, right, bottom, top)``:
    ``field.log_prob(x, t).exp().reshape(rows, columns)`` for the points ``x = layers.lattice(box, columns, rows)``. The
    lines hold 90 and 50 percent of the mass. White is 0; values that are not finite are left out.

    Raises InputError when there is no density, one is not a finite-sized table, or the box is empty.
    """
    if not densities:
        raise InputError("there is no density to plot")
    left, right, bottom, top = box
    if not (left < right and bottom < top):
        raise InputError(f"the box {box} is empty; it is left, right, bottom, top")
    for name, p in densities.items():
        if p.ndim != 2 or min(p.shape) < 2 or not bool(p.isfinite().any()):
            raise InputError(f"density {name!r} has shape {list(p.shape)}; a table with finite values is needed")
    darkest = max(float(p[p.isfinite()].max()) for p in densities.values())
    rows, width = panels(len(densities))
    ratio = (top - bottom) / (right - left)
    figure = blank(0.7 + 3.6 * width, (0.9 + 3.6 * min(2.0, max(0.5, ratio))) * rows)
    for i, (name, p) in enumerate(densities.items()):
        ax = figure.add_subplot(rows, width, i + 1)
        layers.density(ax, p, box, darkest or 1.0)
        layers.contours(ax, p, box)
        if points is not None:
            layers.points(ax, points, color(1))
        _plane(ax, box, 0.5 <= ratio <= 2, i % width == 0)
        ax.set_title(short(name, 32), fontsize=FONT, parse_math=False)
    return figure


def _marginal(ax: Axes, points: dict[str, NDArray[np.float64]], j: int) -> list[Artist]:
    """Draw column j of each set as the outline of a histogram of area 1, all on the same bins."""
    bins = min(60, max(10, round(2 * max(len(p) for p in points.values()) ** (1 / 3))))
    edges = np.linspace(*span(np.concatenate([p[:, j] for p in points.values()])), bins + 1)
    lines: list[Artist] = []
    for i, p in enumerate(points.values()):
        values = p[np.isfinite(p[:, j]), j]
        with np.errstate(over="ignore"):  # of numbers near the largest, whose bars are flat
            heights = np.histogram(values, edges)[0] / (max(1, len(values)) * (edges[1] - edges[0]))
        lines.append(ax.stairs(heights, edges, color=color(i), linewidth=1.8))
    ax.set_yticks([])
    ax.set_ylim(0, 1.05 * (ax.dataLim.y1 or 1))
    return lines


def _names(points: dict[str, NDArray[np.float64]], names: Sequence[str] | None) -> Sequence[str]:
    d = next(iter(points.values())).shape[1]
    names = [f"x{j + 1}" for j in range(d)] if names is None else names
    if d == 0 or len(names) != d:
        raise InputError(f"{len(names)} names for {d} columns; at least one column and one name each are needed")
    return names


def columns(sets: dict[str, Float[Tensor, "_ d"]], names: Sequence[str] | None = None) -> Figure:
    """Draw one small histogram per column, the sets overlaid.

    Each set is ``[n, d]``; ``names`` are those of the columns, ``x1 .. xd`` when None. Histograms are densities (area
    1), so that sets of different sizes compare, on bins that span every finite value of all sets; values that are not
    finite are left out and their rows counted after the name of the set. Of more than 16 columns 16 are shown, evenly
    spaced, and the figure says so.

    Raises InputError when there is no set, widths differ, or names are not one per column.
    """
    points = _sets(sets, None)
    names = _names(points, names)
    drawn = _evenly(len(names), PANELS)
    rows, width = panels(len(drawn))
    figure = blank(max(5.0, 2.7 * width), 0.8 + 2.1 * rows)
    for panel, j in enumerate(drawn):
        ax = figure.add_subplot(rows, width, panel + 1)
        lines = _marginal(ax, points, j)
        axis(ax, short(names[j], 24), "density" if panel % width == 0 else "")
        ax.xaxis.label.set_parse_math(False)
        ax.locator_params(axis="x", nbins=4)
    legend(figure, lines, [counted(name, p) for name, p in points.items()])
    if len(drawn) < len(names):
        figure.supxlabel(f"{len(drawn)} of {len(names)} columns, evenly spaced", fontsize=FONT)
    return figure


def _evenly(n: int, most: int) -> list[int]:
    """Choose at most this many of n, evenly spaced, the first and the last among them."""
    return sorted({round(k) for k in np.linspace(0, n - 1, min(n, most)).tolist()})


def pairs(sets: dict[str, Float[Tensor, "_ d"]], names: Sequence[str] | None = None) -> Figure:
    """Draw every pair of columns: the first set above the diagonal, the others below it, histograms of all on it.

    Each set is ``[n, d]``; ``names`` are those of the columns, ``x1 .. xd`` when None. With data first and a sample
    second, panel (i, j) and panel (j, i) show the same pair, of the data and of the sample. With one set both halves
    show it. At most 2000 points a panel are drawn, evenly chosen; of more than 6 columns 6, and the figure says so.

    Raises InputError when there is no set, widths differ, or names are not one per column.
    """
    points = _sets(sets, None)
    names = _names(points, names)
    drawn = _evenly(len(names), PAIRS)
    k = len(drawn)
    limits = [span(np.concatenate([p[:, j] for p in points.values()])) for j in drawn]
    figure = blank(max(5.0, 0.8 + 1.9 * k), max(4.0, 1.0 + 1.9 * k))
    order = list(enumerate(sets.values()))
    for row in range(k):
        for column in range(k):
            ax = figure.add_subplot(k, k, row * k + column + 1)
            if row == column:
                lines = _marginal(ax, points, drawn[row])
            else:
                # the same variable runs along x in a column of panels, whichever half they are in
                for i, x in order[:1] if row < column or len(order) == 1 else order[1:]:
                    thinned = x[:: math.ceil(len(x) / CLOUD) or 1][:, [drawn[column], drawn[row]]]
                    layers.points(ax, thinned, color(i), size=6)
                ax.set_ylim(_wider(limits[row]))
            ax.set_xlim(_wider(limits[column]))
            xlabel = short(names[drawn[column]], 16) if row == k - 1 else ""
            axis(ax, xlabel, short(names[drawn[row]], 16) if column == 0 else "")
            ax.xaxis.label.set_parse_math(False)
            ax.yaxis.label.set_parse_math(False)
            ax.locator_params(axis="x", nbins=3)
            if row != column:
                ax.locator_params(axis="y", nbins=3)
            ax.tick_params(labelbottom=row == k - 1, labelleft=column == 0 and row != 0)
    legend(figure, lines, [counted(name, p) for name, p in points.items()])
    if k < len(names):
        figure.supxlabel(f"{k} of {len(names)} columns, evenly spaced", fontsize=FONT)
    return figure


def _wider(limits: tuple[float, float]) -> tuple[float, float]:
    margin = 0.05 * (limits[1] - limits[0])
    return limits[0] - margin, limits[1] + margin
