"""The trainer: one optimizer step fits one screen, and adds as little as it can to the network's own work."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from pushforward.distributed import LostProcess, count_rows, partition, slice_batch
from pushforward.errors import InputError, one_line
from pushforward.tensor import generator
from pushforward.training.average import make_room, sharper, step_weight, take_snapshot
from pushforward.training.budget import Budget, TimeBudget
from pushforward.training.checkpoint import Checkpoint, latest, restore_newest, save
from pushforward.training.health import LossMonitor
from pushforward.training.options import Hooks, OptimizerConfig, TrainingOptions, TrainingStatus
from pushforward.training.weights import Flat, Weights

__all__ = ["Trainer"]

Batch = TypeVar("Batch")
FIRST, SMALL = 16, 2**22  # step of the first snapshot, of a network of so many weights at most
APART = 1.12  # ratio of the steps of which snapshots are kept, besides those of checkpoints
FULL = (errno.ENOSPC, errno.EDQUOT)
SLOW = 0.25  # seconds; where steps are faster, a device is asked for the votes at every eighth only


@dataclass(eq=False)
class Trainer(Generic[Batch]):
    """Hold the state of a training, and do its three things: `step`, `report` and `save`.

    It begins from the newest whole checkpoint, if there is one. ``state.step`` counts the steps that are done;
    ``spent`` is the share of the budget that they took, 1 when training is over. ``stop_requested()`` says whether the
    user wants an end; of several processes one that does is enough.
    """

    net: nn.Module
    loss: Callable[[nn.Module, Batch, torch.Generator], Tensor]
    feed: Callable[[int], Batch]
    budget: Budget
    optimizer: OptimizerConfig
    hooks: Hooks
    options: TrainingOptions
    stop_requested: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        options, optimizer = self.options, self.optimizer
        self.processes = options.processes
        self.weights = _hold(self.net, options)
        self.adam: Any = torch.optim.AdamW(
            self.weights.parts, lr=optimizer.lr, weight_decay=optimizer.weight_decay, fused=True
        )
        self.state = Checkpoint(self.weights, self.adam)
        restore_newest(self.state, options.folder, options.run, self.warn)

        self.start = self.state.step  # where this process began
        self.snapshot_step = self.gathered_step = self.start  # of the last snapshot; of the last look at the averages
        # 20 bytes a weight: five vectors of float32 are in a checkpoint
        self.clock = TimeBudget(self.budget, self.state.seconds, 20 * self.weights.size, self.hooks.closing_cost)
        self.spent, self.report_time = self.budget.spent(self.start, self.state.seconds), time.monotonic()
        self.vote_to_stop, self.next_vote, self.share_used = False, self.start, 0.0
        if self.hooks.on_resume is not None and self.processes.main:
            self.hooks.on_resume(self.start)

        state, device = self.state, self.weights.device.type
        self.health = LossMonitor(self.warn, state.loss, state.good, state.skipped, self._last_checkpoint)
        self.health.norm = state.norm
        self.noise, self.on_cpu = generator(options.seed, "loss"), device == "cpu"
        self.lower = torch.autocast(device, torch.bfloat16) if options.precision == "bf16" else nullcontext()
        self.exponents = optimizer.ema, sharper(optimizer.ema)

    @property
    def stopped(self) -> bool:
        """Whether training is to end before its budget is spent; of several processes all agree."""
        return self.vote_to_stop or (self.processes.count == 1 and self.stop_requested())

    def warn(self, message: str) -> None:
        """Tell the user, by the main process."""
        if self.hooks.warn is not None and self.processes.main:
            self.hooks.warn(message)

    # ---- a step

    def step(self) -> None:
        """Take one optimizer step, which changes nothing where the loss or its gradient is not finite.

        ``w <- AdamW(w, clip(grad mean loss))``, then the averages. InputError where a batch cannot be prepared, after
        ten steps in a row that are not finite, or where another process is lost.
        """
        self.adam.param_groups[0]["lr"] = self.optimizer.rate(self.state.step, self.spent)
        loss = self._backward(_prepared(self.feed, self.state.step))
        used = self.clock.used()
        if self.processes.count > 1:
            loss = self._sum_over_processes(loss, used)
        self._update(loss)

        self.state.step += 1
        long, short = self.exponents
        self.weights.take_average((step_weight(self.state.step, long), step_weight(self.state.step, short)))
        if self.health.pending:
            self.health.flush(self.state.step)
        self._spend(used)

    def _backward(self, batch: Batch) -> Tensor:
        """Put the gradient of this process's share of the mean loss into the weights; that share."""
        accumulate, seed = self.options.accumulate, self.options.seed
        parts, first = self.processes.count * accumulate, self.processes.rank * accumulate
        rows, total = count_rows(batch), None
        self.weights.zero()
        for number in range(first, first + accumulate):
            part = batch if parts == 1 else slice_batch(batch, partition(rows, number, parts))
            # its own stream, so that a step does not depend on those before it
            noise = self.noise.manual_seed(number * 2**52 + seed * 1_000_003 + self.state.step)
            with self.lower:
                losses = self.loss(self.net, part, noise)
            mean = losses.sum() / rows
            mean.backward()
            total = mean.detach() if total is None else total + mean.detach()
        assert total is not None
        return total

    def _sum_over_processes(self, loss: Tensor, used: float) -> Tensor:
        """Sum gradients and the loss over the processes, and with them votes to stop and the main one's clock."""
        clock, weights = self.clock, self.weights
        own = [used / clock.limit, clock.pace] if self.processes.main else [0.0, 0.0]
        weights.numbers.copy_(torch.cat([torch.tensor([float(self.stop_requested()), *own]).to(loss), loss[None]]))
        try:
            weights.sum_()
        except LostProcess:  # the weights are still those of the step before
            if self.processes.main and not self.options.shard:
                self.save(last=False, hurry=True, alone=True)
            raise
        return weights.numbers[-1].clone()

    def _update(self, loss: Tensor) -> None:
        """Move the weights by a clipped gradient, unless something is not finite, and note how large it was."""
        norm = self.weights.norm()
        if self.on_cpu:  # numbers are at hand
            value, size = float(loss), float(norm)
            self.health.record((value, size))
            finite = math.isfinite(value + size)
        else:  # without a branch, so that the device is never waited for: AdamW leaves all as it is where this is 1
            self.health.record(torch.stack((loss, norm)))
            finite = True
            self.adam.found_inf = (norm + loss).isfinite().logical_not().float()
        if finite:
            self.weights.scale_(self.optimizer.clip / norm.clamp_min(self.optimizer.clip))
            self.adam.step()

    def _spend(self, used: float) -> None:
        """Take in what a step used of the budget, and whether another process wants to stop."""
        if self.processes.count == 1:
            self.spent = self.budget.spent(self.state.step, used)
            return
        if self.state.step >= self.next_vote:
            votes, self.share_used, pace, _ = self.weights.numbers.tolist()
            self.vote_to_stop = votes > 0
            self.next_vote = self.state.step + (1 if self.on_cpu or pace > SLOW else 8)
        self.spent = self.budget.spent(self.state.step, self.share_used * self.clock.limit)

    def keep_early(self) -> None:
        """Keep the averages of steps before the first report, each twice the last: few rows are learned by then."""
        step = self.state.step
        early = FIRST <= step < self.options.report_every and step & (step - 1) == 0
        if early and self.weights.size <= SMALL:
            self._keep_snapshot(self._averages())

    # ---- what is told

    def report(self) -> None:
        """Report the mean loss since the last report and the held-out loss, and keep a snapshot where one is due."""
        step, hooks, health = self.state.step, self.hooks, self.health
        health.flush(step)
        now = time.monotonic()
        if step >= APART * self.gathered_step:
            self._keep_snapshot(self._averages())
        held_out = None if hooks.held_out is None else hooks.held_out(self.state.ema)
        if hooks.on_report is not None and self.processes.main:
            speed = (step - max(self.state.reported, self.start)) / max(now - self.report_time, 1e-9)
            mean, rate = health.total / max(1, health.good), self.optimizer.rate(step, self.spent)
            hooks.on_report(
                TrainingStatus(
                    step, self.clock.seconds, self.spent, mean, held_out, health.norm, rate, speed, health.skipped
                )
            )
        health.total, health.good, self.state.reported, self.report_time = 0.0, 0, step, time.monotonic()
        self.clock.reporting = self.report_time - now
        self.clock.resume()

    # ---- what is kept

    def save(self, last: bool, hurry: bool, alone: bool = False) -> None:
        """Keep a checkpoint and show the average, by all processes, unless the main one is left ``alone``.

        After steps that were not finite only the ``last`` one is kept; in a ``hurry`` nothing is shown. InputError
        where the weights are not finite, or where the disk refuses the last.
        """
        step = self.state.step
        self.health.flush(step)
        broken = not self.weights.finite()
        if broken if alone else self.processes.any(broken):
            raise InputError(
                f"the weights stopped being finite before step {step}; {self._last_checkpoint()}: lower --lr or look "
                "at the data (pushforward inspect)"
            )
        if self.health.bad_in_a_row and not last:
            return

        # what is shared out is gathered by all, and written by the main process
        before, tensors = time.monotonic(), self.state.tensors()
        averages = self._averages(tensors["sharp"])
        if alone:
            self._write(tensors, averages, last)
        else:
            self.processes.on_main(lambda: self._write(tensors, averages, last))
        del tensors, averages  # a copy of the weights and their moments, where these are on a device

        if not hurry:
            self._show()
        self.clock.saving = time.monotonic() - before
        self.clock.resume()

    def catch_up(self) -> None:
        """Show the average of the step that training goes on from, and keep its snapshot: a kill may have come between.

        By all processes, and nothing for a step that was saved in a hurry.
        """
        if self.start and (self.spent >= 1 or self.start % self.options.checkpoint_every == 0):
            folder = self.options.snapshots
            kept = folder is None or not self.processes.main or (folder / f"step-{self.start}").is_dir()
            if self.processes.any(not kept):
                self.snapshot_step = 0
                self._keep_snapshot(self._averages())
            self._show()
            self.clock.resume()

    def _show(self) -> None:
        """Show the average, by all processes."""
        if self.hooks.on_preview is not None:
            try:
                self.hooks.on_preview(self.state.ema, self.state.step)
            except OSError as error:
                self.warn(f"what there is to see of step {self.state.step} could not be saved ({error})")

    def _write(self, tensors: dict[str, Tensor], averages: dict[str, Tensor], last: bool) -> None:
        """Write a checkpoint, a snapshot and the average; InputError where the disk refuses the ``last``."""
        state, health, folder = self.state, self.health, self.options.folder
        state.seconds = self.clock.seconds
        if self.spent >= 1 and self.budget.minutes is not None:
            state.seconds = max(state.seconds, 60 * self.budget.minutes)  # what was left of them was left for this
        state.loss, state.good, state.skipped, state.norm = health.total, health.good, health.skipped, health.norm
        what = f"step {state.step}"
        try:
            if folder is not None and (state.step > self.start or latest(folder) is None):
                self._keep_snapshot(averages)
                self._with_room(lambda: save(tensors, state.counters(), folder, self.options.keep, self.options.run))
            what = f"the weights of step {state.step}"
            if (on_checkpoint := self.hooks.on_checkpoint) is not None:
                weights = {name[4:]: value for name, value in tensors.items() if name.startswith("ema.")}
                self._with_room(lambda: on_checkpoint(weights, state.step))
        except OSError as error:
            said = f"{what}{', the last,' if last else ''} could not be saved ({error}); {self._kept()}"
            if last:
                raise InputError(f"{said}: free some space and give the same command again") from error
            self.warn(said)

    def _with_room(self, write: Callable[[], object]) -> None:
        """Write what matters more than averages, which make room for it on a full disk; OSError as the disk says."""
        while True:
            try:
                write()
                return
            except OSError as error:
                folder = self.options.snapshots
                need = 22 * self.weights.size  # of a checkpoint, which is larger than the weights
                if error.errno not in FULL or folder is None or not make_room(folder, need):
                    raise
                self.warn(f"the disk is full: averages of earlier steps were dropped to keep step {self.state.step}")

    def _averages(self, sharp: Tensor | None = None) -> dict[str, Tensor]:
        """The two averages of the weights, whole, gathered by all processes; nothing where no snapshots are kept."""
        self.gathered_step = self.state.step
        if self.options.snapshots is None:
            return {}
        sharp = self.weights.joined(self.weights.sharp) if sharp is None else sharp
        return {"ema": self.weights.joined(self.weights.average), "sharp": sharp}

    def _keep_snapshot(self, averages: dict[str, Tensor]) -> None:
        """Write the averages by the main process, once a step; a disk that refuses them is told, and no more."""
        step, folder = self.state.step, self.options.snapshots
        if folder is None or not self.processes.main or step <= self.snapshot_step:
            return
        try:
            take_snapshot(folder, step, averages, self.options.run)
            self.snapshot_step = step
        except OSError as error:
            self.warn(f"the averages of step {step} could not be saved ({error})")

    def _kept(self) -> str:
        """Which checkpoint is kept where something could not be saved, in words."""
        newest = None if self.options.folder is None else latest(self.options.folder)
        if newest is None:
            return "nothing was saved yet"
        here = newest.name == f"step-{self.state.step}"
        return "its checkpoint is kept" if here else f"the checkpoint before it is kept, {newest.name}"

    def _last_checkpoint(self) -> str:
        """Where the last good checkpoint is, in words."""
        newest = None if self.options.folder is None else latest(self.options.folder)
        return "nothing was saved yet" if newest is None else f"the last good checkpoint is {newest}"


def _hold(net: nn.Module, options: TrainingOptions) -> Weights:
    """The weights of a network as this process holds them: all, or its part."""
    if not options.shard:
        return Flat(net, options.processes)
    from pushforward.training.shard import Sharded  # which takes a second to import

    return Sharded(net, options.processes, torch.bfloat16 if options.precision == "bf16" else None)


def _prepared(feed: Callable[[int], Batch], step: int) -> Batch:
    """The batch of a step; InputError in one line for whatever goes wrong in its making."""
    try:
        return feed(step)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"the batch of step {step} could not be prepared: {type(error).__name__}: {one_line(error)}"
        ) from error
