"""Rows of a table of which some cells are observed: from words, to model units, and put back to the last digit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.data.files.cells import is_number, is_text, present
from pushforward.data.files.clocks import in_zone, read_durations, read_times, typed
from pushforward.data.files.rows import UserRows
from pushforward.data.files.stream import Stream
from pushforward.data.rules.observed import ObservedRows
from pushforward.data.transform import Transform
from pushforward.errors import InputError, nearest

__all__ = ["encode_partial", "given_rows", "overwrite_observed", "table_of_one_row"]

WHOLE = re.compile(r"-?[0-9]+")
ZONED = re.compile(r"(Z|[+-]\d\d:?\d\d)$")  # a time that says its zone


def table_of_one_row(columns: Mapping[str, Any], transform: Transform) -> UserRows:
    """Build a table of one row from values by column; text is read as that column's own, None is a missing value.

    ``"01234"`` is a category of a column of text, whatever it looks like, and 1234 in a column of numbers. InputError
    for a text that is none of the column's type.
    """
    import pyarrow as pa

    kinds, cells = transform.types, {}
    for name, value in columns.items():
        kind = kinds.get(name)
        kind = getattr(kind, "value_type", kind)  # of a dictionary
        if not isinstance(value, str) or kind is None or is_text(kind):
            cells[name] = pa.array([value])
            continue
        # 2.5 in a column of whole numbers is refused by the column, in its own words
        text, whole = value.strip(), pa.types.is_integer(kind)
        try:
            if pa.types.is_duration(kind):
                cells[name] = read_durations(pa.array([text]), kind.unit)
            elif pa.types.is_time(kind):
                cells[name] = read_times(pa.array([text]), kind.unit)
            elif pa.types.is_timestamp(kind) and kind.tz and not ZONED.search(text):
                cells[name] = in_zone(pa.array([text]).cast(pa.timestamp(kind.unit)), kind)
            else:
                cells[name] = pa.array([text]).cast(kind if not whole or WHOLE.fullmatch(text) else pa.float64())
        except pa.ArrowException as error:
            words = "true or false" if pa.types.is_boolean(kind) else "a number" if is_number(kind) else f"a {kind}"
            words += ", such as 0 days 00:10:00 or PT10M" if pa.types.is_duration(kind) else ""
            raise InputError(f"where: column {name!r}: {value!r:.60} is not {words}, as this column holds") from error
    return pa.table(cells)


def given_rows(transform: Transform, rows: UserRows, origin: str = "the rows", gaps: bool = True) -> ObservedRows:
    """Collect what rows of a table hold, with what rules say of their other columns.

    A gap stands for a value that exists but is unknown, also where gaps were learned; without ``gaps`` it says that
    the value is missing. InputError for an array, and for columns that were not there in training.
    """
    if transform.kind != "table" or isinstance(rows, np.ndarray):
        raise InputError(f"{origin}: only rows of a table, of a model of tables, can be known in part")
    columns = {column.name: column for column in transform.columns if not column.ignored}
    ignored = {column.name for column in transform.columns if column.ignored}
    for name in rows.column_names:
        if name not in columns and name not in ignored:
            raise InputError(f"{origin}: {nearest(name, columns, 'column')}")
    given = ObservedRows(rows, transform.types, transform.rules, not gaps)
    return given.completed() if transform.rules.kept else given


def encode_partial(transform: Transform, given: ObservedRows, origin: str = "the rows") -> Float[Tensor, "n d"]:
    """Encode the known cells of a table's rows in model units: NaN for absent columns and for gaps.

    InputError as in ``Transform.forward``.
    """
    columns = {column.name: column for column in transform.columns if not column.ignored}
    table = given.reduced()
    if not table.column_names:  # nothing that the model can be condition
        return torch.full((len(given.rows), *transform.shape), torch.nan)
    stream, blocks = Stream.of(table, origin), []
    for first, part in stream.parts():
        name_row, entries = stream.name_rows_from(first), []
        for name, column in columns.items():
            if name in part.column_names:
                encode = column.encode if given.nulls_known else column.encode_observed
                entries.append(encode(part.column(name), f"{origin}: column {name!r}", name_row))
            else:
                entries.append(np.full((len(part), column.width), np.nan, np.float32))
        blocks.append(np.concatenate(entries, axis=1))
    return torch.from_numpy(np.concatenate(blocks))


def overwrite_observed(rows: UserRows, observed: UserRows) -> UserRows:
    """Overwrite cells of the table ``rows`` with those of ``observed``, of one row or as many, wherever it has one.

    InputError for a value that the column's type cannot hold.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    assert isinstance(rows, pa.Table) and isinstance(observed, pa.Table)
    for name in observed.column_names:
        if name not in rows.column_names:
            continue  # left out of the model
        cells, old = observed.column(name), rows.column(name)
        filled = present(cells)
        if pa.types.is_dictionary(old.type) or not filled.any():
            continue  # categories are exact as they are
        try:
            exact = typed(cells, old.type)
        except pa.ArrowInvalid as error:
            raise InputError(f"column {name!r} holds {old.type}: {str(error)[:80]}") from error
        if len(exact) == 1:
            exact, filled = exact.take(pa.array(np.zeros(len(rows), np.int64))), np.repeat(filled, len(rows))
        column = pc.if_else(pa.array(filled), exact, old)
        rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows
