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
from pushforward.tensor import Points, Time, bcast, clock

__all__ = ["Field", "Learned", "Rescheduled"]


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


@final
@dataclass(frozen=True, eq=False)
class Rescheduled(Field):
    """A field of one Gaussian path answering for another: change the schedule after training.

    Both paths visit the same laws at other times and scales: at equal signal-to-noise,
    ``p_t(x) = c^d p'_{t'}(c x)`` with ``alpha'/beta' = alpha/beta`` at t', ``c = |(alpha', beta')| / |(alpha, beta)|``.
    So data predictions agree and scores differ by the factor c, and every quantity follows from these two without a
    division, at both ends too. Exact wherever the old path reaches the ratio; beyond it, its nearest end answers.
    Raises ValueError unless both paths are Gaussian. Reference: Karras et al. 2022, appendix B; Lipman et al. 2024,
    section 4.6.
    """

    field: Field
    path: Path

    def __post_init__(self) -> None:
        for path in (self.field.path, self.path):
            check_prediction(path, "score")

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        old, new = check_prediction(self.field.path), check_prediction(self.path)
        t = clock(t, x)
        w = new.at(t)
        there = old.time(w.alpha.log() - w.beta.log())
        alpha, beta = old(there)
        c = bcast(torch.hypot(alpha, beta) / torch.hypot(w.alpha, w.beta), x)
        data, score = self.field.evaluate(("data", "score"), c * x, there, y)
        score = c * score
        # noise = -beta score, so d_beta noise = -(beta d_beta) score, finite at both ends
        rows = {
            "data": (torch.ones_like(t), torch.zeros_like(t)),
            "score": (torch.zeros_like(t), torch.ones_like(t)),
            "noise": (torch.zeros_like(t), -w.beta),
            "velocity": (w.d_alpha, -w.beta_d_beta),
            "v": (-w.beta, -w.alpha * w.beta),
        }
        return tuple(bcast(rows[name][0], x) * data + bcast(rows[name][1], x) * score for name in names)
