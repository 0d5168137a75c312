"""Draw the pictures of a report, as PNG files inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pushforward import plot
from pushforward.evaluation.result import Curve, Evaluation, Training
from pushforward.evaluation.table import numeric_table
from pushforward.plot.grids import left_out, visible
from pushforward.plot.style import COLORS, DPI, FONT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "column_figure",
    "copies_figure",
    "curve_figure",
    "distance_figure",
    "embed",
    "loss_figure",
    "sample_figures",
    "trajectory_figure",
]

IMAGES = 36
PANELS = 12  # columns drawn
BARS = 8  # categories drawn of a column
BINS = 32  # of a histogram


def embed(figure: Figure) -> str:
    """Encode a figure as a ``data:`` address."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def principal(data: Tensor, *others: Tensor) -> list[Tensor]:
    """Project sets of points ``[n, *d]`` on the first two principal components of the first set, itself included."""
    flat = data.flatten(1).double()
    _, _, directions = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    two = directions[:2].T
    return [(x.flatten(1).double() - flat.mean(0)) @ two for x in (data, *others)]


def sample_figures(one: Evaluation) -> dict[str, Figure]:
    """Draw samples beside data, row beside row or as points in the plane; the captions are the keys."""
    plots = one.plot_data
    if not plots.transform.columnar and 3 <= plots.data.ndim <= 5:
        part = left_out(plots.transform.shape)
        words = f": {part}" if part else ""
        return {
            f"Samples{words}": plot.rows(plots.samples[:IMAGES]),
            f"Held-out data{words}": plot.rows(plots.data[:IMAGES]),
        }
    d = plots.data[0].numel()
    if d == 1:
        return {}
    rows = [plots.data, plots.samples] if d == 2 else principal(plots.data, plots.samples)
    n = min(map(len, rows))
    figure = plot.scatter({"data": rows[0][:n].flatten(1), "samples": rows[1][:n].flatten(1)})
    return {"Data and samples" if d == 2 else "Data and samples, first two principal components of the data": figure}


def copies_figure(one: Evaluation) -> Figure | None:
    """Draw the samples that are closest to a training row, and below each that row; None for rows of columns."""
    plots = one.plot_data
    if plots.transform.columnar or not len(plots.closest) or not 3 <= plots.closest.ndim <= 5:
        return None
    labels = [f"{distance:.3g}" for _, _, distance in one.copies.closest] if one.copies else []
    both = torch.cat([plots.closest, plots.originals])
    return plot.rows(both, len(plots.closest), [*labels, *[""] * len(plots.originals)])


def trajectory_figure(one: Evaluation) -> tuple[str, Figure]:
    """Draw samples on their way from source to data, with a caption."""
    plots, states, t = one.plot_data, one.plot_data.trajectories, one.plot_data.times
    if states.ndim in (5, 6):
        part = left_out(plots.transform.shape)
        caption = f"{'Pictures' if states.ndim == 5 else 'Volumes'} on their way from noise (left) to data (right)"
        shown = visible(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        return f"{caption}: {part}" if part else caption, plot.trajectories(shown, t)
    flat = states.flatten(2)
    k, n, d = flat.shape
    if d == 1:
        time = t.to(flat).reshape(-1, 1, 1).expand(flat.shape)
        plane = torch.cat([time, flat], 2)
        caption = "Points on their way from source to data: time from left to right, standard deviations upwards"
    elif d == 2:
        plane, caption = flat, "Points on their way from source to data, in standard deviations"
    else:
        plane = principal(plots.data, flat.flatten(0, 1))[1].reshape(k, n, 2)
        caption = "Points on their way, on the first two principal components of the data"
    return caption, plot.trajectories(plane, t)


def curve_figure(curves: dict[str, Curve], xlabel: str, log: bool) -> Figure:
    """Draw energy distances over their floors, a line for each run."""
    series: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        name: (list(c.x), [y / c.floor if c.floor > 0 else float("nan") for y in c.y]) for name, c in curves.items()
    }
    ends = [x for xs, _ in series.values() for x in xs]
    heights = [y for _, ys in series.values() for y in ys if y > 0]
    steep = bool(heights) and max(heights) > 5 * min(heights)
    figure = plot.curves(
        series | {"floor": ([min(ends), max(ends)], [1.0, 1.0])}, xlabel, "energy distance / floor", log_y=steep
    )
    if log:
        ax = figure.axes[0]
        ax.set_xscale("log", base=2)
        ax.set_xticks(sorted(set(ends)), [f"{x:g}" for x in sorted(set(ends))])
    return figure


def loss_figure(training: Training) -> Figure:
    """Draw the losses over the steps, with the floor that was measured at the end."""
    series: dict[str, tuple[Sequence[float], Sequence[float]]] = {"training": (list(training.at), list(training.loss))}
    if np.isfinite(training.held_out).any():
        series["held-out"] = (list(training.at), list(training.held_out))
    if training.losses is not None and training.losses.floor is not None:
        ends = [float(training.at[0]), float(training.at[-1])]
        series["floor of the training rows"] = (ends, [training.losses.floor.value] * 2)
    return plot.curves(series, "step", "loss")


