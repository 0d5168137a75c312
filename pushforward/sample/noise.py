"""The random numbers of one integration: a Brownian path per sample, and fresh draws per step.

Sample i sees a function of (seed, its index) alone: neither the batch it is in nor the grid matters, so a finer grid
follows the same path.
"""

from __future__ import annotations

import math
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from pushforward.tensor import Points, per_sample

__all__ = ["Brownian", "Noise", "NoiseStreams", "StepNoise"]

DEPTH = 18  # levels of the tree: cells of 4e-6, shorter than any step in use


@final
class NoiseStreams:
    """Standard normal tensors of the shape of ``like``, one stream for each key."""

    def __init__(self, like: Points, seed: int, first: int) -> None:
        self.like, self.seed, self.first = like, seed, first
        # float32 at least: a path is a sum of many small increments
        self.dtype = torch.promote_types(like.dtype, torch.float32)

    def __call__(self, *key: int | str) -> Tensor:
        shape, dtype = self.like.shape[1:], self.dtype
        rows = per_sample(
            lambda k, g: torch.randn(k, *shape, generator=g, dtype=dtype), self.first, len(self.like), self.seed, *key
        )
        return rows.to(self.like.device)


@final
class Brownian:
    """``W(t)`` for t in [0, 1] by halving; in the middle of a cell it is ``(W_a + W_b)/2 + N(0, (b - a)/4)``.

    Every node of the tree has its own random stream, so ``W`` is a function of time, asked in any order; inside the
    smallest cells one more draw bridges the ends. Asked in order of time it costs some ten draws a step.

    Reference: Gaines & Lyons 1997, "Variable step size control in the numerical solution of SDEs".
    """

    def __init__(self, draw: NoiseStreams) -> None:
        self.draw = draw
        self.middles: dict[int, tuple[int, Tensor]] = {}  # the last node asked for on each level
        self.known: dict[float, Tensor] = {}

    def middle(self, level: int, index: int, left: Tensor, right: Tensor) -> Tensor:
        """``W`` in the middle of cell ``index`` of a level."""
        last = self.middles.get(level)
        if last is None or last[0] != index:
            spread = 0.5 * 2 ** (-level / 2)
            last = (index, (left + right) / 2 + spread * self.draw("brownian", level, index))
            self.middles[level] = last
        return last[1]

    def __call__(self, t: float) -> Tensor:
        if t in self.known:
            return self.known[t]
        if 1.0 not in self.known:
            end = self.draw("brownian", "end")
            self.known = {0.0: torch.zeros_like(end), 1.0: end}
        (a, left), (b, right), index = (0.0, self.known[0.0]), (1.0, self.known[1.0]), 0
        for level in range(DEPTH):
            if t in (a, b):
                break
            m, w = (a + b) / 2, self.middle(level, index, left, right)
            a, left, b, right, index = (m, w, b, right, 2 * index + 1) if t >= m else (a, left, m, w, 2 * index)
        w = left if t == a else right
        if t not in (a, b):
            mean = ((b - t) * left + (t - a) * right) / (b - a)
            w = mean + math.sqrt((t - a) * (b - t) / (b - a)) * self.draw("brownian", DEPTH, index)
        self.known = {0.0: self.known[0.0], 1.0: self.known[1.0], t: w}  # the end of a step begins the next
        return w


@runtime_checkable
class Noise(Protocol):
    """What one step may draw."""

    def __call__(self) -> Points:
        """``(W_s - W_t) / sqrt(|s - t|)``: a standard normal that belongs to the path, ``[n, *d]``."""
        ...

    def fresh(self, k: int = 0) -> Points:
        """The k-th standard normal of this step, independent of the path and of all others, ``[n, *d]``."""
        ...

    def uniform(self, k: int = 0) -> Tensor:
        """The k-th uniform of this step in (0, 1), one per sample, ``[n]``."""
        ...


@final
class StepNoise:
    """The `Noise` of step number ``step``, from t to s, of one integration."""

    def __init__(self, path: Brownian, step: int, t: float, s: float) -> None:
        self.path, self.step, self.t, self.s = path, step, t, s

    def __call__(self) -> Points:
        start = self.path(self.t)
        return ((self.path(self.s) - start) / math.sqrt(abs(self.s - self.t))).to(self.path.draw.like.dtype)

    def fresh(self, k: int = 0) -> Points:
        return self.path.draw("step", self.step, k).to(self.path.draw.like.dtype)

    def uniform(self, k: int = 0) -> Tensor:
        draw = self.path.draw

        def one(count: int, g: torch.Generator) -> Tensor:
            return torch.rand(count, generator=g, dtype=torch.float64)

        return per_sample(one, draw.first, len(draw.like), draw.seed, "uniform", self.step, k).to(draw.like.device)
