"""Find the files that a source names, and read their rows."""

from __future__ import annotations

import difflib
import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pushforward.data.files.builtin import BUILTIN, CLASSES
from pushforward.data.files.formats import ENDINGS, FileSet, Size, TextSource, endings, format_of, formats
from pushforward.data.files.images import FOLDER, looks_like_picture, read_size, resize
from pushforward.data.files.partitions import read_partitioned
from pushforward.data.files.remote import File, Remote, is_url, remote_files
from pushforward.data.files.rows import Array, UserRows, check_array
from pushforward.data.files.stream import ArrowTable, Stream
from pushforward.data.schema import Schema, read_schema
from pushforward.errors import InputError
from pushforward.files.limits import size_in_words
from pushforward.progress import Progress, Watch

__all__ = ["DataSource", "Raw", "read_raw", "read_source"]

SYSTEM = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what systems leave in folders
DataSource: TypeAlias = str | Path | Array | Tensor | ArrowTable


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows in user units as they were read: an array or a table, with labels [n] if the source has them."""

    name: str
    origin: str  # opens every message about these rows
    rows: UserRows  # `read_source` leaves a table as a Stream
    labels: Array | None = None
    classes: tuple[str, ...] = ()  # labels are numbers of these, if there are any
    notes: tuple[str, ...] = ()  # what was left out, fetched or guessed, a line each
    text: TextSource = field(default_factory=TextSource)  # how a table in text is written
    pictures: bool = False  # whether it is known that the rows are pictures


def read_raw(
    source: DataSource,
    schema: str | Path | Mapping[str, Any] | None = None,
    size: str | int | Sequence[int] | None = None,
    progress: Watch = None,
    *,
    header: bool | None = None,
) -> Raw:
    """Read rows in user units, to be fitted or to be put through the transform of an earlier run; tables in memory.

    ``schema``, ``size``, ``progress`` and ``header`` as in ``load``.
    InputError: no such file or ending, damaged file, missing values in an array, no rows.
    """
    raw = read_source(source, read_schema(schema), read_size(size), progress, header)
    if isinstance(raw.rows, np.ndarray):
        check_array(raw.rows, raw.origin)
        return raw
    table = raw.rows.table()
    if not len(table):
        raise InputError(f"{raw.origin}: no rows after the header; give a table with rows")
    return replace(raw, rows=table)


def read_source(
    source: DataSource,
    schema: Schema,
    size: Size | None = None,
    progress: Watch = None,
    header: bool | None = None,
    layout: str | None = None,
) -> Raw:
    """Read rows as they stand in the source; only what makes reading itself impossible is an error.

    The name of a ``layout`` is that of arrays: any other source is refused.
    """
    if layout not in (None, "image") and size is not None:
        raise InputError(f"--resize and --layout {layout}: only pictures are given a size; leave out one of them")
    raw = _read(source, schema, size, header, Progress.of(progress), layout)
    if layout is not None and not isinstance(raw.rows, np.ndarray):
        raise _no_array(raw.origin, layout, "a table")
    if size is None:
        return raw
    if not isinstance(raw.rows, np.ndarray):
        raise InputError(f"{raw.origin}: a size is for pictures, and this is a table")
    return replace(raw, rows=resize(raw.rows, size, raw.origin), pictures=True)


def _no_array(origin: str, layout: str, found: str) -> InputError:
    """What is said of a layout for a source that holds no array."""
    ends = ", ".join(endings("array", written=True))
    return InputError(f"{origin}: --layout {layout} is for arrays ({ends}), and this is {found}; leave it out")


def _read(
    source: DataSource,
    schema: Schema,
    size: Size | None,
    header: bool | None,
    progress: Progress,
    layout: str | None = None,
) -> Raw:
    if isinstance(source, Tensor):
        tensor = source.detach().cpu()
        return Raw("tensor", "the tensor", (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
    if isinstance(source, np.ndarray):
        return Raw("array", "the array", source)
    if hasattr(source, "column_names"):
        return Raw("table", "the table", Stream.of(source, "the table"))
    if not isinstance(source, str | Path):
        raise InputError(f"cannot read rows from a {type(source).__name__}; give a path, a built-in name or an array")
    name = str(source)
    path = Path(name)
    try:
        place, sheet = _without_sheet(name)
        path = Path(place)
        if not path.is_file() and name in BUILTIN:
            return Raw(name, name, *BUILTIN[name](), classes=CLASSES.get(name, ()))
        files, notes = (_remote_files(place), ()) if is_url(place) else _local_files(path)
        form = format_of(files[0]) or FOLDER  # what has no known ending was found by its first bytes
        if layout is not None and form.kind != "array":
            raise _no_array(name, layout, "a folder of pictures" if form.kind == "picture" else "a table")
        fetched = _fetch(place, files, progress)
        folder = path if path.is_dir() else None
        found = FileSet(name, tuple(files), folder, schema, size, header, sheet)
        contents = read_partitioned(found, form.read) if form.kind == "table" else form.read(found)
    except OSError as error:
        raise InputError(
            f"{path}: cannot read: {error.strerror or error}; check the file and its permissions"
        ) from error
    stem = files[0].stem if is_url(place) and len(files) == 1 else path.stem
    said = (*fetched, *notes, *contents.notes)
    pictures = form.kind != "array" and isinstance(contents.rows, np.ndarray)
    return Raw(stem, name, contents.rows, contents.labels, contents.classes, said, contents.text, pictures)


def _without_sheet(name: str) -> tuple[str, str | None]:
    """Split ``book.xlsx#Sheet 2`` into the file, or files, and the sheet, None where none is named."""
    books = "|".join(re.escape(ending) for ending, form in formats().items() if form.sheets)
    match = re.fullmatch(rf"(?is)(.*(?:{books}))#([^\0]+)", name)
    return (match[1], match[2]) if match and not Path(name).exists() else (name, None)


