"""Langevin dynamics: ``x + e s(x) + sqrt(2 e) z``, stationary at the law whose score is s, as e goes to 0.

On one law (`Langevin`), down a ladder of noise levels (`AnnealedLangevin`), or between the steps of another sampler
(`PredictorCorrector`). Step sizes are given in units of the squared noise ``beta_t^2`` where the level changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.field import Field
from pushforward.sample.ancestral import Ancestral
from pushforward.sample.stepper import ConditionedField, Noise, Stepper
from pushforward.tensor import Points, bcast, clock, squared_norm

__all__ = ["AnnealedLangevin", "Langevin", "PredictorCorrector"]


class ChainState(NamedTuple):
    """Of a Metropolis-adjusted chain."""

    steps: int
    accepted: Float[Tensor, "n"]


class LangevinStepper(Stepper):
    """A method whose moves are Langevin steps."""

    @property
    def stochastic(self) -> bool:
        """True: every move draws."""
        return True


@final
@dataclass(frozen=True)
class Langevin(LangevinStepper):
    """One Langevin step per step of the grid, all at the law ``p_at``; the grid only counts them.

    ``x' = x + size grad log p_at(x) + sqrt(2 size) z``. Unadjusted, its stationary law is off by O(size); with
    ``metropolis`` each move is accepted with the Metropolis-Hastings probability, which makes the law exact and needs
    a field with ``log_prob`` (up to a constant: an oracle or an energy). ``Trajectory.info["accepted"]`` is then the
    share of accepted moves per sample.

    Reference: Roberts & Tweedie 1996, "Exponential convergence of Langevin distributions".
    """

    size: float = 0.01
    at: float = 1.0
    metropolis: bool = False
    order = 1.0

    def __post_init__(self) -> None:
        if not self.size > 0 or not 0 <= self.at <= 1:
            raise ValueError(f"{self}: needs size > 0 and a time in [0, 1]")

    @property
    def evaluations(self) -> int:
        """A Metropolis step asks at the proposal too."""
        return 2 if self.metropolis else 1

    @property
    def uses(self) -> tuple[str, ...]:
        """The gradient of the law."""
        return ("score",)

    def init(self, field: ConditionedField, x: Points, grid: Float[Tensor, "times"]) -> ChainState:
        return ChainState(0, torch.zeros(len(x), dtype=torch.float64, device=x.device))

    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: ChainState, noise: Noise
    ) -> tuple[Points, ChainState]:
        at = clock(self.at, x)
        if not self.metropolis:
            return langevin(field, x, at, self.size, noise.fresh()), state
        before = field.score(x, at)
        z = noise.fresh()
        y = x + self.size * before + math.sqrt(2 * self.size) * z
        after = field.score(y, at)
        # log q(x|y) - log q(y|x) of the two Gaussian moves
        back = squared_norm((x - y - self.size * after).double()) / (4 * self.size)
        forth = squared_norm(z.double()) / 2
        log_ratio = (field.log_prob(y, at) - field.log_prob(x, at)).double() - back + forth
        accept = noise.uniform().log() < log_ratio
        moved = torch.where(accept.reshape(-1, *[1] * (x.ndim - 1)), y, x)
        return moved, ChainState(state.steps + 1, state.accepted + accept)

    def report(self, state: ChainState) -> dict[str, Tensor]:
        return {"accepted": state.accepted / max(state.steps, 1)} if self.metropolis else {}


def langevin(field: Field, x: Points, t: Tensor, size: Tensor | float, z: Points) -> Points:
    """``x + size s_t(x) + sqrt(2 size) z``."""
    size = clock(size, x)
    return x + bcast(size, x) * field.score(x, t) + bcast((2 * size).sqrt(), x) * z


@final
@dataclass(frozen=True)
class AnnealedLangevin(LangevinStepper):
    """``rounds`` Langevin steps at every level of the grid, of size ``size beta_t^2``, from noise to data (NCSN).

    Between levels the state is rescaled to the size of the next, ``|(alpha, beta)|``; the last step, into pure data, is
    the data prediction at the level before. Levels fall geometrically on the `log_snr` grid.

    Reference: Song & Ermon 2019, algorithm 1, whose ``epsilon/sigma_L^2`` is twice this size.
    """

    size: float = 0.1
    rounds: int = 5
    order = 0.0

    def __post_init__(self) -> None:
        if not self.size > 0 or self.rounds < 1:
            raise ValueError(f"{self}: needs size > 0 and rounds >= 1")

    @property
    def evaluations(self) -> int:
        """One a round."""
        return self.rounds

    @property
    def one_way(self) -> bool:
        """True: it walks down the levels of noise."""
        return True

    @property
    def uses(self) -> tuple[str, ...]:
        """The score at each level; the data prediction in the last step."""
        return ("score", "data")

    @property
    def needs(self) -> tuple[str, ...]:
        """Levels of noise to walk down."""
        return ("affine",)

    def init(self, field: ConditionedField, x: Points, grid: Float[Tensor, "times"]) -> int:
        return len(grid) - 1 if float(grid[-1]) == 1 else len(grid)

    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: int, noise: Noise
    ) -> tuple[Points, int]:
        schedule = field.path.affine_schedule()
        (alpha, beta), (alpha_s, beta_s) = schedule(t), schedule(s)
        for k in range(self.rounds):
            x = langevin(field, x, t, self.size * beta.square(), noise.fresh(k))
        if state == 1:
            return field.data(x, t), 0
        return bcast(torch.hypot(alpha_s, beta_s) / torch.hypot(alpha, beta), x) * x, state - 1


@final
@dataclass(frozen=True)
class PredictorCorrector(LangevinStepper):
    """A step of any one-step sampler, then ``rounds`` Langevin steps of size ``size beta_t^2`` at the new time.

    The correction leaves the law at that time as it is, up to O(size), and pulls a state that has left it back. None
    is made at pure data. Reference: Song et al. 2021, algorithms 4 and 5.
    """

    predictor: Stepper = field(default_factory=Ancestral)
    rounds: int = 1
    size: float = 0.05
    order = 1.0

    def __post_init__(self) -> None:
        if not self.size > 0 or self.rounds < 1:
            raise ValueError(f"{self}: needs size > 0 and rounds >= 1")
        if self.predictor.multistep:
            raise ValueError(f"{self.predictor} remembers earlier states, which the correction would make stale")

    @property
    def evaluations(self) -> int:
        """Of the predictor, and one a round."""
        return self.predictor.evaluations + self.rounds

    @property
    def one_way(self) -> bool:
        """As the predictor."""
        return self.predictor.one_way

    @property
    def uses(self) -> tuple[str, ...]:
        """Those of the predictor, and the score."""
        return tuple(dict.fromkeys((*self.predictor.uses, "score")))

    @property
    def needs(self) -> tuple[str, ...]:
        """Levels of noise at which to correct."""
        return ("affine",)

    def init(self, field: ConditionedField, x: Points, grid: Float[Tensor, "times"]) -> tuple[int, Any]:
        left = len(grid) - 1 if float(grid[-1]) == 1 else len(grid)
        return left, self.predictor.init(field, x, grid)

    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: tuple[int, Any], noise: Noise
    ) -> tuple[Points, tuple[int, Any]]:
        left, memory = state
        x, memory = self.predictor.step(field, x, t, s, memory, noise)
        if left > 1:
            beta = field.path.affine_schedule()(s)[1]
            for k in range(self.rounds):
                x = langevin(field, x, s, self.size * beta.square(), noise.fresh(k))
        return x, (left - 1, memory)

    def report(self, state: tuple[int, Any]) -> dict[str, Tensor]:
        return self.predictor.report(state[1])


STEPPERS: dict[str, Callable[..., Stepper]] = {
    "langevin": Langevin,
    "annealed_langevin": AnnealedLangevin,
    "predictor_corrector": PredictorCorrector,
}
