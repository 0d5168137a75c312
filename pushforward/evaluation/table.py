"""Convert model rows to the user's columns, as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.data import Transform
from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.categorical import Categorical, Value
from pushforward.data.encoders.identifier import Identifier
from pushforward.data.encoders.mixed import NUMBER, Mixed
from pushforward.data.encoders.nullable import Nullable
from pushforward.data.files.cells import ArrowColumn, plot_column
from pushforward.data.files.rows import Array, array_columns
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
        for name, categories, view in _views(column, rows.column(column.name)):
            names.append(name)
            kinds.append(categories)
            values.append(view)
    return NumericTable(tuple(names), tuple(kinds), torch.from_numpy(np.stack(values, 1)))


def _views(column: ColumnEncoder, cells: ArrowColumn) -> Iterator[tuple[str, tuple[str, ...] | None, Array]]:
    """A column as numbers or categories; of a mixed one its numbers and its words, of an identifier its gaps."""
    if isinstance(column, Mixed):
        numbers, words = column.apart(cells)
        yield column.name, None, plot_column(numbers)
        yield from ((f"{column.name} (words)", kinds, codes) for _, kinds, codes in _views(column.words, words))
    elif isinstance(column, Categorical):
        position = {value: i for i, value in enumerate(column.categories)}
        kinds = tuple(LABELS.get(value, str(value)) for value in column.categories)
        yield column.name, kinds, np.array([position[cell] for cell in cells.to_pylist()], np.float64)
    elif isinstance(column, Nullable) and isinstance(column.inner, Identifier):
        yield column.name, ("present", "missing"), np.asarray(cells.is_null(), np.float64)
    else:
        yield column.name, None, plot_column(cells)


LABELS: dict[Value, str] = {None: "missing", NUMBER: "a number"}  # of categories that are no words
