"""Rows in user units, as arrays of numbers: the checks that each passes before use, names of its rows and columns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pushforward.errors import InputError

__all__ = ["Array", "RowNamer", "UserRows", "array_columns", "check_array", "require_real", "row_name"]

Array: TypeAlias = npt.NDArray[Any]
UserRows: TypeAlias = Any  # np.ndarray or pyarrow.Table; the latter is imported only where a table is at hand
RowNamer: TypeAlias = Callable[[int], str]  # names the i-th row (from 0) in a message


def row_name(row: int) -> str:
    """Name a row that has no line in a text file, for a message: ``row 1`` is the first."""
    return f"row {row + 1}"


def check_array(rows: Array, origin: str) -> None:
    """Raise InputError unless ``rows`` [n, ...] holds at least one row of finite real numbers."""
    require_real(rows.dtype, origin)
    if rows.ndim == 0 or rows.size == 0:
        raise InputError(
            f"{origin}: no rows to learn from in an array of shape {rows.shape}; give [n, ...] with n >= 1"
        )
    if rows.dtype.kind != "f":
        return
    bad = ~np.isfinite(rows)
    if bad.any():
        first = np.unravel_index(int(np.argmax(bad)), rows.shape)
        column = f"column x{first[1]}" if rows.ndim == 2 else "the array"
        count = f"missing values (NaN or inf): {int(bad.sum())} in all, the first in"
        raise InputError(f"{origin}: {count} {column}, {row_name(int(first[0]))}; fill or drop those rows")


def array_columns(rows: Array) -> dict[str, Array]:
    """Split an array [n] or [n, d] into its columns, named x0, x1, ..."""
    return {f"x{i}": column for i, column in enumerate(rows.reshape(len(rows), math.prod(rows.shape[1:])).T)}


def require_real(dtype: np.dtype[Any], origin: str) -> None:
    """Raise InputError unless a dtype is one of booleans, integers or floats of at most 64 bits."""
    if dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return
    if dtype.hasobject:
        advice = "it was saved with pickle; pushforward never unpickles: save it again with a numeric dtype"
    elif dtype.kind == "c":
        advice = "save the real and imaginary parts as separate columns"
    elif dtype.names:
        advice = "save its fields as the columns of a .parquet or .csv table"
    else:
        advice = "save it again as integers or as float16, float32 or float64"
    raise InputError(f"{origin}: dtype {str(dtype)[:40]} is not supported; {advice}")
