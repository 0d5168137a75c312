"""Experiment trackers, through accelerate: what goes into ``metrics.jsonl`` goes there too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from pushforward.errors import InputError, nearest, one_line

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
def tracking(
    name: str | None, folder: Path, config: dict[str, Any], warn: Callable[[str], None] = lambda message: None
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Log reports ``{"step": .., "loss": .., ...}`` by the function in the block; nothing is logged without a ``name``.

    TensorBoard writes into ``folder/tensorboard``, the others where their own settings say. A tracker that does not
    answer later on is told to ``warn``, and does not end the training. InputError for one that is unknown, not
    installed, or cannot be started.
    """
    if name is None:
        yield lambda values: None
        return
    if name not in get_args(Tracker):
        raise InputError(nearest(name, get_args(Tracker), "tracker"))
    from accelerate import Accelerator
    from accelerate.tracking import get_available_trackers

    if name not in [str(tracker.value) for tracker in get_available_trackers()]:
        raise InputError(f"--tracker {name}: not installed; pip install {name}")
    accelerator: Any = Accelerator(cpu=True, log_with=name, project_dir=folder)
    try:
        accelerator.init_trackers("tensorboard" if name == "tensorboard" else folder.resolve().name, _flat(config))
    except Exception as error:  # theirs are of every kind: a server, an account, a data base
        raise InputError(f"--tracker {name}: cannot be started ({one_line(error)})") from error

    def track(values: dict[str, Any]) -> None:
        numbers = {key: value for key, value in values.items() if key != "step" and value is not None}
        try:
            accelerator.log(numbers, step=values["step"])
        except Exception as error:
            warn(f"--tracker {name}: step {values['step']} was not taken ({one_line(error)}); metrics.jsonl has it")

    try:
        yield track
    finally:
        try:
            accelerator.end_training()
        except Exception as error:
            warn(f"--tracker {name}: could not be closed ({one_line(error)})")
