"""Files that are no paths: behind a URL, read from a temporary copy, and within a compressed file.

``https://..``, ``s3://bucket/x.parquet``, ``memory://x.npy``; ``x.csv.gz``.

HTTP is spoken here; any other protocol by a package of its own (s3fs, gcsfs, ..), through fsspec, which reads
credentials as it always does.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias, final

from pushforward.data.files.copies import copy_of, file_system, make_copy
from pushforward.errors import InputError, one_line, writable
from pushforward.progress import Progress

__all__ = ["DAMAGED", "File", "Packed", "Remote", "is_url", "reading", "remote_files"]

# those by which people keep data; others run commands, read archives or reach services of this machine
PROTOCOLS = ("https", "http", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "file", "memory")

# how a compressed file says that it is damaged; the last two: a zip in a way that is not known here, or with a password
DAMAGED = (
    EOFError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    NotImplementedError,
    RuntimeError,
)


@final
@dataclass(frozen=True)
class Remote:
    """A file behind a URL, with what is used here of a `Path`.

    InputError, before anything is asked, for chains of protocols and for those that are not for data.
    """

    url: str

    def __post_init__(self) -> None:
        if "::" in re.sub(r"(?i)^https?://\[[0-9a-f:.]+\]", "", self.url):  # but for an address of IPv6
            raise InputError(f"{self.url}: chains of protocols (::) are not followed; name the file itself")
        if (protocol := self.url.partition("://")[0].lower()) not in PROTOCOLS:
            allowed = ", ".join(f"{name}://" for name in PROTOCOLS)
            raise InputError(f"{self.url}: data are read from {allowed}, not {protocol}://")

    @property
    def _last(self) -> PurePosixPath:
        path = self.url.split("://", 1)[1]
        web = self.url.lower().startswith("http")
        return PurePosixPath(re.split("[?#]", path)[0] if web else path)

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

    def fetch(self, progress: Progress) -> int:
        """Fetch the file, unless this process has a copy; return the bytes that were fetched now."""
        return make_copy(self.url, progress)

    def open(self, mode: str = "r", newline: str | None = None, encoding: str | None = None) -> Any:
        """Open the copy as a path is opened; InputError if the file cannot be fetched."""
        return copy_of(self.url).open(mode, newline=newline, encoding=encoding)

    def __str__(self) -> str:
        return self.url


@final
@dataclass(frozen=True)
class Packed:
    """A file within a compressed one, with what is used here of a `Path`; unpacked anew at each use, never whole."""

    file: Path | Remote
    member: str = ""  # of a zip file

    @property
    def name(self) -> str:
        """The name without the ending of the packing, ``x.csv``."""
        return PurePosixPath(self.member).name if self.member else self.file.name[: -len(self.file.suffix)]

    @property
    def stem(self) -> str:
        """The name without any ending, ``x``."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending of the text file, ``.csv``."""
        return PurePosixPath(self.name).suffix

    @contextmanager
    def open(self, mode: str = "r", newline: str | None = None, encoding: str | None = None) -> Iterator[Any]:
        """Open what is inside as a path is opened; InputError for a damaged file."""
        try:
            with self.file.open("rb") as outer, self._inner(outer) as inner:
                yield inner if "b" in mode else io.TextIOWrapper(inner, encoding=encoding, newline=newline)
        except DAMAGED as error:
            raise InputError(f"{self}: damaged, or packed in a way not read here ({error}); unpack it") from error

    @contextmanager
    def _inner(self, outer: IO[bytes]) -> Iterator[Any]:
        if self.member:
            with zipfile.ZipFile(outer) as archive, archive.open(self.member) as inner:
                yield inner
            return
        unpack: Any = OPENED[self.file.suffix.lower()]
        with unpack(outer, "rb") as inner:
            yield inner

    def __str__(self) -> str:
        return f"{self.file}/{self.member}" if self.member else str(self.file)


File: TypeAlias = Path | Remote | Packed


def is_url(name: str) -> bool:
    """Tell a URL from a path; chains such as ``simplecache::s3://..`` are URLs, which `remote_files` refuses."""
    return "://" in name and ("::" in name or re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None)


def remote_files(url: str) -> list[File]:
    """List the file behind a URL, or those that a pattern with ``*`` finds, in the order of their names.

    Files of this machine (``file://``) are paths.
    """
    file, protocol, is_pattern = Remote(url), url.partition("://")[0].lower(), "*" in url
    if protocol in ("http", "https"):
        if "*" in re.split("[?#]", url)[0]:
            raise InputError(f"{url}: files cannot be listed over {protocol}; give the address of each (%2A is a star)")
        return [file]
    if protocol != "file" and not is_pattern:
        return [file]
    system, path = file_system(url)
    try:
        names = sorted(system.glob(path)) if is_pattern else [path]
    except Exception as error:
        raise InputError(f"{url}: cannot be listed ({one_line(error)})") from error
    if protocol == "file":
        names = [name for name in names if Path(name).is_file()]
    if not names:
        raise InputError(f"{url}: {'no file has a name like this' if is_pattern else 'no such file'}")
    return [Path(name) if protocol == "file" else Remote(system.unstrip_protocol(name)) for name in names]


@contextmanager
def reading(file: File) -> Iterator[Any]:
    """Open what pyarrow and zipfile read: a path, or the file behind a URL, or one whose name pyarrow cannot write."""
    if isinstance(file, Path) and writable(str(file)) == str(file):
        yield file
        return
    with file.open("rb") as stream:
        yield stream


OPENED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
