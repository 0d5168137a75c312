"""Fit the transform of rows: the encoders of columns, and the rules that hold in every row."""

from __future__ import annotations

from shlex import quote

import numpy as np

from pushforward.data.axes import Axes, Layout
from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.identifier import Identifier
from pushforward.data.encoders.infer import fit_numbers, infer_columns
from pushforward.data.files.rows import UserRows, check_array
from pushforward.data.files.stream import Stream
from pushforward.data.rules.keep import Rules, fit_rules
from pushforward.data.schema import Schema
from pushforward.data.transform import Transform
from pushforward.errors import InputError

__all__ = ["fit"]


def fit(
    raw: UserRows | Stream, origin: str = "the data", schema: Schema | None = None, layout: Layout | None = None
) -> Transform:
    """Fit the transform that standardizes ``raw``: an array [n], [n, d], [n, h, w], ... or a table, n ≥ 2.

    ``raw`` may be a Stream, whose parts are looked at one after the other, some times. ``schema`` says of the columns
    of a table what is not to be inferred, and what holds in its rows, and ``layout`` what the axes of an array are, of
    two axes numbers and of more an image where nothing is said. InputError, which ``origin`` opens: fewer than 2
    rows, every column constant, infinite values, missing values in an array, texts like identifiers.
    """
    columns: tuple[ColumnEncoder, ...]
    rules = Rules()
    if isinstance(raw, np.ndarray):
        if schema or (schema is not None and schema.rules):
            raise InputError(f"{origin}: a schema is for the columns of a table, and this is an array")
        axes = Axes.of(raw.shape, layout, origin)
        check_array(raw, origin)
        if len(raw) < 2:
            raise InputError(f"{origin}: found 1 row; a fit needs at least 2 rows")
        columns = tuple(fit_numbers(name, column, origin) for name, column in axes.columns(raw).items())
    else:
        stream = raw if isinstance(raw, Stream) else Stream.of(raw, origin)
        columns = infer_columns(stream, schema)
        rules, columns = fit_rules(stream, columns, Schema() if schema is None else schema)
        axes = Axes("table", (len(columns),))
    if not any(column.width for column in columns):
        if names := [column.name for column in columns if isinstance(column, Identifier)]:
            raise InputError(
                f"{origin}: every column is an identifier, free text or the same in every row, so there is nothing to "
                f"learn; --keep {quote(names[0])} learns the categories of one"
            )
        raise InputError(f"{origin}: every row is the same, so there is nothing to learn; give rows that differ")
    return Transform(axes.kind, axes.row_shape, columns, rules=rules, layout=axes.layout)
