"""Tensors in files, read only if they are what was written, of the network and the run that is asked for.

A folder of state is ``state.safetensors``, ``state.json`` and ``manifest.json``, which holds the size and a BLAKE2b
digest of the other two, and the checksum of the run's ``config.json``. What is read is never more than what is
expected: sizes and shapes are compared before memory is asked for, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pushforward.errors import InputError, one_line
from pushforward.files.writing import size_of, written_whole

__all__ = ["at_most", "load_tensors", "load_weights", "read_folder", "save_tensors", "write_folder"]

TENSORS, VALUES, MANIFEST = "state.safetensors", "state.json", "manifest.json"
LARGEST_JSON = 2**16
HEADER = 2**12  # bytes of a safetensors header per tensor, at most
_NEW = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
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


def _write(tensors: dict[str, Tensor], scratch: Path, metadata: dict[str, str] | None = None) -> None:
    try:
        save_file(tensors, scratch, metadata)
    except SafetensorError as error:  # how safetensors reports a full disk
        number = re.search(r"(?:os error|code:) (\d+)", str(error))
        raise OSError(*([int(number[1])] if number else []), one_line(error)) from error


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


def _read_tensors(path: Path, expected: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file and its metadata; ValueError unless names, shapes and types are expected."""
    payload = sum(value.numel() * value.element_size() for value in expected.values())
    if not size_of(path, payload + HEADER * (len(expected) + 2)):
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
        return {name: file.get_tensor(name) for name in expected}, file.metadata() or {}


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


def save_tensors(tensors: dict[str, Tensor], path: Path, run: str = "") -> None:
    """Write tensors as one safetensors file, with a digest of them and the checksum of the ``run`` that they are of."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with written_whole(path) as scratch:
        # one entry: safetensors writes several in any order, and equal weights are equal files
        _write(tensors, scratch, {"blake2b": f"{_digest(tensors)} {run}".rstrip()})


def load_tensors(path: Path, expected: dict[str, Tensor], run: str = "") -> dict[str, Tensor]:
    """Read what `save_tensors` wrote; ValueError in plain words for anything else, or of another ``run``.

    ``expected`` says names, shapes and types of the tensors; their values are not looked at.
    """
    try:
        # a link is fine where nothing is written: model caches are made of them
        tensors, said = _read_tensors(path.resolve(), expected)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(one_line(error)) from error
    digest, _, of = said.get("blake2b", "").partition(" ")
    if digest and digest != _digest(tensors):
        raise ValueError("its checksum does not match")
    _same_run(of or None, run)
    return tensors


def load_weights(net: nn.Module, path: Path, run: str = "") -> None:
    """Fill a network from a safetensors file; InputError if it is missing, damaged, or of another network or run."""
    try:
        net.load_state_dict(load_tensors(path, net.state_dict(), run))
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)}); the run is incomplete or damaged") from error


def _same_run(said: Any, run: str) -> None:
    """ValueError for what belongs to a run of another checksum; what does not say so, or is not asked, is taken."""
    if run and said not in (None, run):
        raise ValueError("it belongs to another run, or config.json is not the one that it was made with")


def write_folder(target: Path, tensors: dict[str, Tensor], values: dict[str, float], run: str = "") -> None:
    """Write a folder of state, ``RUN/checkpoints/step-N`` or the like, whole or not at all; OSError when the disk
    refuses.

    ``run`` is the checksum of the run. InputError where the folder above it leads out of the run.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target, target.parent.parent) as scratch:
        scratch.mkdir()
        _write({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, scratch / TENSORS)
        (scratch / VALUES).write_text(json.dumps(values))
        manifest: dict[str, Any] = {
            name: {"bytes": (scratch / name).stat().st_size, "blake2b": _file_digest(scratch / name)}
            for name in (TENSORS, VALUES)
        }
        (scratch / MANIFEST).write_text(json.dumps(manifest | ({"run": run} if run else {})))


def read_folder(path: Path, expected: dict[str, Tensor], run: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_folder` wrote; ValueError or OSError, in plain words, for anything else, or of another ``run``.

    ``expected`` says names, shapes and types of the tensors; their values are not looked at.
    """
    try:
        size_of(path / MANIFEST, LARGEST_JSON)
        manifest = json.loads((path / MANIFEST).read_text())
        if not isinstance(manifest, dict) or manifest.keys() - {"run"} != {TENSORS, VALUES}:
            raise ValueError(f"{MANIFEST} names other files")
        _same_run(manifest.get("run"), run)
        payload = sum(value.numel() * value.element_size() for value in expected.values())
        for name, largest in ((VALUES, LARGEST_JSON), (TENSORS, payload + HEADER * (len(expected) + 2))):
            if not size_of(path / name, largest):
                raise ValueError(f"{name} is empty")
            if manifest[name] != {"bytes": (path / name).stat().st_size, "blake2b": _file_digest(path / name)}:
                raise ValueError(f"the checksum of {name} does not match")
        values = json.loads((path / VALUES).read_text())
        if not isinstance(values, dict):
            raise ValueError(f"{VALUES} holds no object")
        return _read_tensors(path / TENSORS, expected)[0], values
    except (SafetensorError, RuntimeError) as error:  # RuntimeError: JSON nested without end, among others
        raise ValueError(one_line(error)) from error