def _fetch(url: str, files: Sequence[File], progress: Progress) -> tuple[str, ...]:
    """Fetch those files that are not here; return a note of it, none where this process has them from before."""
    remote = [file for file in files if isinstance(file, Remote)]
    parts = [progress.part(i / len(remote), (i + 1) / len(remote)) for i in range(len(remote))]
    sizes = [file.fetch(part) for file, part in zip(remote, parts, strict=True)]
    if not any(sizes):
        return ()
    many = f"{len(remote)} files, " if len(remote) > 1 else ""
    return (f"fetched {url} ({many}{size_in_words(sum(sizes))}) into a temporary copy, which this process reads",)


def _remote_files(url: str) -> Sequence[File]:
    """One file behind a URL, or the tables that a pattern finds."""
    files = remote_files(url)
    suffixes = sorted({file.suffix.lower() for file in files})
    tables = endings("table")
    if len(suffixes) == 1 and suffixes[0] in (*tables, *(ENDINGS if len(files) == 1 else ())):
        return files
    known = ", ".join(dict.fromkeys((*ENDINGS, *tables)))
    raise InputError(f"{url}: give one file ({known}), or a pattern for tables of one ending")


def _local_files(path: Path) -> tuple[Sequence[File], tuple[str, ...]]:
    """One file; or those of a folder or a pattern, pictures or tables of one ending, in the order of their names.

    Also a line on what of a folder is not looked at: hidden files, and those of other endings.
    """
    choices = f"endings: {', '.join(formats())}; built-in data sets: {', '.join(BUILTIN)}"
    tables, pictures = endings("table"), endings("picture")

    # one file of any format, but pictures come as a folder
    if path.is_file():
        form = format_of(path) or (FOLDER if _is_picture(path) else None)
        if form is None:
            raise InputError(
                f"{path}: unknown ending {path.suffix!r}; save the rows in a format that is known ({choices})"
            )
        if form.kind == "picture":
            raise InputError(f"{path}: one picture; give the folder of all of them")
        return [path], ()

    # several files; for a name that is none at all, one that is near it
    notes: tuple[str, ...] = ()
    if path.is_dir():
        present = sorted(p for p in path.rglob("*") if p.is_file())
        seen = [p for p in present if not _hidden(p.relative_to(path))]
        files = [p for p in seen if p.suffix.lower() in (*tables, *pictures) or _is_picture(p)]
        notes = _left_out(path, len(present) - len(seen), [p for p in seen if p not in set(files)])
        problem = "is a folder without pictures or tables"
    elif any(mark in str(path) for mark in "*?["):
        files = [p for p in map(Path, sorted(glob.glob(str(path), recursive=True))) if p.is_file()]
        problem = "no file has a name like this"
    else:
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, [*siblings, *BUILTIN], n=1)
        hint = f"did you mean {close[0]!r}? " if close else "check the path "
        raise InputError(f"{path}: no such file; {hint}({choices})")
    if not files:
        raise InputError(f"{path}: {problem} ({choices})")

    # what is read together must be of one kind
    suffixes = sorted({p.suffix.lower() for p in files})
    others = [p for p in files if p.suffix.lower() not in pictures]
    if not set(suffixes) & set(tables) and all(map(_is_picture, others)):
        return files, (*notes, *_by_bytes(path, others))
    if len(suffixes) == 1 and suffixes[0] in tables:
        return files, notes
    expected = f"pictures, or tables of one ending ({', '.join(tables)})"
    raise InputError(f"{path}: files read together must be {expected}, found {', '.join(suffixes)}")


def _is_picture(path: Path) -> bool:
    """Whether a file whose ending is that of no format begins as a picture does."""
    if format_of(path) is not None:
        return False
    with path.open("rb") as file:
        return looks_like_picture(file.read(32))


def _by_bytes(source: Path, files: Sequence[Path]) -> tuple[str, ...]:
    """A line that counts and names files of other endings that are pictures."""
    if not files:
        return ()
    names = ", ".join(p.name for p in files[:3]) + ", ..." * (len(files) > 3)
    many = (
        "1 file of another ending is read as a picture"
        if len(files) == 1
        else (f"{len(files)} files of other endings are read as pictures")
    )
    return (f"{source}: {many}, by the first bytes ({names})",)


def _hidden(path: Path) -> bool:
    """Whether a file is none of the user's: its name, or that of a folder above it, is hidden or a system's own."""
    return any(part.startswith(".") or part in SYSTEM for part in path.parts)


def _left_out(folder: Path, hidden: int, others: Sequence[Path]) -> tuple[str, ...]:
    """A line that counts and names what of a folder is not looked at."""
    parts = [f"{hidden} hidden {'file' if hidden == 1 else 'files'}"] if hidden else []
    if others:
        names = ", ".join(str(p.relative_to(folder)) for p in others[:3]) + ", ..." * (len(others) > 3)
        parts.append(f"{len(others)} of other endings ({names})")
    return (f"{folder}: not looked at: {' and '.join(parts)}",) if parts else ()