def distance_figure(one: Evaluation) -> Figure:
    """Draw how far samples and held-out rows are from the nearest training row."""
    plots = one.plot_data
    sets = {"held-out rows": plots.reference_distance[:, None], "samples": plots.sample_distance[:, None]}
    return plot.columns(sets, ["distance"])


def column_figure(one: Evaluation) -> tuple[str, Figure]:
    """Draw each column of data and samples in its own units, with a caption: histograms, or bars of categories."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    # of many columns some, evenly spaced, two beside each other: readable on a phone
    data, samples = (numeric_table(x, one.plot_data.transform) for x in (one.plot_data.data, one.plot_data.samples))
    d = len(data.names)
    drawn = np.unique(np.linspace(0, d - 1, min(d, PANELS)).round().astype(int))
    width = min(2, len(drawn))
    rows = -(-len(drawn) // width)
    figure = Figure(figsize=(max(4.5, 2.9 * width), 0.6 + 2.4 * rows), dpi=DPI, layout="constrained")
    for panel, j in enumerate(drawn.tolist()):
        ax = figure.add_subplot(rows, width, panel + 1)
        categories = data.categories[j]
        if categories is None:
            _numbers(ax, data.values[:, j], samples.values[:, j])
        else:
            _categories(ax, categories, data.values[:, j], samples.values[:, j])
        ax.set_title(data.names[j][:28], fontsize=FONT, parse_math=False)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.set_yticks([])
        ax.tick_params(labelsize=FONT - 3)
    handles = [Line2D([], [], color=COLORS[i], linewidth=5) for i in (0, 1)]
    figure.legend(handles, ["data", "samples"], loc="outside upper center", ncols=2, frameon=False, fontsize=FONT)
    if len(drawn) == d:
        return "Each column in its own units", figure
    return f"{len(drawn)} of {d} columns in their own units, evenly chosen", figure


def _numbers(ax: Axes, data: Tensor, samples: Tensor) -> None:
    """Draw a column of numbers as histograms on the same bins, and the shares of gaps below."""
    sets = [x.double().numpy() for x in (data, samples)]
    finite = [x[np.isfinite(x)] for x in sets]
    pooled = np.concatenate(finite)
    low, high = np.quantile(pooled, [0.002, 0.998]) if len(pooled) else (0.0, 1.0)
    pad = 0.02 * (high - low) or 0.5

    # few values, as ages or counts, get bins around each, so that none is split
    distinct = np.unique(finite[0])
    edges = distinct[:0]
    if 1 < len(distinct) <= BINS:
        step = float(np.diff(distinct).min())
        edges = np.arange(distinct[0] - step / 2, distinct[-1] + step, step)
    if not 2 <= len(edges) <= BINS:
        edges = np.linspace(low - pad, high + pad, min(BINS, round(2 * len(finite[0]) ** (1 / 3)) + 4))
    for i, x in enumerate(finite):
        share = np.histogram(x, edges)[0] / max(1, len(x))
        ax.stairs(share, edges, color=COLORS[i], linewidth=1.8, fill=i == 0, alpha=0.45 if i == 0 else 1.0)
    ax.set_ylim(bottom=0)
    ax.locator_params(axis="x", nbins=4)
    gaps = [1 - len(part) / max(1, len(x)) for part, x in zip(finite, sets, strict=True)]
    if any(gaps):
        ax.set_xlabel(f"missing {gaps[0]:.1%}, {gaps[1]:.1%}", fontsize=FONT - 3)


def _categories(ax: Axes, categories: tuple[str, ...], data: Tensor, samples: Tensor) -> None:
    """Draw the shares of the most frequent categories of the data as bars, the others as one."""
    codes = [x.long().numpy() for x in (data, samples)]
    shares = [np.bincount(x, minlength=len(categories)) / max(1, len(x)) for x in codes]
    order = np.argsort(-shares[0], kind="stable")[:BARS]
    names = [categories[k][:10] for k in order]
    bars = [share[order].tolist() for share in shares]
    if len(categories) > BARS:
        names.append("others")
        bars = [[*bar, 1 - sum(bar)] for bar in bars]
    for i, bar in enumerate(bars):
        ax.bar(np.arange(len(bar)) + (i - 0.5) * 0.4, bar, 0.4, color=COLORS[i], alpha=0.45 if i == 0 else 1.0)
    tilted = max(map(len, names)) > 3
    ax.set_xticks(range(len(names)), names, rotation=40 if tilted else 0, ha="right" if tilted else "center")
    for label in ax.get_xticklabels():
        label.set_parse_math(False)
