"""Schedules made of others, or of a user's own functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pushforward.schedule.base import Schedule
from pushforward.tensor import ClockTimes, jvp

__all__ = ["CustomSchedule", "Warped"]


ENDS, NOISE = 1e-6, 0.1  # how far from pure data t = 1 may be, and the most signal beside noise at t = 0


@final
@dataclass(frozen=True)
class Warped(Schedule):
    """Another schedule on another clock: ``(alpha, beta)(warp(t))`` for a rising ``warp`` of [0, 1] onto itself.

    ``warp`` is any torch function of t, for instance ``lambda t: t / (t + 3 * (1 - t))``, the resolution shift of Esser
    et al. 2024. Raises ValueError if it does not rise from 0 to 1.
    """

    schedule: Schedule
    warp: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        t = self.warp(torch.linspace(0, 1, 257, dtype=torch.float64))
        if not (bool((t.diff() > 0).all()) and abs(float(t[0])) < 1e-12 and abs(float(t[-1]) - 1) < 1e-12):
            raise ValueError("Warped: warp must rise strictly from warp(0) = 0 to warp(1) = 1")

    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        weights: tuple[ClockTimes, ClockTimes] = self.schedule(self.warp(t))
        return weights

    @property
    def smooth(self) -> bool:
        """As the schedule."""
        return self.schedule.smooth

    def variance(self, t: ClockTimes) -> ClockTimes:
        return self.schedule.variance(self.warp(t))

    def derivatives(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes, ClockTimes]:
        s, speed = jvp(self.warp, t, torch.ones_like(t))
        d_alpha, d_beta, beta_d_beta = self.schedule.derivatives(s)
        return speed * d_alpha, speed * d_beta, speed * beta_d_beta


@final
@dataclass(frozen=True)
class CustomSchedule(Schedule):
    """A user's own pair of torch functions ``alpha(t), beta(t)``; derivatives by autodiff.

    Raises ValueError if either is negative, if ``alpha/beta`` does not rise, if the ends are not pure (``alpha_1 = 1``
    and ``beta_1 = 0``: samples would come out scaled or noisy; ``alpha_0`` small beside ``beta_0``: they begin in noise
    alone), or if a slope is not finite: where beta is a root, give its square to a `Schedule` of your own.
    """

    alpha: Callable[[Tensor], Tensor]
    beta: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        alpha, beta = self(torch.linspace(0, 1, 257, dtype=torch.float64))
        ratio = (alpha / beta)[:-1]
        if bool((alpha < 0).any()) or bool((beta < 0).any()) or not bool((ratio.diff() > 0).all()):
            raise ValueError("CustomSchedule: alpha and beta must be non-negative and alpha/beta must rise with t")
        if abs(float(alpha[-1]) - 1) > ENDS or float(beta[-1]) > ENDS:
            raise ValueError(
                f"CustomSchedule: at t = 1 is the data, alpha = 1 and beta = 0, not {alpha[-1]:.3g} and {beta[-1]:.3g}"
            )
        if not float(alpha[0]) <= NOISE * float(beta[0]):
            raise ValueError(
                f"CustomSchedule: at t = 0 is noise, alpha = 0 or small beside beta, not {alpha[0]:.3g} beside "
                f"{beta[0]:.3g}"
            )
        slopes = self.derivatives(torch.linspace(0, 1, 257, dtype=torch.float64))
        if not all(bool(slope.isfinite().all()) for slope in slopes):
            raise ValueError(
                "CustomSchedule: a slope of alpha or beta is not finite, as that of a square root at 0 is not; write a "
                "Schedule with variance() in place of it, or another clock"
            )

    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        return self.alpha(t), self.beta(t)


SCHEDULES: dict[str, Callable[..., Schedule]] = {"warped": Warped, "custom": CustomSchedule}
