"""Stochastic samplers: ``dX = [u_t + (sigma_t^2/2) s_t] dt + sigma_t dW`` has the path's marginals for any sigma_t.

One trained field gives the whole family; the best sigma_t is found by trying (`tune`). Backwards, from the data to the
source, the drift is ``u_t - (sigma_t^2/2) s_t``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.field import Field
from pushforward.path import Path
from pushforward.sample.stepper import AffineStepper, ConditionedField, Noise, Stepper
from pushforward.tensor import ClockTimes, Points, bcast, clock

__all__ = ["Churn", "EulerMaruyama", "Sigma", "StochasticHeun", "reverse_sigma"]

Sigma: TypeAlias = "float | Tensor | Callable[[Tensor], Tensor]"


def reverse_sigma(path: Path, tau: float = 1.0) -> Callable[[ClockTimes], ClockTimes]:
    """``tau`` times the path's own ``sigma_t``: with tau = 1 the reverse SDE of VE, VP, sub-VP and DDPM, or the bridge.

    On Gaussian paths ``sqrt(2 (beta^2 d_alpha/alpha - beta d_beta))``, with which the drift is the score SDE's
    ``f - g^2 s`` read from noise to data; infinite where alpha = 0. On a `Bridge` its sigma, with which samples and
    their trajectories follow the law of the bridges themselves: a Schrodinger bridge where the coupling is one.
    Raises ValueError for a path without a score. References: Song et al. 2021, Tong et al. 2024 ([SF]2M).
    """
    path.check_quantities("score")
    return lambda t: tau * path.process_sigma(t)


def value(sigma: Sigma, t: Tensor) -> Tensor:
    """``sigma_t``: a constant, a function of t, or values at equal times from 0 to 1, linear in between."""
    if callable(sigma):
        return sigma(t)
    if isinstance(sigma, Tensor) and sigma.ndim:
        place = t * (len(sigma) - 1)
        low = place.floor().clamp(0, len(sigma) - 2).long()
        table = sigma.to(t)
        return table[low] + (place - low) * (table[low + 1] - table[low])
    return torch.full_like(t, float(sigma))


def check_sigma(stepper: Stepper, sigma: Sigma) -> None:
    """ValueError for a negative constant, or a table that is not one row of at least two numbers >= 0."""
    if callable(sigma):
        return
    given = torch.as_tensor(sigma)
    if given.ndim > 1 or given.numel() == 0 or len(given.shape) == 1 == len(given) or not bool((given >= 0).all()):
        raise ValueError(f"{type(stepper).__name__}: sigma must be a number >= 0, a row of them, or a function of t")


def drift(field: Field, x: Points, t: Tensor, h: Tensor, sigma: Tensor) -> Points:
    """``h u + |h| (sigma^2/2) s`` from one evaluation."""
    velocity, score = field.evaluate(("velocity", "score"), x, t)
    return bcast(h, x) * velocity + bcast(h.abs() * sigma.square() / 2, x) * score


class DiffusionStepper(Stepper):
    """A method for the stochastic differential equation with drift ``u + sigma^2/2 s``."""

    @property
    def stochastic(self) -> bool:
        """True, whatever sigma is."""
        return True

    @property
    def uses(self) -> tuple[str, ...]:
        """The two parts of the drift."""
        return ("velocity", "score")


@final
@dataclass(frozen=True, eq=False)
class EulerMaruyama(DiffusionStepper):
    """``x + h (u + sigma^2/2 s) + sigma sqrt(h) z``, weak and strong order 1; sigma = 0 is Euler's method.

    sigma is taken in the middle of the step, where it is finite even if the reverse SDE's is not at t = 0. It is a
    number, a function of t such as `reverse_sigma`, or a table over equal times. Reference: Kloeden & Platen 1992.
    """

    sigma: Sigma = 1.0
    order = 1.0
    strong_order = 1.0

    def __post_init__(self) -> None:
        check_sigma(self, self.sigma)

    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: Any, noise: Noise
    ) -> tuple[Points, Any]:
        h, sigma = s - t, value(self.sigma, (t + s) / 2)
        return x + drift(field, x, t, h, sigma) + bcast(sigma * h.abs().sqrt(), x) * noise(), state


@final
@dataclass(frozen=True, eq=False)
class StochasticHeun(DiffusionStepper):
    """Heun's method with the drift at both ends and the same noise in both: weak order 2, strong order 1.

    Two evaluations a step; one in a last step into pure data, where the score of a network is not defined.
    Reference: Kloeden & Platen 1992, section 15.1, for additive noise.
    """

    sigma: Sigma = 1.0
    order = 2.0
    strong_order = 1.0

    def __post_init__(self) -> None:
        check_sigma(self, self.sigma)

    @property
    def evaluations(self) -> int:
        """Two: the drift at both ends of the step."""
        return 2

    def init(self, field: ConditionedField, x: Points, grid: Tensor) -> int:
        # steps left before a last one into pure data; one that does not end there is never counted down to
        return len(grid) - 1 if float(grid[-1]) == 1 else len(grid)

    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: int, noise: Noise
    ) -> tuple[Points, int]:
        h, sigma = s - t, value(self.sigma, (t + s) / 2)
        kick = bcast(sigma * h.abs().sqrt(), x) * noise()
        first = drift(field, x, t, h, sigma)
        if state == 1:
            return x + first + kick, 0
        second = drift(field, x + first + kick, s, h, sigma)
        return x + (first + second) / 2 + kick, state - 1


class ChurnState(NamedTuple):
    """EDM's steps, this one's numbers first; the last row is the last step."""

    left: int
    heun_last: bool  # whether the last step may end with a second evaluation
    singular: bool  # whether the first step begins at alpha = 0 or beta = 0
    begun: bool
    numbers: Float[Tensor, "steps 6"]


@final
@dataclass(frozen=True)
class Churn(AffineStepper):
    """EDM's sampler: raise the noise a little, then one step of Heun's method in the noise-to-signal ratio.

    In ``y = x/alpha``, ``r = beta/alpha``: ``r' = r (1 + gamma)``, ``y' = y + sqrt(r'^2 - r^2) inflate z``, then Heun
    on ``dy/dr = eps`` from r' to the next r, an Euler step into pure data. ``gamma = min(churn/steps, sqrt(2) - 1)``
    for r between ``low`` and ``high``. churn = 0 is EDM's deterministic sampler, of order 2. Affine paths.

    Reference: Karras et al. 2022, algorithm 2.
    """

    churn: float = 0.0
    low: float = 0.0
    high: float = math.inf
    inflate: float = 1.0
    order = 2.0

    def __post_init__(self) -> None:
        if self.churn < 0 or not 0 <= self.low <= self.high or self.inflate <= 0:
            raise ValueError(f"{self}: needs churn >= 0, 0 <= low <= high and inflate > 0")

    @property
    def evaluations(self) -> int:
        """Two: the slope at both ends of the step."""
        return 2

    @property
    def stochastic(self) -> bool:
        """True with churn; without it is a flow's method."""
        return self.churn > 0

    @property
    def one_way(self) -> bool:
        """True with churn, which adds noise on the way to the data."""
        return self.churn > 0

    def init(self, field: ConditionedField, x: Points, grid: Tensor) -> ChurnState:
        schedule = field.path.affine_schedule()
        (alpha, beta), first = schedule(grid), schedule(torch.zeros_like(grid[:1]))
        ratio = beta / alpha
        gamma = min(self.churn / (len(grid) - 1), math.sqrt(2) - 1)
        touched = (ratio >= self.low) & (ratio <= self.high) & ratio.isfinite()
        # never noisier than the path itself gets
        raised = torch.minimum(ratio * torch.where(touched, 1 + gamma, 1.0), first[1] / first[0])
        moved = raised > ratio
        t = torch.where(moved, schedule.time_of_log_snr(-raised.log()), grid)
        a, b = schedule(t)
        scale = torch.where(moved, a / alpha, 1.0)
        kick = torch.where(moved, self.inflate * a * (raised.square() - ratio.square()).clamp_min(0).sqrt(), 0.0)
        change = (beta / alpha)[1:] - (b / a)[:-1]
        columns = (t[:-1], scale[:-1], kick[:-1], alpha[1:], beta[1:], change)
        singular = bool((alpha[0] == 0) | (beta[0] == 0))
        inside = bool((alpha[-1] > 0) & (beta[-1] > 0))
        return ChurnState(len(grid) - 1, inside, singular, False, torch.stack(columns, 1))

    def step(
        self, field: Field, x: Points, t: Tensor, s: Tensor, state: ChurnState, noise: Noise
    ) -> tuple[Points, ChurnState]:
        at, scale, kick, alpha, beta, change = state.numbers[0].unbind()
        if self.churn:
            x = bcast(scale, x) * x + bcast(kick, x) * noise()
        data, eps = field.evaluate(("data", "noise"), x, clock(at, x))
        out = bcast(alpha, x) * data + bcast(beta, x) * eps  # alpha_s (y + (r_s - r') eps), finite at both ends
        if (state.begun or not state.singular) and (state.left > 1 or state.heun_last):
            out = out + bcast(alpha * change / 2, x) * (field.noise(out, s) - eps)
        return out, state._replace(left=state.left - 1, begun=True, numbers=state.numbers.roll(-1, 0))


STEPPERS: dict[str, Callable[..., Stepper]] = {
    "churn": Churn,
    "euler_maruyama": EulerMaruyama,
    "stochastic_heun": StochasticHeun,
}
