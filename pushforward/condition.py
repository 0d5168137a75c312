"""What a network is told of each row in training: its class, or some of its own entries, and at times nothing.

``(x1, y, generator) -> y`` with the condition that goes to the network. Rows that are told nothing teach it the
unconditional law, which guidance and `log_likelihood` without a condition ask for (Ho & Salimans 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pushforward.tensor import Points

__all__ = ["ConditionDraw", "LabelDropout", "RandomMask", "unconditional"]

ConditionDraw = Callable[[Tensor, "Tensor | None", torch.Generator], "Tensor | None"]


def unconditional(x1: Points, y: Tensor | None, generator: torch.Generator) -> None:
    """No condition."""


@final
@dataclass(frozen=True)
class LabelDropout:
    """The class of each row, and -1, no class, for a share ``drop`` of them. ValueError for rows without classes."""

    drop: float

    def __call__(self, x1: Points, y: Int[Tensor, "n"] | None, generator: torch.Generator) -> Int[Tensor, "n"]:
        if y is None:
            raise ValueError("Labels: these rows have no classes")
        dropped = torch.rand(len(y), generator=generator, dtype=torch.float32) < self.drop
        return torch.where(dropped, -1, y)


@final
@dataclass(frozen=True)
class RandomMask:
    """Some entries of each row ``y [n, d]``, NaN for the others: one network learns every conditional law of a table.

    ``y`` are the rows themselves, before noise turned rounded values and categories into continuous ones. Each is cut
    into ``feature_groups`` of so many entries each, shown or hidden together. A share ``drop`` of the rows shows
    nothing; of any other, each piece is shown with a probability that is itself uniform on [0, 1], so that every
    number of pieces is equally frequent. Reference: Ivanov et al. 2019, "Variational autoencoder with arbitrary
    conditioning".
    """

    drop: float
    feature_groups: tuple[int, ...]

    def __call__(
        self, x1: Float[Tensor, "n d"], y: Float[Tensor, "n d"] | None, generator: torch.Generator
    ) -> Float[Tensor, "n d"]:
        if y is None:
            raise ValueError("Masked: the rows to be shown in part are missing")
        n, k = len(y), len(self.feature_groups)
        draws = torch.rand(n, k + 2, generator=generator, dtype=torch.float32)
        shown = (draws[:, :k] < draws[:, k : k + 1]) & (draws[:, k + 1 :] >= self.drop)
        return torch.where(shown.repeat_interleave(torch.tensor(self.feature_groups), 1), y, math.nan)
