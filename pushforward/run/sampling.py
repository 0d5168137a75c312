"""How rows are sampled, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pushforward.progress import SILENT, Progress
from pushforward.run.conditions import Guidance

if TYPE_CHECKING:
    from pushforward.field import Field
    from pushforward.sample import Sampler

__all__ = ["Sampling", "default_sampler"]


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
    from pushforward.sample import DEFAULT_STEPS, Sampler, default_stepper
    from pushforward.times import shifted

    if kind != "table" or not field.path.predictions:
        return Sampler(steps=steps)
    grid = shifted(steps or DEFAULT_STEPS, field.path.affine_schedule(), 1.0, 2.0)
    return Sampler(default_stepper(field), grid)
