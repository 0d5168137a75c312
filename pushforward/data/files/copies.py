"""Temporary copies of files behind URLs: each is fetched once by a process, in one pass, and read from its own disk."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pushforward.data.files.http import open_http
from pushforward.data.files.transfer import BLOCK
from pushforward.errors import InputError, one_line
from pushforward.files.limits import allowed, size_in_words
from pushforward.files.writing import scratch_folder, sweep, written_whole
from pushforward.progress import Progress

__all__ = ["copy_of", "file_system", "make_copy"]

LARGEST = 2**34  # bytes that one file may have, unless the user allows others
STEP = 2**24  # bytes between two looks at the space that is left
QUIET, EVERY = 1.0, 0.1  # seconds before progress is reported, and between two reports
_COPIES: dict[str, Path] = {}  # by their URL
_FOLDERS: dict[int, Path] = {}  # by the number of the process: a fork makes its own
_NUMBERS = itertools.count()  # the copies' names: nothing of one that somebody else chose
_FETCHING = threading.Lock()  # one file at a time, so that none is fetched twice


def make_copy(url: str, progress: Progress) -> int:
    """Fetch a file into a temporary copy, unless this process has one; return the bytes that were fetched now.

    ``progress`` hears of it where that takes more than a second. InputError: the server, the network or the disk does
    not let it, or it is larger than `LARGEST`. Nothing of a file that did not come whole is kept.
    """
    with _FETCHING:
        if (known := _COPIES.get(url)) is not None and known.is_file():
            return 0
        try:
            came, path = 0, _folder() / str(next(_NUMBERS))
            with _opened(url) as (size, blocks), written_whole(path) as scratch, scratch.open("wb") as file:
                for block in _checked(url, size, blocks, path.parent, progress):
                    file.write(block)
                    came += len(block)
        except OSError as error:
            words = f"no temporary copy can be kept ({error.strerror or one_line(error)})"
            raise InputError(f"{url}: {words}; set TMPDIR to a place with room") from error
        _COPIES[url] = path
        return came


def copy_of(url: str) -> Path:
    """Return the temporary copy of a file, which is fetched if need be."""
    if (known := _COPIES.get(url)) is not None and known.is_file():
        return known  # whatever another thread is fetching
    make_copy(url, Progress())
    return _COPIES[url]


def _folder() -> Path:
    """The folder of this process's copies, deleted at its end; those of processes that were killed are deleted now."""
    process = os.getpid()
    if process not in _FOLDERS or not _FOLDERS[process].is_dir():
        place = Path(tempfile.gettempdir())
        sweep(place)
        _FOLDERS[process] = scratch_folder(place, "pushforward")
        atexit.register(_delete, process, _FOLDERS[process])
    return _FOLDERS[process]


def _delete(process: int, folder: Path) -> None:
    """Delete the copies of a process, unless this is a fork of it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _checked(url: str, size: int | None, blocks: Iterator[bytes], folder: Path, progress: Progress) -> Iterator[bytes]:
    """The blocks of a file, counted: neither more than a file may hold, nor than the disk does, nor too few."""
    due, came, looked = time.monotonic() + QUIET, 0, 0
    largest = allowed(LARGEST)
    words = f"larger than the {size_in_words(largest)} that are fetched unasked"
    large = f"{url}: {words}; where you trust it, allow more, as in --largest 100GB, or fetch it yourself"
    if size is not None:
        if size > largest:
            raise InputError(large)
        _check_room(url, size, folder)
    for block in blocks:
        came += len(block)
        if came > largest:
            raise InputError(large)
        if came - looked >= STEP:
            looked = came
            _check_room(url, STEP, folder)
        yield block
        if time.monotonic() > due:
            due = time.monotonic() + EVERY
            whole = "" if size is None else f" of {size_in_words(size)}"
            progress(came / size if size else 0.0, f"fetched {size_in_words(came)}{whole}")
    if size is not None and came != size:
        raise InputError(f"{url}: cut short: {came:,} of {size:,} bytes came; try again")


def _check_room(url: str, size: int, folder: Path) -> None:
    """InputError where the disk of a folder has no room for so many bytes more."""
    if size > (free := shutil.disk_usage(folder).free):
        words = f"no room for a temporary copy: {size_in_words(free)} are free in {folder.parent}"
        raise InputError(f"{url}: {words}; set TMPDIR to a place with more")


@contextmanager
def _opened(url: str) -> Iterator[tuple[int | None, Iterator[bytes]]]:
    """A file's size, if it is known, and its blocks: over HTTP, or by the package that speaks the protocol."""
    if url.partition("://")[0].lower() in ("http", "https"):
        with open_http(url, allowed(LARGEST)) as answer:
            yield answer
        return
    system, path = file_system(url)
    try:
        stream = system.open(path, "rb")
        size = getattr(stream, "size", None)
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file") from error
    except Exception as error:  # those who speak a protocol have errors of their own
        raise InputError(f"{url}: cannot be opened ({one_line(error)})") from error
    try:
        yield size if isinstance(size, int) else None, _blocks(url, stream)
    finally:
        stream.close()


def _blocks(url: str, stream: Any) -> Iterator[bytes]:
    try:
        while block := stream.read(BLOCK):
            yield block
    except Exception as error:
        raise InputError(f"{url}: cannot be read to its end ({one_line(error)})") from error


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the name of the file there."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except ImportError as error:  # it says which package
        raise InputError(f"{url}: this protocol needs a package that is not installed: {one_line(error)}") from error
    except Exception as error:
        raise InputError(f"{url}: cannot be reached ({one_line(error)})") from error
    return system, str(path)
