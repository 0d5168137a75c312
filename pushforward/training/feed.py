"""Batches as a function of the step alone: what batch k holds depends on (seed, k), so resuming needs no state.

Rows are visited in a fresh permutation per epoch. Batches are prepared several at a time (a pool), so that the cost of
drawing noise, times and trajectories is paid once per pool and the network's own work is all that is left of a step.
While the network trains on one pool, a thread prepares the next, up to where derivatives are taken; or, beside a small
network, only what does not hold up Python.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from pushforward.tensor import Dequantize, RowStore, generator

__all__ = ["Background", "Feed", "Stages", "pool_size"]

Batch = TypeVar("Batch")
Background: TypeAlias = Literal["all", "solve", "none"]
Parts: TypeAlias = tuple[Iterable[Any], torch.Generator]
Ready: TypeAlias = tuple[list[Any], torch.Generator]


def pool_size(batch: int, dimension: int) -> int:
    """How many batches to prepare together: up to 64, and about four million numbers at most."""
    return max(1, min(64, 2**22 // (batch * dimension)))


@dataclass(frozen=True)
class Stages(Generic[Batch]):
    """The three stages in which a pool of batches is made.

    ``prepare(rows, labels, generator)`` makes the parts of a pool, ``solve(part)`` goes on with each where that left
    off, and ``finish(parts, generator)`` makes the batches when the pool is asked for. Forward-mode derivatives belong
    into ``finish``: torch keeps one stack of them for all threads, so two threads that take some at once get wrong
    ones. Long calls for which Python does not wait belong into ``solve``: they cost nothing beside a small network,
    which a thread of many short calls makes twice as slow.
    """

    prepare: Callable[[Tensor, Tensor | None, torch.Generator], Iterable[Any]]
    solve: Callable[[Any], Any] = lambda part: part
    finish: Callable[[list[Any], torch.Generator], list[Batch]] = lambda parts, g: parts


class Feed(Generic[Batch]):
    """Batches by their number: ``feed(step)`` depends on (seed, step) alone.

    Args: rows ``x [n, *d]`` and conditions ``y [n, ...]``; ``dequantize(x, u)``, which makes continuous numbers of
    rounded ones with ``u`` uniform on [0, 1), of the shape of ``x``; ``pool``, how many batches are prepared together
    (default `pool_size`). What a batch holds depends on ``pool`` too, but not on what a thread does in the
    ``background``: ``prepare`` and ``solve`` ("all"), ``solve`` alone, or nothing ("none"). What fails in the thread is
    raised when its pool is asked for. ``only`` are the numbers of the rows that take part (default: all), so that
    held-out rows need no copy of the others.
    """

    def __init__(
        self,
        x: RowStore,
        y: RowStore | None,
        batch: int,
        seed: int,
        stages: Stages[Batch],
        dequantize: Dequantize | None = None,
        pool: int | None = None,
        background: Background = "all",
        only: Int[Tensor, "rows"] | None = None,
    ) -> None:
        self.x, self.y, self.batch, self.seed, self.stages, self.dequantize = x, y, batch, seed, stages, dequantize
        self.pool = pool or pool_size(batch, x[0].numel())
        self.background = background
        self.only, self.count = only, len(x) if only is None else len(only)
        self._current: tuple[int, list[Batch]] = (-1, [])
        self._next: tuple[int, Future[Ready], threading.Thread] | None = None
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def _epoch(self, epoch: int) -> Int[Tensor, "n"]:
        if self._order[0] != epoch:
            order = torch.randperm(self.count, generator=generator(self.seed, "epoch", epoch))
            self._order = (epoch, order if self.only is None else self.only[order])
        return self._order[1]

    def rows(self, start: int, count: int) -> Int[Tensor, "count"]:
        """Indices of the rows number ``start .. start + count - 1`` in the order of training."""
        n, parts = self.count, []
        while count:
            epoch, offset = divmod(start, n)
            parts.append(self._epoch(epoch)[offset : offset + count])
            start, count = start + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)

    def _prepared(self, number: int) -> Parts:
        """The first stage of a pool, and the generator with which the last one goes on."""
        index = self.rows(number * self.pool * self.batch, self.pool * self.batch)
        g = generator(self.seed, "pool", number)
        x1 = self.x[index]
        if self.dequantize is not None:
            x1 = self.dequantize(x1, torch.rand(x1.shape, generator=g, dtype=torch.float32))
        return self.stages.prepare(x1, None if self.y is None else self.y[index], g), g

    def _solved(self, parts: Iterable[Any], g: torch.Generator) -> Ready:
        return [self.stages.solve(part) for part in parts], g

    def _begin(self, number: int) -> None:
        """Start a thread on a pool; where it only solves, what it solves is prepared here."""
        if self.background == "all":
            self._start(number, lambda: self._prepared(number))
            return
        made, g = self._prepared(number)
        handed: SimpleQueue[Any] = SimpleQueue()  # each part as soon as it is made, and None behind the last
        self._start(number, lambda: (iter(handed.get, None), g))
        try:
            for part in made:
                handed.put(part)
        except BaseException:
            handed.put(None)
            self.close()
            raise
        handed.put(None)

    def _start(self, number: int, parts: Callable[[], Parts]) -> None:
        result: Future[Ready] = Future()

        def work() -> None:
            try:
                result.set_result(self._solved(*parts()))
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
        if self._current[0] != number:
            if self.background != "none" and (self._next is None or self._next[0] != number):
                self.close()
                self._begin(number)
            ready = self._next
            self.close()
            parts, g = self._solved(*self._prepared(number)) if ready is None else ready[1].result()
            self._current = (number, self.stages.finish(parts, g))
        # the next pool not at once: this may be the last
        if self.background != "none" and self._next is None and 4 * within >= self.pool:
            self._begin(number + 1)
        return self._current[1][within]
