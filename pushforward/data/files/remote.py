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

__all__ = ["File", "Remote", "is_url", "reading", "remote_files"]

# those by which people keep data; others run commands, read archives or reach services of this machine
PROTOCOLS = ("https", "http", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "file", "memory")


@final
@dataclass(frozen=True)
class Remote:
    """A file behind a URL, with what is used here of a `Path`.

    InputError, before anything is asked, for chains of protocols and for those that are not for data.
    """

    url: str

    def __post_init__(self) -> None:
        if "::" in self.url:
            raise InputError(f"{self.url}: chains of protocols (::) are not followed; name the file itself")
        if (protocol := self.url.partition("://")[0].lower()) not in PROTOCOLS:
            allowed = ", ".join(f"{name}://" for name in PROTOCOLS)
            raise InputError(f"{self.url}: data are read from {allowed}, not {protocol}://")

    @property
    def _last(self) -> PurePosixPath:
        path = self.url.split("://", 1)[1]
        return PurePosixPath(path.partition("?")[0] if self.url.startswith("http") else path)

    @property
    def name(self) -> str:
        """The last part of the path, ``x.parquet``."""
        return self._last.name

    @property
    def stem(self) -> str:
        """The name without its ending, ``x``."""
        return self._last.stem

    @property
    def suffix(self) -> str:
        """The ending, ``.parquet``."""
        return self._last.suffix

    def open(self, mode: str = "r", newline: str | None = None, encoding: str | None = None) -> Any:
        """Open the file as a path is opened; InputError if it cannot be reached."""
        system, path = _file_system(self.url)
        text = {} if "b" in mode else {"newline": newline, "encoding": encoding}
        try:
            return system.open(path, mode, **text)
        except FileNotFoundError as error:
            raise InputError(f"{self.url}: no such file") from error
        except Exception as error:  # those who speak a protocol have errors of their own
            raise InputError(f"{self.url}: cannot be opened ({one_line(error)})") from error

    def __str__(self) -> str:
        return self.url


File: TypeAlias = Path | Remote


def is_url(name: str) -> bool:
    """Tell a URL from a path; chains such as ``simplecache::s3://..`` are URLs, which `remote_files` refuses."""
    return "://" in name and ("::" in name or re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None)


def remote_files(url: str) -> list[Remote]:
    """List the file behind a URL, or those that a pattern with ``*`` finds, in the order of their names."""
    file = Remote(url)
    if "*" not in url:
        return [file]
    system, pattern = _file_system(url)
    try:
        matches = [Remote(system.unstrip_protocol(name)) for name in sorted(system.glob(pattern))]
    except Exception as error:
        raise InputError(f"{url}: cannot be listed ({one_line(error)})") from error
    if not matches:
        raise InputError(f"{url}: no file has a name like this")
    return matches


@contextmanager
def reading(file: File) -> Iterator[Any]:
    """Open what pyarrow and zipfile read: a path, or the file behind a URL."""
    if isinstance(file, Path):
        yield file
        return
    with file.open("rb") as stream:
        yield stream


def _file_system(url: str) -> tuple[Any, str]:
    """The file system that the URL of a `Remote` is of, and its name there."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except ImportError as error:  # it says which package
        raise InputError(f"{url}: this protocol needs a package that is not installed: {one_line(error)}") from error
    except Exception as error:
        raise InputError(f"{url}: cannot be reached ({one_line(error)})") from error
    return system, str(path)
