"""The interface of a path, and the families of curves whose source point can be told from a point on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.source import Source
from pushforward.tensor import Points, Time, Times, brief, clock, jvp

__all__ = ["Draw", "InvertiblePath", "Path", "aligned"]


def aligned(t: Times, x: Points) -> Tensor:
    """Time in the shape ``[n, 1, ..., 1]`` that a user's function of points and time expects, still in float64."""
    return t.reshape(-1, *[1] * (x.ndim - 1)) if t.ndim else t


@final
@dataclass(frozen=True, repr=False)
class Draw:
    """Points on conditional trajectories: ``t [n]``; ends ``x0, x1``, points ``xt``, velocities ``ut``: ``[n, *d]``."""

    t: Float[Tensor, "n"]
    x0: Points
    x1: Points
    xt: Points
    ut: Points

    def __repr__(self) -> str:
        return brief(self)

    def split(self, size: int) -> list[Draw]:
        """The points in batches of ``size``."""
        parts = (z.split(size) for z in (self.t, self.x0, self.x1, self.xt, self.ut))
        return [Draw(*batch) for batch in zip(*parts, strict=True)]

    def to(self, device: torch.device) -> Draw:
        """The same points on another device."""
        if self.xt.device == device:
            return self
        return Draw(*(z.to(device) for z in (self.t, self.x0, self.x1, self.xt, self.ut)))


class Path(ABC):
    """A law of curves from a source to the data, and the conditional law ``p_t(x | x_1)`` of their points."""

    source: Source

    @abstractmethod
    def trajectory(self, x0: Points, x1: Points, t: Times) -> Points:
        """``x_t`` on the curve from ``x0`` to ``x1``; differentiable in ``t``."""

    @abstractmethod
    def velocity(self, xt: Points, x1: Points, t: Time) -> Points:
        """Conditional velocity ``u_t(x | x_1)``: the mean velocity of the curves to ``x1`` that pass through ``xt``."""

    @abstractmethod
    def log_prob(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        """``log p_t(x | x_1)``, nats."""

    @abstractmethod
    def score(self, xt: Points, x1: Points, t: Time) -> Points:
        """``grad_x log p_t(x | x_1)``; ValueError for a source without a density."""

    def start(self, x0: Points) -> Points:
        """Where sampling begins for the source draw ``x0``."""
        return x0

    def curve(self, x0: Points, x1: Points, generator: torch.Generator | None) -> Callable[[Times], Points]:
        """One curve per row, as a function of time; random where the path itself is."""
        return lambda t: self.trajectory(x0, x1, t)

    @final
    def draw(self, x0: Points, x1: Points, t: Time, generator: torch.Generator | None = None) -> Draw:
        """The point and its velocity ``d x_t / dt`` on each curve, at one time or one time per row.

        >>> import torch, pushforward as pf
        >>> pf.Affine().draw(torch.zeros(1, 2), torch.ones(1, 2), 0.25).xt
        tensor([[0.2500, 0.2500]])
        """
        if x0.shape != x1.shape:
            raise ValueError(f"x0 has shape {tuple(x0.shape)} but x1 has {tuple(x1.shape)}")
        t = clock(t, x1)
        xt, ut = jvp(self.curve(x0, x1, generator), t, torch.ones_like(t))
        return Draw(t.expand(len(x1)), x0, x1, xt, ut)

    def __repr__(self) -> str:
        return brief(self) if is_dataclass(self) else type(self).__name__


class InvertiblePath(Path):
    """Curves one through each point: ``x_0 = phi_t(x | x_1)`` says where the curve to ``x_1`` through ``x`` began."""

    @abstractmethod
    def source_point(self, xt: Points, x1: Points, t: Time) -> Points:
        """``x_0 = phi_t(x_t | x_1)``: the source point of the curve to ``x1`` that passes through ``xt``."""

    @abstractmethod
    def log_det(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        """``log |det d phi_t / d x|`` at ``xt``, nats."""

    def velocity(self, xt: Points, x1: Points, t: Time) -> Points:
        """``u_t(x | x_1)``: the velocity of the curve to ``x1`` that passes through ``xt``."""
        return self.draw(self.source_point(xt, x1, t), x1, t).ut

    @final
    def log_prob(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        """``log p_t(x | x_1) = log p_0(phi_t(x|x_1)) + log |det d phi_t / d x|``, nats."""
        return self.source.log_prob(self.source_point(xt, x1, t)) + self.log_det(xt, x1, t)

    @final
    def score(self, xt: Points, x1: Points, t: Time) -> Points:
        """``grad_x log p_t = (d phi/d x)^T grad log p_0(phi) + grad log |det d phi / d x|``, by autodiff."""
        x0, pull = torch.func.vjp(lambda x: self.source_point(x, x1, t), xt)[:2]
        volume: Tensor = torch.func.grad(lambda x: self.log_det(x, x1, t).sum())(xt)
        pulled: Tensor = pull(self.source.score(x0))[0]
        return volume + pulled
