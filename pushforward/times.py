"""When we look: training laws of t, and the grids on which samplers step.

A time law is ``(n, generator, schedule) -> t [n]`` in [0, 1); a grid is ``(steps, schedule) -> t [steps + 1]`` from 0
to 1. Both float64. Some are placed in t, whatever the schedule; others (log_normal, ladder, shifted, log_snr, karras)
in the noise-to-signal ratio ``beta/alpha``, so that they visit the same laws on every schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.registry import configurable
from pushforward.schedule import Schedule

__all__ = [
    "GRIDS",
    "TIMES",
    "Importance",
    "antithetic",
    "both_ends",
    "cosine",
    "discrete",
    "even",
    "karras",
    "ladder",
    "linear",
    "log_normal",
    "log_snr",
    "logit_normal",
    "quadratic",
    "shifted",
    "uniform",
]

TimeLaw = Callable[..., Tensor]  # (n, generator, schedule, parameters) -> t [n]
Grid = Callable[..., Tensor]  # (steps, schedule, parameters) -> t [steps + 1]

HIGHEST, LOWEST = 80.0, 0.002  # noise-to-signal ratios between which a ladder runs (Karras et al. 2022)
MANY = 16  # steps, below which short ones are missed elsewhere
LATEST = 1 - 2.0**-53  # the last time before 1
GOLDEN = (math.sqrt(5) - 1) / 2


def uniform(n: int, generator: torch.Generator, schedule: Schedule | None = None) -> Float[Tensor, "n"]:
    """Uniform on [0, 1)."""
    return torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)


def antithetic(n: int, generator: torch.Generator, schedule: Schedule | None = None) -> Float[Tensor, "n"]:
    """Uniform, neighbours in pairs ``t, 1 - t``: what rises in t and what falls cancel."""
    first = uniform((n + 1) // 2, generator)
    return torch.stack([first, (1 - first).clamp(max=LATEST)], 1).flatten()[:n]


def even(n: int, generator: torch.Generator, schedule: Schedule | None = None) -> Float[Tensor, "n"]:
    """Uniform each, and spread evenly together: ``t_i = u + i (sqrt(5) - 1)/2 mod 1`` with one uniform ``u``.

    Any rows that follow each other are spread as evenly as their number allows, so every batch is stratified however
    many are drawn at once: the noise of the loss that comes from t alone nearly goes.
    Reference: Kingma et al. 2021, appendix I.1, with the golden ratio's sequence in place of ``i/n``.
    """
    steps = GOLDEN * torch.arange(n, device=generator.device, dtype=torch.float64)
    return ((uniform(1, generator) + steps) % 1).clamp(max=LATEST)


def logit_normal(
    n: int, generator: torch.Generator, schedule: Schedule | None = None, mean: float = 0.0, std: float = 1.0
) -> Float[Tensor, "n"]:
    """``t = 1 / (1 + exp(-z))``, ``z ~ N(mean, std^2)``: most looks in the middle (Esser et al. 2024, section 3.1)."""
    _check_width("logit_normal", std)
    return torch.sigmoid(mean + std * _normal(n, generator)).clamp(max=LATEST)


def log_normal(
    n: int, generator: torch.Generator, schedule: Schedule | None = None, mean: float = -1.2, std: float = 1.2
) -> Float[Tensor, "n"]:
    """``log(beta/alpha) ~ N(mean, std^2)``: noise levels as EDM trains on them (Karras et al. 2022, table 1)."""
    _check_width("log_normal", std)
    schedule = _needed(schedule, "log_normal")
    return schedule.time_of_log_snr(-(mean + std * _normal(n, generator))).clamp(max=LATEST)


def ladder(
    n: int,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    levels: float = 10,
    highest: float = HIGHEST,
    lowest: float = LOWEST,
) -> Float[Tensor, "n"]:
    """One of ``levels`` noise-to-signal ratios that fall geometrically, all equally likely: NCSN's noise scales.

    A schedule that begins below ``highest`` begins the ladder. Reference: Song & Ermon 2019, section 4.2.
    """
    schedule = _needed(schedule, "ladder")
    if not (levels == int(levels) >= 1 and 0 < lowest < highest < math.inf):
        raise ValueError(f"ladder: needs levels >= 1, 0 < lowest < highest, not {levels:g}, {lowest:g}, {highest:g}")
    top = min(highest, _highest(schedule))
    rungs = torch.linspace(math.log(top), math.log(lowest), int(levels), device=generator.device, dtype=torch.float64)
    rung = torch.randint(int(levels), (n,), generator=generator, device=generator.device)
    return schedule.time_of_log_snr(-rungs)[rung].clamp(max=LATEST)


def discrete(
    n: int, generator: torch.Generator, schedule: Schedule | None = None, steps: float = 1000
) -> Float[Tensor, "n"]:
    """One of the times ``t = 1 - k/steps``, k = 1 ... steps, all equally likely: those of DDPM's chain.

    Reference: Ho et al. 2020, algorithm 1, whose k this is.
    """
    if not steps == int(steps) >= 1:
        raise ValueError(f"discrete: needs a whole number of steps, at least 1, not {steps:g}")
    k = torch.randint(1, int(steps) + 1, (n,), generator=generator, device=generator.device)
    return 1 - k.double() / int(steps)


def _needed(schedule: Schedule | None, name: str) -> Schedule:
    """The schedule by which noise levels become times; TypeError without: on another one they are other times."""
    if schedule is None:
        raise TypeError(f"{name}: is placed in the noise level, give the schedule of the path, pf.CondOT() say")
    return schedule


def _check_width(name: str, std: float) -> None:
    if not (std > 0 and math.isfinite(std)):
        raise ValueError(f"{name}: std = {std:g} must be positive; with less, all rows would have one time")


def _normal(n: int, generator: torch.Generator) -> Float[Tensor, "n"]:
    return torch.randn(n, generator=generator, device=generator.device, dtype=torch.float64)


@final
@dataclass(frozen=True, eq=False)
class Importance:
    """More looks where the loss is larger: a time law of constant ``density`` on equal bins of [0, 1).

    It changes how noisy the loss is and not what it is, as long as each row counts ``weight(t) = 1 / density(t)``
    (`pushforward.objective.ImportanceWeighted`). ``fit`` again, every few hundred steps, adapts it to training.
    Raises ValueError unless the density is positive with mean 1.
    """

    density: Float[Tensor, "bins"]

    def __post_init__(self) -> None:
        if not (bool((self.density > 0).all()) and abs(float(self.density.mean()) - 1) < 1e-6):
            raise ValueError("Importance: the density of each bin must be positive, and their mean 1")

    @classmethod
    def fit(cls, t: Float[Tensor, "n"], loss: Float[Tensor, "n"], bins: int = 20, uniform: float = 0.1) -> Importance:
        """The law of least variance for losses seen at times ``t`` of any law: ``density ~ sqrt(E[loss^2 | bin])``.

        ``loss`` is that of each row, not yet weighted; a share ``uniform`` of the looks stays uniform, which bounds the
        weights by its inverse. Bins without a look get the mean of the others.
        Reference: Nichol & Dhariwal 2021, section 3.3.
        """
        if not (0 < uniform <= 1 and bins >= 1):
            raise ValueError(f"Importance.fit: needs bins >= 1 and uniform in (0, 1], not {bins} and {uniform:g}")
        row = (t.detach().double() * bins).long().clamp(0, bins - 1)
        seen = torch.bincount(row, minlength=bins)
        square = torch.bincount(row, weights=loss.detach().double().square(), minlength=bins)
        size = (square / seen).sqrt()
        size = torch.where(seen > 0, size, size[seen > 0].mean())
        if not bool(size.isfinite().all()) or float(size.sum()) == 0:
            raise ValueError("Importance.fit: the losses must be finite and not all 0")
        return cls(uniform + (1 - uniform) * size / size.mean())

    def __call__(self, n: int, generator: torch.Generator, schedule: Schedule | None = None) -> Float[Tensor, "n"]:
        bins, density = len(self.density), self.density.to(generator.device)
        row = torch.multinomial(density, n, replacement=True, generator=generator)
        return ((row + uniform(n, generator)) / bins).clamp(max=LATEST)

    def weight(self, t: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """``1 / density(t)``: what a row at ``t`` counts."""
        row = (t * len(self.density)).long().clamp(0, len(self.density) - 1)
        return 1 / self.density.to(t)[row]


def _steps(steps: int) -> Float[Tensor, "times"]:
    if steps < 1:
        raise ValueError(f"steps={steps}: at least one step is needed")
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def _from_ratio(ratio: Tensor, schedule: Schedule) -> Float[Tensor, "times"]:
    """The times of falling noise-to-signal ratios, with 0 and 1 at the two ends."""
    t = schedule.time_of_log_snr(-ratio.log())
    t[0], t[-1] = 0, 1
    return t


def _highest(schedule: Schedule) -> float:
    """The noise-to-signal ratio at t = 0, infinite for schedules that begin in pure noise."""
    alpha, beta = schedule(torch.zeros((), dtype=torch.float64))
    return math.inf if alpha == 0 else float(beta / alpha)


def linear(steps: int, schedule: Schedule | None = None) -> Float[Tensor, "times"]:
    """Equal steps in t."""
    return _steps(steps)


def shifted(
    steps: int, schedule: Schedule | None = None, shift: float = 0.6, power: float = 1.0
) -> Float[Tensor, "times"]:
    """``beta/alpha = shift (1 - k)/k`` for equal steps in k: below 1, more steps near the data (Esser et al. 2024).

    ``shift = 1`` is equal steps in time on the CondOT path. The default is the one of sampling. With a ``power`` the
    steps are equal in ``(1 - k)^(1/power)``: with 2 noise falls to a last level by the square of their number, for data
    whose values are sharp, as those of tables are.
    """
    schedule = _needed(schedule, "shifted")
    if not (0 < shift < math.inf and 1 <= power < math.inf):
        raise ValueError(f"shifted: needs shift > 0 and power >= 1, not {shift:g} and {power:g}")
    highest = _highest(schedule)
    first = 0.0 if math.isinf(highest) else shift / (shift + highest)
    left = (1 - first) * (1 - _steps(steps)).pow(power)
    return _from_ratio(shift * left / (1 - left), schedule)


def log_snr(
    steps: int, schedule: Schedule | None = None, highest: float = HIGHEST, lowest: float = LOWEST
) -> Float[Tensor, "times"]:
    """Equal steps in ``log(alpha/beta)`` between two noise-to-signal ratios, then one step to pure data."""
    return karras(steps, schedule, math.inf, highest, lowest)


def karras(
    steps: int, schedule: Schedule | None = None, rho: float = 7.0, highest: float = HIGHEST, lowest: float = LOWEST
) -> Float[Tensor, "times"]:
    """``beta/alpha`` falls evenly in its ``1/rho``-th power, then one step to pure data (Karras et al. 2022)."""
    schedule = _needed(schedule, "karras")
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


def both_ends(
    steps: int, schedule: Schedule | None = None, first: float = 1.25, last: float = 2.0
) -> Float[Tensor, "times"]:
    """``t = 1 - (1 - k^first)^last``: steps that grow from the noise and shrink towards the data.

    For networks that predict the noise or the score, of which the data are told with an error of ``beta/alpha`` times
    theirs: short steps where noise is high keep it small. Where a schedule begins in pure noise that factor is
    infinite, and where steps are few (below 16) short ones are missed elsewhere: then the first step goes at once to a
    ratio ``beta/alpha`` as large as the number of steps (10 at least), and few steps do not grow after it.
    """
    schedule = _needed(schedule, "both_ends")
    if not (1 <= first < math.inf and 1 <= last < math.inf):
        raise ValueError(f"both_ends: needs first >= 1 and last >= 1, not {first:g} and {last:g}")
    few, ratio, highest = steps < MANY, max(10.0, steps), _highest(schedule)
    jump = steps > 1 and (math.isinf(highest) or (few and highest > ratio))
    inner = 1 - (1 - _steps(steps - 1 if jump else steps).pow(1.0 if few else first)).pow(last)
    if not jump:
        return inner
    begin = schedule.time_of_log_snr(-torch.tensor([ratio], dtype=torch.float64).log())
    return torch.cat([torch.zeros_like(begin), begin + (1 - begin) * inner])


# name -> what builds the law from its parameters
TIMES: dict[str, Callable[..., TimeLaw]] = {
    "uniform": configurable(uniform, 3),
    "logit_normal": configurable(logit_normal, 3),
    "log_normal": configurable(log_normal, 3),
    "antithetic": configurable(antithetic, 3),
    "even": configurable(even, 3),
    "ladder": configurable(ladder, 3),
    "discrete": configurable(discrete, 3),
}

# name -> what builds the grid from its number of steps, the schedule and its parameters
GRIDS: dict[str, Grid] = {
    "linear": linear,
    "shifted": shifted,
    "log_snr": log_snr,
    "karras": karras,
    "cosine": cosine,
    "quadratic": quadratic,
    "both_ends": both_ends,
}
