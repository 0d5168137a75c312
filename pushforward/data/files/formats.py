"""File formats: one record each, registered at the foot of the file that defines its reader and its writer.

``FORMATS = {".npy": Format("array", read_npy, write_npy), ...}`` at the foot of any file of this room adds formats that
are read and written, ``READ_ONLY`` those that are only read. `load` and `save`, their messages, and the command line's
lists of endings read the registry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from pushforward.data.files.remote import File
from pushforward.data.files.rows import Array
from pushforward.data.files.stream import Stream
from pushforward.data.schema import Schema, TextForm, text_form
from pushforward.errors import InputError
from pushforward.registry import merged, names

__all__ = [
    "ENDINGS",
    "Contents",
    "FileSet",
    "Format",
    "Size",
    "TextSource",
    "endings",
    "format_of",
    "formats",
    "text_from_json",
]

Size: TypeAlias = tuple[int, int]  # height and width in pixels


@dataclass(frozen=True)
class FileSet:
    """Files of one format that are read together, and what the user says of their rows."""

    origin: str  # the source in the user's words; opens every message about its rows
    files: tuple[File, ...]
    folder: Path | None = None  # if the source is one
    schema: Schema = field(default_factory=Schema)  # of the columns of a table
    size: Size | None = None  # of pictures
    header: bool | None = None  # whether the first line of a text file names the columns; None: found out
    sheet: str | None = None  # of a workbook; None: the first with a table
    numbered: bool = False  # whether each row is to say which file it is of (see `number_file`)


@dataclass(frozen=True)
class TextSource:
    """What was found out of tables in text: how the cells of some columns are written, and whether names come first."""

    forms: Mapping[str, TextForm] = field(default_factory=dict)
    header: bool = True

    def to_json(self) -> dict[str, Any]:
        """What differs from what is usual."""
        forms = {}
        for name, form in self.forms.items():
            forms[name] = {key: value for key, value in asdict(form).items() if value is not None}
        return {"forms": forms, "header": self.header}


def text_from_json(data: Any, origin: str) -> TextSource:
    """Restore from ``TextSource.to_json``, or from nothing; InputError, which ``origin`` opens, for anything else."""
    if data == {}:
        return TextSource()
    if not isinstance(data, dict) or set(data) != {"forms", "header"} or type(data["header"]) is not bool:
        raise InputError(f"{origin}: expected an object with the keys forms and header; restore the file")
    keys = {entry.name for entry in fields(TextForm)}
    if not isinstance(data["forms"], dict) or not all(
        isinstance(f, dict) and set(f) <= keys for f in data["forms"].values()
    ):
        raise InputError(f"{origin}: expected the forms of columns by their names; restore the file")
    return TextSource(
        {name: text_form(form, f"{origin}: {name!r}") for name, form in data["forms"].items()}, data["header"]
    )


@dataclass(frozen=True, eq=False)
class Contents:
    """What files hold: an array or a table, labels [n], the classes that the labels number, and what was left out."""

    rows: Array | Stream
    labels: Array | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # a line each
    text: TextSource = field(default_factory=TextSource)


@dataclass(frozen=True)
class Format:
    """How the files of one ending are read and written.

    ``kind`` is what one file holds, which decides how many are read together: one with an array, several of one ending
    with parts of a table, all of a folder with one picture each. ``write(file, rows, labels)`` is handed an array, or
    an arrow table where ``kind`` says so. ``pattern`` is a regular expression of the names of files whose ending is not
    what tells them. ``sheets`` says that a file may hold several tables, of which ``FILE#NAME`` is one.
    """

    kind: Literal["array", "table", "picture"]
    read: Callable[[FileSet], Contents]
    write: Callable[[IO[bytes], Any, Sequence[str] | None], None] | None = None
    pattern: str | None = None
    sheets: bool = False


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
