"""The floor of a loss: what no network can get below, and how far above it one is.

A conditional loss is ``E lambda |p_theta - E[p|x_t]|^2 + E lambda |p - E[p|x_t]|^2``, and the second term does not
depend on the network: ``E lambda (|p|^2 - |E[p|x_t]|^2)``. It is the loss of the exact field, so one line serves every
objective; and as that is 0 wherever ``x_t`` tells the target, its mean is less noisy than a difference of squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.errors import InputError
from pushforward.field import Field
from pushforward.objective.matching import Objective
from pushforward.path import Draw
from pushforward.tensor import generator

__all__ = ["Estimate", "excess_loss", "irreducible_loss"]


class Estimate(NamedTuple):
    """A mean over ``n`` draws and its standard error, that of independent rows."""

    value: float
    error: float
    n: int


def irreducible_loss(
    objective: Objective, oracle: Field, draw: Draw, *, y: Tensor | None = None, seed: int = 0, batch: int = 1024
) -> Estimate:
    """The loss of the exact field on these draws, ``batch`` of them at a time.

    ``oracle`` is the field of the law that ``draw.x1`` comes from, paired independently with the source: for training
    rows the `EmpiricalField` of the training set, whose floor only a network that knows every row by heart can reach.
    The rows of a `StableTarget` without a reference depend on each other: spread over batches says how sure that one
    is. Raises InputError below two draws or where the loss is not finite (draws at t = 1, or an oracle that does not
    hold).
    """
    return _mean(lambda d, c, k: objective(oracle, d, c, generator(seed, "irreducible_loss", k)), draw, y, batch)


def excess_loss(
    objective: Objective,
    field: Field,
    oracle: Field,
    draw: Draw,
    *,
    y: Tensor | None = None,
    seed: int = 0,
    batch: int = 1024,
) -> Estimate:
    """``loss - irreducible_loss``, both on the same draws: an estimate of ``E lambda |p_theta - E[p|x_t]|^2 / d``, 0
    at best.

    What the two losses share cancels row by row, so its error is far below theirs. Raises as `irreducible_loss`.
    """

    def difference(d: Draw, c: Tensor | None, k: int) -> Tensor:
        mine, best = (objective(f, d, c, generator(seed, "irreducible_loss", k)) for f in (field, oracle))
        return mine - best

    return _mean(difference, draw, y, batch)


@torch.no_grad()
def _mean(of: Callable[[Draw, Tensor | None, int], Tensor], draw: Draw, y: Tensor | None, batch: int) -> Estimate:
    n = len(draw.xt)
    if n < 2:
        raise InputError(f"a floor with its error needs at least 2 draws, not {n}")
    draws = draw.split(batch)
    labels = [None] * len(draws) if y is None else y.split(batch)
    rows = torch.cat([of(d, c, k).double() for k, (d, c) in enumerate(zip(draws, labels, strict=True))])
    if not bool(rows.isfinite().all()):
        raise InputError(
            f"the loss is not finite on {int((~rows.isfinite()).sum())} of {n} draws: keep the times below 1 and the "
            "points on the oracle's path"
        )
    return Estimate(float(rows.mean()), float(rows.std()) / math.sqrt(n), n)
