"""Convert model rows to the user's columns, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.data import Transform, plot_values
from pushforward.data.encoders.categorical import Categorical
from pushforward.data.files.rows import array_columns
from pushforward.tensor import Points

__all__ = ["NumericTable", "numeric_table"]


@dataclass(frozen=True, eq=False)
class NumericTable:
    """Columns as numbers ``[n, d]``: categories as positions in ``categories``, NaN where a number is missing."""

    names: tuple[str, ...]
    categories: tuple[tuple[str, ...] | None, ...]  # None: a column of numbers
    values: Float[Tensor, "n d"]


def numeric_table(x: Points, transform: Transform) -> NumericTable:
    """Convert model rows of a table or of an array to its own columns, without those that were constant in training."""
    rows = transform.inverse(x)
    kept = [column for column in transform.columns if column.width]
    if isinstance(rows, np.ndarray):
        numbers = {name: values.astype(np.float64) for name, values in array_columns(rows).items()}
        values = [numbers[column.name] for column in kept]
        return NumericTable(tuple(c.name for c in kept), (None,) * len(kept), torch.from_numpy(np.stack(values, 1)))
    names: list[str] = []
    kinds: list[tuple[str, ...] | None] = []
    values = []
    for column in kept:
        cells = rows.select([column.name])
        names.append(column.name)
        if isinstance(column, Categorical):
            position = {value: i for i, value in enumerate(column.categories)}
            values.append(np.array([position[cell] for cell in cells.column(0).to_pylist()], np.float64))
            kinds.append(tuple("missing" if value is None else str(value) for value in column.categories))
        else:
            values.append(plot_values(cells)[:, 0])
            kinds.append(None)
    return NumericTable(tuple(names), tuple(kinds), torch.from_numpy(np.stack(values, 1)))
