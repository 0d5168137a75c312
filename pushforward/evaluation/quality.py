"""Metrics of points in model units, each beside its floor, and the search for copies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.evaluation.result import Copies, Score
from pushforward.metrics import METRICS, Measured, Memorisation, Metric, memorisation, with_floors
from pushforward.metrics.base import some
from pushforward.progress import SILENT, Progress
from pushforward.tensor import Points, dimension, generator

__all__ = ["Lens", "copies", "lens", "reported", "scores"]

RESAMPLES = 20
DIMENSIONS = 1024  # of points that are measured as they are
COMPONENTS = 256  # principal components through which larger ones are
SEARCH = 2**38  # numbers compared in the search for copies, at most
SHOWN = 8  # closest pairs
Z95 = 1.959964  # half-width of a 95 % interval in standard deviations


@dataclass(frozen=True, eq=False)
class Lens:
    """Points as metrics see them: flat, and beyond 1024 dimensions by their principal components."""

    mean: Tensor | None = None
    directions: Tensor | None = None

    def __call__(self, x: Float[Tensor, "n *d"]) -> Float[Tensor, "n f"]:
        """``[n, *d]`` to ``[n, f]``."""
        flat = x.flatten(1)
        if self.directions is None or self.mean is None:
            return flat
        return torch.cat([(part - self.mean) @ self.directions for part in flat.split(4096)])


def lens(train: Points, seed: int) -> Lens:
    """How points like these are looked at."""
    if dimension(train) <= DIMENSIONS:
        return Lens()
    rows = some(train, 2000, seed, "lens").flatten(1)
    _, _, directions = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    return Lens(rows.mean(0), directions[:COMPONENTS].T)


def reported(table: bool) -> dict[str, Metric]:
    """The metrics that a report measures, of tables or of points of any shape, in its order."""
    chosen = {name: m for name, m in METRICS.items() if m.position is not None and bool(m.columns) == table}
    return dict(sorted(chosen.items(), key=lambda entry: entry[1].position or 0))


def scores(
    samples: Float[Tensor, "n d"],
    held_out: Float[Tensor, "m d"],
    train: Float[Tensor, "l d"],
    seed: int,
    progress: Progress = SILENT,
) -> tuple[list[Score], dict[str, float]]:
    """Measure samples against held-out points by each metric of points, beside its floor, that of training points.

    Intervals are 95 %, from 20 random halves or from the metric's own error. The second result holds the p-values of
    the metrics that are tests, by name.
    """
    metrics, measured, p_values = reported(table=False), dict[str, Measured](), dict[str, float]()
    for i, (name, metric) in enumerate(metrics.items()):
        progress(i / len(metrics), metric.title)
        if name in measured:
            continue
        if metric.error:
            measured[name], p_values[name] = _with_own_error(name, metric, samples, held_out, train, seed)
            continue
        # metrics of one function share their work
        family = {key: m for key, m in metrics.items() if m.function is metric.function}

        def numbers(x: Tensor, y: Tensor, family: dict[str, Metric] = family) -> list[float]:
            result = metrics[next(iter(family))].function(x, y)
            return [m.number(result) for m in family.values()]

        found = with_floors(numbers, samples, held_out, train, RESAMPLES, seed=seed)
        measured |= dict(zip(family, found, strict=True))
    return [Score(name, measured[name]) for name in metrics], p_values


def _with_own_error(
    name: str, metric: Metric, samples: Tensor, held_out: Tensor, train: Tensor, seed: int
) -> tuple[Measured, float]:
    """A metric that is a statistical test beside its floor, and the p-value of the samples.

    Value and floor have the standard deviation between equal laws, so that the interval is not taken by halves.
    """
    n = min(len(samples), len(train))
    points = [some(x, n, seed, name, i) for i, x in enumerate((samples, train))]
    value, floor = (metric.function(x, held_out, seed=seed) for x in points)
    numbers = [(metric.number(result), Z95 * getattr(result, metric.error)) for result in (value, floor)]
    return Measured(*numbers[0], *numbers[1], n), value.p_value


def copies(
    samples: Float[Tensor, "n d"], trained: Float[Tensor, "m d"], held_out: Float[Tensor, "l d"], seed: int
) -> tuple[Copies, Memorisation, Tensor]:
    """The search for copies, and the training points that the closest samples are near to.

    Of more training points than can be compared in bounded time some are drawn; `Copies.train` says how many.
    """
    most = max(1000, SEARCH // ((len(samples) + len(held_out)) * samples.shape[1]))
    kept = torch.randperm(len(trained), generator=generator(seed, "copies"))[:most].sort().values
    found = memorisation(samples, trained[kept], held_out)
    near = found.distance.nan_to_num(math.inf).argsort(stable=True)
    closest = torch.cat([found.copies, near[~torch.isin(near, found.copies)]])[:SHOWN]
    rows = kept[found.nearest[closest]]
    pairs = zip(closest.tolist(), rows.tolist(), found.distance[closest].tolist(), strict=True)
    result = Copies(found.ratio, found.closer, len(found.copies), len(samples), len(kept), tuple(pairs))
    return result, found, rows
