"""Pictures of points, images, trajectories and curves: tensors in, a matplotlib `Figure` out.

Figures are built without pyplot, so nothing global changes and no display is needed; `save` writes them. Colours are
those of Okabe and Ito, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from pushforward.errors import InputError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["columns", "curves", "images", "save", "scatter", "trajectories"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ORANGE = (230 / 255, 159 / 255, 0.0)
DASHES = ("-", "--", ":", "-.")  # one per round through the colours
FONT = 13  # points; readable when the figure is shown at half its size
DPI = 128  # a power of two, so that a whole number of pixels stays whole on its way through inches
TILE = 112  # pixels that an image is enlarged to, about
SIDE = 2400  # pixels beyond which images are not enlarged
LINES = 200  # trajectories drawn as lines; more cannot be told apart
PANELS = 16  # histograms in one figure


def _array(x: Tensor) -> NDArray[np.float64]:
    return np.asarray(x.detach().cpu().double().numpy())


def _range(x: NDArray[np.float64]) -> tuple[float, float]:
    """Smallest and largest finite value, pushed apart when they are as good as equal."""
    finite = x[np.isfinite(x)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    size = max(1.0, abs(low), abs(high)) if low == high else max(abs(low), abs(high))
    return (low, high) if high - low > 1e-9 * size else (low - 0.5 * size, high + 0.5 * size)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: max(0, letters - 1)] + "…"


def _legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """The names above all panels, never on top of the data."""
    names = [_short(name, 40).lstrip("_") for name in names]  # matplotlib hides names that begin with _
    room = int(figure.get_figwidth() * 72 / (0.62 * FONT * (max(map(len, names)) + 6)))  # entries side by side
    legend = figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=min(len(names), max(1, room)),
        frameon=False,
        fontsize=FONT,
        markerscale=1.5,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def _name(name: str, x: NDArray[np.float64]) -> str:
    """A set's name, with a count of the points that a picture cannot show."""
    lost = int((~np.isfinite(x).all(axis=1)).sum())
    return f"{name} ({lost} not finite)" if lost else name


def _axis(ax: Axes, xlabel: str, ylabel: str) -> None:
    ax.set_xlabel(xlabel, fontsize=FONT)
    ax.set_ylabel(ylabel, fontsize=FONT)
    ax.tick_params(labelsize=FONT - 2)
    ax.spines[["top", "right"]].set_visible(False)


