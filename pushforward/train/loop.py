"""The training loop: one optimiser step fits one screen, and adds as little as it can to the network's own work."""

from __future__ import annotations

import copy
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from pushforward.errors import InputError
from pushforward.tensor import generator
from pushforward.train.checkpoint import Checkpoint, latest, restore, save

__all__ = ["Budget", "Optimiser", "Progress", "fit"]

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Budget:
    """How long to train, whichever comes first: optimiser ``steps``, ``minutes`` of training time, or both."""

    steps: int | None
    minutes: float | None

    def spent(self, step: int, seconds: float) -> float:
        """The share of the budget that is used up, 1 when training is over."""
        by_steps = 0.0 if self.steps is None else step / self.steps
        by_time = 0.0 if self.minutes is None else seconds / (60 * self.minutes)
        return min(1.0, max(by_steps, by_time))


@dataclass(frozen=True)
class Optimiser:
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
        """Learning rate of a step."""
        return self.lr * min(1.0, (step + 1) / max(1, self.warmup)) * 0.5 * (1 + math.cos(math.pi * spent))


@dataclass(frozen=True)
class Progress:
    """What a person watching sees: losses are means over the steps since the last report."""

    step: int
    seconds: float
    spent: float
    loss: float
    held_out: float | None
    grad_norm: float
    lr: float
    steps_per_second: float


def flatten(net: nn.Module, gradients: bool) -> nn.Parameter:
    """Put all trainable parameters, and their gradients, into one buffer each; they become views of it.

    The optimiser, the clipping and the average are then one kernel each instead of one per parameter, which is a
    quarter of the time of a step of a small network. Names, shapes and ``state_dict`` stay as they were.
    """
    params = [p for p in net.parameters() if p.requires_grad]
    if len({(p.dtype, p.device) for p in params}) != 1:
        raise ValueError("all trainable parameters must have one dtype and one device")
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in params]))
    sizes = [p.numel() for p in params]
    for p, value in zip(params, flat.detach().split(sizes), strict=True):
        p.data = value.view_as(p)
    if gradients:
        flat.grad = torch.zeros_like(flat)
        for p, grad in zip(params, flat.grad.split(sizes), strict=True):
            p.grad = grad.view_as(p)
    return flat


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM, noted and answered between two steps; a second Ctrl-C interrupts at once."""
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where Python delivers no signals
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fit(
    net: nn.Module,
    loss: Callable[[nn.Module, Batch, torch.Generator], Tensor],
    feed: Callable[[int], Batch],
    budget: Budget,
    optimiser: Optimiser,
    *,
    seed: int,
    folder: Path | None,
    held_out: Callable[[nn.Module], float] | None = None,
    report: Callable[[Progress], None] | None = None,
    warn: Callable[[str], None] | None = None,
    kept: Callable[[nn.Module, int], None] | None = None,
    report_every: int = 100,
    checkpoint_every: int = 2000,
    keep: int = 2,
) -> tuple[Checkpoint, bool]:
    """Train ``net`` on ``feed(0), feed(1), ...`` until the budget is spent; returns the state and whether it was.

    ``loss(net, batch, generator)`` is one number per row; ``held_out(ema)`` is measured at each report. With a
    ``folder``, checkpoints are kept there and training goes on from the newest one; ``kept(ema, step)`` is called after
    each. A disk that refuses one is reported by ``warn`` and training goes on: the checkpoint before is still there.
    Raises InputError when the loss or the weights stop being finite, or the last checkpoint cannot be saved.
    """
    ema = copy.deepcopy(net)
    weights, average = flatten(net, gradients=True), flatten(ema, gradients=False).detach()
    grad = cast(Tensor, weights.grad)
    adam = torch.optim.AdamW([weights], lr=optimiser.lr, weight_decay=optimiser.weight_decay, fused=True)
    state = Checkpoint(net, ema.requires_grad_(False), adam)
    if folder is not None and (newest := latest(folder)) is not None:
        restore(state, newest)
    noise = generator(seed, "loss")
    total, since, start = torch.tensor(state.loss, device=weights.device), state.reported, state.step
    began = time.monotonic() - state.seconds
    reported, norm, step, spent = time.monotonic(), total, start, budget.spent(start, state.seconds)

    def checked() -> float:
        """Mean loss since the last report. Asked at reports and checkpoints only, so that no step waits for the device
        and no checkpoint holds a NaN."""
        mean = float(total) / max(1, step - since)
        if not (math.isfinite(mean) and bool(average.isfinite().all())):
            raise InputError(
                f"the loss or the weights stopped being finite between steps {since} and {step} (mean loss {mean:.4g});"
                " the last good checkpoint is kept: lower --lr or look at the data (pushforward inspect)"
            )
        return mean

    def tell() -> None:
        nonlocal total, since, reported
        mean, now = checked(), time.monotonic()
        if report is not None:
            score = None if held_out is None else held_out(state.ema)
            speed = (step - max(since, start)) / max(now - reported, 1e-9)
            rate = optimiser.rate(step, spent)
            report(Progress(step, now - began, spent, mean, score, float(norm), rate, speed))
        total, since, reported = torch.zeros_like(total), step, time.monotonic()

    def keep_state(last: bool = False) -> None:
        checked()
        state.step, state.seconds, state.reported, state.loss = step, time.monotonic() - began, since, float(total)
        try:
            if folder is not None:
                save(state, folder, keep)
            if kept is not None:
                kept(state.ema, step)
        except OSError as error:
            if last:
                raise InputError(
                    f"step {step}, the last, could not be saved ({error}); the checkpoint before it is kept: free some "
                    "space and give the same command again"
                ) from error
            if warn is not None:
                warn(f"step {step} could not be saved ({error}); the checkpoint before it is kept")

    with _asked_to_stop() as asked:
        while spent < 1 and not asked():
            adam.param_groups[0]["lr"] = optimiser.rate(step, spent)
            rows = loss(net, feed(step), noise.manual_seed(seed * 1_000_003 + step))
            mean_loss = rows.mean()
            grad.zero_()
            mean_loss.backward()
            norm = torch.linalg.vector_norm(grad)
            grad.mul_(optimiser.clip / norm.clamp_min(optimiser.clip))  # no branch: the device is never waited for
            adam.step()
            average.lerp_(weights.detach(), 1 - (1 - 1 / (step + 1)) ** (1 + optimiser.ema))
            total += mean_loss.detach()
            step += 1
            spent = budget.spent(step, time.monotonic() - began)
            if step % report_every == 0:
                tell()
            if step % checkpoint_every == 0:
                keep_state()
        keep_state(last=True)  # before the report: with the losses since the last one, going on is bit for bit the same
        if step > max(since, start):
            tell()
    return state, spent >= 1
