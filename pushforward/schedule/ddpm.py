"""The discrete schedule of DDPM as a schedule like any other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pushforward.schedule.base import Schedule, quotient, root
from pushforward.tensor import ClockTimes

__all__ = ["DDPMSchedule"]


@final
@dataclass(frozen=True, eq=False)
class DDPMSchedule(Schedule):
    """DDPM's chain of N steps on the common clock: index ``k = N (1 - t)``, so k = 0 is data and k = N noise.

    ``alpha = sqrt(abar_k), beta = sqrt(1 - abar_k)``, ``abar_k = prod_{j<=k} (1 - betas_j)``; exact at whole k, and in
    between ``log abar`` is linear, i.e. the noise rate of each step is spread evenly over it. ``betas [N]`` in the
    order of the chain, default DDPM's linear ones. Raises ValueError for betas outside (0, 1).

    Reference: Ho et al. 2020, whose k this is; libraries that count from 0 call it k - 1.
    """

    betas: Float[Tensor, "N"] = dataclass_field(default_factory=lambda: DDPMSchedule.linear().betas)

    def __post_init__(self) -> None:
        betas = self.betas.to("cpu", torch.float64)
        if betas.ndim != 1 or not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError("DDPMSchedule: betas must be one row of numbers in (0, 1)")
        object.__setattr__(self, "betas", betas)

    @staticmethod
    def linear(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> DDPMSchedule:
        """Betas equally spaced (Ho et al. 2020)."""
        return DDPMSchedule(torch.linspace(first, last, steps, dtype=torch.float64))

    @staticmethod
    def scaled_linear(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> DDPMSchedule:
        """Square roots of betas equally spaced (Rombach et al. 2022)."""
        return DDPMSchedule(torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square())

    @staticmethod
    def cosine(steps: int = 1000, offset: float = 0.008) -> DDPMSchedule:
        """``abar_k`` goes like ``cos^2((k/N + offset) / (1 + offset) pi/2)``, betas at most 0.999 (Nichol 2021)."""
        k = torch.arange(steps + 1, dtype=torch.float64)
        abar = torch.cos((k / steps + offset) / (1 + offset) * math.pi / 2).square()
        return DDPMSchedule((1 - abar[1:] / abar[:-1]).clamp(max=0.999))

    @property
    def smooth(self) -> bool:
        """False: the noise rate jumps at each whole k."""
        return False

    def index(self, t: ClockTimes) -> ClockTimes:
        """The chain's index ``k = N (1 - t)`` of a time; whole at the chain's own times."""
        return len(self.betas) * (1 - t)

    def time_of(self, k: Float[Tensor, "*n"] | Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The time ``t = 1 - k / N`` of an index."""
        return 1 - k.to(torch.float64) / len(self.betas)

    def _log_abar(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``log abar`` and its slope in t, piecewise linear between the chain's times."""
        steps = torch.log1p(-self.betas).to(t)
        knots = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
        k = self.index(t)
        # rounding of 1 - t must not move a whole k off its own knot
        whole = k.detach().round()
        k = torch.where((k.detach() - whole).abs() < 1e-9, whole + (k - k.detach()), k)
        below = k.detach().floor().clamp(0, len(steps) - 1).long()
        return knots[below] + (k - below) * steps[below], -len(steps) * steps[below]

    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        return torch.exp(self._log_abar(t)[0] / 2), root(self.variance(t))

    def variance(self, t: ClockTimes) -> ClockTimes:
        return -torch.expm1(self._log_abar(t)[0])

    def derivatives(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        alpha, beta = self(t)
        half = self._log_abar(t)[1] / 2
        beta_d_beta = -half * alpha.square()
        return half * alpha, quotient(beta_d_beta, beta), beta_d_beta

    def time_of_log_snr(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The time in [0, 1] at which the schedule has this ``log(alpha/beta)``: ``abar = 1/(1 + exp(-2 log_snr))``.

        Values beyond the schedule's range give 0 or 1.
        """
        knots = torch.cat([self.betas.new_zeros(1), -torch.log1p(-self.betas).cumsum(0)]).to(log_snr)
        wanted = torch.nn.functional.softplus(-2 * log_snr, threshold=math.inf).clamp(max=knots[-1])  # -log abar
        above = torch.searchsorted(knots, wanted.contiguous()).clamp(1, len(self.betas))
        below = above - 1
        k = below + (wanted - knots[below]) / (knots[above] - knots[below])
        return 1 - k / len(self.betas)

    def posterior(self, k: Int[Tensor, "n"]) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        """``q(x_{k-1} | x_k, data) = N(a data + b x_k, c I)``: the coefficients ``(a, b, c)`` for k = 1 .. N.

        ``a = sqrt(abar_{k-1}) beta_k / (1 - abar_k)``, ``b = sqrt(1 - beta_k) (1 - abar_{k-1}) / (1 - abar_k)``,
        ``c = beta_k (1 - abar_{k-1}) / (1 - abar_k)`` (Ho et al. 2020, equation 7).
        """
        if bool((k < 1).any()) or bool((k > len(self.betas)).any()):
            raise ValueError(f"DDPMSchedule.posterior: k must be in 1 .. {len(self.betas)}")
        beta = self.betas.to(k.device)[k - 1]
        now, before = self.variance(self.time_of(k)), self.variance(self.time_of(k - 1))
        return beta * (1 - before).sqrt() / now, (1 - beta).sqrt() * before / now, beta * before / now


def ddpm(betas: Literal["linear", "scaled_linear", "cosine"] = "linear", steps: int = 1000) -> DDPMSchedule:
    """The schedule of a chain of so many steps with betas by their name: ``--schedule ddpm:cosine,500``."""
    if steps < 1:
        raise ValueError(f"steps = {steps}: a chain has at least one")
    named: dict[str, Callable[[int], DDPMSchedule]] = {
        "linear": DDPMSchedule.linear,
        "scaled_linear": DDPMSchedule.scaled_linear,
        "cosine": DDPMSchedule.cosine,
    }
    return named[betas](steps)


SCHEDULES: dict[str, Callable[..., Schedule]] = {"ddpm": ddpm}
