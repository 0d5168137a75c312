"""IDX files, the format of MNIST: one array of numbers each, and the labels in a file beside it."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.files.formats import Contents, FileSet, Format
from pushforward.data.files.remote import DAMAGED
from pushforward.data.files.rows import Array
from pushforward.errors import InputError
from pushforward.files.limits import allow

__all__ = ["read_idx"]

RATIO = 1040  # gzip never packs tighter


def read_idx(path: Path) -> tuple[Array, Array | None]:
    """Read the array in an IDX file, ``.gz`` or not, and labels from the file beside it that says labels and idx1."""
    rows = _read_array(path)
    beside = path.with_name(re.sub("idx[2-9]", "idx1", path.name.replace("images", "labels")))
    if beside == path or not beside.is_file():
        return rows, None
    labels = _read_array(beside)
    if labels.shape != rows.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(f"{beside}: labels of shape {labels.shape} for {len(rows)} rows in {path.name}")
    return rows, labels


def _read(source: FileSet) -> Contents:
    path = source.files[0]
    assert isinstance(path, Path)
    return Contents(*read_idx(path))


def _read_array(path: Path) -> Array:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    size = path.stat().st_size
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            return _read_stream(stream, size, RATIO * size if packed else size, path)
    except (*DAMAGED, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged or cut short; fetch the file again") from error


def _read_stream(stream: Any, packed: int, longest: int, path: Path) -> Array:
    """One IDX file of ``packed`` bytes, at most ``longest`` unpacked; its sizes are judged before data are read."""
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or not start[3]:
        raise InputError(f"{path}: not an IDX file (it begins with {start.hex()})")
    shape = np.frombuffer(stream.read(4 * start[3]), ">u4").tolist()
    dtype = np.dtype(TYPES[start[2]])
    length = math.prod(shape) * dtype.itemsize
    damaged = InputError(f"{path}: damaged or cut short: it should hold {'x'.join(map(str, shape))} numbers")
    if len(shape) < start[3] or length > longest:
        raise damaged
    allow(length, packed, path)
    data = stream.read(length)
    if len(data) < length or stream.read(1):
        raise damaged
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


TYPES: dict[int, str] = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
READ_ONLY = {".idx": Format("array", _read, pattern=r"idx\d-|\.idx(\.gz)?$")}  # train-images-idx3-ubyte.gz, too
