"""Files behind a URL, through fsspec: ``s3://bucket/x.parquet``, ``https://..``, ``memory://x.npy``, read in place.

What speaks a protocol is a package of its own (s3fs, gcsfs, aiohttp, ..), which reads credentials as it always does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, final

from pushforward.errors import InputError, one_line

__all__ = ["File", "Remote", "files", "is_url", "reading", "schema_of"]


@final
@dataclass(frozen=True)
class Remote:
    """A file behind a URL, with what is used here of a `Path`."""

    url: str

    @property
    def _last(self) -> PurePosixPath:
        place = self.url.split("://", 1)[1]
        return PurePosixPath(place.partition("?")[0] if self.url.startswith("http") else place)

    @property
    def name(self) -> str:
        """``x.parquet``"""
        return self._last.name

    @property
    def stem(self) -> str:
        """``x``"""
        return self._last.stem

    @property
    def suffix(self) -> str:
        """``.parquet``"""
        return self._last.suffix

    def open(self, mode: str = "r", newline: str | None = None, encoding: str | None = None) -> Any:
        """As of a path; InputError if it cannot be reached."""
        system, place = _system(self.url)
        text = {} if "b" in mode else {"newline": newline, "encoding": encoding}
        try:
            return system.open(place, mode, **text)
        except FileNotFoundError as error:
            raise InputError(f"{self.url}: no such file") from error
        except Exception as error:  # those who speak a protocol have errors of their own
            raise InputError(f"{self.url}: cannot be opened ({one_line(error)})") from error

    def __str__(self) -> str:
        return self.url


File: TypeAlias = Path | Remote


def is_url(name: str) -> bool:
    """Whether this is a URL and no path; chains such as ``simplecache::s3://..`` are."""
    return re.match(r"[a-z][a-z0-9+.:-]*://", name) is not None


def files(url: str) -> list[Remote]:
    """The file behind a URL, or those that a pattern with ``*`` finds, in the order of their names."""
    if "*" not in url:
        return [Remote(url)]
    system, place = _system(url)
    try:
        found = [Remote(system.unstrip_protocol(name)) for name in sorted(system.glob(place))]
    except Exception as error:
        raise InputError(f"{url}: cannot be listed ({one_line(error)})") from error
    if not found:
        raise InputError(f"{url}: no file has a name like this")
    return found


@contextmanager
def reading(file: File) -> Iterator[Any]:
    """What pyarrow and zipfile read: a path, or the open file behind a URL."""
    if isinstance(file, Path):
        yield file
        return
    with file.open("rb") as stream:
        yield stream


def schema_of(path: File) -> Any:
    """The arrow schema of a .parquet file, as pyarrow reads it."""
    from pyarrow import parquet

    with reading(path) as opened:
        return parquet.read_schema(opened)


def _system(url: str) -> tuple[Any, str]:
    """The file system that a URL is of, and its name there."""
    from fsspec.core import url_to_fs

    try:
        system, place = url_to_fs(url)
    except ImportError as error:  # it says which package
        raise InputError(f"{url}: this protocol needs a package that is not installed: {one_line(error)}") from error
    except Exception as error:
        raise InputError(f"{url}: cannot be reached ({one_line(error)})") from error
    return system, str(place)
