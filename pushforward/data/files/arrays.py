"""Arrays of numbers: reading .npy and .npz without pickle, and the checks every array passes before use."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from pushforward.data.files.remote import File, reading
from pushforward.errors import InputError

__all__ = ["Array", "RowNamer", "Rows", "check", "columns", "read_npy", "read_npz", "row_name"]

Array: TypeAlias = npt.NDArray[Any]
Rows: TypeAlias = Any  # np.ndarray or pyarrow.Table; the latter is imported only where a table is at hand
RowNamer: TypeAlias = Callable[[int], str]  # names the i-th row (from 0) in a message


def row_name(row: int) -> str:
    """How a message names a row that has no line in a text file: ``row 1`` is the first."""
    return f"row {row + 1}"


def read_npy(path: File) -> tuple[Array, None]:
    """The array in an .npy file; InputError if it is damaged, cut short or holds anything but real numbers."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        return _read_stream(stream, size, str(path)), None


def read_npz(path: File) -> tuple[Array, Array | None]:
    """Rows under key ``x`` (or the only array) and labels under key ``y``, if any, of an .npz file."""
    try:
        with reading(path) as file, zipfile.ZipFile(file) as archive:
            sizes = {i.filename[:-4]: i.file_size for i in archive.infolist() if i.filename.endswith(".npy")}
            key = "x" if "x" in sizes or len(sizes) != 1 else next(iter(sizes))
            if key not in sizes:
                held = ", ".join(map(repr, sizes)) or "none"
                raise InputError(f"{path}: no array named 'x' (arrays: {held}); save the rows under the key 'x'")
            with archive.open(f"{key}.npy") as stream:
                rows = _read_stream(stream, sizes[key], f"{path}[{key!r}]")
            if key == "y" or "y" not in sizes:
                return rows, None
            with archive.open("y.npy") as stream:
                labels = _read_stream(stream, sizes["y"], f"{path}['y']", text=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path}: damaged .npz file; save it again with numpy.savez") from error
    if labels.dtype.kind == "f" or labels.shape != rows.shape[:1]:
        wanted = f"integers or strings of shape {rows.shape[:1]}"
        raise InputError(f"{path}: labels 'y' must be {wanted}, found {labels.dtype} of shape {labels.shape}")
    return rows, labels


def check(rows: Array, where: str, place: RowNamer = row_name) -> None:
    """Raise InputError unless ``rows`` [n, ...] holds at least one row of finite real numbers."""
    _require_real(rows.dtype, where)
    if rows.ndim == 0 or rows.size == 0:
        raise InputError(f"{where}: no rows to learn from in an array of shape {rows.shape}; give [n, ...] with n >= 1")
    if rows.dtype.kind != "f":
        return
    bad = ~np.isfinite(rows)
    if bad.any():
        first = np.unravel_index(int(np.argmax(bad)), rows.shape)
        column = f"column x{first[1]}" if rows.ndim == 2 else "the array"
        count = f"missing values (NaN or inf): {int(bad.sum())} in all, the first in"
        raise InputError(f"{where}: {count} {column}, {place(int(first[0]))}; fill or drop those rows")


def columns(rows: Array) -> dict[str, Array]:
    """The columns of an array [n] or [n, d], named x0, x1, ..."""
    return {f"x{i}": column for i, column in enumerate(rows.reshape(len(rows), math.prod(rows.shape[1:])).T)}


def _read_stream(stream: Any, size: int, where: str, text: bool = False) -> Array:
    """One .npy file or .npz member of ``size`` bytes; dtype and length are judged before any data are read."""
    damaged = InputError(f"{where}: not a readable .npy array (damaged or cut short); save it again with numpy.save")
    try:
        version = npy.read_magic(stream)
        header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, _, dtype = header(stream)
    except (ValueError, KeyError, EOFError) as error:  # version 3 exists only for structured dtypes
        raise damaged from error
    if not (text and dtype.kind in "US"):
        _require_real(dtype, where)
    if size - stream.tell() < math.prod(shape) * dtype.itemsize:
        raise damaged
    stream.seek(0)
    return npy.read_array(stream, allow_pickle=False)


def _require_real(dtype: np.dtype[Any], where: str) -> None:
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
    raise InputError(f"{where}: dtype {str(dtype)[:40]} is not supported; {advice}")
