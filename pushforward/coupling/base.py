"""What couplings share: their type, pairs as drawn, the cost of a pairing, and what conditions ask of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pushforward.progress import Progress
from pushforward.source import Source
from pushforward.space import EUCLIDEAN, Space
from pushforward.tensor import Conditioning, Dequantize, Points, each_condition

__all__ = [
    "Cost",
    "Coupling",
    "FittedCoupling",
    "FittedOnData",
    "Pairs",
    "PendingPairs",
    "Transport",
    "TwoStage",
    "check_rows",
    "independent",
]

Pairs: TypeAlias = tuple[Int[Tensor, "n"], Int[Tensor, "n"]]
Coupling = Callable[
    [Tensor, Tensor, "Tensor | None", torch.Generator],
    "tuple[Tensor, Tensor, Tensor | None]",
]

PendingPairs: TypeAlias = "Callable[[], tuple[Tensor, Tensor, Tensor | None]]"


@runtime_checkable
class TwoStage(Protocol):
    """A coupling that solves a problem: what `prepare` returns is one long call, which a thread may make."""

    def __call__(
        self, x0: Tensor, x1: Tensor, y: Tensor | None, generator: torch.Generator, /
    ) -> tuple[Tensor, Tensor, Tensor | None]: ...

    def prepare(self, x0: Points, x1: Points, y: Tensor | None, generator: torch.Generator) -> PendingPairs: ...


@runtime_checkable
class FittedCoupling(Protocol):
    """A coupling fitted to a data set; ``potentials [N]`` are what was fitted."""

    potentials: Float[Tensor, "N"]

    def __call__(
        self, x0: Tensor, x1: Tensor, y: Tensor | None, generator: torch.Generator, /
    ) -> tuple[Tensor, Tensor, Tensor | None]: ...


@runtime_checkable
class FittedOnData(Protocol):
    """A coupling that is fitted to all rows before training: `fit`, or `restore` from the potentials of a fit."""

    def __call__(
        self, x0: Tensor, x1: Tensor, y: Tensor | None, generator: torch.Generator, /
    ) -> tuple[Tensor, Tensor, Tensor | None]: ...

    def fit(
        self,
        data: Float[Tensor, "N *d"],
        y: Tensor | None = None,
        source: Source | None = None,
        seed: int = 0,
        *,
        dequantize: Dequantize | None = None,
        progress: Progress | Callable[[float, str], None] | None = None,
    ) -> FittedCoupling: ...

    def restore(
        self,
        data: Float[Tensor, "N *d"],
        y: Tensor | None,
        potentials: Float[Tensor, "N"],
        *,
        dequantize: Dequantize | None = None,
    ) -> FittedCoupling: ...


def independent(x0: Points, x1: Points, y: Conditioning, generator: torch.Generator) -> tuple[Points, Points, Any]:
    """``q(x_0) q(x_1)``: the pairs as they were drawn."""
    return x0, x1, y


def check_rows(x0: Points, x1: Points, y: Conditioning) -> None:
    """ValueError unless both ends have one shape and every row its condition."""
    if x0.shape != x1.shape:
        raise ValueError(f"x0 has shape {tuple(x0.shape)} but x1 has {tuple(x1.shape)}; a coupling pairs row with row")
    for value in y.values() if isinstance(y, Mapping) else [] if y is None else [y]:
        if value.ndim == 0 or len(value) != len(x1):
            shape = tuple(value.shape)
            raise ValueError(f"y has shape {shape} but there are {len(x1)} rows; give one condition per row")


def _centred(x: Tensor) -> tuple[Float[Tensor, "n k"], Float[Tensor, "k"]]:
    """Rows as vectors about their mean, at least float32, and the mean; its last digits move all rows alike."""
    x = x.reshape(len(x), -1).to(torch.promote_types(x.dtype, torch.float32))
    mean = x.mean(0)
    return x - mean, mean


def _flat_cost(x0: Points, x1: Points) -> tuple[Float[Tensor, "n n"], Callable[[], Float[Tensor, "n"]]]:
    """Squared distances of vectors without their means, and the means of the data points, from inner products."""
    (source, from_), (data, to) = _centred(x0), _centred(x1)
    return -2 * data @ source.T, lambda: (data + (to - from_)).square().sum(1)


def _geodesic_cost(
    x0: Points, x1: Points, space: Space
) -> tuple[Float[Tensor, "n n"], Callable[[], Float[Tensor, "n"]]]:
    """Squared geodesic distances without their means, and the means of the data points."""
    squares = space.distance(x1, x0).square()
    rows = squares.mean(1)
    return squares - rows[:, None] - squares.mean(0) + squares.mean(), lambda: rows


@final
@dataclass(frozen=True, eq=False)
class Cost:
    """``d(x_1i, x_0j)^2`` of data point i, less the terms of a source point: ``pairs[i, j] + marginal_cost()[i]``.

    ``pairs`` is the squared distance less its means over rows and over columns, and ``unit`` its rms: on a flat space
    ``-2 <x_1i, x_0j>`` of centred points, elsewhere from `Space.distance`. Where each data point is used once,
    ``marginal_cost`` is the same for all pairings and is left out; in flat space nothing large is then ever
    subtracted, and clouds far apart or far from the origin cost no digits.
    """

    pairs: Float[Tensor, "n n"]
    marginal_cost: Callable[[], Float[Tensor, "n"]]
    unit: float

    @staticmethod
    def between(x0: Points, x1: Points, space: Space = EUCLIDEAN) -> Cost:
        """The cost of all pairs of points of a space; ValueError for points that are not finite."""
        pairs, marginal_cost = _flat_cost(x0, x1) if space.flat else _geodesic_cost(x0, x1, space)
        unit = float(pairs.square().mean().sqrt())
        if not math.isfinite(unit):
            raise ValueError(
                "coupling: the points, or the squares of their distances, are not finite: look at the data"
            )
        return Cost(pairs, marginal_cost, unit)

    def plus(self, weight: float, z: Float[Tensor, "n k"]) -> Cost:
        """With ``weight |y_1 - y_0|^2`` added, both sides having the conditions z; the unit stays."""
        more = Cost.between(z.to(self.pairs), z.to(self.pairs))
        return Cost(
            self.pairs + weight * more.pairs, lambda: self.marginal_cost() + weight * more.marginal_cost(), self.unit
        )


def _standardised(y: Tensor) -> Float[Tensor, "n k"]:
    """Conditions ``[n, *c]`` as vectors whose coordinates have unit variance (0 for a constant one)."""
    z = _centred(y)[0]
    scale = z.square().mean(0).sqrt()
    return z / torch.where(scale > 0, scale, 1.0)


@dataclass(frozen=True, kw_only=True)
class Transport(ABC):
    """A coupling by the squared distance ``|x_1 - x_0|^2`` that leaves the source of every condition as it was.

    A row's source point carries the row's own condition, which is an independent draw where x0 is noise. Integer
    conditions are classes, and each class is coupled by itself: its source points are exactly those it came with.
    Others enter the cost, ``|x_1 - x_0|^2 + w |y_1 - y_0|^2`` (C2OT), each coordinate of y at unit variance: the source
    of a condition is then that of its neighbours in y, within about ``weight^(-1/2)`` standard deviations. The larger
    the weight the less it is moved, and the longer the ways; conditions of many dimensions have no neighbours in a
    batch, and come out as good as independent. Of a dict of several conditions the classes are coupled by themselves,
    each combination of them, and the others enter the cost.

    ``conditions="ignore"`` couples x alone and lets y travel: each condition then gets the noise on its data's side,
    and sampling for it starts from noise that training never showed it.

    Args: ``conditions``, "keep" or "ignore"; ``weight``, w in units of the spread of the x cost; ``space`` of the
    points, whose geodesic distance counts.

    Cheng & Schwing 2025, "The curse of conditions".
    """

    conditions: Literal["keep", "ignore"] = "keep"
    weight: float = 100.0
    space: Space = field(default=EUCLIDEAN, repr=False)

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.conditions not in ("keep", "ignore"):
            raise ValueError(f"{name}(conditions={self.conditions!r}): write 'keep' or 'ignore'")
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"{name}(weight={self.weight}): the weight of conditions is a number from 0 up")
        self._check()

    def _check(self) -> None:  # noqa: B027  # not every coupling has numbers of its own to check
        """ValueError for numbers that make no sense."""

    @abstractmethod
    def regularization(self, unit: float) -> float:
        """The entropic regularisation of the plan, in the units of the cost; 0 for an exact one."""

    @abstractmethod
    def solve(self, cost: Cost, generator: torch.Generator) -> Callable[[], Pairs]:
        """What gives source rows and data rows of the n pairs: the part of the work that is one long call."""

    @final
    def __call__(
        self, x0: Points, x1: Points, y: Conditioning, generator: torch.Generator
    ) -> tuple[Points, Points, Any]:
        """The batch, paired; row k of the result is one pair with its condition."""
        return self.prepare(x0, x1, y, generator)()

    @final
    def prepare(self, x0: Points, x1: Points, y: Conditioning, generator: torch.Generator) -> PendingPairs:
        """The same in two parts: this one draws from the generator; what it returns may be called in a thread."""
        check_rows(x0, x1, y)
        every = torch.arange(len(x1), device=x1.device)
        begun: list[tuple[Tensor, Callable[[], Pairs]]] = []
        for rows, z in self._blocks(y, every):
            whole = len(rows) == len(every)
            cost = Cost.between(x0 if whole else x0[rows], x1 if whole else x1[rows], self.space)
            if z is not None:
                cost = cost.plus(self.weight * max(cost.unit, self.regularization(cost.unit)), z)
            begun.append((rows, self.solve(cost, generator)))

        def end() -> tuple[Points, Points, Any]:
            source, data = every.clone(), every.clone()
            for rows, matched in begun:
                i, j = matched()
                source[rows], data[rows] = rows[i.to(rows)], rows[j.to(rows)]
            return x0[source], x1[data], each_condition(y, lambda value: value[data.to(value.device)])

        return end

    def _blocks(self, y: Conditioning, every: Int[Tensor, "n"]) -> list[tuple[Tensor, Tensor | None]]:
        """Rows that are coupled together, and the conditions that enter their cost."""
        if y is None or self.conditions == "ignore" or len(every) < 2:
            return [(every, None)]
        several = list(y.values()) if isinstance(y, Mapping) else [y]
        numbers = [_standardised(value).to(every.device) for value in several if value.is_floating_point()]
        labels = [value.reshape(len(every), -1) for value in several if not value.is_floating_point()]
        z = torch.cat(numbers, 1) if numbers else None
        if not labels:
            return [(every, z)]
        classes, counts = torch.unique(torch.cat(labels, 1), dim=0, return_inverse=True, return_counts=True)[1:]
        parts = (rows.to(every.device) for rows in classes.argsort(stable=True).split(counts.tolist()))
        return [(rows, None if z is None else z[rows]) for rows in parts]


COUPLINGS: dict[str, Callable[..., Coupling]] = {"independent": lambda: independent}
