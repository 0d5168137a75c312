"""Checkpoints: everything training needs to go on, in safetensors and JSON, written whole or not at all.

A checkpoint is the folder ``checkpoints/step-N`` with ``state.safetensors`` (weights, EMA, optimiser) and
``state.json`` (step, seconds, losses not yet reported). It is written beside, synced, then renamed: a crash or full
disk leaves the one before.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pushforward.errors import InputError

__all__ = ["Checkpoint", "latest", "load_weights", "restore", "save", "save_weights", "written_whole"]


_COUNTERS = {"step": int, "seconds": float, "reported": int, "loss": float}  # the fields in state.json


@dataclass
class Checkpoint:
    """All that has state: what `save` writes and `restore` reads back, named once."""

    net: nn.Module
    ema: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    reported: int = 0  # step of the last report
    loss: float = 0.0  # sum of the losses since


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A scratch path beside ``path``, renamed onto it when the block succeeds and removed when it does not."""
    for left in path.parent.glob(f".{path.name}.*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield scratch / path.name
        for file in [scratch / path.name, *(scratch / path.name).glob("*")]:
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        os.replace(scratch / path.name, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _tensors(state: Checkpoint) -> dict[str, Tensor]:
    tensors = {f"net.{k}": v for k, v in state.net.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in state.ema.state_dict().items()}
    for slots in state.optimiser.state.values():  # of the one flat buffer that holds all weights
        tensors |= {f"optimiser.{key}": value for key, value in slots.items()}
    return {k: v.detach().contiguous() for k, v in tensors.items()}


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(_line(error)) from error


def save_weights(net: nn.Module, path: Path) -> None:
    """The weights of a network as one safetensors file."""
    with written_whole(path) as scratch:
        _write({k: v.detach().contiguous() for k, v in net.state_dict().items()}, scratch)


def load_weights(net: nn.Module, path: Path) -> None:
    """Fill a network from a safetensors file; InputError if it is missing, damaged or of another network."""
    try:
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({_line(error)}); the run is incomplete or damaged") from error
    except RuntimeError as error:
        raise InputError(f"{path}: holds the weights of another network ({_line(error)})") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def save(state: Checkpoint, folder: Path, keep: int) -> Path:
    """Write ``folder/step-N`` and drop all but the newest ``keep``; OSError when the disk refuses, nothing lost."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{state.step}"
    if not target.exists():
        with written_whole(target) as scratch:
            scratch.mkdir()
            _write(_tensors(state), scratch / "state.safetensors")
            meta = {key: getattr(state, key) for key in _COUNTERS}
            (scratch / "state.json").write_text(json.dumps(meta))
    for old in _numbered(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def _numbered(folder: Path) -> list[Path]:
    steps = [p for p in folder.glob("step-*") if p.name[5:].isdigit()]
    return sorted(steps, key=lambda p: int(p.name[5:]))


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in a folder."""
    found = _numbered(folder)
    return found[-1] if found else None


def restore(state: Checkpoint, path: Path) -> None:
    """Set weights, EMA, optimiser, step and seconds to a checkpoint's, bit for bit; InputError if it is damaged."""
    try:
        tensors = load_file(path / "state.safetensors")
        meta = json.loads((path / "state.json").read_text())
        parts: dict[str, dict[str, Tensor]] = {"net": {}, "ema": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        state.net.load_state_dict(parts["net"])
        state.ema.load_state_dict(parts["ema"])
        (flat,) = state.optimiser.param_groups[0]["params"]
        if parts["optimiser"] and parts["optimiser"]["exp_avg"].shape != flat.shape:
            raise ValueError("the optimiser's state is of another network")
        state.optimiser.state[flat].update({key: value.to(flat.device) for key, value in parts["optimiser"].items()})
        for key, kind in _COUNTERS.items():
            setattr(state, key, kind(meta[key]))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: damaged checkpoint ({_line(error)}); delete this folder to go on from the one before"
        ) from error
