"""The pictures of a report, as PNG files inside the page."""

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
from pushforward.evaluation.table import Table, table
from pushforward.plot.style import COLOURS, DPI, FONT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["columns", "curve", "distances", "embed", "history", "pairs", "samples", "trajectories"]

IMAGES = 36
PANELS = 12  # columns drawn
BARS = 8  # categories drawn of a column
BINS = 32  # of a histogram


def embed(figure: Figure) -> str:
    """A figure as a ``data:`` address."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def principal(data: Tensor, *others: Tensor) -> list[Tensor]:
    """Sets of points ``[n, *d]`` on the first two principal components of the first set, itself included."""
    flat = data.flatten(1).double()
    _, _, directions = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    two = directions[:2].T
    return [(x.flatten(1).double() - flat.mean(0)) @ two for x in (data, *others)]


def samples(one: Evaluation) -> dict[str, Figure]:
    """Samples beside data: pictures, or points in the plane; the captions are the keys."""
    shown = one.shown
    if shown.transform.kind == "image" and shown.data.ndim == 4 and shown.data.shape[1] in (1, 3):
        return {
            "Samples": plot.images(shown.samples[:IMAGES]),
            "Held-out data": plot.images(shown.data[:IMAGES]),
        }
    wide = shown.data[0].numel()
    if wide == 1:
        return {}
    rows = [shown.data, shown.samples] if wide == 2 else principal(shown.data, shown.samples)
    n = min(map(len, rows))
    figure = plot.scatter({"data": rows[0][:n].flatten(1), "samples": rows[1][:n].flatten(1)})
    return {"Data and samples" if wide == 2 else "Data and samples, first two principal components of the data": figure}


def pairs(one: Evaluation) -> Figure | None:
    """The samples that are closest to a training picture, and below each that picture."""
    shown = one.shown
    if shown.transform.kind != "image" or not len(shown.closest) or shown.closest.shape[1] not in (1, 3):
        return None
    labels = [f"{distance:.3g}" for _, _, distance in one.copies.closest] if one.copies else []
    both = torch.cat([shown.closest, shown.originals])
    return plot.images(both, len(shown.closest), [*labels, *[""] * len(shown.originals)])


def trajectories(one: Evaluation) -> tuple[str, Figure]:
    """Samples on their way from source to data, and what the picture shows."""
    shown, walk = one.shown, one.shown.walk
    if shown.transform.kind == "image" and walk.ndim == 5 and walk.shape[2] in (1, 3):
        return "Pictures on their way from noise (left) to data (right)", plot.trajectories(walk, shown.times)
    flat = walk.flatten(2)
    if flat.shape[2] == 2:
        return "Points on their way from source to data, in standard deviations", plot.trajectories(flat, shown.times)
    if flat.shape[2] == 1:
        time = shown.times.to(flat).reshape(-1, 1, 1).expand(flat.shape)
        words = "Points on their way from source to data: time from left to right, standard deviations upwards"
        return words, plot.trajectories(torch.cat([time, flat], 2), shown.times)
    k, n, _ = flat.shape
    plane = principal(shown.data, flat.flatten(0, 1))[1].reshape(k, n, 2)
    return "Points on their way, on the first two principal components of the data", plot.trajectories(
        plane, shown.times
    )


def curve(curves: dict[str, Curve], xlabel: str, log: bool) -> Figure:
    """Energy distances over their floors, a line for each run."""
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


def history(training: Training) -> Figure:
    """The losses over the steps, with what was measured again at the end."""
    series: dict[str, tuple[Sequence[float], Sequence[float]]] = {"training": (list(training.at), list(training.loss))}
    if np.isfinite(training.held_out).any():
        series["held-out"] = (list(training.at), list(training.held_out))
    if training.losses is not None and training.losses.floor is not None:
        ends = [float(training.at[0]), float(training.at[-1])]
        series["floor of the training rows"] = (ends, [training.losses.floor.value] * 2)
    return plot.curves(series, "step", "loss")


def distances(one: Evaluation) -> Figure:
    """How far samples and held-out rows are from the nearest training row."""
    sets = {"held-out rows": one.shown.fair[:, None], "samples": one.shown.near[:, None]}
    return plot.columns(sets, ["distance"])


def columns(one: Evaluation) -> tuple[str, Figure]:
    """Each column of data and samples in its own units: histograms of numbers, bars of categories, shares of gaps."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    data, made = (table(x, one.shown.transform) for x in (one.shown.data, one.shown.samples))
    shown = np.unique(np.linspace(0, len(data.names) - 1, min(len(data.names), PANELS)).round().astype(int))
    width = min(2, len(shown))  # readable on a phone
    rows = -(-len(shown) // width)
    figure = Figure(figsize=(max(4.5, 2.9 * width), 0.6 + 2.4 * rows), dpi=DPI, layout="constrained")
    for panel, j in enumerate(shown.tolist()):
        ax = figure.add_subplot(rows, width, panel + 1)
        kinds = data.categories[j]
        if kinds is None:
            _numbers(ax, data, made, j)
        else:
            _categories(ax, kinds, data.values[:, j], made.values[:, j])
        ax.set_title(data.names[j][:28], fontsize=FONT, parse_math=False)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.set_yticks([])
        ax.tick_params(labelsize=FONT - 3)
    handles = [Line2D([], [], color=COLOURS[i], linewidth=5) for i in (0, 1)]
    figure.legend(handles, ["data", "samples"], loc="outside upper center", ncols=2, frameon=False, fontsize=FONT)
    words = (
        "Each column in its own units"
        if len(shown) == len(data.names)
        else (f"{len(shown)} of {len(data.names)} columns in their own units, evenly chosen")
    )
    return words, figure


def _numbers(ax: Axes, data: Table, made: Table, j: int) -> None:
    sets = [t.values[:, j].double().numpy() for t in (data, made)]
    there = [x[np.isfinite(x)] for x in sets]
    whole = np.concatenate(there)
    low, high = np.quantile(whole, [0.002, 0.998]) if len(whole) else (0.0, 1.0)
    pad = 0.02 * (high - low) or 0.5
    distinct = np.unique(there[0])
    edges = distinct[:0]
    if 1 < len(distinct) <= BINS:  # few values, as ages or counts: bins around each, so that none is split
        step = float(np.diff(distinct).min())
        edges = np.arange(distinct[0] - step / 2, distinct[-1] + step, step)
    if not 2 <= len(edges) <= BINS:
        edges = np.linspace(low - pad, high + pad, min(BINS, round(2 * len(there[0]) ** (1 / 3)) + 4))
    for i, x in enumerate(there):
        share = np.histogram(x, edges)[0] / max(1, len(x))
        ax.stairs(share, edges, color=COLOURS[i], linewidth=1.8, fill=i == 0, alpha=0.45 if i == 0 else 1.0)
    ax.set_ylim(bottom=0)
    ax.locator_params(axis="x", nbins=4)
    gaps = [1 - len(x) / max(1, len(whole)) for x, whole in zip(there, sets, strict=True)]
    if any(gaps):
        ax.set_xlabel(f"missing {gaps[0]:.1%}, {gaps[1]:.1%}", fontsize=FONT - 3)


def _categories(ax: Axes, kinds: tuple[str, ...], data: Tensor, made: Tensor) -> None:
    shares = [np.bincount(x.long().numpy(), minlength=len(kinds)) / max(1, len(x)) for x in (data, made)]
    order = np.argsort(-shares[0], kind="stable")[:BARS]
    names = [kinds[k][:10] for k in order]
    bars = [share[order].tolist() for share in shares]
    if len(kinds) > BARS:
        names.append("others")
        bars = [[*bar, 1 - sum(bar)] for bar in bars]
    for i, bar in enumerate(bars):
        ax.bar(np.arange(len(bar)) + (i - 0.5) * 0.4, bar, 0.4, color=COLOURS[i], alpha=0.45 if i == 0 else 1.0)
    ax.set_xticks(
        range(len(names)),
        names,
        rotation=40 if max(map(len, names)) > 3 else 0,
        ha="right" if max(map(len, names)) > 3 else "center",
    )
    for label in ax.get_xticklabels():
        label.set_parse_math(False)
