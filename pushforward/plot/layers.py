"""Layers of figures, each drawn on axes of your own: points, densities, arrows, paths, bands.

The functions of `pushforward.plot` that return a figure, and the pictures of the gallery, are compositions of these.
Points are tensors ``[n, 2]``; a density is ``[rows, columns]`` over a `Box`, its first row at the bottom, as `lattice`
lays the points out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.plot.style import array, axis, blank, color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection, PathCollection
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.quiver import Quiver

__all__ = [
    "Box",
    "arrows",
    "band",
    "contours",
    "density",
    "grid",
    "lattice",
    "lines",
    "note",
    "over_time",
    "points",
]

Box = tuple[float, float, float, float]  # left, right, bottom, top
LINES = 200  # trajectories drawn as lines; more cannot be told apart


def grid(
    rows: int,
    columns: int,
    width: float = 3.2,
    height: float = 3.2,
    box: Box | None = None,
    share: bool = True,
) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure with panels of this size in inches; given a box, of the plane: one unit as long on both axes.

    All panels have the same limits, and numbers at the figure's edges, unless ``share`` is off.
    """
    figure = blank(0.6 + width * columns, 0.4 + height * rows, "constrained" if box is None else "compressed")
    axes = figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False)
    for ax in axes.flat:
        axis(ax, "", "")
        ax.locator_params(nbins=5)
        if box is not None:
            ax.set(xlim=box[:2], ylim=box[2:], aspect="equal")
    return figure, axes.tolist()


def lattice(box: Box, columns: int, rows: int | None = None) -> Float[Tensor, "n 2"]:
    """Lay out points of a rectangle row by row from the bottom, edges included, float64: where to ask for a density."""
    x = torch.linspace(*box[:2], columns, dtype=torch.float64)
    y = torch.linspace(*box[2:], rows or columns, dtype=torch.float64)
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], 2).flatten(0, 1)


def shades() -> Colormap:
    """White to a middle blue: orange and black points stay visible on the darkest."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#B9D6EC", "#6BAAD6"])


def density(ax: Axes, p: Float[Tensor, "rows columns"], box: Box, top: float | None = None) -> AxesImage:
    """Draw a density as shades of blue, white is 0 and the darkest is ``top`` (the largest finite value when None)."""
    values = array(p)
    top = float(values[np.isfinite(values)].max()) if top is None else top
    return ax.imshow(
        values,
        extent=box,
        origin="lower",
        cmap=shades(),
        vmin=0,
        vmax=top,
        aspect=ax.get_aspect(),
        interpolation="bilinear",
    )


def contours(ax: Axes, p: Float[Tensor, "rows columns"], box: Box, mass: tuple[float, ...] = (0.9, 0.5)) -> None:
    """Draw lines of equal density around the smallest sets that hold these shares of the mass; none if it is flat."""
    values = np.nan_to_num(array(p), nan=0.0, posinf=0.0, neginf=0.0)
    falling = np.sort(values.ravel())[::-1]
    share = falling.cumsum() / (falling.sum() or 1.0)
    levels = {float(falling[min(int(share.searchsorted(m)), len(falling) - 1)]) for m in mass}
    inside = sorted(level for level in levels if values.min() < level < values.max())
    if inside:
        x, y = np.linspace(*box[:2], values.shape[1]), np.linspace(*box[2:], values.shape[0])
        ax.contour(x, y, values, inside, colors="0.35", linewidths=[1.0, 1.6][-len(inside) :], zorder=2.5)


def points(
    ax: Axes, x: Float[Tensor, "n 2"], paint: str | None = None, size: float = 9, alpha: float | None = None
) -> PathCollection:
    """Draw points, the more transparent the more there are."""
    p = array(x)
    alpha = min(0.7, max(0.05, 12 / math.sqrt(len(p) + 1))) if alpha is None else alpha
    return ax.scatter(p[:, 0], p[:, 1], s=size, color=paint or color(0), alpha=alpha, linewidths=0, zorder=3)


def arrows(ax: Axes, x: Float[Tensor, "n 2"], v: Float[Tensor, "n 2"], longest: float, paint: str = "0.25") -> Quiver:
    """Draw arrows from points ``x`` along ``v``, scaled so that the longest is ``longest`` in the units of the axes."""
    p, d = array(x), array(v)
    size = float(np.hypot(*d.T).max()) or 1.0
    d = d * (longest / size)
    return ax.quiver(
        *p.T, *d.T, color=paint, angles="xy", scale_units="xy", scale=1.0, width=0.005, headwidth=4.5, zorder=2.8
    )


def lines(
    ax: Axes,
    x: Float[Tensor, "k n 2"],
    paint: str | list[str] = "0.6",
    width: float = 0.8,
    alpha: float = 0.6,
    dash: str = "-",
) -> LineCollection:
    """Draw one line per sample through its states ``x[:, i]``; a state that is not finite leaves a gap.

    At most 200 lines, evenly chosen.
    """
    from matplotlib.collections import LineCollection

    states = array(x)
    states = np.where(np.isfinite(states), states, np.nan)
    n = states.shape[1]
    drawn = np.unique(np.linspace(0, n - 1, min(n, LINES)).round().astype(int))
    paints = paint if isinstance(paint, str) else [paint[i] for i in drawn]
    collection = LineCollection(
        list(states[:, drawn].swapaxes(0, 1)), colors=paints, linewidths=width, alpha=alpha, linestyles=dash
    )
    ax.add_collection(collection)
    ax.autoscale_view()
    return collection


def over_time(x: Float[Tensor, "k n"], t: Float[Tensor, "k"]) -> Float[Tensor, "k n 2"]:
    """Pair numbers with time, as the states of `lines`."""
    return torch.stack([t.to(x)[:, None].expand_as(x), x], 2)


def band(
    ax: Axes, x: Float[Tensor, "n"], low: Float[Tensor, "n"], high: Float[Tensor, "n"], paint: str = "0.5"
) -> None:
    """Shade an interval around a curve."""
    ax.fill_between(array(x), array(low), array(high), color=paint, alpha=0.2, linewidth=0)


def note(ax: Axes, text: str, left: bool = True) -> None:
    """Write a few words inside the top corner of a panel, on a ground that keeps them readable."""
    box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    x, align = (0.03, "left") if left else (0.97, "right")
    ax.text(x, 0.97, text, transform=ax.transAxes, ha=align, va="top", fontsize=11.5, bbox=box, zorder=6)
