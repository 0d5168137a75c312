"""Hive partitions: columns whose values are in the names of folders, ``sales/year=2024/month=1/part-0.parquet``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from pushforward.data.files.clocks import typed
from pushforward.data.files.formats import Contents, FileSet
from pushforward.data.files.remote import File, Remote
from pushforward.data.files.stream import FILE, ArrowTable, Stream, keep_if_small
from pushforward.errors import InputError

__all__ = ["read_partitioned"]

MISSING = "__HIVE_DEFAULT_PARTITION__"


def read_partitioned(source: FileSet, read: Callable[[FileSet], Contents]) -> Contents:
    """Read tables with the keys in the names of the folders below the source as columns; without such keys, plainly.

    A key is a column of integers or of dates if all of its values are, otherwise of text. InputError: a file lies in
    folders with other keys than the first, or has another value in a column of that name.
    """
    found = [_keys(file, source.origin) for file in source.files]
    keyed = next((keys for keys in found if keys), None)
    if keyed is None:
        return read(source)
    names = list(keyed)
    others = [file for file, keys in zip(source.files, found, strict=True) if list(keys) != names]
    if others:
        pattern = "/".join(f"{name}=..." for name in names)
        raise InputError(
            f"{source.origin}: {len(others)} of {len(found)} files do not lie in folders {pattern}, the first: "
            f"{others[0]}; move them, or name the others by a pattern"
        )
    contents = read(replace(source, numbered=True))
    if not isinstance(contents.rows, Stream):
        words = f"{source.origin}: the names of folders ({', '.join(names)}) are not read beside pictures"
        return replace(contents, notes=(*contents.notes, words))
    columns = {name: _values([keys[name] for keys in found]) for name in names}
    rows = _with_keys(contents.rows, columns, source.files)
    listed = ", ".join(f"{name!r} ({columns[name].type})" for name in names)
    note = f"{source.origin}: the names of folders are read as column{'s' * (len(names) > 1)} {listed}"
    return replace(contents, rows=rows, notes=(*contents.notes, note))


def _keys(file: File, origin: str) -> dict[str, str | None]:
    """The keys and values in the names of the folders between what was named, or the first with a star, and a file."""
    path = file.url.partition("://")[2] if isinstance(file, Remote) else str(file)
    named = origin.partition("://")[2] if isinstance(file, Remote) else origin
    fixed = []
    for part in PurePosixPath(Path(named).as_posix()).parts:
        if any(mark in part for mark in "*?["):
            break
        fixed.append(part)
    folders = PurePosixPath(Path(path).as_posix()).parts[len(fixed) : -1]
    pairs = [folder.partition("=") for folder in folders if "=" in folder.strip("=")]
    return {unquote(key): None if value == MISSING else unquote(value) for key, _, value in pairs}


def _values(texts: Sequence[str | None]) -> Any:
    """The values of one key, file by file, as an arrow array."""
    import pyarrow as pa

    for convert, kind in ((int, pa.int64()), (date.fromisoformat, pa.date32())):
        try:
            return pa.array([None if text is None else convert(text) for text in texts], kind)
        except (ValueError, OverflowError):
            continue
    return pa.array(texts, pa.string())


def _with_keys(rows: Stream, columns: dict[str, Any], files: Sequence[File]) -> Stream:
    new = {name: values for name, values in columns.items() if name not in rows.names}
    twice = {name: values for name, values in columns.items() if name in rows.names}

    def parts() -> Iterator[ArrowTable]:
        for part in rows.read():
            file = part.column(FILE)
            for name, values in twice.items():
                _require_equal(part.column(name), values.take(file.combine_chunks()), name, file, files)
            part = part.drop_columns([FILE])
            for name, values in new.items():
                part = part.append_column(name, values.take(file.combine_chunks()))
            yield part

    return replace(rows, names=(*rows.names, *new), read=keep_if_small(parts))


def _require_equal(cells: Any, keys: Any, name: str, file: Any, files: Sequence[File]) -> None:
    """InputError unless the cells of a column are those that the folders say."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        same = pc.equal(cells, typed(keys, cells.type))
    except pa.ArrowException:
        same = pc.equal(cells.cast(pa.string()), keys.cast(pa.string()))
    same = pc.or_(pc.fill_null(same, False), pc.and_(cells.is_null(), keys.is_null()))
    if not pc.all(same, min_count=0).as_py():
        row = pc.index(same, False).as_py()
        cell, key = (str(values[row].as_py())[:40] for values in (cells, keys))
        words = f"column {name!r} holds {cell!r}, where the folder says {key!r}; rename the folder, or the column"
        raise InputError(f"{files[file[row].as_py()]}: {words}")
