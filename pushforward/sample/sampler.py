"""How to sample, as one value: the method, and where its steps lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.arguments import check_type
from pushforward.field import Field
from pushforward.sample.adaptive import DormandPrince
from pushforward.sample.multistep import AdamsMoulton, ipndm, unipc
from pushforward.sample.ode import Heun
from pushforward.sample.stepper import Stepper, check_grid
from pushforward.times import MANY, both_ends, karras, linear, log_snr, quadratic, shifted

__all__ = ["DEFAULT_STEPS", "Sampler", "default_grid", "default_plan", "default_stepper", "goes_straight"]

DEFAULT_STEPS = 50
AMPLIFIED = 4.0  # times an error of the velocity, beyond which one of the data made of it counts


def default_stepper(field: Field) -> Stepper:
    """`AdamsMoulton`, the most accurate per evaluation on exact fields; `Heun` where the path is not affine."""
    return AdamsMoulton() if field.path.predictions else Heun()


def default_grid(field: Field, steps: int = DEFAULT_STEPS) -> Float[Tensor, "times"]:
    """The `shifted` grid, whatever the schedule and the network, of densities; equal steps where the path has none."""
    return shifted(steps, field.path.affine_schedule()) if field.path.predictions else linear(steps)


def default_plan(field: Field, steps: int = DEFAULT_STEPS) -> tuple[Float[Tensor, "times"], Stepper]:
    """The grid and the stepper of sampling where nothing is said, by what the field's network predicts.

    Measured on networks of every schedule and prediction by ``python benchmarks/samplers.py --learned``:

    * v, preconditioned networks, exact fields: `AdamsMoulton` on the straight flow, on ``shifted:0.8,1.4``. So is the
      velocity, unless the data made of it at t = 0 would be far more uncertain (VP, DDPM): then the same method on the
      velocity itself in the path's own time, on the ``quadratic`` grid.
    * noise and score: `AdamsMoulton` on the grid ``both_ends``, or ``karras`` where data are not scaled.
      Many steps of noise from pure noise: `ipndm` on ``karras``, which leaves the highest noise at once.
    * data: `unipc` of two points on equal steps in log-SNR: the noise made of it is uncertain near the data.

    `AdamsMoulton` has two points, and a third from 16 steps on, of noise and score from 32. On paths that are not
    affine `Heun`, in equal steps.
    """
    if not field.path.predictions:
        return linear(steps), Heun()
    schedule, native = field.path.affine_schedule(), field.native
    points = 2 if steps < MANY else 3
    if goes_straight(field):
        return shifted(steps, schedule, 0.8, 1.4), AdamsMoulton(points)
    if native == "velocity":
        return quadratic(steps), AdamsMoulton(points, "velocity")
    if native == "data":
        return log_snr(steps, schedule), unipc(2)
    # noise and score, at the highest noise of which the data are uncertain
    alpha, many = float(schedule(torch.zeros((), dtype=torch.float64))[0]), steps >= 2 * MANY
    if native == "noise" and alpha == 0 and many:
        return karras(steps, schedule), ipndm()
    grid = karras if alpha == 1 else both_ends  # where data are not scaled, the clock is one of noise levels
    return grid(steps, schedule), AdamsMoulton(3 if many else 2)


def goes_straight(field: Field) -> bool:
    """Whether what the network predicts tells data and noise at all times alike, so that steps may lie as in CondOT."""
    if not field.path.predictions or field.native not in ("velocity", "v"):
        return False
    k = field.path.conversion(torch.zeros((), dtype=torch.float64), "velocity", "data")[1]
    return field.native == "v" or float(k.abs()) <= AMPLIFIED


@final
@dataclass(frozen=True, eq=False)
class Sampler:
    """A method and where its steps lie: times, a number of steps, or the tolerance of an adaptive solver.

    What is left out is chosen for the field: `default_plan`, or `default_stepper` on a grid that is given; equal steps
    for a method that was named without a grid. Raises ValueError for two ways of saying the same, TypeError for a
    method that is not a `Stepper`.

    >>> import torch, pushforward as pf
    >>> pf.Sampler(pf.Heun(), steps=4).plan(pf.MixtureField(pf.Affine(), torch.zeros(1, 2), torch.ones(1)))[0]
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000], dtype=torch.float64)
    """

    stepper: Stepper | None = None
    grid: Float[Tensor, "times"] | None = None
    steps: int | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        check_type("Sampler", "stepper", self.stepper, Stepper, 'write pf.Heun() or pf.STEPPERS["heun"]()')
        check_type("Sampler", "grid", self.grid, Tensor, 'write a tensor of times, such as pf.GRIDS["cosine"](20)')
        check_type("Sampler", "steps", self.steps, int, "write a whole number of steps")
        if sum(way is not None for way in (self.grid, self.steps, self.tol)) > 1:
            raise ValueError("give one of grid=, steps= and tol=: each says where the steps are")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps={self.steps}: at least one step is needed")
        if self.tol is not None and self.stepper is not None:
            raise ValueError("give tol= or stepper=: a tolerance is kept by DormandPrince(tol)")

    @staticmethod
    def of(
        sampler: Sampler | None, stepper: Stepper | None, grid: Tensor | None, steps: int | None, tol: float | None
    ) -> Sampler:
        """The sampler that a call was given as one value, or in parts; ValueError for both."""
        parts = Sampler(stepper, grid, steps, tol)
        if sampler is None:
            return parts
        check_type("Sampler", "sampler", sampler, Sampler, "write pf.Sampler(pf.Heun(), steps=20)")
        if any(part is not None for part in (stepper, grid, steps, tol)):
            raise ValueError("give sampler= or its parts (stepper=, grid=, steps=, tol=), not both")
        return sampler

    def plan(self, field: Field, reverse: bool = False) -> tuple[Float[Tensor, "times"], Stepper]:
        """The grid and the stepper for a field, from the source to the data or back with ``reverse``.

        Raises ValueError for ``reverse`` beside a grid, and for a grid that is not monotone in [0, 1].
        """
        if self.grid is not None:
            if reverse:
                raise ValueError("give grid= alone: it already says in which direction the steps run")
            return check_grid(self.grid), self.stepper or default_stepper(field)
        stepper = DormandPrince(self.tol) if self.tol is not None else self.stepper
        if stepper is None:
            grid, stepper = default_plan(field, self.steps or DEFAULT_STEPS)
        else:
            grid = linear(self.steps or (1 if stepper.adaptive else DEFAULT_STEPS))
        return check_grid(grid.flip(0) if reverse else grid), stepper
