"""Experiment trackers, through accelerate: what goes into ``metrics.jsonl`` goes there too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from pushforward.errors import InputError, nearest

__all__ = ["Tracker", "tracking"]

Tracker = Literal["tensorboard", "wandb", "mlflow"]


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """``{"train": {"lr": 1e-3}}`` as ``{"train.lr": 1e-3}``; what is no number, truth or word as its text."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            out |= {f"{key}.{k}": v for k, v in _flat(value).items()}
        else:
            out[key] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return out


@contextmanager
def tracking(name: str | None, folder: Path, config: dict[str, Any]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that logs a report ``{"step": .., "loss": .., ...}``; one that does nothing if ``name`` is None.

    TensorBoard writes into ``folder/tensorboard``, the others where their own settings say. InputError for a tracker
    that is unknown or not installed.
    """
    if name is None:
        yield lambda values: None
        return
    if name not in get_args(Tracker):
        raise InputError(nearest(name, get_args(Tracker), "tracker"))
    from accelerate import Accelerator
    from accelerate.tracking import get_available_trackers

    if name not in [str(known.value) for known in get_available_trackers()]:
        raise InputError(f"--tracker {name}: not installed; pip install {name}")
    accelerator = Accelerator(cpu=True, log_with=name, project_dir=folder)
    accelerator.init_trackers("tensorboard" if name == "tensorboard" else folder.resolve().name, config=_flat(config))

    def track(values: dict[str, Any]) -> None:
        numbers = {key: value for key, value in values.items() if key != "step" and value is not None}
        accelerator.log(numbers, step=values["step"])

    try:
        yield track
    finally:
        accelerator.end_training()
