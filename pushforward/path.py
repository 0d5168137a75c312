"""Paths: families of trajectories that carry a source to the data, and what can be read off a point on them.

A path is one function, ``trajectory(x0, x1, t) -> x_t``, with ``x_0 = x0`` at t = 0 and ``x_1 = x1`` at t = 1. Its
velocity is the derivative in t, by forward-mode autodiff, never a second formula.

**One network, every quantity.** On an affine path ``x_t = alpha x_1 + beta x_0``. A prediction is a row (a, b) that
estimates ``p = a x_1 + b x_0``; together with ``x_t`` it is one 2 x 2 linear system with determinant
``alpha b - beta a``, so `convert` is a single formula for all pairs of predictions, and the ratio of two determinants,
squared, is the `weight` between their losses.

Where the determinant vanishes, ``p`` repeats what ``x_t`` already says (at t = 1 a data prediction is ``x_t`` itself),
and the other part is its mean given ``x_t`` for standardised data: ``E[x_1|x_t] = alpha x_t / (alpha^2 + beta^2)`` and
``E[x_0|x_t] = beta x_t / (alpha^2 + beta^2)``, the Moore-Penrose solution of the one equation left. It is exact
wherever the true answer does not depend on the data law: ``x_1 = x_t`` and ``x_0 = 0`` at t = 1, ``x_0 = x_t`` at
t = 0; for the rest it is the answer of standard normal data.

Reference: Lipman et al. 2024, "Flow Matching Guide and Code"; Salimans & Ho 2022 for v.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.errors import nearest
from pushforward.schedule import CondOT, Schedule, Weights
from pushforward.source import Normal, Source
from pushforward.tensor import Points, Time, Times, bcast, clock, dimension, jvp

__all__ = ["PATHS", "PREDICTIONS", "Affine", "Draw", "Path", "coefficients", "convert", "weight"]


@final
@dataclass(frozen=True)
class Draw:
    """Points on conditional trajectories: ``t [n]``; ends ``x0, x1``, points ``xt``, velocities ``ut``: ``[n, *d]``."""

    t: Float[Tensor, "n"]
    x0: Points
    x1: Points
    xt: Points
    ut: Points

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
    """A family of trajectories from a source to the data."""

    source: Source

    @abstractmethod
    def trajectory(self, x0: Points, x1: Points, t: Times) -> Points:
        """``x_t`` on the curve from ``x0`` to ``x1``; differentiable in ``t``."""

    @abstractmethod
    def origin(self, xt: Points, x1: Points, t: Time) -> Points:
        """``x_0 = phi_t(x_t | x_1)``: the source point of the curve to ``x1`` that passes through ``xt``."""

    @abstractmethod
    def log_det(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        """``log |det d phi_t / d x|`` at ``xt``, nats."""

    def start(self, x0: Points) -> Points:
        """Where sampling begins for the source draw ``x0``: the curve at t = 0 with no data in it."""
        return self.trajectory(x0, torch.zeros_like(x0), clock(0.0, x0))

    @final
    def draw(self, x0: Points, x1: Points, t: Time) -> Draw:
        """The point and its velocity ``d x_t / dt`` on each trajectory, at one time or one time per row.

        >>> import torch, pushforward as pf
        >>> pf.Affine().draw(torch.zeros(1, 2), torch.ones(1, 2), 0.25).xt
        tensor([[0.2500, 0.2500]])
        """
        if x0.shape != x1.shape:
            raise ValueError(f"x0 has shape {tuple(x0.shape)} but x1 has {tuple(x1.shape)}")
        t = clock(t, x1)
        xt, ut = jvp(lambda time: self.trajectory(x0, x1, time), t, torch.ones_like(t))
        return Draw(t.expand(len(x1)), x0, x1, xt, ut)

    @final
    def velocity(self, xt: Points, x1: Points, t: Time) -> Points:
        """Conditional velocity ``u_t(x | x_1)``: of the curve to ``x1`` that passes through ``xt``."""
        return self.draw(self.origin(xt, x1, t), x1, t).ut

    @final
    def log_prob(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        """``log p_t(x | x_1) = log p_0(phi_t(x|x_1)) + log |det d phi_t / d x|``, nats."""
        return self.source.log_prob(self.origin(xt, x1, t)) + self.log_det(xt, x1, t)


@final
@dataclass(frozen=True)
class Affine(Path):
    """``x_t = alpha_t x_1 + beta_t x_0``; with the normal source, the Gaussian path ``N(alpha_t x_1, beta_t^2 I)``.

    ``Affine()`` is the straight path of flow matching: CondOT schedule, standard normal source.
    """

    schedule: Schedule = field(default_factory=CondOT)
    source: Source = field(default_factory=Normal)

    def trajectory(self, x0: Points, x1: Points, t: Times) -> Points:
        alpha, beta = self.schedule(t)
        return bcast(alpha, x1) * x1 + bcast(beta, x0) * x0

    def origin(self, xt: Points, x1: Points, t: Time) -> Points:
        # at beta = 0 every source point leads to x1, and x0 = 0 is the stated choice
        alpha, beta = self.schedule(clock(t, xt))
        gone = beta == 0
        residual = (xt - bcast(alpha, xt) * x1) / bcast(torch.where(gone, 1.0, beta), xt)
        return torch.where(bcast(gone.to(beta), xt) > 0, 0.0, residual)

    def log_det(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        beta = self.schedule(clock(t, xt))[1]
        return (-dimension(xt) * beta.log()).to(xt).expand(len(xt))


Row = tuple[Tensor, Tensor, Tensor]


def check_prediction(path: Path, *names: str) -> Schedule:
    """The schedule of an affine path on which these predictions exist; ValueError with the reason where they do not."""
    for name in names:
        if name not in PREDICTIONS:
            raise ValueError(nearest(name, PREDICTIONS, "prediction"))
    if not isinstance(path, Affine):
        raise ValueError(f"{type(path).__name__}: predictions convert into each other on affine paths only")
    if "score" in names and not isinstance(path.source, Normal):
        raise ValueError(
            f"the score is a linear function of the noise for the Normal source only, not for {path.source}; "
            "use velocity, data, noise or v"
        )
    return path.schedule


def coefficients(path: Path, t: Times, frm: str, to: str) -> tuple[Times, Times]:
    """``(k_x, k_p)`` such that the prediction ``to`` is ``k_x x_t + k_p p`` for a prediction ``p`` of kind ``frm``."""
    w = check_prediction(path, frm, to).at(t)
    if frm == to:
        return torch.zeros_like(t), torch.ones_like(t)
    (m, a, b), (m_to, c, e) = PREDICTIONS[frm](w), PREDICTIONS[to](w)
    # beta d_beta stays finite where d_beta alone does not (VP at t = 1); velocity and score share that factor beta
    if (frm, to) == ("score", "velocity"):
        k_x, k_p, det = w.d_alpha, w.beta.square() * w.d_alpha - w.alpha * w.beta_d_beta, w.alpha
    elif (frm, to) == ("velocity", "score"):
        k_x, k_p, det = -w.d_alpha, w.alpha, w.beta.square() * w.d_alpha - w.alpha * w.beta_d_beta
    else:
        k_x, k_p, det = c * b - e * a, m * (e * w.alpha - c * w.beta), m_to * (w.alpha * b - w.beta * a)
        if "velocity" in (frm, to):  # no finite slope of beta here: nothing but the known part of the velocity is left
            det = torch.where((w.beta == 0) & (w.beta_d_beta != 0), 0.0, det)
    # what x_t alone says, for standardised data
    total = w.alpha.square() + w.beta.square()
    known = {
        "data": w.alpha,
        "noise": w.beta,
        "score": -torch.ones_like(t),
        "velocity": w.alpha * w.d_alpha + w.beta_d_beta,
        "v": torch.zeros_like(t),
    }[to] / total
    singular = det == 0
    safe = torch.where(singular, 1.0, det)
    return torch.where(singular, known, k_x / safe), torch.where(singular, 0.0, k_p / safe)


def convert(p: Points, xt: Points, t: Time, path: Path, frm: str, to: str) -> Points:
    """A prediction as another one: data, noise, velocity, score or v at the point ``xt`` of an affine path.

    ``m p = a x_1 + b x_0`` and ``x_t = alpha x_1 + beta x_0`` solved for the row of ``to``; exact at t = 0 and t = 1 as
    the module's notes state. Raises ValueError for an unknown name, a path without the linear relation, or the score
    of a source that is not normal.
    """
    k_x, k_p = coefficients(path, clock(t, xt), frm, to)
    return bcast(k_x, xt) * xt + bcast(k_p, xt) * p


def weight(t: Time, path: Path, frm: str, to: str, like: Tensor) -> Times:
    """``|error of to|^2 / |error of frm|^2``, the squared ratio of determinants: turns one loss into another.

    0 where ``frm`` says nothing about ``to`` (see the module's notes on vanishing determinants).
    """
    return coefficients(path, clock(t, like), frm, to)[1].square()


# name -> (m, a, b) with m p = a x_1 + b x_0. m is 1 but for the score, whose own row (0, -1/beta) is infinite at t = 1.
PREDICTIONS: dict[str, Callable[[Weights], Row]] = {
    "velocity": lambda w: (torch.ones_like(w.beta), w.d_alpha, w.d_beta),
    "score": lambda w: (-w.beta, torch.zeros_like(w.beta), torch.ones_like(w.beta)),
    "data": lambda w: (torch.ones_like(w.beta), torch.ones_like(w.beta), torch.zeros_like(w.beta)),
    "noise": lambda w: (torch.ones_like(w.beta), torch.zeros_like(w.beta), torch.ones_like(w.beta)),
    "v": lambda w: (torch.ones_like(w.beta), -w.beta, w.alpha),
}

PATHS: dict[str, type[Path]] = {
    "affine": Affine,
}
