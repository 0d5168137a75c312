"""Membership inference: whether training rows are told from fresh ones by a number that a model gives to each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Membership", "membership"]

FALSE = 0.01  # share of fresh rows that are taken for training rows
CHANCE = 0.01  # below which the attack is no chance
RESAMPLES = 1000
COVERED = 0.95


@dataclass(frozen=True)
class Membership:
    """How well an attack tells training rows from fresh ones, by a threshold on one number for each row.

    ``found`` of the ``train`` rows lie below all but a hundredth of the ``fresh`` rows: true positives at 1 % false
    positives, with the interval from ``low`` to ``high`` (95 %, bootstrap over both); ``expected`` of them would by
    chance. ``auc`` is the probability that a training row has the lower number (0.5 is fair). ``p_value`` is the exact
    probability of as many by chance: rows of one law make the number of true positives beta-binomial.
    """

    found: float
    low: float
    high: float
    expected: float
    auc: float
    p_value: float
    train: int
    fresh: int

    @property
    def leaks(self) -> bool:
        """Whether training rows are told from fresh ones more often than chance has it."""
        return self.p_value < CHANCE

    def describe(self) -> str:
        """Say it in a sentence."""
        told = "more than by chance" if self.leaks else "as by chance"
        return (
            f"{self.found:.1%} of training rows ({self.low:.1%} to {self.high:.1%}) are told from fresh ones at 1 % "
            f"false positives, {told} ({self.expected:.1%}); area under the curve {self.auc:.3f}"
        )


def membership(train: Float[Tensor, " n"], fresh: Float[Tensor, " m"], seed: int = 0) -> Membership:
    """Attack a model by the numbers (losses) that it gives to training rows ``[n]`` and to fresh rows ``[m]``.

    With k = floor(m / 100) the threshold is the fresh row with k fresh rows below it. If the rows are of one law, a
    training row lies below it with probability ``(k + 1) / (m + 1)``, and the number of those that do is beta-binomial
    with ``(n, k + 1, m - k)``. Numbers that are not finite are the largest. ValueError: no rows on one of the sides.
    Reference: Carlini et al. 2022 (arXiv:2112.03570); for diffusion models Carlini et al. 2023 (arXiv:2301.13188).

    >>> import torch
    >>> from pushforward.metrics import membership
    >>> membership(torch.arange(200.0), torch.arange(200.0) + 300).leaks
    True
    """
    if not len(train) or not len(fresh):
        raise ValueError("membership: no rows on one of the sides")
    from scipy.stats import betabinom

    train, fresh = (torch.nan_to_num(x.double().cpu(), nan=math.inf) for x in (train, fresh))
    n, m = len(train), len(fresh)
    k = int(FALSE * m)
    count = int((train < _threshold(fresh)).sum())
    generator = torch.Generator().manual_seed(seed)
    shares = torch.stack([_share(_again(train, generator), _again(fresh, generator)) for _ in range(RESAMPLES)])
    tail = (1 - COVERED) / 2
    low, high = (float(q) for q in shares.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)))
    below = torch.searchsorted(fresh.sort().values, train)
    ties = torch.searchsorted(fresh.sort().values, train, right=True) - below
    auc = 1 - float((below + ties / 2).mean()) / m
    p_value = float(betabinom.sf(count - 1, n, k + 1, m - k))
    return Membership(count / n, low, high, (k + 1) / (m + 1), auc, p_value, n, m)


def _threshold(fresh: Tensor) -> Tensor:
    """The number with a hundredth of the fresh ones below it."""
    return fresh.sort().values[int(FALSE * len(fresh))]


def _share(train: Tensor, fresh: Tensor) -> Tensor:
    return (train < _threshold(fresh)).double().mean()


def _again(x: Tensor, generator: torch.Generator) -> Tensor:
    """As many of the numbers, drawn with replacement."""
    return x[torch.randint(len(x), (len(x),), generator=generator)]
