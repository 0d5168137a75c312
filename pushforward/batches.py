"""From rows to batches: source points, coupling, times, points of the path, and conditions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from torch import Tensor

    from pushforward.condition import ConditionDraw
    from pushforward.coupling import Coupling, PendingPairs
    from pushforward.data import Dataset
    from pushforward.path import Draw
    from pushforward.path import Path as TrajectoryPath
    from pushforward.tensor import Dequantize, RowStore
    from pushforward.times import TimeLaw
    from pushforward.training import Feed
    from pushforward.training.feed import Background

__all__ = ["BatchRecipe", "feed_for", "fingerprint"]

FEW = 16  # batches that are prepared together where each costs as much as a step: some may never be asked for
MANY = 64  # elsewhere
PART = 1 << 16  # rows looked at together
LONG = 64  # dimensions of points whose networks take several milliseconds a step


@dataclass(frozen=True)
class BatchRecipe:
    """How a batch is made of rows: their source points, the coupling, times, points of the path, and conditions.

    The coupling sees ``pool`` batches at once, which are then split. ``draw_condition`` makes what the network is given
    of the rows, after their labels have decided on the coupling; by default it is the labels. ``dequantize`` makes
    continuous numbers of rounded ones.

    The three stages are those of a `Feed`: what takes derivatives is in `finish`, and the one long call for which
    Python does not wait, a transport, in `solve`.
    """

    path: TrajectoryPath
    coupling: Coupling
    times: TimeLaw
    batch: int
    pool: int = 1
    draw_condition: ConditionDraw | None = None
    dequantize: Dequantize | None = None

    def prepare(self, x1: Tensor, y: Tensor | None, g: torch.Generator) -> Iterator[PendingPairs]:
        """Draw the source points of some rows, and begin their coupling, ``pool`` batches at a time."""
        x0 = self.path.source.sample(tuple(x1.shape), g, x1.dtype)
        size = self.pool * self.batch
        conditions = [None] * (len(x1) // size) if y is None else y.split(size)
        return (self._pair(*ends, g) for ends in zip(x0.split(size), x1.split(size), conditions, strict=True))

    def _pair(self, x0: Tensor, x1: Tensor, y: Tensor | None, g: torch.Generator) -> PendingPairs:
        from pushforward.coupling import TwoStage

        if isinstance(self.coupling, TwoStage):
            return self.coupling.prepare(x0, x1, y, g)
        pairs = self.coupling(x0, x1, y, g)
        return lambda: pairs

    def solve(self, pending: PendingPairs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Finish a coupling that was begun."""
        return pending()

    def finish(
        self, pairs: list[tuple[Tensor, Tensor, Tensor | None]], g: torch.Generator
    ) -> list[tuple[Draw, Tensor | None]]:
        """Draw times, points of the path and conditions for all pairs at once, and split them into batches."""
        import torch

        x1 = torch.cat([p[1] for p in pairs])
        draw = self.path.draw(torch.cat([p[0] for p in pairs]), x1, self.times(len(x1), g), g)
        labels = [pair[2] for pair in pairs if pair[2] is not None]
        condition = torch.cat(labels) if labels else None
        if self.draw_condition is not None:
            condition = self.draw_condition(x1, condition, g)
        parts = [None] * (len(x1) // self.batch) if condition is None else condition.split(self.batch)
        return list(zip(draw.split(self.batch), parts, strict=True))


def feed_for(
    x: RowStore,
    y: RowStore | None,
    recipe: BatchRecipe,
    seed: int,
    ahead: int | None = None,
    only: Int[Tensor, "rows"] | None = None,
) -> Feed[tuple[Draw, Tensor | None]]:
    """Make batches ``(draw, y)`` of a data set: ``feed(step)`` depends on (seed, step) alone.

    ``ahead`` batches are prepared together (default: by their size), rounded to whole pools. ``only`` are the numbers
    of the rows that take part. A coupling that is `FittedOnData` is fitted to these rows here.
    """
    from pushforward.coupling import FittedOnData, TwoStage, independent
    from pushforward.training import Feed
    from pushforward.training.feed import Stages, pool_size

    if isinstance(recipe.coupling, FittedOnData):
        index = slice(None) if only is None else only
        labels = None if y is None else y[index]
        # the plan hands out its own rows: it is the one to make them continuous
        plan = recipe.coupling.fit(x[index], labels, recipe.path.source, seed, dequantize=recipe.dequantize)
        recipe = replace(recipe, coupling=plan, dequantize=None)

    solves = isinstance(recipe.coupling, TwoStage)
    together = ahead or min(pool_size(recipe.batch, x[0].numel()), FEW if solves else MANY)
    pool = max(1, together // recipe.pool) * recipe.pool
    # A thread pays where a coupling is solved and a step is long. Beside steps of a millisecond it doubles them, unless
    # it is left with the one long call of a transport
    background: Background = "solve" if solves else "none"
    if recipe.coupling is not independent and x[0].numel() >= LONG:
        background = "all"
    stages = Stages(recipe.prepare, recipe.solve, recipe.finish)
    return Feed(x, y, recipe.batch, seed, stages, recipe.dequantize, pool, background, only)


def fingerprint(data: Dataset) -> str:
    """Digest the rows in model units and the way back, by which a run recognizes its data."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(repr(tuple(data.x.shape)).encode())
    digest.update(json.dumps(data.transform.to_json()).encode())  # the same rows in metres and in feet differ here only
    for start in range(0, len(data), PART):  # no copy of what may fill half the memory
        digest.update(data.x[start : start + PART].numpy().data)
    return digest.hexdigest()
