"""Numpy's own files, .npy and .npz, read without pickle and written."""

from __future__ import annotations

import math
import sys
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from pushforward.data.files.formats import Contents, FileSet, Format
from pushforward.data.files.remote import DAMAGED, reading
from pushforward.data.files.rows import Array, require_real
from pushforward.errors import InputError, one_line
from pushforward.files.limits import allow

__all__ = ["read_npy", "read_npz", "write_npy", "write_npz"]


def read_npy(source: FileSet) -> Contents:
    """Read the array in an .npy file; InputError if it is damaged, cut short or holds anything but real numbers."""
    path = source.files[0]
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        return Contents(_read_array(stream, size, str(path)))


def read_npz(source: FileSet) -> Contents:
    """Read rows under key ``x`` (or the only array) and labels under key ``y``, if any, of an .npz file."""
    path = source.files[0]
    try:
        with reading(path) as file, zipfile.ZipFile(file) as archive:
            sizes = {i.filename[:-4]: i.file_size for i in archive.infolist() if i.filename.endswith(".npy")}
            assert archive.fp is not None
            # what it says of itself may be a lie
            packed = min(sum(i.compress_size for i in archive.infolist()), archive.fp.seek(0, 2))
            key = "x" if "x" in sizes or len(sizes) != 1 else next(iter(sizes))
            if key not in sizes:
                present = ", ".join(map(repr, sizes)) or "none"
                raise InputError(f"{path}: no array named 'x' (arrays: {present}); save the rows under the key 'x'")
            allow(sizes[key] + sizes.get("y", 0), packed, path)
            with archive.open(f"{key}.npy") as stream:
                rows = _read_array(stream, sizes[key], f"{path}[{key!r}]")
            others = [name for name in sizes if name not in (key, "y")]
            notes = (f"{path}: {_named(others)} {'is' if len(others) == 1 else 'are'} left out",) if others else ()
            if key == "y" or "y" not in sizes:
                return Contents(rows, notes=notes)
            with archive.open("y.npy") as stream:
                labels = _read_array(stream, sizes["y"], f"{path}['y']", text=True)
    except DAMAGED as error:
        raise InputError(f"{path}: damaged .npz file; save it again with numpy.savez") from error
    labels = _plain_text(labels, f"{path}['y']")
    if labels.dtype.kind == "f" or labels.shape != rows.shape[:1]:
        expected = f"integers or strings of shape {rows.shape[:1]}"
        raise InputError(f"{path}: labels 'y' must be {expected}, found {labels.dtype} of shape {labels.shape}")
    return Contents(rows, labels, notes=notes)


def _named(arrays: Sequence[str]) -> str:
    """Arrays by their keys, the first few of many."""
    shown = ", ".join(map(repr, arrays[:5]))
    return f"array{'s' * (len(arrays) > 1)} {shown}{', ...' if len(arrays) > 5 else ''} (rows are 'x', labels 'y')"


def write_npy(file: IO[bytes], rows: Array, labels: Sequence[str] | None) -> None:
    """Write the rows; labels are left out."""
    np.save(file, rows, allow_pickle=False)


def write_npz(file: IO[bytes], rows: Array, labels: Sequence[str] | None) -> None:
    """Write the rows under the key ``x`` and labels under ``y``, as integers if all are."""
    arrays = {"x": rows} if labels is None else {"x": rows, "y": _class_numbers(labels)}
    np.savez(file, allow_pickle=False, **arrays)


def _plain_text(labels: Array, origin: str) -> Array:
    """Labels of bytes as text; InputError for what is none in Unicode. Numbers are left as they are."""
    try:
        if labels.dtype.kind == "S":
            return np.char.decode(labels, "utf-8")
        if labels.dtype.kind == "U":
            codes = np.ascontiguousarray(labels).reshape(-1).view(np.uint32)
            if (codes > sys.maxunicode).any() or ((codes >= 0xD800) & (codes < 0xE000)).any():
                raise ValueError("a code that is no character")
    except ValueError as error:
        raise InputError(f"{origin}: text that is not Unicode ({one_line(error)}); save the labels again") from error
    return labels


def _class_numbers(labels: Sequence[str]) -> Array:
    try:
        return np.array([int(label) for label in labels])
    except ValueError:
        return np.array(labels)


def _read_array(stream: Any, size: int, origin: str, text: bool = False) -> Array:
    """One .npy file or .npz member of ``size`` bytes; dtype and length are judged before any data are read."""
    try:
        version = npy.read_magic(stream)
        header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, _, dtype = header(stream)
        if not (text and dtype.kind in "US"):
            require_real(dtype, origin)
        if min(shape, default=0) < 0 or size - stream.tell() < math.prod(shape) * dtype.itemsize:
            raise ValueError("more numbers than bytes")
        stream.seek(0)
        return npy.read_array(stream, allow_pickle=False)
    except (InputError, OSError, zipfile.BadZipFile, zlib.error):
        raise
    except Exception as error:  # the header is a Python literal, whose parser has errors of its own
        words = "not a readable .npy array (damaged or cut short); save it again with numpy.save"
        raise InputError(f"{origin}: {words}") from error


FORMATS = {".npy": Format("array", read_npy, write_npy), ".npz": Format("array", read_npz, write_npz)}
