"""Draw images, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from pushforward.errors import InputError
from pushforward.plot.style import DPI, FONT, array, blank, short, span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["images", "strip"]

ORANGE = (230 / 255, 159 / 255, 0.0)
TILE = 112  # pixels that an image is enlarged to, about
SIDE = 2400  # pixels beyond which images are not enlarged
LETTER = 0.62 * FONT * DPI / 72  # pixels across one letter


def mosaic(
    pixels: NDArray[np.float64],
    span: tuple[float, float],
    width: int,
    labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
) -> Figure:
    """Lay images ``[n, c, h, w]`` out in rows of ``width``, every data pixel a square of whole screen pixels.

    Values are grey or RGB over ``span``, clipped; one that is not finite is orange. A label stands above its image, and
    a row of images without labels takes no room for them; row labels stand on the left.
    """
    n, c, h, w = pixels.shape
    if c not in (1, 3):
        raise InputError(f"images have {c} channels; 1 (grey) or 3 (RGB) can be shown")

    # lengths are in data pixels, each of which is ``zoom`` screen pixels wide
    rows = math.ceil(n / width)
    zoom = max(1, min(16, round(TILE / max(h, w)), SIDE // (width * w), SIDE // (rows * h)))
    gap = math.ceil(4 / zoom)
    band = math.ceil(1.5 * FONT * DPI / 72 / zoom)
    labels = [*labels, *[""] * (rows * width - len(labels))]
    above = [band if any(labels[r * width : (r + 1) * width]) else 0 for r in range(rows)]
    tops = [gap + r * (h + gap) + sum(above[: r + 1]) for r in range(rows)]
    row_labels = [short(label, 24) for label in row_labels]
    margin = math.ceil((max(map(len, row_labels)) + 1) * LETTER / zoom) if any(row_labels) else 0

    # one array holds all images: a figure of many axes would take seconds, and smooth their edges
    low, high = span
    finite = np.all(np.isfinite(pixels), axis=1)[..., None]
    grey = np.clip((np.nan_to_num(pixels) - low) / (high - low), 0, 1).transpose(0, 2, 3, 1)
    color = np.where(finite, grey, np.array(ORANGE))  # broadcasts grey to RGB
    canvas = np.ones((tops[-1] + h + gap, margin + gap + width * (w + gap), 3))
    for i in range(n):
        top, left = tops[i // width], margin + gap + i % width * (w + gap)
        canvas[top : top + h, left : left + w] = color[i]

    # letters stand on top, as large as the room above an image allows
    height, across = canvas.shape[:2]
    figure = blank(across * zoom / DPI, height * zoom / DPI, layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.imshow(canvas, interpolation="nearest", aspect="auto", extent=(0, across, height, 0))
    room = max(1.0, w * zoom / LETTER)  # letters that fit above one image
    size = FONT * min(1.0, max(0.75, room / max(1, *map(len, labels))))
    for i, label in enumerate(labels):
        x, y = margin + gap + i % width * (w + gap) + w / 2, tops[i // width] - 2 / zoom
        text = short(label, int(room * FONT / size))
        ax.text(x, y, text, ha="center", va="bottom", fontsize=size, parse_math=False)
    for r, label in enumerate(row_labels):
        ax.text(margin, tops[r] + h / 2, label, ha="right", va="center", fontsize=FONT, parse_math=False)
    return figure


def images(
    x: Float[Tensor, "n c h w"] | Float[Tensor, "n h w"],
    columns: int | None = None,
    labels: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
) -> Figure:
    """Draw a grid of images, row by row, each with its label above, and each row with its own on the left.

    ``x`` is ``[n, c, h, w]`` with c = 1 (grey) or 3 (RGB), or ``[n, h, w]``. Black is the smallest finite value of the
    whole batch and white the largest (per batch, not per image, so that images compare); a pixel that is not finite is
    orange. ``columns`` makes the grid about square when it is None. Pixels are squares, enlarged by a whole number and
    never smoothed.

    Raises InputError for another shape or number of channels, no image, ``columns`` below 1, or labels that are not one
    per image or one per row.
    """
    if x.ndim not in (3, 4) or x.numel() == 0:
        raise InputError(f"images must be [n, c, h, w] or [n, h, w] and not empty, not {list(x.shape)}")
    if columns is not None and columns < 1:
        raise InputError(f"columns is {columns}; it must be at least 1")
    if labels is not None and len(labels) != len(x):
        raise InputError(f"{len(labels)} labels for {len(x)} images; one each is needed")
    pixels = array(x if x.ndim == 4 else x.unsqueeze(1))
    width = min(len(x), columns or math.ceil(math.sqrt(len(x))))
    rows = math.ceil(len(x) / width)
    if row_labels is not None and len(row_labels) != rows:
        raise InputError(f"{len(row_labels)} row labels for {rows} rows of images; one each is needed")
    return mosaic(pixels, span(pixels), width, labels or [], row_labels or [])


def strip(x: Float[Tensor, "k n c h w"], times: NDArray[np.float64]) -> Figure:
    """Draw a row per sample, the states nearest to 8 evenly spaced times as columns, in the range of the latest."""
    stops = list(dict.fromkeys(int(abs(times - s).argmin()) for s in np.linspace(times[0], times[-1], 8)))
    tiles = array(x[torch.as_tensor(stops, device=x.device)].transpose(0, 1).flatten(0, 1))
    return mosaic(tiles, span(array(x[int(times.argmax())])), len(stops), [f"t={times[s]:.2g}" for s in stops])
