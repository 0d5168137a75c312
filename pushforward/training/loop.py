"""The training loop, `fit`, which ends between two steps when it is asked to."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from pushforward.training.budget import Budget
from pushforward.training.checkpoint import Checkpoint
from pushforward.training.options import Hooks, OptimizerConfig, TrainingOptions
from pushforward.training.trainer import Trainer

__all__ = ["fit"]

Batch = TypeVar("Batch")


def fit(
    net: nn.Module,
    loss: Callable[[nn.Module, Batch, torch.Generator], Tensor],
    feed: Callable[[int], Batch],
    budget: Budget,
    optimizer: OptimizerConfig,
    hooks: Hooks = Hooks(),  # noqa: B008  (frozen)
    options: TrainingOptions = TrainingOptions(),  # noqa: B008
) -> tuple[Checkpoint, bool]:
    """Train ``net`` on ``feed(0), feed(1), ...`` until the budget is spent; returns the state and whether it was.

    ``loss(net, batch, generator)`` is one number per row, ``[n]``; a step is of its mean over the whole batch, whatever
    number of processes and parts the rows are shared out to. With a folder in ``options``, training goes on from the
    newest whole checkpoint there, bit for bit as if it had not stopped. A disk that refuses a checkpoint is told to
    ``hooks.warn`` and training goes on: the checkpoint before is still there. Steps that are not finite are skipped.

    Raises InputError after ten of them in a row, when a batch cannot be prepared, another process is lost, or the last
    checkpoint cannot be saved.
    """
    trainer = Trainer(net, loss, feed, budget, optimizer, hooks, options)
    with _stop_signals() as trainer.stop_requested, trainer.weights.watched():
        trainer.catch_up()
        while trainer.spent < 1 and not trainer.stopped:
            trainer.step()
            trainer.keep_early()
            if trainer.state.step % options.report_every == 0:
                trainer.report()
            if trainer.state.step % options.checkpoint_every == 0:
                trainer.save(last=False, hurry=False)
        # saved before it is reported: if the report takes too long, nothing is lost
        trainer.save(last=True, hurry=trainer.stopped)
        if trainer.state.step > trainer.state.reported:
            trainer.report()
    return trainer.state, trainer.spent >= 1


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C, SIGTERM and SIGHUP, to be answered between two steps; a second Ctrl-C interrupts at once.

    What is ignored, as SIGHUP under nohup, stays so.
    """
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    try:
        noted = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        heard = [number for number in noted if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, note) for number in heard}
    except ValueError:  # not in the main thread, where Python delivers no signals
        before = {}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
