"""Schedules: how much data and how much noise a path holds at each time.

A schedule is ``t -> (alpha_t, beta_t)``, the weights of data and of noise in ``x_t = alpha_t x_1 + beta_t x_0``, with
t = 0 the source and t = 1 the data. Time derivatives come from forward-mode autodiff, so a schedule is one formula; the
built-in ones state their `Schedule.derivatives` too, because they are asked at every step; tests hold them to autodiff.

Some schedules (VP) have ``beta_t`` like ``sqrt(1 - t)`` at the data end: its slope is infinite there while
``beta d_beta = (beta^2)'/2``, all that a marginal field needs, is finite. So `Schedule.variance` may state ``beta^2``
without the root, and at t = 1 the slope of the root itself is given as 0, its finite part.

Reference: Lipman et al. 2023, "Flow Matching for Generative Modeling"; Song et al. 2021, "Score-Based Generative
Modeling through SDEs".
"""

from __future__ import annotations

from collections.abc import Callable

from pushforward.registry import merged
from pushforward.schedule.base import Coefficients, Schedule
from pushforward.schedule.continuous import EDM, VE, VP, CondOT, Cosine, Polynomial, SubVP
from pushforward.schedule.ddpm import DDPMSchedule
from pushforward.schedule.derived import CustomSchedule, Warped

__all__ = [
    "EDM",
    "SCHEDULES",
    "VE",
    "VP",
    "Coefficients",
    "CondOT",
    "Cosine",
    "CustomSchedule",
    "DDPMSchedule",
    "Polynomial",
    "Schedule",
    "SubVP",
    "Warped",
]

SCHEDULES: dict[str, Callable[..., Schedule]] = merged("schedule", "SCHEDULES")
