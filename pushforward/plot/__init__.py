"""Pictures: tensors in, a matplotlib `Figure` out, or a `Film` where it moves; `save` writes both.

Figures are built without pyplot, so nothing global changes and no display is needed; a notebook shows them because
they carry their own picture. Colours are those of Okabe and Ito, which colour-blind readers can tell apart, and
densities are shades of one blue. What figures are made of is in `pushforward.plot.layers`, to be drawn on axes of your
own.
"""

from __future__ import annotations

from pushforward.plot.clouds import columns, density, pairs, scatter
from pushforward.plot.film import Film, flow, save
from pushforward.plot.pixels import images
from pushforward.plot.ways import curves, trajectories, vectors

__all__ = [
    "Film",
    "columns",
    "curves",
    "density",
    "flow",
    "images",
    "pairs",
    "save",
    "scatter",
    "trajectories",
    "vectors",
]
