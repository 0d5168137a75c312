"""Pictures: tensors in, a matplotlib `Figure` out, or a `Animation` where it moves; `save` writes both.

Figures are built without pyplot, so nothing global changes and no display is needed; a notebook shows them because
they carry their own picture. Colors are those of Okabe and Ito, which color-blind readers can tell apart, and
densities are shades of one blue. What figures are made of is in `pushforward.plot.layers`, to be drawn on axes of your
own.
"""

from __future__ import annotations

from pushforward.plot.animation import Animation, flow, save
from pushforward.plot.clouds import columns, density, pairs, scatter
from pushforward.plot.grids import rows, sequences
from pushforward.plot.pixels import images
from pushforward.plot.trajectories import curves, trajectories, vectors

__all__ = [
    "Animation",
    "columns",
    "curves",
    "density",
    "flow",
    "images",
    "pairs",
    "rows",
    "save",
    "scatter",
    "sequences",
    "trajectories",
    "vectors",
]
