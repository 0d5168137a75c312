"""File formats: one record each, registered at the foot of the file that defines its reader and its writer.

``FORMATS = {".npy": Format("array", read_npy, write_npy), ...}`` at the foot of any file of this room adds formats that
are read and written, ``READ_ONLY`` those that are only read. `load` and `save`, their messages, and the command line's
lists of endings read the registry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from pushforward.data.files.remote import File
from pushforward.data.files.rows import Array
from pushforward.data.files.stream import Stream
from pushforward.data.schema import Schema
from pushforward.registry import merged, names

__all__ = ["ENDINGS", "Contents", "FileSet", "Format", "Size", "endings", "format_of", "formats"]

Size: TypeAlias = tuple[int, int]  # height and width in pixels


@dataclass(frozen=True)
class FileSet:
    """Files of one format that are read together, and what the user says of their rows."""

    origin: str  # the source in the user's words; opens every message about its rows
    files: tuple[File, ...]
    folder: Path | None = None  # if the source is one
    schema: Schema = field(default_factory=dict)  # of the columns of a table
    size: Size | None = None  # of pictures


@dataclass(frozen=True, eq=False)
class Contents:
    """What files hold: an array or a table, labels [n], the classes that the labels number, and what was left out."""

    rows: Array | Stream
    labels: Array | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # a line each


@dataclass(frozen=True)
class Format:
    """How the files of one ending are read and written.

    ``kind`` is what one file holds, which decides how many are read together: one with an array, several of one ending
    with parts of a table, all of a folder with one picture each. ``write(file, rows, labels)`` is handed an array, or
    an arrow table where ``kind`` says so. ``pattern`` is a regular expression of the names of files whose ending is not
    what tells them.
    """

    kind: Literal["array", "table", "picture"]
    read: Callable[[FileSet], Contents]
    write: Callable[[IO[bytes], Any, Sequence[str] | None], None] | None = None
    pattern: str | None = None


@cache
def formats() -> dict[str, Format]:
    """Collect every format by its ending; those that are written come first."""
    return merged("data/files", "FORMATS") | merged("data/files", "READ_ONLY")


def endings(kind: str, written: bool = False) -> tuple[str, ...]:
    """List the endings of the formats of one kind, all or those that are ``written``."""
    return tuple(e for e, form in formats().items() if form.kind == kind and (form.write or not written))


def format_of(file: File) -> Format | None:
    """Find the format of a file by its name: by a pattern, otherwise by the ending; None if no format has it."""
    for form in formats().values():
        if form.pattern and isinstance(file, Path) and re.search(form.pattern, file.name.lower()):
            return form
    return formats().get(file.suffix.lower())


ENDINGS = names("data/files", "FORMATS")  # of the files that are read and written, known before any of them is imported