def _mosaic(pixels: NDArray[np.float64], span: tuple[float, float], width: int, labels: Sequence[str]) -> Figure:
    """Images ``[n, c, h, w]`` in rows of ``width``, every data pixel a square of whole screen pixels.

    Values are grey or RGB over ``span``, clipped; one that is not finite is orange. A label stands above its image, and
    a row of images without labels takes no room for them.
    """
    from matplotlib.figure import Figure

    n, c, h, w = pixels.shape
    if c not in (1, 3):
        raise InputError(f"images have {c} channels; 1 (grey) or 3 (RGB) can be shown")
    rows = math.ceil(n / width)
    zoom = max(1, min(16, round(TILE / max(h, w)), SIDE // (width * w), SIDE // (rows * h)))
    gap = math.ceil(4 / zoom)
    band = math.ceil(1.5 * FONT * DPI / 72 / zoom)
    labels = [*labels, *[""] * (rows * width - len(labels))]
    above = [band if any(labels[r * width : (r + 1) * width]) else 0 for r in range(rows)]
    tops = [gap + r * (h + gap) + sum(above[: r + 1]) for r in range(rows)]

    low, high = span
    shown = np.all(np.isfinite(pixels), axis=1)[..., None]
    grey = np.clip((np.nan_to_num(pixels) - low) / (high - low), 0, 1).transpose(0, 2, 3, 1)
    colour = np.where(shown, grey, np.array(ORANGE))  # broadcasts grey to RGB
    canvas = np.ones((tops[-1] + h + gap, gap + width * (w + gap), 3))
    for i in range(n):
        top, left = tops[i // width], gap + i % width * (w + gap)
        canvas[top : top + h, left : left + w] = colour[i]

    height, across = canvas.shape[:2]
    figure = Figure(figsize=(across * zoom / DPI, height * zoom / DPI), dpi=DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.imshow(canvas, interpolation="nearest", aspect="auto", extent=(0, across, height, 0))
    room = max(1.0, w * zoom / (0.62 * FONT * DPI / 72))  # letters that fit above one image
    size = FONT * min(1.0, max(0.75, room / max(1, *map(len, labels))))
    for i, label in enumerate(labels):
        x, y = gap + i % width * (w + gap) + w / 2, tops[i // width] - 2 / zoom
        text = _short(label, int(room * FONT / size))
        ax.text(x, y, text, ha="center", va="bottom", fontsize=size, parse_math=False)
    return figure


def images(
    x: Float[Tensor, "n c h w"] | Float[Tensor, "n h w"],
    columns: int | None = None,
    labels: Sequence[str] | None = None,
) -> Figure:
    """A grid of images, row by row, each with its label above.

    ``x`` is ``[n, c, h, w]`` with c = 1 (grey) or 3 (RGB), or ``[n, h, w]``. Black is the smallest finite value of the
    whole batch and white the largest (per batch, not per image, so that images compare); a pixel that is not finite is
    orange. ``columns`` makes the grid about square when it is None. Pixels are squares, enlarged by a whole number and
    never smoothed.

    Raises InputError for another shape or number of channels, no image, ``columns`` below 1, or labels that are not one
    per image.
    """
    if x.ndim not in (3, 4) or x.numel() == 0:
        raise InputError(f"images must be [n, c, h, w] or [n, h, w] and not empty, not {list(x.shape)}")
    if columns is not None and columns < 1:
        raise InputError(f"columns is {columns}; it must be at least 1")
    if labels is not None and len(labels) != len(x):
        raise InputError(f"{len(labels)} labels for {len(x)} images; one each is needed")
    pixels = _array(x if x.ndim == 4 else x.unsqueeze(1))
    width = min(len(x), columns or math.ceil(math.sqrt(len(x))))
    return _mosaic(pixels, _range(pixels), width, labels or [])


def _sets(sets: dict[str, Tensor], width: int | None) -> dict[str, NDArray[np.float64]]:
    """Named sets of points as arrays ``[n, d]`` that all have one width."""
    if not sets:
        raise InputError("there is no set to plot")
    width = width or next(iter(sets.values())).shape[-1]
    for name, x in sets.items():
        if x.ndim != 2 or x.shape[1] != width:
            raise InputError(f"set {name!r} has shape {list(x.shape)}; [n, {width}] is needed")
    return {name: _array(x) for name, x in sets.items()}


def scatter(sets: dict[str, Float[Tensor, "_ 2"]]) -> Figure:
    """Sets of points in the plane, side by side on equal axes.

    Each set is ``[n, 2]``, in a panel titled by its name; all panels share limits, which hold every finite point. One
    unit is as long on both axes unless one range is more than twice the other. A count of points that are not finite
    follows the name. Points are semi-transparent, the more so the more there are.

    Raises InputError when there is no set or one is not ``[n, 2]``.
    """
    from matplotlib.figure import Figure

    points = _sets(sets, 2)
    width = min(4, len(points))
    rows = math.ceil(len(points) / width)
    (left, right), (bottom, top) = (_range(np.concatenate([p[:, i] for p in points.values()])) for i in (0, 1))
    ratio = (top - bottom) / (right - left)
    height = 3.6 * min(2.0, max(0.5, ratio))
    figure = Figure(figsize=(0.7 + 3.6 * width, (0.9 + height) * rows), dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    for i, (name, p) in enumerate(points.items()):
        ax = figure.add_subplot(rows, width, i + 1)
        alpha = min(0.7, max(0.05, 12 / math.sqrt(len(p) + 1)))
        ax.scatter(p[:, 0], p[:, 1], s=9, color=_colour(i), alpha=alpha, linewidths=0)
        ax.set_xlim(left - 0.04 * (right - left), right + 0.04 * (right - left))
        ax.set_ylim(bottom - 0.04 * (top - bottom), top + 0.04 * (top - bottom))
        if 0.5 <= ratio <= 2:
            ax.set_aspect("equal")
        ax.set_title(_short(_name(name, p), 32), fontsize=FONT, parse_math=False)
        _axis(ax, "$x_1$", "$x_2$" if i % width == 0 else "")
        ax.tick_params(labelleft=i % width == 0)
        ax.locator_params(nbins=5)
    return figure


def columns(sets: dict[str, Float[Tensor, "_ d"]], names: Sequence[str] | None = None) -> Figure:
    """One small histogram per column, the sets overlaid.

    Each set is ``[n, d]``; ``names`` are those of the columns, ``x1 .. xd`` when None. Histograms are densities (area
    1), so that sets of different sizes compare, on bins that span every finite value of all sets; values that are not
    finite are left out and their rows counted after the name of the set. Of more than 16 columns 16 are shown, evenly
    spaced, and the figure says so.

    Raises InputError when there is no set, widths differ, or names are not one per column.
    """
    from matplotlib.figure import Figure

    points = _sets(sets, None)
    d = next(iter(points.values())).shape[1]
    names = [f"x{j + 1}" for j in range(d)] if names is None else names
    if d == 0 or len(names) != d:
        raise InputError(f"{len(names)} names for {d} columns; at least one column and one name each are needed")
    shown = np.unique(np.linspace(0, d - 1, min(d, PANELS)).round().astype(int))
    width = min(4, len(shown))
    rows = math.ceil(len(shown) / width)
    figure = Figure(figsize=(max(5.0, 2.7 * width), 0.8 + 2.1 * rows), dpi=DPI, layout="constrained")
    bins = min(60, max(10, round(2 * max(len(p) for p in points.values()) ** (1 / 3))))
    for panel, j in enumerate(shown):
        ax = figure.add_subplot(rows, width, panel + 1)
        edges = np.linspace(*_range(np.concatenate([p[:, j] for p in points.values()])), bins + 1)
        lines: list[Artist] = []
        for i, p in enumerate(points.values()):
            values = p[np.isfinite(p[:, j]), j]
            density = np.histogram(values, edges)[0] / (max(1, len(values)) * (edges[1] - edges[0]))
            lines.append(ax.stairs(density, edges, color=_colour(i), linewidth=1.8))
        _axis(ax, _short(names[j], 24), "density" if panel % width == 0 else "")
        ax.xaxis.label.set_parse_math(False)
        ax.set_yticks([])
        ax.set_ylim(0, 1.05 * (ax.dataLim.y1 or 1))
        ax.locator_params(axis="x", nbins=4)
    _legend(figure, lines, [_name(name, p) for name, p in points.items()])
    if len(shown) < d:
        figure.supxlabel(f"{len(shown)} of {d} columns, evenly spaced", fontsize=FONT)
    return figure


def trajectories(x: Float[Tensor, "k n *d"], t: Float[Tensor, "k"]) -> Figure:
    """What an integration did on its way: paths of points in the plane, or a strip of images per sample.

    ``x [k, n, *d]`` are the states at times ``t [k]``. Points in the plane (d = 2): first states in blue, last ones in
    orange, and lines between them for at most 200 samples, evenly chosen. Images (d = c, h, w or h, w): one row per
    sample and the states nearest to 8 evenly spaced times as columns. Their grey or colour range is that of the states
    at the largest time, the data end, and noisier states are clipped to it.

    Raises InputError for points of another shape, or times that are not one per state.
    """
    if len(t) != len(x) or x.numel() == 0:
        raise InputError(f"states of shape {list(x.shape)} do not go with {len(t)} times")
    if x.ndim == 3 and x.shape[2] == 2:
        return _paths(_array(x), _array(t))
    if x.ndim not in (4, 5):
        raise InputError(f"trajectories must be [k, n, 2] or [k, n, c, h, w], not {list(x.shape)}")
    times = _array(t)
    stops = list(dict.fromkeys(int(abs(times - s).argmin()) for s in np.linspace(times[0], times[-1], 8)))
    states = x if x.ndim == 5 else x.unsqueeze(2)
    span = _range(_array(states[int(times.argmax())]))
    strip = _array(states[torch.as_tensor(stops, device=x.device)].transpose(0, 1).flatten(0, 1))
    return _mosaic(strip, span, len(stops), [f"t={times[s]:.2g}" for s in stops])


def _paths(x: NDArray[np.float64], t: NDArray[np.float64]) -> Figure:
    """Lines ``[k, n, 2]`` from the first state to the last."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    x = np.where(np.isfinite(x), x, np.nan)  # lines may have gaps but no point at infinity
    n = x.shape[1]
    some = np.unique(np.linspace(0, n - 1, min(n, LINES)).round().astype(int))
    alpha = min(0.8, max(0.1, 12 / math.sqrt(n)))
    figure = Figure(figsize=(5.5, 5.5), dpi=DPI, layout="constrained")
    ax = figure.add_subplot()
    ax.add_collection(LineCollection(list(x[:, some].swapaxes(0, 1)), colors="0.6", linewidths=0.7, alpha=0.5))
    ends = {f"t={t[k]:.3g}": x[k] for k in (0, -1)}
    dots: list[Artist] = [
        ax.scatter(p[:, 0], p[:, 1], s=10, color=_colour(i), alpha=alpha, linewidths=0, zorder=3)
        for i, p in enumerate(ends.values())
    ]
    ax.set_aspect("equal", adjustable="datalim")
    _axis(ax, "$x_1$", "$x_2$")
    _legend(figure, dots, [_name(name, p) for name, p in ends.items()])
    return figure


def curves(
    series: dict[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str, log_y: bool = False
) -> Figure:
    """Named curves on one pair of axes.

    ``series`` maps each name to its ``(x, y)``, sequences of equal length in the units that ``xlabel`` and ``ylabel``
    state; up to 30 points are marked. A y that is not finite (or, with ``log_y``, not positive) leaves a gap.

    Raises InputError when there is no series or an x and y differ in length.
    """
    from matplotlib.figure import Figure

    if not series:
        raise InputError("there is no series to plot")
    figure = Figure(figsize=(6.4, 4.2), dpi=DPI, layout="constrained")
    ax = figure.add_subplot()
    lines: list[Artist] = []
    for i, (name, (x, y)) in enumerate(series.items()):
        if len(x) != len(y):
            raise InputError(f"series {name!r} has {len(x)} x for {len(y)} y")
        values = np.asarray(y, dtype=float)
        shown = np.where(np.isfinite(values) & ((values > 0) | (not log_y)), values, np.nan)
        dash, marker = DASHES[i // len(COLOURS) % len(DASHES)], "o" if len(x) <= 30 else None
        lines += ax.plot(np.asarray(x, dtype=float), shown, dash, color=_colour(i), linewidth=2, marker=marker)
    if log_y:
        ax.set_yscale("log")
    _axis(ax, xlabel, ylabel)
    ax.grid(axis="y", color="0.9")
    if len(series) > 1:
        _legend(figure, lines, list(series))
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG file, whole or not at all: a reader never meets half a picture.

    Raises InputError when the path does not end in ``.png`` or its folder does not exist.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: cannot write the ending {path.suffix!r}; figures are written as .png")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; create it first")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
