"""Find the files that a source names, and read their rows."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pushforward.data.files import arrays, images, tables
from pushforward.data.files.arrays import Array, RowNamer, Rows, row_name
from pushforward.data.files.builtin import BUILTIN, CLASSES
from pushforward.data.files.images import Pictures, Size, read_size
from pushforward.data.files.remote import File, files, is_url
from pushforward.data.files.tables import Stream
from pushforward.data.schema import Schema, read_schema
from pushforward.errors import InputError

__all__ = ["ENDINGS", "Raw", "Source", "read_raw", "read_source"]

Source: TypeAlias = str | Path | Array | Tensor | tables.Table


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows in user units as they were read: an array or a table, with labels [n] if the source has them."""

    name: str
    where: str  # opens every message about these rows
    rows: Rows  # `read_source` leaves a table from files as a Stream
    labels: Array | None = None
    place: RowNamer = row_name
    classes: tuple[str, ...] = ()  # labels are numbers of these, if there are any
    notes: tuple[str, ...] = ()  # what was left out, a line each


def read_raw(
    source: Source,
    schema: str | Path | Mapping[str, Any] | None = None,
    size: str | int | Sequence[int] | None = None,
) -> Raw:
    """Rows in user units, to be fitted or to be put through the transform of an earlier run; tables in memory.

    ``schema`` and ``size`` as in ``load``.
    InputError: no such file or ending, damaged file, missing values in an array, no rows.
    """
    raw = read_source(source, read_schema(schema), read_size(size))
    if isinstance(raw.rows, np.ndarray):
        arrays.check(raw.rows, raw.where, raw.place)
        return raw
    table = raw.rows.table()
    if not len(table):
        raise InputError(f"{raw.where}: no rows after the header; give a table with rows")
    return replace(raw, rows=table)


def read_source(source: Source, schema: Schema, size: Size | None = None) -> Raw:
    """Rows as they stand in the source; only what makes reading itself impossible is an error."""
    raw = _read(source, schema, size)
    if size is None:
        return raw
    if not isinstance(raw.rows, np.ndarray):
        raise InputError(f"{raw.where}: a size is for pictures, and this is a table")
    return replace(raw, rows=images.resized(raw.rows, size, raw.where))


def _read(source: Source, schema: Schema, size: Size | None) -> Raw:
    if isinstance(source, Tensor):
        tensor = source.detach().cpu()
        return Raw("tensor", "the tensor", (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
    if isinstance(source, np.ndarray):
        return Raw("array", "the array", source)
    if hasattr(source, "column_names"):
        return Raw("table", "the table", Stream.of(source, "the table"))
    if not isinstance(source, str | Path):
        raise InputError(f"cannot read rows from a {type(source).__name__}; give a path, a built-in name or an array")
    path, name = Path(source), str(source)
    try:
        if not path.is_file() and name in BUILTIN:
            return Raw(name, name, *BUILTIN[name](), classes=CLASSES.get(name, ()))
        found = _remote(name) if is_url(name) else _files(path)
        if (pictures := _pictures(path, found, name, size)) is not None:
            return Raw(path.stem, name, pictures.rows, pictures.labels, row_name, pictures.classes, pictures.notes)
        if found[0].suffix.lower() in tables.ENDINGS:
            stream = tables.open_files(found, name, schema)
            return Raw(path.stem, name, stream, None, stream.place)
        rows, labels = ENDINGS[found[0].suffix.lower()](found[0])
    except OSError as error:
        raise InputError(
            f"{path}: cannot read: {error.strerror or error}; check the file and its permissions"
        ) from error
    return Raw(path.stem, name, rows, labels)


def _pictures(path: Path, files: Sequence[File], name: str, size: Size | None) -> Pictures | None:
    """What the files hold, if it is pictures."""
    here = [file for file in files if isinstance(file, Path)]
    if here and images.is_idx(here[0]):
        return images.read_idx(here[0])
    if here and here[0].suffix.lower() in images.ENDINGS:
        return images.read_folder(path if path.is_dir() else here[0].parent, here, size)
    if files[0].suffix.lower() == ".parquet" and images.holds_pictures(files[0]):
        return images.read_parquet(files, name, size)
    return None


def _remote(url: str) -> Sequence[File]:
    """One file behind a URL, or the tables that a pattern finds."""
    found = files(url)
    endings = sorted({file.suffix.lower() for file in found})
    if len(endings) == 1 and endings[0] in (ENDINGS if len(found) == 1 else tables.ENDINGS):
        return found
    raise InputError(f"{url}: give one file ({', '.join(ENDINGS)}), or a pattern for tables of one ending")


def _files(path: Path) -> Sequence[File]:
    """One file; or those of a folder or a pattern, pictures or tables of one ending, in the order of their names."""
    known = f"endings: {', '.join(ENDINGS)}; built-in data sets: {', '.join(BUILTIN)}"
    if path.is_file():
        if path.suffix.lower() in ENDINGS or images.is_idx(path):
            return [path]
        if path.suffix.lower() in images.ENDINGS:
            raise InputError(f"{path}: one picture; give the folder of all of them")
        raise InputError(f"{path}: unknown ending {path.suffix!r}; save the rows in a format that is known ({known})")
    if path.is_dir():
        known_here = (*tables.ENDINGS, *images.ENDINGS)
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in known_here and p.is_file())
        what = "is a folder without pictures or tables"
    elif any(mark in str(path) for mark in "*?["):
        found = [p for p in map(Path, sorted(glob.glob(str(path), recursive=True))) if p.is_file()]
        what = "no file has a name like this"
    else:
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, [*siblings, *BUILTIN], n=1)
        hint = f"did you mean {close[0]!r}? " if close else "check the path "
        raise InputError(f"{path}: no such file; {hint}({known})")
    if not found:
        raise InputError(f"{path}: {what} ({known})")
    endings = sorted({p.suffix.lower() for p in found})
    if set(endings) <= set(images.ENDINGS) or (len(endings) == 1 and endings[0] in tables.ENDINGS):
        return found
    wanted = f"pictures, or tables of one ending ({', '.join(tables.ENDINGS)})"
    raise InputError(f"{path}: files read together must be {wanted}, found {', '.join(endings)}")


ENDINGS: dict[str, Callable[[File], tuple[Rows, Array | None]]] = {
    ".npy": arrays.read_npy,
    ".npz": arrays.read_npz,
    ".csv": tables.read_csv,
    ".tsv": tables.read_tsv,
    ".parquet": tables.read_parquet,
}
