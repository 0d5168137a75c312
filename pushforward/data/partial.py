"""Rows of a table of which only some is known: said in words, and put back to the last digit."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from pushforward.data.files.cells import present
from pushforward.data.files.rows import UserRows
from pushforward.errors import InputError

__all__ = ["one_row", "restored"]


def one_row(where: Mapping[str, Any]) -> UserRows:
    """Known columns as a table of one row; text is read as in a csv file, None is a missing value."""
    import pyarrow as pa
    from pyarrow import csv

    cells = {}
    for name, value in where.items():
        if isinstance(value, str):
            quoted = '"' + value.replace('"', '""') + '"'
            options = csv.ConvertOptions(strings_can_be_null=False, quoted_strings_can_be_null=False)
            cells[name] = csv.read_csv(io.BytesIO(f"x\n{quoted}\n".encode()), convert_options=options).column(0)
        else:
            cells[name] = pa.array([value])
    return pa.table(cells)


def restored(rows: UserRows, given: UserRows) -> UserRows:
    """The table ``rows`` with the values of ``given``, of one row or as many, wherever it has one.

    InputError for a value that the column's type cannot hold.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    assert isinstance(rows, pa.Table) and isinstance(given, pa.Table)
    for name in given.column_names:
        if name not in rows.column_names:
            continue  # left out of the model
        cells, old = given.column(name), rows.column(name)
        there = present(cells)
        if pa.types.is_dictionary(old.type) or not there.any():
            continue  # categories are exact as they are
        try:
            exact = cells.cast(old.type)
        except pa.ArrowInvalid as error:
            raise InputError(f"column {name!r} holds {old.type}: {str(error)[:80]}") from error
        if len(exact) == 1:
            exact, there = exact.take(pa.array(np.zeros(len(rows), np.int64))), np.repeat(there, len(rows))
        column = pc.if_else(pa.array(there), exact, old)
        rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows
