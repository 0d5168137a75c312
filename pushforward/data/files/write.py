"""Rows in user units to files, all or nothing."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from pushforward.data.files import arrays, tables
from pushforward.data.files.arrays import Array, Rows
from pushforward.data.files.cells import Cells
from pushforward.data.files.read import ENDINGS
from pushforward.errors import InputError

__all__ = ["save"]

WHOLE = 1e15  # floats below that are whole are written with a point


def save(rows: Rows, path: Path, labels: Sequence[str] | None = None) -> None:
    """Write rows in user units to .csv, .tsv, .parquet, .npy or .npz (key ``x``), all or nothing.

    An array [n, d] gets the column names x0, x1, ...; a table becomes a float64 matrix in .npy and .npz. Labels [n] go
    to key ``y`` of .npz, as integers if all are, and are left out of any other file.
    InputError: unknown ending, images to a table, a place that cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path}: cannot write the ending {ending!r}; use one of {', '.join(ENDINGS)}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if ending == ".npy":
                np.save(file, _matrix(rows, path), allow_pickle=False)
            elif ending == ".npz":
                held = {"x": _matrix(rows, path)} | ({} if labels is None else {"y": _classes(labels)})
                np.savez(file, allow_pickle=False, **held)
            else:
                _write_table(_table(rows, path), file, ending)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror or error}; choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _classes(labels: Sequence[str]) -> Array:
    try:
        return np.array([int(label) for label in labels])
    except ValueError:
        return np.array(labels)


def _table(rows: Rows, path: Path) -> tables.Table:
    import pyarrow as pa

    if not isinstance(rows, np.ndarray):
        return rows
    if rows.ndim > 2:
        raise InputError(f"{path}: rows of shape {rows.shape[1:]} do not fit a table; save them as .npy or .npz")
    return pa.table(arrays.columns(rows))


def _matrix(rows: Rows, path: Path) -> Array:
    if isinstance(rows, np.ndarray):
        return rows
    return np.stack(
        [
            values.astype(np.float64)
            for values in tables.columns(
                rows, f"{path}: takes a table of numbers only (.csv and .parquet take any)"
            ).values()
        ],
        axis=1,
    )


def _write_table(table: tables.Table, file: IO[bytes], ending: str) -> None:
    import pyarrow as pa
    from pyarrow import csv as pacsv
    from pyarrow import parquet

    if ending == ".parquet":
        parquet.write_table(table, file)
        return
    delimiter = "," if ending == ".csv" else "\t"
    header = io.StringIO()  # pyarrow would put every name in quotes
    csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(table.column_names)
    file.write(header.getvalue().encode())
    cells = [_with_point(column) for column in table.columns]
    if len(cells) == 1 and cells[0].null_count:  # a line without a cell would be skipped when it is read
        cells = [cells[0].cast(pa.string()).fill_null("")]
    options = pacsv.WriteOptions(include_header=False, delimiter=delimiter)
    if len(table):  # in one piece: for an empty one pyarrow 26 writes a kilobyte of whatever lies in memory
        pacsv.write_csv(pa.table(cells, names=table.column_names).combine_chunks(), file, options)


def _with_point(cells: Cells) -> Cells:
    """Floats that are all whole as 3.0, so that they are read as floats; anything else as it is."""
    import pyarrow as pa

    if not pa.types.is_floating(cells.type):
        return cells
    values = cells.drop_null().to_numpy()
    if not len(values) or not (np.abs(values) < WHOLE).all() or (values % 1).any():
        return cells
    return cells.cast(pa.float64()).cast(pa.decimal128(18, 1))
