"""Batches as a function of the step alone: what batch k holds depends on (seed, k), so resuming needs no state.

Rows are visited in a fresh permutation per epoch. Batches are prepared several at a time (a pool), so that the cost of
drawing noise, times and trajectories is paid once per pool and the network's own work is all that is left of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pushforward.tensor import generator

__all__ = ["Feed", "pool_size"]

Batch = TypeVar("Batch")


def pool_size(batch: int, dimension: int) -> int:
    """How many batches to prepare together: up to 64, and about four million numbers at most."""
    return max(1, min(64, 2**22 // (batch * dimension)))


class Feed(Generic[Batch]):
    """``feed(step)`` is batch number ``step``; ``prepare(rows, labels, generator)`` makes the batches of one pool.

    Args: ``x [n, *d]`` and conditions ``y [n, ...]`` in memory; ``jitter``, the width per entry of uniform noise that
    turns rounded numbers back into continuous ones (dequantisation), broadcastable to a row; ``pool``, how many batches
    are prepared together (default `pool_size`). What a batch holds depends on ``pool`` too.
    """

    def __init__(
        self,
        x: Float[Tensor, "n *d"],
        y: Shaped[Tensor, "n *c"] | None,
        batch: int,
        seed: int,
        prepare: Callable[[Tensor, Tensor | None, torch.Generator], list[Batch]],
        jitter: Tensor | None = None,
        pool: int | None = None,
    ) -> None:
        self.x, self.y, self.batch, self.seed, self.prepare, self.jitter = x, y, batch, seed, prepare, jitter
        self.pool = pool or pool_size(batch, x[0].numel())
        self._held: tuple[int, list[Batch]] = (-1, [])
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def _epoch(self, epoch: int) -> Int[Tensor, "n"]:
        if self._order[0] != epoch:
            self._order = (epoch, torch.randperm(len(self.x), generator=generator(self.seed, "epoch", epoch)))
        return self._order[1]

    def rows(self, start: int, count: int) -> Int[Tensor, "count"]:
        """Indices of the rows number ``start .. start + count - 1`` in the order of training."""
        n, parts = len(self.x), []
        while count:
            epoch, offset = divmod(start, n)
            parts.append(self._epoch(epoch)[offset : offset + count])
            start, count = start + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)

    def __call__(self, step: int) -> Batch:
        number, within = divmod(step, self.pool)
        if self._held[0] != number:
            index = self.rows(number * self.pool * self.batch, self.pool * self.batch)
            g = generator(self.seed, "pool", number)
            x1 = self.x[index]
            if self.jitter is not None:
                x1 += (torch.rand(x1.shape, generator=g) - 0.5) * self.jitter
            self._held = (number, self.prepare(x1, None if self.y is None else self.y[index], g))
        return self._held[1][within]
