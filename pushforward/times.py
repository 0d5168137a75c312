"""When we look: training laws of t, and the grids on which samplers step.

A time law is ``(n, generator) -> t [n]`` in [0, 1); a grid is ``(steps, schedule) -> t [steps + 1]`` from 0 to 1. Both
float64. The linear, cosine and quadratic grids are placed in t; the shifted, log_snr and karras ones in the
noise-to-signal ratio ``beta/alpha``, so that they visit the same laws on every schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.schedule import CondOT, Schedule

__all__ = [
    "GRIDS",
    "TIMES",
    "cosine",
    "karras",
    "linear",
    "log_snr",
    "logit_normal",
    "quadratic",
    "shifted",
    "uniform",
]

TimeLaw = Callable[..., Tensor]  # (n, generator, parameters) -> t [n]
Grid = Callable[..., Tensor]  # (steps, schedule, parameters) -> t [steps + 1]

HIGHEST, LOWEST = 80.0, 0.002  # noise-to-signal ratios between which a ladder runs (Karras et al. 2022)


def uniform(n: int, generator: torch.Generator) -> Float[Tensor, "n"]:
    """Uniform on [0, 1)."""
    return torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)


def logit_normal(n: int, generator: torch.Generator, mean: float = 0.0, std: float = 1.0) -> Float[Tensor, "n"]:
    """``t = 1 / (1 + exp(-z))``, ``z ~ N(mean, std^2)``: most looks in the middle (Esser et al. 2024, section 3.1)."""
    z = torch.randn(n, generator=generator, device=generator.device, dtype=torch.float64)
    return torch.sigmoid(mean + std * z)


def _steps(steps: int) -> Float[Tensor, "times"]:
    if steps < 1:
        raise ValueError(f"steps={steps}: at least one step is needed")
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def _from_ratio(ratio: Tensor, schedule: Schedule) -> Float[Tensor, "times"]:
    """The times of falling noise-to-signal ratios, with 0 and 1 at the two ends."""
    t = schedule.time(-ratio.log())
    t[0], t[-1] = 0, 1
    return t


def _highest(schedule: Schedule) -> float:
    """The noise-to-signal ratio at t = 0, infinite for schedules that begin in pure noise."""
    alpha, beta = schedule(torch.zeros((), dtype=torch.float64))
    return math.inf if alpha == 0 else float(beta / alpha)


def linear(steps: int, schedule: Schedule | None = None) -> Float[Tensor, "times"]:
    """Equal steps in t."""
    return _steps(steps)


def shifted(steps: int, schedule: Schedule | None = None, shift: float = 0.6) -> Float[Tensor, "times"]:
    """``beta/alpha = shift (1 - k)/k`` for equal steps in k: below 1, more steps near the data (Esser et al. 2024).

    ``shift = 1`` is equal steps in time on the CondOT path. The default is the one of sampling.
    """
    schedule = CondOT() if schedule is None else schedule
    if not (shift > 0 and math.isfinite(shift)):
        raise ValueError(f"shifted: shift = {shift:g} must be positive")
    highest = _highest(schedule)
    first = 0.0 if math.isinf(highest) else shift / (shift + highest)
    k = first + (1 - first) * _steps(steps)
    return _from_ratio(shift * (1 - k) / k, schedule)


def log_snr(
    steps: int, schedule: Schedule | None = None, highest: float = HIGHEST, lowest: float = LOWEST
) -> Float[Tensor, "times"]:
    """Equal steps in ``log(alpha/beta)`` between two noise-to-signal ratios, then one step to pure data."""
    return karras(steps, schedule, math.inf, highest, lowest)


def karras(
    steps: int, schedule: Schedule | None = None, rho: float = 7.0, highest: float = HIGHEST, lowest: float = LOWEST
) -> Float[Tensor, "times"]:
    """``beta/alpha`` falls evenly in its ``1/rho``-th power, then one step to pure data (Karras et al. 2022)."""
    schedule = CondOT() if schedule is None else schedule
    if not (rho > 0 and 0 < lowest < highest < math.inf):
        raise ValueError(f"karras: needs rho > 0 and 0 < lowest < highest, not {rho:g}, {lowest:g}, {highest:g}")
    top = min(highest, _highest(schedule))
    k = _steps(steps) * steps / max(steps - 1, 1)
    if math.isinf(rho):
        ratio = torch.exp(math.log(top) + k * (math.log(lowest) - math.log(top)))
    else:
        ratio = (top ** (1 / rho) + k * (lowest ** (1 / rho) - top ** (1 / rho))) ** rho
    return _from_ratio(ratio, schedule)


def cosine(steps: int, schedule: Schedule | None = None) -> Float[Tensor, "times"]:
    """``t = (1 - cos(pi k)) / 2``: short steps at both ends."""
    return (1 - torch.cos(math.pi * _steps(steps))) / 2


def quadratic(steps: int, schedule: Schedule | None = None) -> Float[Tensor, "times"]:
    """``t = 1 - (1 - k)^2``: steps that shrink towards the data (Song et al. 2021, DDIM)."""
    return 1 - (1 - _steps(steps)).square()


TIMES: dict[str, TimeLaw] = {
    "uniform": uniform,
    "logit_normal": logit_normal,
}

GRIDS: dict[str, Grid] = {
    "linear": linear,
    "shifted": shifted,
    "log_snr": log_snr,
    "karras": karras,
    "cosine": cosine,
    "quadratic": quadratic,
}
