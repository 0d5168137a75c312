"""What a stepper is: a sampling method as ``init`` and ``step``, with its traits.

A stepper is a frozen dataclass with a declared order of accuracy, ``init(field, x, grid) -> state`` and
``step(field, x, t, s, state, noise) -> (x, state)``, a pure function from time t to time s::

    grid   0 = t_0 -------- t_1 -------- t_2 ---- ... ---- 1        (or down, along a flow)
    x      x_0 --step(t_0, t_1)--> x_1 --step(t_1, t_2)--> x_2 ...  states of all samples
    state  init ------------> what the method remembers ----------> report

The loop (`integrate`) knows nothing of what a step does, so ODE, SDE, multistep and Langevin samplers are one kind of
thing; what it must know of a method, the method states as traits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.field import Field
from pushforward.sample.noise import Noise
from pushforward.tensor import Conditioning, Points, Time, conditions_of

__all__ = ["AffineStepper", "ConditionedField", "Noise", "Stepper", "Trajectory", "check_needs"]


@final
class ConditionedField(Field):
    """A field with its condition filled in, counting evaluations."""

    def __init__(self, field: Field, y: Conditioning) -> None:
        self.path, self.field, self.count = field.path, field, 0
        self.y: Any = y

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Conditioning = None) -> tuple[Points, ...]:
        self.count += 1
        return self.field.evaluate(names, x, t, self.y)

    def log_prob(self, x: Points, t: Time) -> Float[Tensor, "n"]:
        """``log p_t(x)`` up to a constant, from fields that have it; ValueError from the others."""
        log_prob = getattr(self.field, "log_prob", None)
        if log_prob is None:
            raise ValueError(
                f"{type(self.field).__name__} has no log_prob, which Metropolis steps need; use an oracle or an energy"
            )
        value: Tensor = log_prob(x, t) if self.y is None else log_prob(x, t, y=self.y)
        return value

    def subset(self, rows: Tensor) -> ConditionedField:
        """The same for some of the samples; its evaluations are not counted here."""
        return ConditionedField(self.field, conditions_of(self.y, rows))


class Stepper(ABC):
    """A sampling method: how to go from time t to time s.

    ``order`` is that of the error at the end against the size of the steps: of a single sample for flows, of moments
    (weak order) for stochastic steppers. The properties are traits, by which loops, likelihoods, tuning, export and
    the command line decide what a method is fit for.
    """

    order: float

    @property
    def evaluations(self) -> int:
        """Evaluations of the field in a step; in an attempt of an adaptive one."""
        return 1

    @property
    def stochastic(self) -> bool:
        """Whether steps draw random numbers, so that a trajectory has no density and no way back."""
        return False

    @property
    def adaptive(self) -> bool:
        """Whether the method chooses its own steps between the times of the grid."""
        return False

    @property
    def one_way(self) -> bool:
        """Whether it runs from the source to the data only."""
        return False

    @property
    def multistep(self) -> bool:
        """Whether it remembers earlier states, which a move by another method would make stale."""
        return False

    @property
    def uses(self) -> tuple[str, ...]:
        """The predictions that it asks of the field."""
        return ("velocity",)

    @property
    def needs(self) -> tuple[str, ...]:
        """What the path must be: "affine" (its predictions convert into each other), "euclidean" (vectors add)."""
        return ("euclidean",)

    def init(self, field: ConditionedField, x: Points, grid: Float[Tensor, "times"]) -> Any:
        """What the steps must remember; None for one-step methods."""
        return None

    @abstractmethod
    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: Any, noise: Noise
    ) -> tuple[Points, Any]:
        """The state at time ``s`` from the state at time ``t`` (both ``()``, s may lie on either side of t)."""

    def report(self, state: Any) -> dict[str, Tensor]:
        """What a person wants to know of the steps taken, one number per sample: `Trajectory.info`."""
        return {}


class AffineStepper(Stepper):
    """A method that asks for the data and the noise prediction at once, on an affine path."""

    @property
    def uses(self) -> tuple[str, ...]:
        """The two ends of ``x_t = alpha x_1 + beta x_0``."""
        return ("data", "noise")

    @property
    def needs(self) -> tuple[str, ...]:
        """An affine path, on which both exist."""
        return ("affine",)


def check_needs(stepper: Stepper, field: Field, grid: Float[Tensor, "times"]) -> None:
    """ValueError, in one sentence, where a stepper cannot run on the path of a field or in the direction of a grid."""
    if "affine" in stepper.needs:
        try:
            field.path.affine_schedule(*stepper.uses)
        except ValueError as error:
            raise ValueError(f"{stepper}: {error}") from error
    if "euclidean" in stepper.needs and not field.path.space.flat:
        raise ValueError(f"{stepper} adds vectors at different points, which {field.path.space} does not; use Euler()")
    if stepper.one_way and grid[-1] < grid[0]:
        raise ValueError(f"{stepper} is the reverse of a noising process: it runs from the source to the data only")


@final
@dataclass(frozen=True, eq=False)
class Trajectory:
    """What an integration did: states ``x [k, n, *d]`` at times ``t [k]``, the whole grid, evaluations of the batch.

    ``x[-1]`` is the end point; the states before it are kept on request only (``trajectory=True``). ``info`` is what
    the stepper reports per sample, such as the rejected steps of an adaptive one.
    """

    t: Float[Tensor, "k"]
    x: Float[Tensor, "k n *d"]
    nfe: int
    grid: Float[Tensor, "times"]
    stepper: Stepper
    info: dict[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        k, n, *d = self.x.shape
        ends = f"t {self.grid[0]:g} -> {self.grid[-1]:g} in {len(self.grid) - 1} steps"
        return f"Trajectory({n} points of shape {tuple(d)}, {k} states kept, {ends}, nfe={self.nfe}, {self.stepper})"


def check_grid(grid: Tensor) -> Float[Tensor, "times"]:
    """A grid of at least two strictly monotone times in [0, 1], as float64; ValueError otherwise."""
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"grid has shape {tuple(grid.shape)}; it needs at least two times in one dimension")
    grid = grid.to("cpu", torch.float64)
    h = grid.diff()
    if not (bool((h > 0).all()) or bool((h < 0).all())) or grid.min() < 0 or grid.max() > 1:
        raise ValueError("grid must run strictly up (source to data) or strictly down, within [0, 1]; 0 is the source")
    return grid
