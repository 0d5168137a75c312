"""Checkpoints: everything training needs to go on, in safetensors and JSON, written whole or not at all.

A checkpoint is the folder ``checkpoints/step-N`` with ``state.safetensors`` (weights, averages, optimiser),
``state.json`` (step, seconds, losses not yet reported) and ``manifest.json`` (sizes and checksums). It is written
beside, synced, then renamed: a crash or full disk leaves the one before. It does not depend on how many processes wrote
it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from pushforward.errors import InputError
from pushforward.train.files import numbered, one_line, read_folder, write_folder

__all__ = ["Checkpoint", "latest", "restore", "restore_newest", "save"]

# the fields in state.json
_COUNTERS = {"step": int, "seconds": float, "reported": int, "loss": float, "good": int, "skipped": int}
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Checkpoint:
    """All that has state: what `save` writes and `restore` reads back, named once.

    ``optimiser`` is an AdamW of the one flat buffer that holds all weights; ``sharp`` the second average, as flat.
    """

    net: nn.Module
    ema: nn.Module
    sharp: Tensor
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    reported: int = 0  # step of the last report
    loss: float = 0.0  # sum of the losses since
    good: int = 0  # how many they are
    skipped: int = 0  # steps without an update, because something was not finite

    @property
    def flat(self) -> Tensor:
        """The buffer of all weights."""
        return cast(Tensor, self.optimiser.param_groups[0]["params"][0])

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name; of an optimiser that has not stepped, zeros."""
        slots = self.optimiser.state[self.flat]
        if not slots:
            slots |= {"step": torch.zeros((), device=self.flat.device)}
            slots |= {key: torch.zeros_like(self.flat, requires_grad=False) for key in _MOMENTS}
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        tensors |= {f"optimiser.{k}": v for k, v in slots.items()}
        return {k: v.detach() for k, v in (tensors | {"sharp": self.sharp}).items()}

    def counters(self) -> dict[str, float]:
        """All that is a number."""
        return {key: getattr(self, key) for key in _COUNTERS}


def save(state: Checkpoint, folder: Path, keep: int) -> Path:
    """Write ``folder/step-N`` and drop all but the newest ``keep``; OSError when the disk refuses, nothing lost.

    A folder of that step is replaced, and those of later steps, of a training that was begun again, are dropped.
    """
    target = folder / f"step-{state.step}"
    write_folder(target, state.tensors(), state.counters())
    found = numbered(folder)
    upto = [path for path in found if int(path.name[5:]) <= state.step]
    for old in [*upto[:-keep], *found[len(upto) :]]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in a folder."""
    found = numbered(folder)
    return found[-1] if found else None


def restore(state: Checkpoint, path: Path) -> None:
    """Set all of the state to a checkpoint's, bit for bit; InputError, and nothing set, if it is damaged."""
    try:
        here = state.tensors()
        tensors, values = read_folder(path, here)
        if values.keys() != _COUNTERS.keys():
            raise ValueError("state.json has other fields")
        for key, kind in _COUNTERS.items():
            value = values[key]
            if type(value) not in {kind, int} or not math.isfinite(value) or (value < 0 and key != "loss"):
                raise ValueError(f"{key} is {value!r:.60}")
        if not values["step"] == int(path.name[5:]) >= max(values["reported"], values["good"], values["skipped"]):
            raise ValueError("state.json is of another step")
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: damaged checkpoint ({one_line(error)})") from error
    for name, value in tensors.items():
        here[name].copy_(value)  # views of the buffers in use
    for key, kind in _COUNTERS.items():
        setattr(state, key, kind(values[key]))


def restore_newest(state: Checkpoint, folder: Path, warn: Callable[[str], None]) -> None:
    """Go on from the newest checkpoint that is whole, and `warn` of those that are not; from the start without any.

    Raises InputError if there are checkpoints and all are damaged.
    """
    damaged: InputError | None = None
    for path in reversed(numbered(folder)):
        try:
            restore(state, path)
        except InputError as error:
            damaged = error
            warn(f"{error}; the one before is used")
            continue
        return
    if damaged is not None:
        raise InputError(f"{damaged}, and so is any before it; delete {folder} to begin again")
