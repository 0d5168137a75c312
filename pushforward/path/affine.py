"""Affine paths: the point is linear in where the curve began."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.arguments import check_type
from pushforward.path.base import Draw, InvertiblePath, Path, aligned
from pushforward.path.predictions import PREDICTIONS, Row
from pushforward.schedule import CondOT, Schedule
from pushforward.schedule.base import quotient
from pushforward.source import Normal, Source
from pushforward.tensor import Points, Time, Times, bcast, clock, dimension

__all__ = ["Affine", "GeneralAffine"]


def unscale(residual: Points, scale: Times) -> Points:
    """``residual / scale``; 0 where the scale is 0: there every source point leads to ``x1``, and 0 is our choice."""
    return residual * bcast(quotient(torch.ones_like(scale), scale), residual)


@final
@dataclass(frozen=True)
class Affine(InvertiblePath):
    """``x_t = alpha_t x_1 + beta_t x_0``; with the normal source, the Gaussian path ``N(alpha_t x_1, beta_t^2 I)``.

    ``Affine()`` is the straight path of flow matching: CondOT schedule, standard normal source.
    """

    schedule: Schedule = field(default_factory=CondOT)
    source: Source = field(default_factory=Normal)

    def __post_init__(self) -> None:
        check_type("Affine", "schedule", self.schedule, Schedule, 'write pf.VP() or pf.SCHEDULES["vp"]()')
        check_type("Affine", "source", self.source, Source, 'write pf.Uniform() or pf.SOURCES["uniform"]()')

    def trajectory(self, x0: Points, x1: Points, t: Times) -> Points:
        alpha, beta = self.schedule(t)
        return bcast(alpha, x1) * x1 + bcast(beta, x0) * x0

    def _moving_point(
        self, x0: Points, x1: Points, t: Times, generator: torch.Generator | None
    ) -> tuple[Points, Points]:
        w = self.schedule.coefficients(t)
        return bcast(w.alpha, x1) * x1 + bcast(w.beta, x0) * x0, bcast(w.d_alpha, x1) * x1 + bcast(w.d_beta, x0) * x0

    @property
    def predictions(self) -> Mapping[str, Row]:
        """All of `PREDICTIONS`; the score only where the source is normal, so that it is linear in the noise."""
        return {name: row for name, row in PREDICTIONS.items() if name != "score" or self.gaussian}

    @property
    def gaussian(self) -> bool:
        """Whether the source is the standard normal."""
        return self.source.gaussian

    @property
    def initial_scale(self) -> float:
        """``beta_0``."""
        return float(self.schedule(torch.zeros((), dtype=torch.float64))[1])

    def affine_schedule(self, *names: str) -> Schedule:
        self._check_names(names)
        if "score" in names and not self.gaussian:
            raise ValueError(
                f"the score is a linear function of the noise for the Normal source only, not for {self.source}; "
                "use velocity, data, noise or v"
            )
        return self.schedule

    def target(self, draw: Draw, name: str) -> Points:
        schedule = self.affine_schedule(name)
        if name in ("velocity", "data", "noise"):
            return {"velocity": draw.ut, "data": draw.x1, "noise": draw.x0}[name]
        m, a, b = PREDICTIONS[name](schedule.coefficients(draw.t))
        return bcast(a / m, draw.xt) * draw.x1 + bcast(b / m, draw.xt) * draw.x0

    def target_weight(self, name: str, t: Times) -> Times:
        """1; for the score ``beta_t^2``, without which its expectation is infinite at the data end."""
        return self.schedule(t)[1].square() if name == "score" else torch.ones_like(t)

    def process_sigma(self, t: Times) -> Times:
        """``sqrt(2 (beta^2 d_alpha/alpha - beta d_beta))``, that of VE, VP, sub-VP and DDPM; infinite at alpha = 0."""
        w = self.affine_schedule("score").coefficients(t)
        return (2 * (w.beta.square() * w.d_alpha / w.alpha - w.beta_d_beta)).clamp_min(0).sqrt()

    def initial_state(self, x0: Points) -> Points:
        """``beta_0 x_0``: the curve at t = 0 with no data in it; ``x_0`` itself where ``beta_0 = 1``."""
        return bcast(self.schedule(clock(0.0, x0))[1], x0) * x0

    def source_point(self, xt: Points, x1: Points, t: Time) -> Points:
        alpha, beta = self.schedule(clock(t, xt))
        return unscale(xt - bcast(alpha, xt) * x1, beta)

    def log_det(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        beta = self.schedule(clock(t, xt))[1]
        return (-dimension(xt) * beta.log()).to(xt).expand(len(xt))


@final
@dataclass(frozen=True, eq=False, repr=False)
class GeneralAffine(InvertiblePath):
    """``x_t = mu(x_1, t) + scale(t) x_0`` for a user's ``mu`` and ``scale``.

    ``u_t(x|z) = d_mu + (d_scale/scale) (x - mu)``, density ``p_0((x - mu)/scale) / scale^d``.
    ``mu(z, 0) = 0``, ``mu(z, 1) = z``, ``scale(0) = 1``, ``scale(1) = 0``; torch functions of points ``[n, *d]`` and of
    times that broadcast against them. Raises ValueError for other ends of the scale.
    """

    mu: Callable[[Tensor, Tensor], Tensor]
    scale: Callable[[Tensor], Tensor]
    source: Source = field(default_factory=Normal)

    def __post_init__(self) -> None:
        check_type("GeneralAffine", "source", self.source, Source, 'write pf.Uniform() or pf.SOURCES["uniform"]()')
        first, last = (float(s) for s in self.scale(torch.tensor([0.0, 1.0], dtype=torch.float64)))
        if not (abs(first - 1) < 1e-6 and abs(last) < 1e-6):
            raise ValueError(f"GeneralAffine: scale(0) = 1 and scale(1) = 0, not {first:.3g} and {last:.3g}")

    def _mean(self, x1: Points, t: Times) -> Points:
        return self.mu(x1, aligned(t, x1)).to(x1.dtype)

    def trajectory(self, x0: Points, x1: Points, t: Times) -> Points:
        return self._mean(x1, t) + bcast(self.scale(t), x0) * x0

    def source_point(self, xt: Points, x1: Points, t: Time) -> Points:
        t = clock(t, xt)
        return unscale(xt - self._mean(x1, t), self.scale(t))

    def log_det(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        return (-dimension(xt) * self.scale(clock(t, xt)).log()).to(xt).expand(len(xt))


PATHS: dict[str, Callable[..., Path]] = {"affine": Affine, "general_affine": GeneralAffine}
