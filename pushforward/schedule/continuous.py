"""Schedules in closed form: flow matching's, and the variance preserving and exploding ones of score SDEs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.schedule.base import Schedule, quotient, root
from pushforward.tensor import ClockTimes

__all__ = ["EDM", "VE", "VP", "CondOT", "Cosine", "Polynomial", "SubVP"]


@final
@dataclass(frozen=True)
class CondOT(Schedule):
    """``alpha = t, beta = 1 - t``: straight lines at constant speed (Lipman et al. 2023; rectified flow)."""

    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        return t, 1 - t

    def derivatives(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        return torch.ones_like(t), -torch.ones_like(t), t - 1

    def time_of_log_snr(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sigmoid(log_snr)


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """``alpha = sin(pi t / 2), beta = cos(pi t / 2)``, so ``alpha^2 + beta^2 = 1`` (Albergo & Vanden-Eijnden 2023)."""

    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        # beta as the sine of the complement: exactly 0 at t = 1, where cos(pi/2) is not
        return torch.sin(math.pi / 2 * t), torch.sin(math.pi / 2 * (1 - t))

    def derivatives(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        alpha, beta = self(t)
        return math.pi / 2 * beta, -math.pi / 2 * alpha, -math.pi / 2 * alpha * beta

    def time_of_log_snr(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return 2 / math.pi * torch.atan(torch.exp(log_snr))


@final
@dataclass(frozen=True)
class Polynomial(Schedule):
    """``alpha = t^power, beta = 1 - t^power``; power >= 1 (Lipman et al. 2024, section 4.8)."""

    power: float = 2.0

    def __post_init__(self) -> None:
        if not self.power >= 1:
            raise ValueError(f"Polynomial(power={self.power}): power must be at least 1, or the velocity is infinite")

    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        alpha = t**self.power
        return alpha, 1 - alpha

    def derivatives(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        slope = self.power * t ** (self.power - 1)
        return slope, -slope, -slope * (1 - t**self.power)

    def time_of_log_snr(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sigmoid(log_snr).pow(1 / self.power)


def _check_range(name: str, low: float, high: float, what: str, zero: bool = False) -> None:
    if not ((low > 0 or (zero and low == 0)) and low <= high < math.inf and high > 0):
        raise ValueError(f"{name}: needs 0 < {what}_min <= {what}_max, got {low} and {high}")


@dataclass(frozen=True)
class _LinearRate:
    """Noise rate ``b(s) = beta_min + s (beta_max - beta_min)`` in the time ``s = 1 - t`` back from the data."""

    beta_min: float
    beta_max: float

    def rate_and_integral(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``b`` and its integral ``B`` from the data."""
        s = 1 - t
        slope = self.beta_max - self.beta_min
        return self.beta_min + s * slope, s * (self.beta_min + s * slope / 2)

    def time_of_integral(self, integral: Tensor) -> Tensor:
        """The t at which the integral has a value: the stable root of a quadratic, clipped to [0, 1]."""
        slope = self.beta_max - self.beta_min
        s = 2 * integral / (self.beta_min + (self.beta_min**2 + 2 * slope * integral).sqrt())
        return (1 - torch.nan_to_num(s, nan=1.0)).clamp(0, 1)


