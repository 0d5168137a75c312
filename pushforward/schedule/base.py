"""The interface of a schedule, and its derivatives by autodiff."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.tensor import ClockTimes, jvp

__all__ = ["Coefficients", "Schedule", "quotient", "root"]


class Coefficients(NamedTuple):
    """A schedule and its derivatives at given times, each of the shape of the times."""

    alpha: Tensor
    beta: Tensor
    d_alpha: Tensor
    d_beta: Tensor
    beta_d_beta: Tensor  # (beta^2)'/2, finite where d_beta is not


class Schedule(ABC):
    """``t -> (alpha_t, beta_t)``; subclasses give the formula, derivatives follow by autodiff."""

    @property
    def smooth(self) -> bool:
        """Whether its derivatives are continuous inside (0, 1); where not, steps across a jump are of first order."""
        return True

    @abstractmethod
    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        """``(alpha_t, beta_t)``, each of the shape of ``t``; exact at t = 0 and t = 1."""

    def variance(self, t: ClockTimes) -> ClockTimes:
        """``beta_t^2``; overridden where beta is a root, so that the derivative stays finite at its zero."""
        return self(t)[1].square()

    def derivatives(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        """``(d_alpha, d_beta, beta d_beta)``: by autodiff unless a schedule states them."""
        _, ((d_alpha, d_beta), d_variance) = jvp(lambda s: (self(s), self.variance(s)), t, torch.ones_like(t))
        return d_alpha, d_beta, d_variance / 2

    @final
    def coefficients(self, t: ClockTimes) -> Coefficients:
        """``alpha, beta``, their time derivatives, and ``beta d_beta``."""
        return Coefficients(*self(t), *self.derivatives(t))

    @final
    def log_snr(self, t: ClockTimes) -> ClockTimes:
        """``log(alpha_t / beta_t)``: minus infinity at pure noise, infinity at pure data."""
        alpha, beta = self(t)
        return alpha.log() - beta.log()

    def time_of_log_snr(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
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


def quotient(a: Tensor, b: Tensor) -> Tensor:
    """``a / b``, and 0 where b is 0: the finite part of a slope like ``beta d_beta / beta`` where beta vanishes."""
    positive = b > 0
    return torch.where(positive, a / torch.where(positive, b, 1.0), 0.0)
