"""JSON files, sized before they are parsed, with checksums: what was changed is told from what was written.

A file has its checksum in its last field, ``"checksum": "..."``, a BLAKE2b digest of its text without it; a line of a
log in its last field ``"check"``, a CRC-32. What has none is taken as it is: who means a change empties the checksum.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from pushforward.files.limits import allow
from pushforward.files.writing import size_of

__all__ = ["checked_line", "checked_lines", "read_json", "read_sealed", "sealed"]

Sealed = TypeVar("Sealed", bound=BaseModel)
LINE = 2**16  # bytes of a line of a log, at most
LINES = 2**20  # of a log, at most
VALUE = 128  # bytes that a parsed value takes, about, and its key
SEAL = b'"checksum": "'
CHECK = re.compile(r', "check": "([0-9a-f]{8})"\}$')


def read_json(path: Path) -> bytes:
    """Read a JSON file whose values take no more memory than is allowed; InputError, ValueError, OSError otherwise."""
    allow(size_of(path.resolve(), 2**40), 0, path)
    data = path.read_bytes()
    allow(VALUE * sum(data.count(mark) for mark in (b",", b":", b"[", b"{")), 0, path)
    return data


def read_sealed(path: Path, kind: type[Sealed]) -> Sealed:
    """Read and validate a JSON file with a field ``checksum``; ValueError where it is not that of the text before it.

    InputError or OSError as `read_json`; pydantic's ValidationError, a ValueError, for other fields.
    """
    data = read_json(path)
    value = kind.model_validate_json(data, context={"foreign": True})
    if (said := dict(value)["checksum"]) and said != _digest(data[: data.rfind(SEAL) + len(SEAL)]):
        raise ValueError('was changed since it was written; who means the change sets "checksum" to ""')
    return value


def sealed(value: BaseModel) -> str:
    """The JSON text of a model whose last field is ``checksum``, with its checksum there."""
    text = value.model_copy(update={"checksum": ""}).model_dump_json(indent=1)
    before, seal, after = text.rpartition(SEAL.decode())
    return f"{before}{seal}{_digest(f'{before}{seal}'.encode())}{after}"


def checked_line(values: dict[str, Any]) -> str:
    """A line of a log, with its checksum."""
    text = json.dumps(values)
    return f'{text[:-1]}, "check": "{zlib.crc32(text.encode()):08x}"}}'


def checked_lines(path: Path) -> Iterator[Any | None]:
    """Each line of a log, parsed and without its checksum; None for one that was changed, or is none.

    A last line without its end, which a crash cut short, is left out. No more is read than can belong to a log;
    InputError where its values would take more memory than is allowed.
    """
    values = 0
    with path.open("rb") as file:
        for _ in range(LINES):
            line = file.readline(LINE)
            value = _parsed(line.decode(errors="replace").rstrip())
            if value is not None or line.endswith(b"\n"):
                values += 4 + (0 if value is None else line.count(b","))
                allow(VALUE * values, 0, path)
                yield value
            elif len(line) < LINE:
                return


def _parsed(text: str) -> Any | None:
    check = CHECK.search(text)
    bare = text if check is None else f"{text[: check.start()]}}}"
    if check is not None and check[1] != f"{zlib.crc32(bare.encode()):08x}":
        return None
    try:
        return json.loads(bare)
    except (ValueError, RecursionError):
        return None


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
