"""Fields: whatever moves points. Oracles, learned networks and guided combinations share one interface.

A field answers for any of the predictions ``velocity, score, data, noise, v`` at a point and a time, on its path.
Samplers, likelihoods, metrics and plots take a `Field` and never ask which kind it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pushforward.path import Path, check_prediction, convert
from pushforward.tensor import Points, Time, clock

__all__ = ["Field", "Learned"]


class Field(ABC):
    """Anything that moves points along a path."""

    path: Path

    @abstractmethod
    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        """Several predictions at ``x`` ``[n, *d]`` and ``t`` ``()`` or ``[n]`` from one evaluation."""

    @final
    def velocity(self, x: Points, t: Time, y: Tensor | None = None) -> Points:
        """``u_t(x)``, data units per unit of time."""
        return self.evaluate(("velocity",), x, t, y)[0]

    @final
    def score(self, x: Points, t: Time, y: Tensor | None = None) -> Points:
        """``s_t(x) = grad log p_t(x)``."""
        return self.evaluate(("score",), x, t, y)[0]

    @final
    def data(self, x: Points, t: Time, y: Tensor | None = None) -> Points:
        """``E[x_1 | x_t = x]``."""
        return self.evaluate(("data",), x, t, y)[0]

    @final
    def noise(self, x: Points, t: Time, y: Tensor | None = None) -> Points:
        """``E[x_0 | x_t = x]``."""
        return self.evaluate(("noise",), x, t, y)[0]

    @final
    def v(self, x: Points, t: Time, y: Tensor | None = None) -> Points:
        """``alpha E[x_0 | x_t = x] - beta E[x_1 | x_t = x]`` (Salimans & Ho 2022)."""
        return self.evaluate(("v",), x, t, y)[0]


@final
@dataclass(frozen=True, eq=False)
class Learned(Field):
    """A network as a field: ``net(x, t, y)`` with ``t`` ``[n]`` predicts one quantity, the others follow by `convert`.

    Times reach the network in the dtype of ``x``, but never narrower than float32.
    """

    net: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    path: Path
    predicts: str = "velocity"

    def __post_init__(self) -> None:
        if self.predicts != "velocity":
            check_prediction(self.path, self.predicts)

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        t = clock(t, x)
        p = self.net(x, t.to(torch.promote_types(x.dtype, torch.float32)).expand(len(x)), y)
        return tuple(p if name == self.predicts else convert(p, x, t, self.path, self.predicts, name) for name in names)
