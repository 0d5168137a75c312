"""Semidiscrete transport: one plan from the whole source to the whole data set, asked one noise draw at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pushforward.coupling.base import Coupling, check_rows
from pushforward.coupling.transport import sinkhorn_potentials
from pushforward.errors import InputError
from pushforward.progress import Progress
from pushforward.source import Normal, Source
from pushforward.space import EUCLIDEAN, Space
from pushforward.tensor import Dequantize, Points, generator

__all__ = ["Semidiscrete", "SemidiscretePlan"]

SCORES = 2**26  # numbers held at once
START = 2048  # noise draws whose blurred plan the fit starts from


@final
@dataclass(frozen=True)
class Semidiscrete:
    """How to fit `SemidiscretePlan`: averaged stochastic gradient ascent of the dual, from a blurred plan of 2048
    draws.

    The dual is ``min_h E[max_j <x_0, x_j> + h_j] - mean(h)``, convex; with ``j(x_0)`` the row that wins, its slope in
    h_j is ``P(j(x_0) = j) - 1/N``, estimated on ``batch`` draws a step. Steps are measured in the mean gap between the
    best and the second-best score, and fall as 1/sqrt(t); h is averaged over the second half. The relative variance of
    the cells' masses is then about 1.5 over the visits of each data point, little more than that of counting them.

    By name (``--coupling semidiscrete:2000``) it is fitted when training begins; from Python call `fit`.

    Args: ``steps`` (0: 20 visits of each data point are drawn, and at least 500 steps made); ``batch``; ``space`` of
    the points, which must be flat: elsewhere squared distances are no inner products.

    Mousavi-Hosseini et al. 2025, "Flow matching with semidiscrete couplings"; Genevay et al. 2016, "Stochastic
    optimization for large-scale optimal transport".
    """

    steps: int = 0
    batch: int = 512
    space: Space = field(default=EUCLIDEAN, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if not self.space.flat:
            raise ValueError(
                f"Semidiscrete: {type(self.space).__name__} is curved, and the plan is one of inner products; "
                "couple batches by OptimalTransport()"
            )
        if self.steps < 0 or self.batch < 1 or (self.steps, self.batch) != (int(self.steps), int(self.batch)):
            raise ValueError(
                f"Semidiscrete(steps={self.steps}, batch={self.batch}): write whole numbers from 0 and 1 up"
            )

    def __call__(
        self, x0: Points, x1: Points, y: Tensor | None, generator: torch.Generator
    ) -> tuple[Points, Points, Tensor | None]:
        raise InputError(
            "Semidiscrete() has no data yet: call Semidiscrete().fit(data, y) once, and couple with what it gives"
        )

    def fit(
        self,
        data: Float[Tensor, "N *d"],
        y: Tensor | None = None,
        source: Source | None = None,
        seed: int = 0,
        *,
        dequantize: Dequantize | None = None,
        progress: Progress | Callable[[float, str], None] | None = None,
    ) -> SemidiscretePlan:
        """Potentials of ``data [N, *d]``, one set per class of ``y [N]`` if given; ``source`` is Normal() by default.

        ``dequantize`` makes continuous numbers of the rows handed out (see `training.Feed`). ``progress`` is told of
        the steps. InputError for conditions that are not classes.
        """
        check_rows(data, data, y)
        if y is not None and (y.is_floating_point() or y.ndim != 1):
            raise InputError("Semidiscrete: conditions must be classes [N]; for others use OptimalTransport()")
        data, labels = _by_class(data, y)
        parts = data.split([len(data)] if labels is None else labels.unique(return_counts=True)[1].tolist())
        steps, done, law, potentials = sum(self._plan(len(points))[1] for points in parts), 0, source or Normal(), []

        report = Progress.of(progress)

        def count() -> None:
            nonlocal done
            done += 1
            report.steps(done, steps)

        for k, points in enumerate(parts):
            potentials.append(self._potentials(points, law, generator(seed, "semidiscrete", k), count))
        return SemidiscretePlan(data, torch.cat(potentials), labels, dequantize)

    def restore(
        self,
        data: Float[Tensor, "N *d"],
        y: Tensor | None,
        potentials: Float[Tensor, "N"],
        *,
        dequantize: Dequantize | None = None,
    ) -> SemidiscretePlan:
        """The plan that `fit` made before, from the same rows and classes and its ``potentials``."""
        data, labels = _by_class(data, y)
        return SemidiscretePlan(data, potentials, labels, dequantize)

    def _plan(self, n: int) -> tuple[int, int]:
        """Draws in a step, and steps."""
        if n == 1:
            return 1, 0
        batch = min(self.batch, max(1, SCORES // n))
        return batch, self.steps or max(500, -(-20 * n // batch))

    def _potentials(
        self, data: Points, source: Source, g: torch.Generator, count: Callable[[], None]
    ) -> Float[Tensor, "N"]:
        n, keys = len(data), data.flatten(1)
        if n == 1:
            return keys.new_zeros(1)
        keys = keys - keys.mean(0)

        def draw(count: int) -> Tensor:
            return source.sample((count, *data.shape[1:]), g, data.dtype).to(data.device).flatten(1)

        scores = draw(min(START, max(1, SCORES // n))) @ keys.T
        h = sinkhorn_potentials(-scores, float(scores.square().mean().sqrt()), 0.0)
        batch, steps = self._plan(n)
        best = torch.addmm(h, draw(batch), keys.T).topk(2, 1).values
        few = min(1.0, max(0.3, 2.5 * (n / (steps * batch)) ** 0.5))  # the fewer visits, the larger steps
        size = few * float((best[:, 0] - best[:, 1]).mean()) * min(1.0, batch / n)
        mean = torch.zeros_like(h)
        for step in range(steps):
            share = torch.bincount(torch.addmm(h, draw(batch), keys.T).argmax(1), minlength=n) / batch
            h += size / (1 + 10 * step / steps) ** 0.5 * (1 - n * share).to(h)
            if 2 * step >= steps:
                mean += h
            count()
        # scores of uncentred rows: <x_0, x_j - m> and <x_0, x_j> differ by the same number for all j
        return mean / (steps - (steps + 1) // 2)


def _by_class(data: Points, y: Tensor | None) -> tuple[Points, Tensor | None]:
    """Rows sorted by their class, and the classes."""
    if y is None:
        return data, None
    order = y.cpu().argsort(stable=True)
    return data[order.to(data.device)], y[order.to(y.device)]


@final
@dataclass(frozen=True, eq=False)
class SemidiscretePlan:
    """A fitted semidiscrete plan: each source point goes to ``argmax_j <x_0, x_j> + h_j`` over the data of its class.

    One matrix product and one argmax a batch. What is kept: x0 and y, exactly and in order. x1 is not the batch's: it
    comes from ``data``, every row with the probability of its cell, 1/N up to the error of the fit, whatever the batch
    size. Two equal source points have one partner.

    Args: ``data [N, *d]`` sorted by class, ``potentials [N]``, ``labels [N]`` or None, ``dequantize`` as in `fit`.
    ValueError for y where the plan has no classes, none where it has, or a class that it has not seen.
    """

    data: Float[Tensor, "N *d"]
    potentials: Float[Tensor, "N"]
    labels: Int[Tensor, "N"] | None = None
    dequantize: Dequantize | None = None

    def assign(self, x0: Points, first: int = 0, last: int | None = None) -> Int[Tensor, "n"]:
        """The data row of each source point, among the rows ``first .. last - 1``."""
        keys, h = self.data[first:last].flatten(1), self.potentials[first:last]
        parts = x0.to(keys).flatten(1).split(max(1, SCORES // len(keys)))
        return first + torch.cat([torch.addmm(h, part, keys.T).argmax(1) for part in parts])

    def __call__(
        self, x0: Points, x1: Points, y: Tensor | None, generator: torch.Generator
    ) -> tuple[Points, Points, Tensor | None]:
        """The batch's source points and conditions, with the data rows that belong to them."""
        check_rows(x0, x1, y)
        if (y is None) != (self.labels is None):
            raise ValueError(
                f"SemidiscretePlan: {'no y but labels were' if y is None else 'y but no labels were'} given to fit()"
            )
        if y is None or self.labels is None:
            index = self.assign(x0)
        else:
            index = torch.empty(len(x0), dtype=torch.int64, device=self.data.device)
            for label in y.unique():
                mine = self.labels.eq(label).nonzero()
                if not len(mine):
                    raise ValueError(f"SemidiscretePlan: class {int(label)} was not among the labels given to fit()")
                index[y == label] = self.assign(x0[y == label], int(mine[0]), int(mine[-1]) + 1)
        x1 = self.data[index].to(x1)
        if self.dequantize is not None:
            noise = torch.rand(x1.shape, generator=generator, device=generator.device, dtype=x1.dtype)
            x1 = self.dequantize(x1, noise.to(x1))
        return x0, x1, y


COUPLINGS: dict[str, Callable[..., Coupling]] = {"semidiscrete": Semidiscrete}
