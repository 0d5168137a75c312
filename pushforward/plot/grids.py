"""Draw rows on a grid of one to three axes side by side: sequences as lines, images, volumes by their middle slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pushforward.errors import InputError
from pushforward.plot.pixels import images
from pushforward.plot.style import FONT, array, blank, color, short, span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["left_out", "rows", "sequences", "visible"]

CELL = 1.6, 1.1  # inches of a sequence
SIDE = 20.0  # inches beyond which cells become smaller
CHANNELS = 7  # drawn of a sequence, in different colours


def sequences(
    x: Float[Tensor, "n c length"], columns: int | None = None, labels: Sequence[str] | None = None
) -> Figure:
    """Draw sequences side by side, row by row: a line for each channel over the steps, a label above each.

    ``x`` is ``[n, c, length]``; all share one range of values, that of the whole batch, and a value that is not finite
    leaves a gap. Of more than 7 channels 7 are drawn. ``columns`` makes the figure about square when it is None.

    Raises InputError for another shape, no sequence, ``columns`` below 1, or labels that are not one for each.
    """
    if x.ndim != 3 or x.numel() == 0:
        raise InputError(f"sequences must be [n, c, length] and not empty, not {list(x.shape)}")
    if columns is not None and columns < 1:
        raise InputError(f"columns is {columns}; it must be at least 1")
    if labels is not None and len(labels) != len(x):
        raise InputError(f"{len(labels)} labels for {len(x)} sequences; one each is needed")
    from matplotlib.collections import LineCollection

    values = array(x[:, :CHANNELS])
    n, channels, length = values.shape
    width = min(n, columns or math.ceil(math.sqrt(n)))
    count = math.ceil(n / width)
    (low, high), heading = span(values), 0.35 if labels is not None and any(labels) else 0.0

    # one pair of axes holds all: a figure of many would take seconds
    across, down = 1.15, 1.2 + heading
    at = np.arange(n)
    left, top = at % width * across, at // width * -down
    steps = np.linspace(0, 1, length) if length > 1 else np.full(1, 0.5)
    heights = np.where(np.isfinite(values), (values - low) / (high - low), np.nan)
    zoom = min(1.0, SIDE / (CELL[0] * across * width), SIDE / (CELL[1] * down * count))
    figure = blank(CELL[0] * across * width * zoom, CELL[1] * down * count * zoom, layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    frames = [[(a, b), (a + 1, b), (a + 1, b + 1), (a, b + 1), (a, b)] for a, b in zip(left, top, strict=True)]
    ax.add_collection(LineCollection(frames, colors="0.85", linewidths=0.8))
    for channel in range(channels):
        lines = np.stack([left[:, None] + steps, top[:, None] + heights[:, channel]], axis=2)
        if length == 1:
            ax.plot(*lines[:, 0].T, ".", color=color(channel))
        else:
            ax.add_collection(LineCollection(list(lines), colors=color(channel), linewidths=1.2))
    for i, label in enumerate(labels or []):
        text = short(label, max(1, int(CELL[0] * 72 * zoom / (0.62 * FONT))))
        ax.text(left[i] + 0.5, top[i] + 1.05, text, ha="center", va="bottom", fontsize=FONT * zoom, parse_math=False)
    ax.set_xlim(-0.075, across * width - 0.075)
    ax.set_ylim(-down * (count - 1) - 0.1, 1.1 + heading)
    return figure


def visible(x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k h w"]:
    """Take what can be shown of images or volumes as images: the middle slice, and 1 or 3 of the channels."""
    x = x[:, :, x.shape[2] // 2] if x.ndim == 5 else x
    channels = x.shape[1]
    return x if channels in (1, 3) else x[:, : 3 if channels == 4 else 1]


def left_out(shape: tuple[int, ...]) -> str:
    """Say what `rows` shows of rows ``(c, *space)`` that it does not show in whole, in a few words; empty otherwise."""
    channels, parts = shape[0], []
    if len(shape) == 4 and shape[1] > 1:
        parts.append("the middle slice of each")
    if len(shape) == 2 and channels > CHANNELS:
        parts.append(f"{CHANNELS} of {channels} channels")
    if len(shape) in (3, 4) and channels not in (1, 3):
        parts.append(f"{'the first 3' if channels == 4 else 'the first'} of {channels} channels")
    return ", ".join(parts)


def rows(x: Float[Tensor, "n c *space"], columns: int | None = None, labels: Sequence[str] | None = None) -> Figure:
    """Draw rows ``[n, c, *space]`` side by side: `sequences`, `images`, or the middle slices of volumes.

    Images and volumes of other than 1 or 3 channels are drawn by the first one, of 4 by the first three (`left_out`).
    Raises InputError as these do.
    """
    if x.ndim == 3:
        return sequences(x, columns, labels)
    if x.ndim not in (4, 5) or x.numel() == 0:
        raise InputError(f"rows must be [n, c, *space] with one to three axes of space, not {list(x.shape)}")
    return images(visible(x), columns, labels)