@final
@dataclass(frozen=True)
class VP(Schedule):
    """Variance preserving: ``alpha = exp(-B/2), beta = sqrt(1 - exp(-B))``, B the integrated linear noise rate.

    ``alpha_0 = exp(-(beta_min + beta_max)/4)`` is small but not 0 (0.0066 at the defaults), as in Song et al. 2021.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _check_range("VP", self.beta_min, self.beta_max, "beta")

    @property
    def _rate(self) -> _LinearRate:
        return _LinearRate(self.beta_min, self.beta_max)

    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        return torch.exp(-self._rate.rate_and_integral(t)[1] / 2), root(self.variance(t))

    def variance(self, t: ClockTimes) -> ClockTimes:
        return -torch.expm1(-self._rate.rate_and_integral(t)[1])

    def derivatives(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        (alpha, beta), half = self(t), self._rate.rate_and_integral(t)[0] / 2
        beta_d_beta = -half * alpha.square()
        return half * alpha, quotient(beta_d_beta, beta), beta_d_beta

    def time_of_log_snr(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self._rate.time_of_integral(torch.logaddexp(torch.zeros_like(log_snr), -2 * log_snr))


@final
@dataclass(frozen=True)
class SubVP(Schedule):
    """Sub-VP: ``alpha = exp(-B/2), beta = 1 - exp(-B)``, less noise than `VP` at every time (Song et al. 2021)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _check_range("SubVP", self.beta_min, self.beta_max, "beta")

    @property
    def _rate(self) -> _LinearRate:
        return _LinearRate(self.beta_min, self.beta_max)

    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        integral = self._rate.rate_and_integral(t)[1]
        return torch.exp(-integral / 2), -torch.expm1(-integral)

    def derivatives(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        (alpha, beta), rate = self(t), self._rate.rate_and_integral(t)[0]
        d_beta = -rate * alpha.square()
        return rate / 2 * alpha, d_beta, beta * d_beta


@final
@dataclass(frozen=True)
class VE(Schedule):
    """Variance exploding: ``alpha = 1, beta^2 = sigma_min^2 ((sigma_max/sigma_min)^(2(1-t)) - 1)`` (Song et al. 2021).

    Data is never scaled down: sampling starts from ``beta_0 x_0`` (`Path.start`), wide enough to hide it.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        _check_range("VE", self.sigma_min, self.sigma_max, "sigma")

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        return torch.ones_like(t), root(self.variance(t))

    def variance(self, t: ClockTimes) -> ClockTimes:
        return self.sigma_min**2 * torch.expm1(2 * self._log_ratio * (1 - t))

    def derivatives(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        beta_d_beta = -self._log_ratio * self.sigma_min**2 * torch.exp(2 * self._log_ratio * (1 - t))
        return torch.zeros_like(t), quotient(beta_d_beta, self(t)[1]), beta_d_beta

    def time_of_log_snr(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        excess = torch.exp(-2 * log_snr) / self.sigma_min**2
        return (1 - torch.log1p(excess) / (2 * self._log_ratio)).clamp(0, 1)


@final
@dataclass(frozen=True)
class EDM(Schedule):
    """Noise level as the clock: ``alpha = 1, beta = (sigma_max^(1/rho) (1-t) + sigma_min^(1/rho) t)^rho``.

    The time steps of Karras et al. 2022 (equation 5) as a schedule; ``sigma_min = 0`` makes t = 1 the data itself.
    """

    sigma_min: float = 0.0
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        _check_range("EDM", self.sigma_min, self.sigma_max, "sigma", zero=True)
        if not self.rho >= 1:
            raise ValueError(f"EDM(rho={self.rho}): rho must be at least 1")

    def _root(self, t: Tensor) -> Tensor:
        return math.pow(self.sigma_max, 1 / self.rho) * (1 - t) + math.pow(self.sigma_min, 1 / self.rho) * t

    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        return torch.ones_like(t), torch.pow(self._root(t), self.rho)

    def derivatives(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        slope = self.rho * (math.pow(self.sigma_min, 1 / self.rho) - math.pow(self.sigma_max, 1 / self.rho))
        d_beta = slope * torch.pow(self._root(t), self.rho - 1)
        return torch.zeros_like(t), d_beta, self(t)[1] * d_beta

    def time_of_log_snr(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        high, low = math.pow(self.sigma_max, 1 / self.rho), math.pow(self.sigma_min, 1 / self.rho)
        return ((high - torch.exp(-log_snr / self.rho)) / (high - low)).clamp(0, 1)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "condot": CondOT,
    "cosine": Cosine,
    "polynomial": Polynomial,
    "vp": VP,
    "subvp": SubVP,
    "ve": VE,
    "edm": EDM,
}
