"""Infer the columns of a table in model units from its rows: one pass for kinds and ranges, two for the moments."""

from __future__ import annotations

import difflib

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.numeric import NumericEncoder
from pushforward.data.encoders.order import order_categories
from pushforward.data.encoders.statistics import ColumnStats
from pushforward.data.files.rows import Array
from pushforward.data.files.stream import Stream, require_distinct
from pushforward.data.schema import DIGITS, ColumnSchema, Schema
from pushforward.errors import InputError

__all__ = ["fit_numbers", "infer_columns"]

OTHERS = "*"  # in a schema: all columns that it does not name


def infer_columns(stream: Stream, schema: Schema | None = None, alone: bool = True) -> tuple[ColumnEncoder, ...]:
    """Fit an encoder to every column of a table; InputError names the column at fault.

    A key is learned as a number where it is all there is, unless the table is not ``alone``: of columns of another.
    """
    schema = Schema() if schema is None else schema
    origin, names = stream.origin, stream.names
    if not names:
        raise InputError(f"{origin}: no columns; give a table with rows")
    require_distinct(names, origin)
    for name in schema:
        if name not in names and name != OTHERS:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{origin}: the schema speaks of a column {name!r}, which is not there{hint}")
    columns = [
        ColumnStats(name, f"{origin}: column {name!r}", schema.get(name, schema.get(OTHERS, ColumnSchema())))
        for name in names
    ]

    # kinds, ranges and categories
    rows = 0
    for first, part in stream.parts():
        for column in columns:
            column.update(part.column(column.name), stream.name_rows_from(first))
        rows += len(part)
    if rows == 0:
        raise InputError(f"{origin}: no rows after the header; give a table with rows")
    if rows < 2:
        raise InputError(f"{origin}: found 1 row; a fit needs at least 2 rows")

    # moments, of numbers that are not constant: the mean first, about which the squares are taken
    numeric = [column for column in columns if column.counted.low < column.counted.high]
    for add in (ColumnStats.add_mean, ColumnStats.add_square) if numeric else ():
        for _, part in stream.parts():
            for column in numeric:
                add(column.counted, column.numbers(part.column(column.name)))
    encoders = [column.encoder(rows) for column in columns]
    if alone and not any(encoder.width for encoder in encoders):
        encoders = [column.encoder(rows, keys=False) for column in columns]
    return order_categories(stream, encoders)


def fit_numbers(name: str, values: Array, origin: str) -> NumericEncoder:
    """Fit an encoder to a column of an array, or to all entries of a set of images."""
    column = ColumnStats(name, f"{origin}: column {name!r}", ColumnSchema())
    number = int if values.dtype.kind in "biu" else float
    column.low, column.high, column.present = number(values.min()), number(values.max()), values.size
    column.decimals = DIGITS + 1  # not rounded
    if column.low < column.high:
        column.add_mean(values)
        column.add_square(values)
    return column.numeric(np.dtype(values.dtype.name))  # in native byte order
