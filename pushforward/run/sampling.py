"""How rows are sampled, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pushforward.progress import SILENT, Progress
from pushforward.run.conditions import Guidance

if TYPE_CHECKING:
    from pushforward.field import Field
    from pushforward.sample import Sampler

__all__ = ["TABLE_GRID", "Sampling", "default_sampler"]

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


def default_sampler(field: Field, kind: str, steps: int | None = None) -> Sampler:
    """What samples rows of a ``kind`` with so many steps where nothing was tuned and nothing is said.

    Of a table it goes nearer to the data than the default of `integrate`: rare values beside frequent ones would be
    lost in the noise that that ends with.
    """
    from pushforward.config import make
    from pushforward.sample import DEFAULT_STEPS, Sampler, default_stepper
    from pushforward.times import GRIDS

    if kind != "table" or not field.path.predictions:
        return Sampler(steps=steps)
    given = {"steps": steps or DEFAULT_STEPS, "schedule": field.path.affine_schedule()}
    return Sampler(default_stepper(field), make(GRIDS, TABLE_GRID, "grid", given))
