"""Pictures of samples: what a run is looked at by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pushforward.data import Transform
    from pushforward.data import UserRows as Rows
    from pushforward.run.model import Model

__all__ = ["PREVIEW", "picture", "preview"]

PICTURED, STEPS = 64, 20
PREVIEW = PICTURED * STEPS  # evaluations of the network


def preview(model: Model, path: Path | None) -> None:
    """A look at a model in training: few samples, coarse steps. Without a path they are made, and that is all."""
    rows = model.independent().sample(PICTURED, steps=STEPS)
    if path is not None:
        picture(rows, model.transform, path)


def picture(
    rows: Rows, transform: Transform, path: Path, labels: list[str] | None = None, columns: int | None = None
) -> None:
    """Samples as a picture: a grid of images with their labels, a scatter of two columns, or a histogram per column."""
    import numpy as np
    import torch

    import pushforward.plot as plot
    from pushforward.data import plot_values

    names = None if isinstance(rows, np.ndarray) else list(rows.column_names)
    values = rows if isinstance(rows, np.ndarray) else plot_values(rows)
    x = torch.as_tensor(np.asarray(values, dtype=np.float64))
    figure: Figure
    if transform.kind == "image" and x.ndim in (3, 4):
        figure = plot.images(transform.forward(rows), columns, labels)
    elif x.ndim == 2 and x.shape[1] == 2:
        figure = plot.scatter({"samples": x})
    else:
        figure = plot.columns({"samples": x.reshape(len(x), -1)}, names)
    with np.errstate(over="ignore", invalid="ignore"):  # ticks beside numbers near the largest
        plot.save(figure, path)
