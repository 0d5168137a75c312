"""The optimizer, the options and the hooks of a training, and the status that it reports."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from pushforward.distributed import SINGLE, Processes

__all__ = ["Hooks", "OptimizerConfig", "TrainingOptions", "TrainingStatus"]

WARM = 0.1  # share of the budget, however few steps it allows, after which the learning rate is at its peak


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up, cosine decay to zero over the budget, gradients clipped to norm ``clip``, and the average.

    The average is the power-function EMA, ``ema_k = ema_{k-1} + (w - ema_{k-1}) (1 - (1 - 1/k)^(1 + ema))``, whose
    memory is a constant share of the steps so far (Karras et al. 2024, equation 127): it needs no tuning to run length.
    """

    lr: float
    warmup: int
    weight_decay: float
    clip: float
    ema: float

    def rate(self, step: int, spent: float) -> float:
        """Learning rate of a step, when a share of the budget is ``spent``: warm-up takes a tenth of it at most."""
        warm = max((step + 1) / max(1, self.warmup), spent / WARM)
        return self.lr * min(1.0, warm) * 0.5 * (1 + math.cos(math.pi * spent))


@dataclass(frozen=True)
class TrainingOptions:
    """Where a training keeps its state, how often, and how a step is computed.

    With a ``folder``, checkpoints are kept there every ``checkpoint_every`` steps, the newest ``keep`` of them, and
    training goes on from the newest whole one, which is one of this ``run``, if that is given: any text. In
    ``snapshots`` averages are kept from which those of other lengths are made. The rows of a batch are shared out among
    ``processes``, and there among ``accumulate`` parts one after the other; with ``shard`` the weights are shared out
    too (`Sharded`), the network may be on any device, and the loss evaluates it once. With ``precision`` "bf16"
    products are in bfloat16, and weights in float32.
    """

    seed: int = 0
    folder: Path | None = None
    snapshots: Path | None = None
    run: str = ""
    report_every: int = 100
    checkpoint_every: int = 2000
    keep: int = 2
    accumulate: int = 1
    precision: Literal["float32", "bf16"] = "float32"
    processes: Processes = SINGLE
    shard: bool = False


@dataclass(frozen=True)
class TrainingStatus:
    """What a person watching sees: losses are means over the steps since the last report, ``skipped`` counts all."""

    step: int
    seconds: float
    spent: float
    loss: float
    held_out: float | None
    grad_norm: float
    lr: float
    steps_per_second: float
    skipped: int

    def describe(self) -> str:
        """The step, the losses and the speed, on one line."""
        held_out = "" if self.held_out is None else f"  held-out {self.held_out:.4f}"
        return f"step {self.step:,}  loss {self.loss:.4f}{held_out}  {self.steps_per_second:,.0f} steps/s"


@dataclass(frozen=True)
class Hooks:
    """What a training calls, where it is given.

    All processes call ``held_out(ema)``, the loss that stands in a report, and ``on_preview(ema, step)``, after a
    checkpoint unless there is a hurry. The main one alone calls ``on_resume(step)``, before the first step,
    ``on_report(status)``, ``on_checkpoint(weights, step)``, with the average by name, and ``warn(message)``. A training
    that goes on may report and show the step that it goes on from again: a kill may have come between.
    ``closing_cost`` is what ``held_out`` and ``on_preview`` take, in steps, for the first time that they are called:
    the minutes of a budget include them.
    """

    held_out: Callable[[nn.Module], float] | None = None
    on_resume: Callable[[int], None] | None = None
    on_report: Callable[[TrainingStatus], None] | None = None
    on_checkpoint: Callable[[dict[str, Tensor], int], None] | None = None
    on_preview: Callable[[nn.Module, int], None] | None = None
    warn: Callable[[str], None] | None = None
    closing_cost: float = 0.0
