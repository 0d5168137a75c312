"""Rows in user units to files, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pushforward.data.files.cells import numbers
from pushforward.data.files.formats import ENDINGS, endings, formats
from pushforward.data.files.rows import Array, UserRows, array_columns
from pushforward.data.files.stream import ArrowTable
from pushforward.errors import InputError
from pushforward.files.writing import written_whole

__all__ = ["save"]


def save(rows: UserRows, path: Path, labels: Sequence[str] | None = None) -> None:
    """Write rows in user units to a file, in the format that its ending names (`ENDINGS`), all or nothing.

    An array [n, d] gets the column names x0, x1, ...; a table becomes a float64 matrix in .npy and .npz (key ``x``).
    Labels [n] go to key ``y`` of .npz, as integers if all are, and are left out of any other file.
    InputError: unknown ending, images to a table, a place that cannot be written.
    """
    form = formats().get(path.suffix.lower())
    if form is None or form.write is None:
        raise InputError(f"{path}: cannot write the ending {path.suffix.lower()!r}; use one of {', '.join(ENDINGS)}")
    try:
        with written_whole(path) as scratch, scratch.open("wb") as file:
            form.write(file, _as_table(rows, path) if form.kind == "table" else _as_matrix(rows, path), labels)
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror or error}; choose another place") from error


def _as_table(rows: UserRows, path: Path) -> ArrowTable:
    import pyarrow as pa

    if not isinstance(rows, np.ndarray):
        return rows
    if rows.ndim > 2:
        others = " or ".join(endings("array", written=True))
        raise InputError(f"{path}: rows of shape {rows.shape[1:]} do not fit a table; save them as {others}")
    return pa.table(array_columns(rows))


def _as_matrix(rows: UserRows, path: Path) -> Array:
    if isinstance(rows, np.ndarray):
        return rows
    origin = f"{path}: takes a table of numbers only (.csv and .parquet take any)"
    columns = zip(rows.column_names, rows.columns, strict=True)
    values = {name: numbers(column, f"{origin}: column {name!r}") for name, column in columns}
    return np.stack([column.astype(np.float64) for column in values.values()], axis=1)
