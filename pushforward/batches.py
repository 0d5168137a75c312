"""From rows to batches: source points, coupling, times, trajectories, and what the network is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pushforward.condition import ConditionDraw
    from pushforward.coupling import Coupling, PendingPairs, SemidiscretePlan
    from pushforward.data import Dataset
    from pushforward.path import Draw
    from pushforward.path import Path as TrajectoryPath
    from pushforward.tensor import Dequantize, RowStore
    from pushforward.times import TimeLaw
    from pushforward.training import Feed

__all__ = ["feed_for", "fingerprint"]

FEW = 16  # batches that are prepared together where each costs as much as a step: some may never be asked for
PART = 1 << 16  # rows looked at together
LONG = 64  # dimensions of points whose networks take several milliseconds a step


def feed_for(
    x: RowStore,
    y: RowStore | None,
    path: TrajectoryPath,
    couple: Coupling,
    times: TimeLaw,
    batch: int,
    seed: int,
    dequantize: Dequantize | None = None,
    pool: int = 1,
    ahead: int | None = None,
    draw_condition: ConditionDraw | None = None,
    only: Tensor | None = None,
    fit: Callable[..., SemidiscretePlan] | None = None,
) -> Feed[tuple[Draw, Tensor | None]]:
    """Batches ``(draw, y)`` of a data set on a path: rows, source points, coupling, times, trajectories.

    The coupling sees ``pool`` batches at once, which are then split; `Semidiscrete` is fitted to ``x, y`` here, by
    ``fit`` in the place of its own (with its arguments, the coupling first). ``ahead`` batches are prepared together
    (default: by their size), rounded to whole pools. ``draw_condition`` makes what the network is told of the rows,
    after their labels have decided on the coupling; by default it is the labels. ``only`` are the numbers of the rows
    that take part.
    """
    import torch

    from pushforward.coupling import Semidiscrete, Transport, independent
    from pushforward.training import Feed
    from pushforward.training.feed import pool_size

    if isinstance(couple, Semidiscrete):
        some = slice(None) if only is None else only
        rows, labels = x[some], None if y is None else y[some]
        couple, dequantize = (fit or Semidiscrete.fit)(couple, rows, labels, path.source, seed, dequantize), None

    def begun(*ends: Any) -> PendingPairs:
        if isinstance(couple, Transport):
            return couple.prepare(*ends)
        pairs = couple(*ends)
        return lambda: pairs

    def prepare(x1: Tensor, y: Tensor | None, g: torch.Generator) -> Iterator[PendingPairs]:
        x0 = path.source.sample(tuple(x1.shape), g, x1.dtype)
        size = pool * batch
        conditions = [None] * (len(x1) // size) if y is None else y.split(size)
        return (begun(*ends, g) for ends in zip(x0.split(size), x1.split(size), conditions, strict=True))

    def rest(begun: PendingPairs) -> tuple[Tensor, Tensor, Tensor | None]:
        return begun()

    def finish(
        pairs: list[tuple[Tensor, Tensor, Tensor | None]], g: torch.Generator
    ) -> list[tuple[Draw, Tensor | None]]:
        x1 = torch.cat([p[1] for p in pairs])
        draw = path.draw(torch.cat([p[0] for p in pairs]), x1, times(len(x1), g), g)
        labels = [pair[2] for pair in pairs if pair[2] is not None]
        told = torch.cat(labels) if labels else None
        told = told if draw_condition is None else draw_condition(x1, told, g)
        parts = [None] * (len(x1) // batch) if told is None else told.split(batch)
        return list(zip(draw.split(batch), parts, strict=True))

    together = ahead or min(pool_size(batch, x[0].numel()), FEW if isinstance(couple, Transport) else 64)
    whole = max(1, together // pool) * pool
    # A thread pays where a coupling is solved and a step is long. Beside steps of a millisecond it doubles them, unless
    # it is left with the one long call of a transport
    background: Literal["all", "rest", "none"] = "rest" if isinstance(couple, Transport) else "none"
    if couple is not independent and x[0].numel() >= LONG:
        background = "all"
    return Feed(x, y, batch, seed, prepare, dequantize, whole, background, rest, finish, only)


def fingerprint(data: Dataset) -> str:
    """A digest of the rows in model units and of the way back, by which a run knows its data again."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(repr(tuple(data.x.shape)).encode())
    digest.update(json.dumps(data.transform.to_json()).encode())  # the same rows in metres and in feet differ here only
    for start in range(0, len(data), PART):  # no copy of what may fill half the memory
        digest.update(data.x[start : start + PART].numpy().data)
    return digest.hexdigest()
