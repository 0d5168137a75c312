"""Files and folders written whole or not at all, and never through a link; locks; the sweep of what a kill left."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from pushforward.errors import InputError

__all__ = [
    "append_line",
    "locked",
    "no_links",
    "numbered",
    "scratch_folder",
    "size_of",
    "stays_inside",
    "sweep",
    "written_whole",
]

_WRITING: set[str] = set()  # names of scratch folders of this process, by whichever thread
_SCRATCH = threading.Lock()  # one is made or swept at a time, so that none is swept before it is known


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def stays_inside(path: Path, root: Path) -> None:
    """InputError if the folder of ``path`` leads out of ``root`` by way of a link."""
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{path.parent}: is a link that leads out of {root}; nothing is written there")


def sweep(folder: Path) -> None:
    """Delete what processes of this machine that were killed have left half written; what others write now stays."""
    for left in folder.glob(".*"):
        writer = re.fullmatch(rf"\..+\.{_host()}-([0-9]+)-[A-Za-z0-9_]+", left.name)
        if writer is None or left.is_symlink() or not left.is_dir():
            continue
        # in a container every trainer may have the number of the one that was killed
        ours = int(writer[1]) == os.getpid()
        if (ours and not _writing(left.name)) or not _alive(int(writer[1])):
            shutil.rmtree(left, ignore_errors=True)


def _writing(name: str) -> bool:
    """Whether this process is writing in a scratch folder of that name now."""
    with _SCRATCH:
        return name in _WRITING


@functools.cache
def _host() -> str:
    """A few digits of this machine's name: what other machines write into a shared folder is not judged here."""
    return hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()


def _alive(process: int) -> bool:
    """Whether a process of that number runs, as far as this machine can tell."""
    if os.name != "posix":  # where the question itself would interrupt it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        pass
    return True


def scratch_folder(place: Path, name: str) -> Path:
    """Make a folder that nobody else may look into; `sweep` deletes it should this process be killed."""
    with _SCRATCH:
        folder = Path(tempfile.mkdtemp(prefix=f".{name}.{_host()}-{os.getpid()}-", dir=place))
        _WRITING.add(folder.name)
    return folder


@contextlib.contextmanager
def written_whole(path: Path, root: Path | None = None) -> Iterator[Path]:
    """Write a file or folder whole or not at all: at a scratch path, renamed to ``path`` when the block succeeds.

    A file or folder of that name is replaced, a link by what is written and never followed. The scratch folder is new,
    nobody can guess its name, and nobody else may look into it. The rename is on the disk when this returns. InputError
    where the folder of ``path`` leads out of ``root``, if that is given: the folder of a run may come from a stranger.
    """
    if root is not None:
        stays_inside(path, root)
    sweep(path.parent)
    scratch = scratch_folder(path.parent, path.name)
    try:
        yield scratch / path.name
        for file in [*(scratch / path.name).glob("*"), scratch / path.name]:
            _sync(file)
        if path.is_dir() and not path.is_symlink():
            os.replace(path, scratch / "before")
        os.replace(scratch / path.name, path)
        _sync(path.parent)
    except OSError as error:
        tried = [str(name) for name in (error.filename, error.filename2) if name is not None]
        if error.errno is not None and (not tried or any(name.startswith(str(scratch)) for name in tried)):
            error.filename, error.filename2 = str(path), None  # what was to be written, not where it was tried
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _WRITING.discard(scratch.name)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one trainer: InputError where another holds it. A process that is killed lets go of it.

    Others may read. Where a file system has no such locks nothing is held.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # no locks on this file system
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                words = "another process trains here now; wait until it is done, or choose another --out"
                raise InputError(f"{folder}: {words}") from error
        yield
    finally:
        os.close(handle)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, made if need be, whole or not at all; OSError for a link, which is never followed."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(path, flags, 0o666), "ab", buffering=0) as file:
        before, data = os.fstat(file.fileno()).st_size, f"{line}\n".encode()
        try:
            while data:  # a disk may take a part of it before it is full
                data = data[file.write(data) :]
        except OSError:
            file.truncate(before)
            raise


def size_of(path: Path, largest: int) -> int:
    """The size of a plain file; ValueError for anything else, a pipe say, and for more than can belong there."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is not a plain file")
    if status.st_size > largest:
        raise ValueError(f"{path.name} has {status.st_size:,} bytes where {largest:,} at most belong")
    return status.st_size


def numbered(folder: Path) -> list[Path]:
    """The folders ``step-N`` in a folder, by their number; links are not followed."""
    steps = [p for p in folder.glob("step-*") if re.fullmatch("[0-9]{1,15}", p.name[5:]) and not p.is_symlink()]
    return sorted(steps, key=lambda p: int(p.name[5:]))


def no_links(folder: Path) -> None:
    """InputError if anything in a folder that is to be written into is a link: it might lead out of it."""
    for child in folder.iterdir() if folder.is_dir() else ():
        if child.is_symlink():
            raise InputError(f"{child}: is a link; a run is trained in plain files and folders, put a copy here")
