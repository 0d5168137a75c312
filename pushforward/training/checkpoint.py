"""Checkpoints: everything training needs to go on, in safetensors and JSON, written whole or not at all.

A checkpoint is the folder ``checkpoints/step-N`` with ``state.safetensors`` (weights, averages, optimizer),
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

import torch
from torch import Tensor, nn

from pushforward.errors import InputError, one_line
from pushforward.files.tensorfile import read_folder, write_folder
from pushforward.files.writing import numbered
from pushforward.training.weights import Weights

__all__ = ["Checkpoint", "latest", "restore", "restore_newest", "save"]

# the fields in state.json
_COUNTERS = {"step": int, "seconds": float, "reported": int, "loss": float, "good": int, "skipped": int, "norm": float}
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Checkpoint:
    """All that has state: what `save` writes and `restore` reads back, named once.

    ``optimizer`` is an AdamW of ``weights.parts``.
    """

    weights: Weights
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    reported: int = 0  # step of the last report
    loss: float = 0.0  # sum of the losses since
    good: int = 0  # how many they are
    skipped: int = 0  # steps without an update, because something was not finite
    norm: float = 0.0  # of the last gradient that was read

    def __post_init__(self) -> None:
        for part in self.weights.parts:
            self.optimizer.state[part] |= {"step": torch.zeros((), device=part.device, dtype=torch.float32)}
            self.optimizer.state[part] |= {key: torch.zeros_like(part, requires_grad=False) for key in _MOMENTS}

    @property
    def net(self) -> nn.Module:
        """The network in training."""
        return self.weights.net

    @property
    def ema(self) -> nn.Module:
        """The network of the average."""
        return self.weights.ema

    def _slots(self, key: str) -> list[Tensor]:
        return [self.optimizer.state[part][key] for part in self.weights.parts]

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, whole; called by all processes, and of use in the main one only."""
        tensors = {f"net.{k}": v for k, v in self.weights.named(self.net).items()}
        tensors |= {f"ema.{k}": v for k, v in self.weights.named(self.ema).items()}
        tensors |= {"optimiser.step": self._slots("step")[0]}
        tensors |= {f"optimiser.{key}": self.weights.joined(self._slots(key)) for key in _MOMENTS}
        return tensors | {"sharp": self.weights.joined(self.weights.sharp)}

    def like(self) -> dict[str, Tensor]:
        """Tensors without memory that have the names, shapes and types of ``tensors``."""
        nets = {"net": self.net.state_dict(), "ema": self.ema.state_dict()}
        shapes = {f"{net}.{k}": (v.shape, v.dtype) for net, values in nets.items() for k, v in values.items()}
        whole = (torch.Size([self.weights.size]), self.weights.parts[0].dtype)
        shapes |= {"optimiser.step": (torch.Size(), torch.float32), "sharp": whole}
        shapes |= {f"optimiser.{key}": whole for key in _MOMENTS}
        return {k: torch.empty(shape, dtype=dtype, device="meta") for k, (shape, dtype) in shapes.items()}

    def counters(self) -> dict[str, float]:
        """All that is a number."""
        return {key: getattr(self, key) for key in _COUNTERS}

    def put(self, tensors: dict[str, Tensor] | None) -> None:
        """Take over what ``tensors`` gave, by all processes; None in all but the main one."""

        def of(net: str) -> dict[str, Tensor] | None:
            return None if tensors is None else {k[4:]: v for k, v in tensors.items() if k.startswith(f"{net}.")}

        def whole(name: str) -> Tensor | None:
            return None if tensors is None else tensors[name]

        self.weights.put_named(self.net, of("net"))
        self.weights.put_named(self.ema, of("ema"))
        self.weights.put_joined(self.weights.sharp, whole("sharp"))
        for key in _MOMENTS:
            self.weights.put_joined(self._slots(key), whole(f"optimiser.{key}"))
        steps = self._slots("step")
        if tensors is not None:
            steps[0].copy_(tensors["optimiser.step"])
        self.weights.processes.broadcast_(steps[:1])
        for step in steps[1:]:
            step.copy_(steps[0])

    def put_counters(self, values: dict[str, float]) -> None:
        """Take over what ``counters`` gave."""
        for key, kind in _COUNTERS.items():
            setattr(self, key, kind(values[key]))


def save(tensors: dict[str, Tensor], counters: dict[str, float], folder: Path, keep: int, run: str = "") -> Path:
    """Write ``folder/step-N`` and drop all but the newest ``keep``; OSError when the disk refuses, nothing lost.

    A folder of that step is replaced, and those of later steps, of a training that was begun again, are dropped.
    ``run`` is what a checkpoint of it is known by.
    """
    step = int(counters["step"])
    target = folder / f"step-{step}"
    write_folder(target, tensors, counters, run)
    folders = numbered(folder)
    upto = [path for path in folders if int(path.name[5:]) <= step]
    for old in [*upto[:-keep], *folders[len(upto) :]]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in a folder."""
    folders = numbered(folder)
    return folders[-1] if folders else None


def _read(path: Path, like: dict[str, Tensor], run: str = "") -> tuple[dict[str, Tensor], dict[str, float]]:
    """Tensors and counters of a checkpoint; InputError if it is damaged, or of another run."""
    try:
        tensors, values = read_folder(path, like, run)
        values.setdefault("norm", 0.0)  # which checkpoints of before do not say
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
    return tensors, values


def restore(state: Checkpoint, path: Path) -> None:
    """Set all of the state of one process to a checkpoint's, bit for bit; InputError, and nothing set, if damaged."""
    tensors, counters = _read(path, state.like())
    state.put(tensors)
    state.put_counters(counters)


def _newest(
    like: dict[str, Tensor], folder: Path, run: str, warn: Callable[[str], None]
) -> tuple[dict[str, Tensor], dict[str, float]] | None:
    """The newest checkpoint that is whole; `warn` of those that are not, InputError if all are damaged."""
    damaged: InputError | None = None
    for path in reversed(numbered(folder)):
        try:
            return _read(path, like, run)
        except InputError as error:
            damaged = error
            warn(f"{error}; the one before is used")
    if damaged is not None:
        raise InputError(f"{damaged}, and so is any before it; delete {folder} to begin again")
    return None


def restore_newest(state: Checkpoint, folder: Path | None, run: str, warn: Callable[[str], None]) -> None:
    """Go on from the newest checkpoint that is whole and of this ``run``, if that is given; from the start without any.

    `warn` of those that are not. By all processes, from what the main one reads. Raises InputError if there are
    checkpoints and all are damaged or of other runs.
    """
    processes = state.weights.processes
    like = state.like()
    newest = processes.on_main(lambda: None if folder is None else _newest(like, folder, run, warn))
    counters = torch.tensor(list((state.counters() if newest is None else newest[1]).values()), dtype=torch.float64)
    counters = counters if processes.device is None else counters.to(processes.device)
    if processes.any(newest is not None):
        state.put(None if newest is None else newest[0])
        processes.broadcast_([counters])
        state.put_counters(dict(zip(_COUNTERS, counters.tolist(), strict=True)))
