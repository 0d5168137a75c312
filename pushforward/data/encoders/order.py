"""The order of many categories: by the mean of the numeric column that they explain best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.categorical import ONE_HOT, Categorical
from pushforward.data.encoders.nullable import Nullable
from pushforward.data.files.rows import Array
from pushforward.data.files.stream import Stream

__all__ = ["order_categories"]


def order_categories(stream: Stream, encoders: Sequence[ColumnEncoder]) -> tuple[ColumnEncoder, ...]:
    """Sort the categories of columns with more than `ONE_HOT` of them, so that neighbours are alike.

    One pass over the table. They are sorted by the mean of one column of numbers among their rows, in model units: the
    one with the largest correlation ratio, ``sum_c n_c mean_c^2 / n``. Without numbers by rank they stay as they are; a
    missing value is last.
    """
    many = [c for c in encoders if isinstance(c, Categorical) and len(c.categories) > ONE_HOT]
    numbers = [
        c for c in encoders if not isinstance(c, Categorical) and (c.inner if isinstance(c, Nullable) else c).normal
    ]
    if not (many and numbers):
        return tuple(encoders)
    sums = {c.name: np.zeros((len(numbers), len(c.categories))) for c in many}
    for first, part in stream.parts():
        name_row = stream.name_rows_from(first)
        x = [c.encode(part.column(c.name), f"{stream.origin}: column {c.name!r}", name_row)[:, 0] for c in numbers]
        for column in many:
            codes = column.codes(part.column(column.name), f"{stream.origin}: column {column.name!r}", name_row)
            sums[column.name] += [np.bincount(codes, row, len(column.categories)) for row in x]
    return tuple(_sorted(c, sums[c.name]) if isinstance(c, Categorical) and c.name in sums else c for c in encoders)


def _sorted(column: Categorical, sums: Array) -> Categorical:
    """The column with its categories by the mean of the numbers, of ``sums [numbers, k]``, that they explain best."""
    shares, gap = np.array(column.shares), column.categories[-1] is None
    best = sums[np.argmax((sums**2 / shares).sum(1))] / shares
    order = np.argsort(best[: len(shares) - gap], kind="stable").tolist() + [len(shares) - 1] * gap
    categories, parts = ([values[i] for i in order] for values in (column.categories, column.shares))
    return replace(column, categories=tuple(categories), shares=tuple(parts))
