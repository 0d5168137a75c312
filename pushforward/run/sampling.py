"""How rows are sampled, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pushforward.config.sections import SampleConfig
from pushforward.errors import InputError
from pushforward.progress import SILENT, Progress
from pushforward.run.conditions import Guidance

if TYPE_CHECKING:
    from pushforward.field import Field
    from pushforward.sample import Sampler

__all__ = ["TABLE_GRID", "Sampling", "check_sampler", "default_sampler"]

TABLE_GRID = "shifted:1,2"  # where steps lie for a table, where nothing else is said


@dataclass(frozen=True, eq=False)
class Sampling:
    """How rows are sampled: the method, the guidance, and the seed, with which row i is that of (seed, first + i)."""

    sampler: Sampler
    guidance: Guidance = None
    seed: int = 0
    first: int = 0
    progress: Progress = SILENT

    def beginning(self, seed: int, first: int) -> Sampling:
        """Itself where it begins there; else the same from another seed or row, in silence."""
        if (seed, first) == (self.seed, self.first):
            return self
        return replace(self, seed=seed, first=first, progress=SILENT)


def default_sampler(
    field: Field,
    kind: str,
    steps: int | None = None,
    said: SampleConfig = SampleConfig(),  # noqa: B008  (frozen)
) -> Sampler:
    """What samples rows of a ``kind`` with so many steps where nothing was tuned and nothing is said.

    Of a table whose network predicts the velocity or v it goes nearer to the data than the default of `integrate`: rare
    values beside frequent ones would be lost in the noise that that ends with. What the run's configuration ``said`` of
    its sampler goes before: that of a recipe.
    """
    from pushforward.config import make
    from pushforward.sample import DEFAULT_STEPS, STEPPERS, AdamsMoulton, Sampler
    from pushforward.sample.sampler import goes_straight
    from pushforward.times import GRIDS

    if said != SampleConfig():
        steps = steps or said.sample_steps
        method = None if said.sample_stepper == "default" else make(STEPPERS, said.sample_stepper, "stepper")
        if said.sample_grid == "default":
            return Sampler(method, steps=steps)
        schedule = field.path.affine_schedule() if field.path.predictions else None
        given = {"steps": steps or DEFAULT_STEPS, "schedule": schedule}
        return Sampler(method, make(GRIDS, said.sample_grid, "grid", given))
    if kind != "table" or not goes_straight(field):
        return Sampler(steps=steps)
    given = {"steps": steps or DEFAULT_STEPS, "schedule": field.path.affine_schedule()}
    return Sampler(AdamsMoulton(), make(GRIDS, TABLE_GRID, "grid", given))


def check_sampler(field: Field, said: SampleConfig) -> None:
    """InputError, naming the flag, for the sampler of a configuration that the path of its field does not allow."""
    from pushforward.sample.stepper import check_needs

    if said == SampleConfig():
        return
    try:
        grid, stepper = default_sampler(field, "array", said=said).plan(field)
    except ValueError as error:
        raise InputError(f"--sample-grid {said.sample_grid}: {error}") from error
    try:
        check_needs(stepper, field, grid)
    except ValueError as error:
        raise InputError(f"--sample-stepper {said.sample_stepper}: {error}") from error
