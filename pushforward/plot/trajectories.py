"""Draw trajectories, vector fields, and curves with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pushforward.errors import InputError
from pushforward.plot import layers
from pushforward.plot.pixels import strip
from pushforward.plot.style import COLORS, DASHES, FONT, array, axis, blank, color, counted, legend, panels, short

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

__all__ = ["curves", "trajectories", "vectors"]

Line = tuple[Sequence[float], Sequence[float]]  # x, y
Interval = tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]  # x, y, low, high


def trajectories(x: Float[Tensor, "k n *d"], t: Float[Tensor, "k"]) -> Figure:
    """Draw the states of an integration: paths of points, or a strip of images per sample.

    ``x [k, n, *d]`` are the states at times ``t [k]``. Numbers (d = 1): against time. Points in the plane (d = 2):
    first states in blue, last ones in orange, and lines between them. At most 200 lines are drawn, evenly chosen.
    Images (d = c, h, w or h, w): one row per sample and the states nearest to 8 evenly spaced times as columns. Their
    grey or color range is that of the states at the largest time, the data end, and noisier states are clipped to
    it.

    Raises InputError for points of another shape, or times that are not one per state.
    """
    if len(t) != len(x) or x.numel() == 0:
        raise InputError(f"states of shape {list(x.shape)} do not go with {len(t)} times")
    if x.ndim == 3 and x.shape[2] == 1:
        return _over_time(x, t)
    if x.ndim == 3 and x.shape[2] == 2:
        return _paths(x, t)
    if x.ndim not in (4, 5):
        raise InputError(f"trajectories must be [k, n, 1], [k, n, 2] or [k, n, c, h, w], not {list(x.shape)}")
    return strip(x if x.ndim == 5 else x.unsqueeze(2), array(t))


def _over_time(x: Tensor, t: Tensor) -> Figure:
    figure = blank(6.4, 4.2)
    ax = figure.add_subplot()
    layers.lines(ax, layers.over_time(x[..., 0], t), color(0), alpha=min(0.8, max(0.15, 4 / math.sqrt(x.shape[1]))))
    axis(ax, "$t$", "$x_t$")
    return figure


def _paths(x: Tensor, t: Tensor) -> Figure:
    figure = blank(5.5, 5.5)
    ax = figure.add_subplot()
    layers.lines(ax, x, width=0.7, alpha=0.5)
    ends = {f"t={t[k]:.3g}": x[k] for k in (0, -1)}
    dots: list[Artist] = [
        layers.points(ax, p, color(i), 10, min(0.8, max(0.1, 12 / math.sqrt(len(p)))))
        for i, p in enumerate(ends.values())
    ]
    ax.set_aspect("equal", adjustable="datalim")
    axis(ax, "$x_1$", "$x_2$")
    legend(figure, dots, [counted(name, array(p)) for name, p in ends.items()])
    return figure


def vectors(fields: dict[str, tuple[Float[Tensor, "_ 2"], Float[Tensor, "_ 2"]]]) -> Figure:
    """Draw vector fields side by side: arrows from points ``x [n, 2]`` along ``v [n, 2]``.

    One factor for all panels turns lengths into units of the axes, so that lengths compare; the longest arrow is as
    long as about twice the distance between points.

    Raises InputError when there is no field, points and vectors are not both ``[n, 2]``, or a number is not finite.
    """
    if not fields:
        raise InputError("there is no vector field to plot")
    for name, (x, v) in fields.items():
        if x.shape != v.shape or x.ndim != 2 or x.shape[1:] != (2,) or not len(x):
            raise InputError(f"field {name!r} has points {list(x.shape)} and vectors {list(v.shape)}; both are [n, 2]")
        if not bool(x.isfinite().all() and v.isfinite().all()):
            raise InputError(f"field {name!r} has numbers that are not finite; leave those points out")
    size = max(float(v.norm(dim=1).max()) for _, v in fields.values()) or 1.0
    everything = np.concatenate([array(x) for x, _ in fields.values()])
    (left, bottom), (right, top) = everything.min(0), everything.max(0)
    n = max(len(x) for x, _ in fields.values())
    apart = max(math.sqrt((right - left) * (top - bottom) / n), (right - left + top - bottom) / n) or 1.0
    rows, width = panels(len(fields))
    figure = blank(0.7 + 3.6 * width, 4.5 * rows)
    for i, (name, (x, v)) in enumerate(fields.items()):
        ax = figure.add_subplot(rows, width, i + 1)
        layers.arrows(ax, x, v, 2 * apart * float(v.norm(dim=1).max()) / size, color(0))
        ax.set_xlim(left - 2 * apart, right + 2 * apart)
        ax.set_ylim(bottom - 2 * apart, top + 2 * apart)
        ax.set_aspect("equal")
        ax.set_title(short(name, 32), fontsize=FONT, parse_math=False)
        axis(ax, "$x_1$", "$x_2$" if i % width == 0 else "")
    return figure


def curves(series: Mapping[str, Line | Interval], xlabel: str, ylabel: str, log_y: bool = False) -> Figure:
    """Draw named curves on one pair of axes, each with an interval around it if it has one.

    ``series`` maps each name to its ``(x, y)`` or ``(x, y, low, high)``, sequences of equal length in the units that
    ``xlabel`` and ``ylabel`` state; up to 30 points are marked, and intervals are shaded. A number that is not finite
    (or, with ``log_y``, not positive) leaves a gap.

    Raises InputError when there is no series or its sequences differ in length.
    """
    if not series:
        raise InputError("there is no series to plot")
    figure = blank(6.4, 4.2)
    ax = figure.add_subplot()
    lines: list[Artist] = []
    for i, (name, (x, *heights)) in enumerate(series.items()):
        wrong = [len(y) for y in heights if len(y) != len(x)]
        if wrong:
            raise InputError(f"series {name!r} has {len(x)} x for {wrong[0]} y")
        values = np.asarray(heights, dtype=float)
        y, *ends = np.where(np.isfinite(values) & ((values > 0) | (not log_y)), values, np.nan)
        dash, marker = DASHES[i // len(COLORS) % len(DASHES)], "o" if len(x) <= 30 else None
        at = np.asarray(x, dtype=float)
        lines += ax.plot(at, y, dash, color=color(i), linewidth=2, marker=marker)
        if ends:
            ax.fill_between(at, *ends, color=color(i), alpha=0.2, linewidth=0)
    if log_y:
        ax.set_yscale("log")
    axis(ax, xlabel, ylabel)
    ax.grid(axis="y", color="0.9")
    if len(series) > 1:
        legend(figure, lines, list(series))
    return figure
