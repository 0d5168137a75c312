"""Batches as a function of the step alone: what batch k holds depends on (seed, k), so resuming needs no state.

Rows are visited in a fresh permutation per epoch. Batches are prepared several at a time (a pool), so that the cost of
drawing noise, times and trajectories is paid once per pool and the network's own work is all that is left of a step.
While the network trains on one pool, a thread prepares the next, up to where derivatives are taken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pushforward.tensor import Spread, generator

__all__ = ["Feed", "pool_size"]

Batch = TypeVar("Batch")
Prepared: TypeAlias = tuple[Any, torch.Generator]


def pool_size(batch: int, dimension: int) -> int:
    """How many batches to prepare together: up to 64, and about four million numbers at most."""
    return max(1, min(64, 2**22 // (batch * dimension)))


class Feed(Generic[Batch]):
    """``feed(step)`` is batch number ``step``; ``prepare(rows, labels, generator)`` makes the batches of one pool.

    ``finish(prepared, generator)`` does what is left when a pool is asked for. Forward-mode derivatives belong there:
    torch keeps one stack of them for all threads, so two threads that take some at once get wrong ones.

    Args: ``x [n, *d]`` and conditions ``y [n, ...]`` in memory; ``spread(x, u)``, which makes continuous numbers of
    rounded ones (dequantisation) with ``u`` uniform on [0, 1), of the shape of ``x``; ``pool``, how many batches
    are prepared together (default `pool_size`). What a batch holds depends on ``pool`` too, but not on whether pools
    are prepared in the ``background``. An error in preparing is raised when its pool is asked for. ``only`` are the
    numbers of the rows that take part (default: all), so that held-out rows need no copy of the others.
    """

    def __init__(
        self,
        x: Float[Tensor, "n *d"],
        y: Shaped[Tensor, "n *c"] | None,
        batch: int,
        seed: int,
        prepare: Callable[[Tensor, Tensor | None, torch.Generator], Any],
        spread: Spread | None = None,
        pool: int | None = None,
        background: bool = True,
        finish: Callable[[Any, torch.Generator], list[Batch]] = lambda prepared, g: prepared,
        only: Int[Tensor, "rows"] | None = None,
    ) -> None:
        self.x, self.y, self.batch, self.seed, self.prepare, self.spread = x, y, batch, seed, prepare, spread
        self.pool = pool or pool_size(batch, x[0].numel())
        self.background, self.finish = background, finish
        self.only, self.count = only, len(x) if only is None else len(only)
        self._held: tuple[int, list[Batch]] = (-1, [])
        self._next: tuple[int, Future[Prepared], threading.Thread] | None = None
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def _epoch(self, epoch: int) -> Int[Tensor, "n"]:
        held = self._order
        if held[0] != epoch:
            order = torch.randperm(self.count, generator=generator(self.seed, "epoch", epoch))
            held = (epoch, order if self.only is None else self.only[order])
            self._order = held
        return held[1]

    def rows(self, start: int, count: int) -> Int[Tensor, "count"]:
        """Indices of the rows number ``start .. start + count - 1`` in the order of training."""
        n, parts = self.count, []
        while count:
            epoch, offset = divmod(start, n)
            parts.append(self._epoch(epoch)[offset : offset + count])
            start, count = start + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)

    def _prepared(self, number: int) -> Prepared:
        index = self.rows(number * self.pool * self.batch, self.pool * self.batch)
        g = generator(self.seed, "pool", number)
        x1 = self.x[index]
        if self.spread is not None:
            x1 = self.spread(x1, torch.rand(x1.shape, generator=g))
        return self.prepare(x1, None if self.y is None else self.y[index], g), g

    def _begin(self, number: int) -> None:
        result: Future[Prepared] = Future()

        def work() -> None:
            try:
                result.set_result(self._prepared(number))
            except BaseException as error:
                result.set_exception(error)

        thread = threading.Thread(target=work, name=f"pool {number}")
        self._next = (number, result, thread)
        thread.start()

    def close(self) -> None:
        """Wait for the pool that is being prepared; there is none after this."""
        if self._next is not None:
            self._next[2].join()
            self._next = None

    def __call__(self, step: int) -> Batch:
        number, within = divmod(step, self.pool)
        if self._held[0] != number:
            ready = self._next
            self.close()
            prepared = ready[1].result() if ready is not None and ready[0] == number else self._prepared(number)
            self._held = (number, self.finish(*prepared))
        if self.background and self._next is None and 4 * within >= self.pool:  # not at once: it may be the last pool
            self._begin(number + 1)
        return self._held[1][within]
