"""The training loop: one optimiser step fits one screen, and adds as little as it can to the network's own work."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from pushforward.distributed import SINGLE, LostProcess, Processes, count_rows, partition, slice_batch
from pushforward.errors import InputError, one_line
from pushforward.tensor import generator
from pushforward.training.average import sharper, step_weight, take_snapshot
from pushforward.training.budget import Budget, TimeBudget
from pushforward.training.checkpoint import Checkpoint, latest, restore_newest, save
from pushforward.training.health import LossMonitor
from pushforward.training.weights import Flat, Weights

__all__ = ["OptimizerConfig", "Progress", "fit"]

Batch = TypeVar("Batch")
WARM = 0.1  # share of the budget, however few steps it allows, after which the learning rate is at its peak
APART = 1.12  # ratio of the steps of which snapshots are kept, besides those of checkpoints
SLOW = 0.25  # seconds; where steps are faster, a device is asked for the above at every eighth only


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
class Progress:
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


def _prepared(feed: Callable[[int], Batch], step: int) -> Batch:
    try:
        return feed(step)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"the batch of step {step} could not be prepared: {type(error).__name__}: {one_line(error)}"
        ) from error


def _held(net: nn.Module, processes: Processes, shard: bool, precision: str) -> Weights:
    if not shard:
        return Flat(net, processes)
    from pushforward.training.shard import Sharded  # which takes a second to import

    return Sharded(net, processes, torch.bfloat16 if precision == "bf16" else None)


def fit(
    net: nn.Module,
    loss: Callable[[nn.Module, Batch, torch.Generator], Tensor],
    feed: Callable[[int], Batch],
    budget: Budget,
    optimizer: OptimizerConfig,
    *,
    seed: int,
    folder: Path | None,
    snapshots: Path | None = None,
    held_out: Callable[[nn.Module], float] | None = None,
    begun: Callable[[int], None] | None = None,
    report: Callable[[Progress], None] | None = None,
    warn: Callable[[str], None] | None = None,
    kept: Callable[[dict[str, Tensor], int], None] | None = None,
    shown: Callable[[nn.Module, int], None] | None = None,
    report_every: int = 100,
    checkpoint_every: int = 2000,
    keep: int = 2,
    accumulate: int = 1,
    precision: Literal["float32", "bf16"] = "float32",
    processes: Processes = SINGLE,
    shard: bool = False,
    ending: float = 0.0,
) -> tuple[Checkpoint, bool]:
    """Train ``net`` on ``feed(0), feed(1), ...`` until the budget is spent; returns the state and whether it was.

    ``loss(net, batch, generator)`` is one number per row; ``held_out(ema)`` is measured at each report. With a
    ``folder``, checkpoints are kept there and training goes on from the newest whole one, ``begun(step)``; after each,
    ``kept(weights, step)`` is called with the average by name, and then ``shown(ema, step)`` unless there is a hurry. A
    disk that refuses one is told to ``warn`` and training goes on: the checkpoint before is still there. In
    ``snapshots`` averages are kept from which those of other lengths are made.

    Each step is of the whole batch: its rows are shared out among ``processes``, and there among ``accumulate`` parts
    one after the other. With ``shard`` the weights are shared out too (`Sharded`), ``net`` may be on any device, and
    ``loss`` evaluates it once. The main process alone calls ``begun``, ``report`` and ``kept``; all call the others.

    ``ending`` is what ``held_out`` and ``shown`` take, in steps, for the first time that they are called: the minutes
    of a budget include them. Steps that are not finite are skipped. Raises InputError after ten of them in a row, when
    a batch cannot be prepared, another process is lost, or the last checkpoint cannot be saved.
    """
    weights = _held(net, processes, shard, precision)
    adam: Any = torch.optim.AdamW(weights.parts, lr=optimizer.lr, weight_decay=optimizer.weight_decay, fused=True)
    state = Checkpoint(weights, adam)
    tell_user = warn if warn is not None and processes.main else lambda words: None
    restore_newest(state, folder, tell_user)
    noise, start, since = generator(seed, "loss"), state.step, state.reported
    clock = TimeBudget(budget, state.seconds, 20 * weights.size, ending)
    step, photographed, tried = start, start, start
    spent, reported = budget.spent(start, state.seconds), time.monotonic()
    if begun is not None and processes.main:
        begun(start)

    def saved() -> str:
        newest = None if folder is None else latest(folder)
        return "nothing was saved yet" if newest is None else f"the last good checkpoint is {newest}"

    health = LossMonitor(tell_user, state.loss, state.good, state.skipped, saved)

    def averages(sharp: Tensor | None = None) -> dict[str, Tensor]:
        nonlocal tried
        tried = step
        if snapshots is None:
            return {}
        sharp = weights.joined(weights.sharp) if sharp is None else sharp
        return {"ema": weights.joined(weights.average), "sharp": sharp}

    def photograph(found: dict[str, Tensor]) -> None:
        nonlocal photographed
        if snapshots is not None and processes.main and step > photographed:
            take_snapshot(snapshots, step, found)
            photographed = step

    def tell() -> None:
        nonlocal since, reported
        health.flush(step)
        now = time.monotonic()
        if step >= APART * tried:
            found = averages()
            try:
                photograph(found)
            except OSError as error:
                tell_user(f"the averages of step {step} could not be saved ({error})")
        score = None if held_out is None else held_out(state.ema)
        if report is not None and processes.main:
            speed = (step - max(since, start)) / max(now - reported, 1e-9)
            mean, rate = health.total / max(1, health.good), optimizer.rate(step, spent)
            report(Progress(step, clock.seconds, spent, mean, score, health.norm, rate, speed, health.skipped))
        health.total, health.good, since, reported = 0.0, 0, step, time.monotonic()
        clock.reporting = reported - now
        clock.resume()

    def write(tensors: dict[str, Tensor], found: dict[str, Tensor], last: bool) -> None:
        """By the main process."""
        state.step, state.seconds, state.reported = step, clock.seconds, since
        if spent >= 1 and budget.minutes is not None:
            state.seconds = max(state.seconds, 60 * budget.minutes)  # what was left of them was left for this
        state.loss, state.good, state.skipped = health.total, health.good, health.skipped
        try:
            if folder is not None and (step > start or latest(folder) is None):
                photograph(found)
                save(tensors, state.counters(), folder, keep)
            if kept is not None:
                kept({name[4:]: value for name, value in tensors.items() if name.startswith("ema.")}, step)
        except OSError as error:
            if last:
                raise InputError(
                    f"step {step}, the last, could not be saved ({error}); the checkpoint before it is kept: free some "
                    "space and give the same command again"
                ) from error
            tell_user(f"step {step} could not be saved ({error}); the checkpoint before it is kept")

    def keep_state(last: bool, hurry: bool, alone: bool = False) -> None:
        """By all processes, unless the main one is left ``alone``."""
        health.flush(step)
        broken = not weights.finite()
        if broken if alone else processes.any(broken):
            raise InputError(
                f"the weights stopped being finite before step {step}; {saved()}: lower --lr or look at the data "
                "(pushforward inspect)"
            )
        if health.bad_in_a_row and not last:
            return
        before, tensors = time.monotonic(), state.tensors()
        found = averages(tensors["sharp"])
        if alone:
            write(tensors, found, last)
        else:
            processes.on_main(lambda: write(tensors, found, last))
        del tensors, found
        if shown is not None and not hurry:
            try:
                shown(state.ema, step)
            except OSError as error:
                tell_user(f"what there is to see of step {step} could not be saved ({error})")
        clock.saving = time.monotonic() - before
        clock.resume()

    mixed = torch.autocast(weights.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    pieces, first = processes.count * accumulate, processes.rank * accumulate
    on_cpu, seen = weights.device.type == "cpu", cast(Tensor | tuple[float, float], (0.0, 0.0))
    stop, look_at, share_used = False, start, 0.0
    long, short = optimizer.ema, sharper(optimizer.ema)

    with _asked_to_stop() as asked, weights.watched():
        while spent < 1 and not stop and not (asked() and processes.count == 1):
            adam.param_groups[0]["lr"] = optimizer.rate(step, spent)
            batch = _prepared(feed, step)
            rows, value = count_rows(batch), None
            weights.zero()
            for piece in range(first, first + accumulate):
                part = batch if pieces == 1 else slice_batch(batch, partition(rows, piece, pieces))
                with mixed:
                    losses = loss(net, part, noise.manual_seed(piece * 2**52 + seed * 1_000_003 + step))
                mean = losses.sum() / rows
                mean.backward()
                value = mean.detach() if value is None else value + mean.detach()
            assert value is not None
            used = clock.used()
            if processes.count > 1:
                own = [used / clock.limit, clock.pace] if processes.main else [0.0, 0.0]
                weights.numbers.copy_(torch.cat([torch.tensor([float(asked()), *own]).to(value), value[None]]))
                try:
                    weights.sum_()
                except LostProcess:  # the weights are still those of the step before
                    if processes.main and not shard:
                        keep_state(last=False, hurry=True, alone=True)
                    raise
                value = weights.numbers[-1].clone()
            norm = weights.norm()
            if on_cpu:  # numbers are at hand
                seen = (float(value), float(norm))
                finite = math.isfinite(seen[0] + seen[1])
            else:  # without a branch, so that the device is never waited for: AdamW leaves all as it is where this is 1
                seen, finite = torch.stack((value, norm)), True
                adam.found_inf = (norm + value).isfinite().logical_not().float()
            if finite:
                weights.scale_(optimizer.clip / norm.clamp_min(optimizer.clip))
                adam.step()
            step += 1
            weights.take_average((step_weight(step, long), step_weight(step, short)))
            health.record(seen)
            if health.pending:
                health.flush(step)
            if processes.count == 1:
                spent = budget.spent(step, used)
            else:
                if step >= look_at:
                    votes, share_used, pace, _ = weights.numbers.tolist()
                    stop, look_at = votes > 0, step + (1 if on_cpu or pace > SLOW else 8)
                spent = budget.spent(step, share_used * clock.limit)
            if step % report_every == 0:
                tell()
            if step % checkpoint_every == 0:
                keep_state(last=False, hurry=False)
        keep_state(last=True, hurry=stop or (asked() and processes.count == 1))
        if step > max(since, start):
            tell()
    return state, spent >= 1
