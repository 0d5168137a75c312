"""Schedules: how much data and how much noise a path holds at each time.

A schedule is ``t -> (alpha_t, beta_t)``, the weights of data and of noise in ``x_t = alpha_t x_1 + beta_t x_0``, with
t = 0 the source and t = 1 the data. Time derivatives come from forward-mode autodiff, so a schedule is one formula; the
built-in ones state their `Schedule.rates` too, because they are asked at every step; tests hold them to autodiff.

Some schedules (VP) have ``beta_t`` like ``sqrt(1 - t)`` at the data end: its slope is infinite there while
``beta d_beta = (beta^2)'/2``, all that a marginal field needs, is finite. So `Schedule.variance` may state ``beta^2``
without the root, and at t = 1 the slope of the root itself is given as 0, its finite part.

Reference: Lipman et al. 2023, "Flow Matching for Generative Modeling"; Song et al. 2021, "Score-Based Generative
Modeling through SDEs".
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.tensor import Times, jvp

__all__ = ["SCHEDULES", "CondOT", "Cosine", "Polynomial", "Schedule", "VP", "Weights"]


class Weights(NamedTuple):
    """A schedule and its derivatives at given times, each of the shape of the times."""

    alpha: Tensor
    beta: Tensor
    d_alpha: Tensor
    d_beta: Tensor
    beta_d_beta: Tensor  # (beta^2)'/2, finite where d_beta is not


class Schedule(ABC):
    """``t -> (alpha_t, beta_t)``; subclasses give the formula, derivatives follow by autodiff."""

    @abstractmethod
    def __call__(self, t: Times) -> tuple[Times, Times]:
        """``(alpha_t, beta_t)``, each of the shape of ``t``; exact at t = 0 and t = 1."""

    def variance(self, t: Times) -> Times:
        """``beta_t^2``; overridden where beta is a root, so that the derivative stays finite at its zero."""
        return self(t)[1].square()

    def rates(self, t: Times) -> tuple[Times, Times, Times]:
        """``(d_alpha, d_beta, beta d_beta)``: by autodiff unless a schedule states them."""
        _, ((d_alpha, d_beta), d_variance) = jvp(lambda s: (self(s), self.variance(s)), t, torch.ones_like(t))
        return d_alpha, d_beta, d_variance / 2

    @final
    def at(self, t: Times) -> Weights:
        """``alpha, beta``, their time derivatives, and ``beta d_beta``."""
        return Weights(*self(t), *self.rates(t))

    @final
    def log_snr(self, t: Times) -> Times:
        """``log(alpha_t / beta_t)``: minus infinity at pure noise, infinity at pure data."""
        alpha, beta = self(t)
        return alpha.log() - beta.log()

    def time(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The time in [0, 1] at which the schedule has this ``log(alpha/beta)``, by bisection to rounding.

        Values beyond the schedule's range give 0 or 1.
        """
        low, high = torch.zeros_like(log_snr), torch.ones_like(log_snr)
        for _ in range(64):
            middle = (low + high) / 2
            above = self.log_snr(middle.flatten()).reshape(log_snr.shape) > log_snr
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return torch.where(log_snr > self.log_snr(torch.ones_like(log_snr).flatten()[:1]), 1.0, (low + high) / 2)


def root(square: Tensor) -> Tensor:
    """Square root whose derivative at 0 is given as 0 (the finite part of an infinite slope)."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


@final
@dataclass(frozen=True)
class CondOT(Schedule):
    """``alpha = t, beta = 1 - t``: straight lines at constant speed (Lipman et al. 2023; rectified flow)."""

    def __call__(self, t: Times) -> tuple[Times, Times]:
        return t, 1 - t

    def rates(self, t: Times) -> tuple[Times, Times, Times]:
        return torch.ones_like(t), -torch.ones_like(t), t - 1


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """``alpha = sin(pi t / 2), beta = cos(pi t / 2)``, so ``alpha^2 + beta^2 = 1`` (Albergo & Vanden-Eijnden 2023)."""

    def __call__(self, t: Times) -> tuple[Times, Times]:
        # beta as the sine of the complement: exactly 0 at t = 1, where cos(pi/2) is not
        return torch.sin(math.pi / 2 * t), torch.sin(math.pi / 2 * (1 - t))

    def rates(self, t: Times) -> tuple[Times, Times, Times]:
        alpha, beta = self(t)
        return math.pi / 2 * beta, -math.pi / 2 * alpha, -math.pi / 2 * alpha * beta


@final
@dataclass(frozen=True)
class Polynomial(Schedule):
    """``alpha = t^power, beta = 1 - t^power``; power >= 1 (Lipman et al. 2024, section 4.8)."""

    power: float = 2.0

    def __post_init__(self) -> None:
        if not self.power >= 1:
            raise ValueError(f"Polynomial(power={self.power}): power must be at least 1, or the velocity is infinite")

    def __call__(self, t: Times) -> tuple[Times, Times]:
        alpha = t**self.power
        return alpha, 1 - alpha

    def rates(self, t: Times) -> tuple[Times, Times, Times]:
        slope = self.power * t ** (self.power - 1)
        return slope, -slope, -slope * (1 - t**self.power)


def _linear_rate(t: Tensor, beta_min: float, beta_max: float) -> Tensor:
    """``B = int_0^{1-t} (beta_min + s (beta_max - beta_min)) ds``: noise rate integrated back from the data."""
    s = 1 - t
    return s * (beta_min + s * (beta_max - beta_min) / 2)


def _check_rates(name: str, beta_min: float, beta_max: float) -> None:
    if not 0 < beta_min <= beta_max < math.inf:
        raise ValueError(f"{name}(beta_min={beta_min}, beta_max={beta_max}): needs 0 < beta_min <= beta_max")


@final
@dataclass(frozen=True)
class VP(Schedule):
    """Variance preserving: ``alpha = exp(-B/2), beta = sqrt(1 - exp(-B))``, B the integrated linear noise rate.

    ``alpha_0 = exp(-(beta_min + beta_max)/4)`` is small but not 0 (0.0066 at the defaults), as in Song et al. 2021.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _check_rates("VP", self.beta_min, self.beta_max)

    def __call__(self, t: Times) -> tuple[Times, Times]:
        return torch.exp(-_linear_rate(t, self.beta_min, self.beta_max) / 2), root(self.variance(t))

    def variance(self, t: Times) -> Times:
        return -torch.expm1(-_linear_rate(t, self.beta_min, self.beta_max))

    def rates(self, t: Times) -> tuple[Times, Times, Times]:
        alpha, beta = self(t)
        half = (self.beta_min + (1 - t) * (self.beta_max - self.beta_min)) / 2
        beta_d_beta = -half * alpha.square()
        return half * alpha, torch.where(beta > 0, beta_d_beta / torch.where(beta > 0, beta, 1.0), 0.0), beta_d_beta


SCHEDULES: dict[str, type[Schedule]] = {
    "condot": CondOT,
    "cosine": Cosine,
    "polynomial": Polynomial,
    "vp": VP,
}
