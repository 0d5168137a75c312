"""How rows are sampled, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pushforward.progress import SILENT, Progress
from pushforward.run.conditions import Guidance

if TYPE_CHECKING:
    from pushforward.sample import Sampler

__all__ = ["Sampling"]


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
