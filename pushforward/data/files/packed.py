"""Text files that are compressed, ``.csv.gz`` and the like, and zip files of one of them: read as they unpack."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pushforward.data.files.delimited import read_text
from pushforward.data.files.formats import Contents, FileSet, Format
from pushforward.data.files.remote import DAMAGED, File, Packed, Remote
from pushforward.errors import InputError

__all__ = ["read_packed"]


def read_packed(source: FileSet) -> Contents:
    """Read compressed text files as `read_text` reads those inside; InputError: damaged, or not one table each."""
    return read_text(replace(source, files=tuple(_inside(file) for file in source.files)))


def _inside(file: File) -> Packed:
    assert isinstance(file, Path | Remote)
    packed = Packed(file)
    if file.suffix.lower() == ".zip":
        try:
            with file.open("rb") as opened, zipfile.ZipFile(opened) as archive:
                names = [name for name in archive.namelist() if not _hidden(name)]
        except DAMAGED as error:
            raise InputError(f"{file}: not a readable .zip file ({error}); fetch the file again") from error
        if len(names) != 1:
            raise InputError(f"{file}: holds {len(names)} files, where one table is expected; unpack it")
        packed = Packed(file, names[0])
    if packed.suffix.lower() not in (".csv", ".tsv", ".txt"):
        raise InputError(f"{packed}: only .csv and .tsv are read from compressed files; unpack it")
    return packed


def _hidden(name: str) -> bool:
    return name.endswith("/") or any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


READ_ONLY = {
    ".gz": Format("table", read_packed),
    ".bz2": Format("table", read_packed),
    ".xz": Format("table", read_packed),
    ".zip": Format("table", read_packed),
}
