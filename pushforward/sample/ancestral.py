"""Ancestral sampling: the reverse chain of discrete diffusion, between any two times of any affine path.

``q(x_s | x_t, x_1) = N(alpha_s x_1 + sqrt(beta_s^2 - c) x_0, c I)`` for t noisier than s, with the posterior variance
``c = (beta_s^2/beta_t^2) b`` and the variance of the forward step ``b = beta_t^2 - (alpha_t/alpha_s)^2 beta_s^2``
(``1 - alpha_t^2/alpha_s^2`` on variance-preserving paths, DDPM's beta_k on its own chain).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor

from pushforward.field import Field
from pushforward.sample.stepper import AffineStepper, ConditionedField, Noise, Stepper
from pushforward.tensor import Points, bcast, clock

__all__ = ["DDIM", "Ancestral"]


class Reverse(NamedTuple):
    """A step of the chain: the predictions at (x, t), the path at s, the two variances."""

    data: Points
    noise: Points
    alpha: Tensor
    beta: Tensor
    posterior: Tensor
    forward: Tensor


def reverse(field: Field, x: Points, t: Tensor, s: Tensor) -> Reverse:
    """The step from t to s, towards the data."""
    schedule = field.path.affine_schedule()
    data, noise = field.evaluate(("data", "noise"), x, t)
    (alpha_t, beta_t), (alpha, beta) = schedule(clock(t, x)), schedule(clock(s, x))
    forward = (beta_t.square() - (alpha_t / alpha).square() * beta.square()).clamp_min(0)
    return Reverse(data, noise, alpha, beta, (beta / beta_t).square() * forward, forward)


@final
@dataclass(frozen=True)
class DDIM(AffineStepper):
    """``x_s = alpha_s D + sqrt(beta_s^2 - eta^2 c) eps + eta sqrt(c) z`` (Song et al. 2021).

    eta = 0 is deterministic (the exponential Euler step of the flow, either direction), eta = 1 ancestral sampling.
    Order 1.
    """

    eta: float = 0.0
    order = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"DDIM(eta={self.eta:g}): eta must be between 0 and 1")

    @property
    def stochastic(self) -> bool:
        """True unless eta is 0, which is a flow's method."""
        return self.eta > 0

    @property
    def one_way(self) -> bool:
        """True unless eta is 0."""
        return self.eta > 0

    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: Any, noise: Noise
    ) -> tuple[Points, Any]:
        if not self.eta:
            schedule = field.path.affine_schedule()
            data, eps = field.evaluate(("data", "noise"), x, t)
            alpha, beta = schedule(clock(s, x))
            return bcast(alpha, x) * data + bcast(beta, x) * eps, state
        step = reverse(field, x, t, s)
        variance = self.eta**2 * step.posterior
        rest = (step.beta.square() - variance).clamp_min(0).sqrt()
        mean = bcast(step.alpha, x) * step.data + bcast(rest, x) * step.noise
        return mean + bcast(variance.sqrt(), x) * noise(), state


@final
@dataclass(frozen=True)
class Ancestral(AffineStepper):
    """DDPM's sampler: the posterior's mean, and its variance ("posterior") or the forward step's ("forward").

    The two variances are right for data of one point and for standard normal data (Ho et al. 2020, section 3.2). The
    step into pure data has no noise. On a `DDPMSchedule` schedule with N steps and N steps here, the original chain.
    """

    variance: Literal["posterior", "forward"] = "posterior"
    order = 1.0

    def __post_init__(self) -> None:
        if self.variance not in ("posterior", "forward"):
            raise ValueError(f"Ancestral: variance {self.variance!r}, expected 'posterior' or 'forward'")

    @property
    def stochastic(self) -> bool:
        """True: every step draws, but one into pure data."""
        return True

    @property
    def one_way(self) -> bool:
        """True: it is the reverse of the noising chain."""
        return True

    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: Any, noise: Noise
    ) -> tuple[Points, Any]:
        step = reverse(field, x, t, s)
        rest = (step.beta.square() - step.posterior).clamp_min(0).sqrt()
        mean = bcast(step.alpha, x) * step.data + bcast(rest, x) * step.noise
        variance = step.posterior if self.variance == "posterior" else torch.where(step.beta > 0, step.forward, 0.0)
        return mean + bcast(variance.sqrt(), x) * noise(), state


STEPPERS: dict[str, Callable[..., Stepper]] = {
    "ddim": DDIM,
    "ancestral": Ancestral,
    "ancestral_forward": lambda: Ancestral("forward"),
}
