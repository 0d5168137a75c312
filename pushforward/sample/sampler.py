"""How to sample, as one value: the method, and where its steps lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from pushforward.arguments import check_type
from pushforward.field import Field
from pushforward.sample.adaptive import DormandPrince
from pushforward.sample.multistep import AdamsMoulton
from pushforward.sample.ode import Heun
from pushforward.sample.stepper import Stepper, check_grid
from pushforward.times import linear, shifted

__all__ = ["DEFAULT_STEPS", "Sampler", "default_grid", "default_stepper"]

DEFAULT_STEPS = 50


def default_stepper(field: Field) -> Stepper:
    """`AdamsMoulton`, the most accurate per evaluation on exact fields; `Heun` where the path is not affine."""
    return AdamsMoulton() if field.path.predictions else Heun()


def default_grid(field: Field, steps: int = DEFAULT_STEPS) -> Float[Tensor, "times"]:
    """The `shifted` grid, whatever the schedule; equal steps where the path has none."""
    return shifted(steps, field.path.affine_schedule()) if field.path.predictions else linear(steps)


@final
@dataclass(frozen=True, eq=False)
class Sampler:
    """A method and where its steps lie: times, a number of steps, or the tolerance of an adaptive solver.

    What is left out is chosen for the field: `default_stepper`, and with it `default_grid`; equal steps for a method
    that was named without a grid. Raises ValueError for two ways of saying the same, TypeError for a method that is
    not a `Stepper`.

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
            grid = default_grid(field, self.steps or DEFAULT_STEPS)
            stepper = default_stepper(field)
        else:
            grid = linear(self.steps or (1 if stepper.adaptive else DEFAULT_STEPS))
        return check_grid(grid.flip(0) if reverse else grid), stepper
