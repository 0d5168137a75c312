"""Files that are written whole or not at all, and read only if they are what was written.

A folder of state is ``state.safetensors``, ``state.json`` and ``manifest.json``, which holds the size and a BLAKE2b
digest of the other two. What is read is never more than what is expected: sizes and shapes are compared before memory
is asked for, and nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import platform
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pushforward.errors import InputError, one_line

__all__ = [
    "append_line",
    "at_most",
    "load_weights",
    "locked",
    "no_links",
    "numbered",
    "read_folder",
    "save_weights",
    "scratch_folder",
    "stays_inside",
    "sweep",
    "write_folder",
    "written_whole",
]

TENSORS, VALUES, MANIFEST = "state.safetensors", "state.json", "manifest.json"
LARGEST_JSON = 2**16
HEADER = 2**12  # bytes of a safetensors header per tensor, at most
_NEW = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
_WRITING: set[str] = set()  # names of scratch folders of this process, by whichever thread
_SCRATCH = threading.Lock()  # one is made or swept at a time, so that none is swept before it is known
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


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
    """Append a line to a file, made if need be; OSError for a link in its place, which is never followed."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:
        file.write(line)


def numbered(folder: Path) -> list[Path]:
    """The folders ``step-N`` in a folder, by their number; links are not followed."""
    steps = [p for p in folder.glob("step-*") if re.fullmatch("[0-9]{1,15}", p.name[5:]) and not p.is_symlink()]
    return sorted(steps, key=lambda p: int(p.name[5:]))


def no_links(folder: Path) -> None:
    """InputError if anything in a folder that is to be written into is a link: it might lead out of it."""
    for child in folder.iterdir() if folder.is_dir() else ():
        if child.is_symlink():
            raise InputError(f"{child}: is a link; a run is trained in plain files and folders, put a copy here")


def _write(tensors: dict[str, Tensor], path: Path, digest: str = "") -> None:
    try:
        save_file(tensors, path, {"blake2b": digest} if digest else None)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(one_line(error)) from error


def _file_digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _size(path: Path, largest: int) -> int:
    """The size of a plain file; ValueError for anything else, or for more than can belong there."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is not a plain file")
    if status.st_size > largest:
        raise ValueError(f"{path.name} has {status.st_size:,} bytes where {largest:,} at most belong")
    return status.st_size


def _read_tensors(path: Path, expected: dict[str, Tensor]) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a file, and its digest if it holds one; ValueError unless names, shapes and types are expected."""
    payload = sum(value.numel() * value.element_size() for value in expected.values())
    if not _size(path, payload + HEADER * (len(expected) + 2)):
        raise ValueError(f"{path.name} is empty")
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        if names != expected.keys():
            name = sorted(names ^ expected.keys())[0]
            raise ValueError(f"another network: {name[:60]!r} is {'missing' if name in expected else 'not expected'}")
        for name, value in expected.items():
            part = file.get_slice(name)
            shape, dtype = tuple(part.get_shape()), _DTYPES.get(part.get_dtype())
            if shape != tuple(value.shape) or dtype != value.dtype:
                raise ValueError(
                    f"another network: {name} is {dtype} {shape}, where {value.dtype} {tuple(value.shape)} belongs"
                )
        return {name: file.get_tensor(name) for name in expected}, (file.metadata() or {}).get("blake2b")


class at_most(TorchFunctionMode):
    """Context manager that refuses new tensors beyond what a weights file of ``size`` bytes can fill.

    InputError as soon as they exceed it: the file and the configuration are not of one network. Both may come from a
    stranger.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.left = size, 4 * size + 2**24

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _NEW:
            shape = args[0] if args and isinstance(args[0], (tuple, list)) else args
            self.left -= 4 * math.prod(n for n in shape if isinstance(n, int)) + 2**9
            if self.left < 0:
                raise InputError(f"describes a larger network than weights of {self.size:,} bytes can be of")
        return func(*args, **(kwargs or {}))


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write the weights of a network, its ``state_dict``, as one safetensors file, which holds a digest of them."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
    with written_whole(path) as scratch:
        _write(tensors, scratch, _digest(tensors))


def load_weights(net: nn.Module, path: Path) -> None:
    """Fill a network from a safetensors file; InputError if it is missing, damaged or of another network."""
    try:
        # a link is fine where nothing is written: model caches are made of them
        tensors, digest = _read_tensors(path.resolve(), net.state_dict())
        if digest is not None and digest != _digest(tensors):
            raise ValueError("its checksum does not match")
        net.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)}); the run is incomplete or damaged") from error


def write_folder(target: Path, tensors: dict[str, Tensor], values: dict[str, float]) -> None:
    """Write a folder of state, ``RUN/checkpoints/step-N`` or the like, whole or not at all; OSError when the disk
    refuses.

    InputError where the folder above it leads out of the run.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target, target.parent.parent) as scratch:
        scratch.mkdir()
        _write({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, scratch / TENSORS)
        (scratch / VALUES).write_text(json.dumps(values))
        manifest = {
            name: {"bytes": (scratch / name).stat().st_size, "blake2b": _file_digest(scratch / name)}
            for name in (TENSORS, VALUES)
        }
        (scratch / MANIFEST).write_text(json.dumps(manifest))


def read_folder(path: Path, expected: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_folder` wrote; ValueError or OSError, in plain words, for anything else.

    ``expected`` says names, shapes and types of the tensors; their values are not looked at.
    """
    try:
        _size(path / MANIFEST, LARGEST_JSON)
        manifest = json.loads((path / MANIFEST).read_text())
        if not isinstance(manifest, dict) or manifest.keys() != {TENSORS, VALUES}:
            raise ValueError(f"{MANIFEST} names other files")
        payload = sum(value.numel() * value.element_size() for value in expected.values())
        for name, largest in ((VALUES, LARGEST_JSON), (TENSORS, payload + HEADER * (len(expected) + 2))):
            if not _size(path / name, largest):
                raise ValueError(f"{name} is empty")
            if manifest[name] != {"bytes": (path / name).stat().st_size, "blake2b": _file_digest(path / name)}:
                raise ValueError(f"the checksum of {name} does not match")
        values = json.loads((path / VALUES).read_text())
        if not isinstance(values, dict):
            raise ValueError(f"{VALUES} holds no object")
        return _read_tensors(path / TENSORS, expected)[0], values
    except (SafetensorError, RuntimeError) as error:  # RuntimeError: JSON nested without end, among others
        raise ValueError(one_line(error)) from error
