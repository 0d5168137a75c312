"""Pictures of samples: what a run is looked at by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pushforward.data import Transform
    from pushforward.data import UserRows as Rows
    from pushforward.run.model import Model

__all__ = ["PREVIEW", "picture", "picture_note", "preview"]

PICTURED, STEPS = 64, 20
PREVIEW = PICTURED * STEPS  # evaluations of the network


def preview(model: Model, path: Path | None) -> None:
    """A look at a model in training: few samples, coarse steps. Without a path they are made, and that is all."""
    rows = model.independent().sample(PICTURED, steps=STEPS)
    if path is not None:
        picture(rows, model.transform, path)


def _drawn_whole(transform: Transform) -> bool:
    """Whether rows are drawn one beside the other."""
    return not transform.columnar and 2 <= len(transform.shape) <= 4


def picture_note(transform: Transform) -> str:
    """Say what `picture` shows of rows that it does not show in whole; empty otherwise."""
    from pushforward.plot.grids import left_out

    return left_out(transform.shape) if _drawn_whole(transform) else ""


def picture(
    rows: Rows, transform: Transform, path: Path, labels: list[str] | None = None, columns: int | None = None
) -> None:
    """Samples as a picture: images, sequences or slices with their labels, a scatter, or a histogram per column."""
    import numpy as np
    import torch

    import pushforward.plot as plot
    from pushforward.data import plot_values

    names = None if isinstance(rows, np.ndarray) else list(rows.column_names)
    values = rows if isinstance(rows, np.ndarray) else plot_values(rows)
    x = torch.as_tensor(np.asarray(values, dtype=np.float64))
    figure: Figure
    if _drawn_whole(transform):
        figure = plot.rows(transform.forward(rows), columns, labels)
    elif x.ndim == 2 and x.shape[1] == 2:
        figure = plot.scatter({"samples": x})
    else:
        figure = plot.columns({"samples": x.reshape(len(x), -1)}, names)
    with np.errstate(over="ignore", invalid="ignore"):  # ticks beside numbers near the largest
        plot.save(figure, path)
