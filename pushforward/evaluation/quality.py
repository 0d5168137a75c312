"""Measure points in model units by each metric beside its floor, and search for copies of training points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.evaluation.result import Copies, Score
from pushforward.metrics import METRICS, Measured, Memorisation, Metric, memorisation, with_floors
from pushforward.metrics.base import subsample
from pushforward.progress import SILENT, Progress
from pushforward.tensor import Points, dimension, generator

__all__ = ["PCAProjection", "fit_projection", "reported", "scores", "search_copies"]

RESAMPLES = 20
DIMENSIONS = 1024  # of points that are measured as they are
COMPONENTS = 256  # principal components through which larger ones are
SEARCH = 2**38  # numbers compared in the search for copies, at most
CLOSEST = 8  # pairs named
Z95 = 1.959964  # half-width of a 95 % interval in standard deviations


@dataclass(frozen=True, eq=False)
class PCAProjection:
    """Points as metrics see them: flat, and beyond 1024 dimensions by their principal components."""

    mean: Tensor | None = None
    directions: Tensor | None = None

    def __call__(self, x: Float[Tensor, "n *d"]) -> Float[Tensor, "n f"]:
        """Project points ``[n, *d]`` to ``[n, f]``."""
        flat = x.flatten(1)
        if self.directions is None or self.mean is None:
            return flat
        return torch.cat([(part - self.mean) @ self.directions for part in flat.split(4096)])


def fit_projection(train: Points, seed: int) -> PCAProjection:
    """Fit the projection to training points ``[n, *d]``; the identity up to 1024 dimensions."""
    if dimension(train) <= DIMENSIONS:
        return PCAProjection()
    rows = subsample(train, 2000, seed, "lens").flatten(1)
    _, _, directions = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    return PCAProjection(rows.mean(0), directions[:COMPONENTS].T)


def reported(table: bool) -> dict[str, Metric]:
    """Select the metrics that a report measures, of tables or of points of any shape, in its order."""
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

        def numbers(x: Tensor, y: Tensor, metric: Metric = metric, family: dict[str, Metric] = family) -> list[float]:
            result = metric.function(x, y)
            return [m.number(result) for m in family.values()]

        together = with_floors(numbers, samples, held_out, train, RESAMPLES, seed=seed)
        measured |= dict(zip(family, together, strict=True))
    return [Score(name, measured[name]) for name in metrics], p_values


def _with_own_error(
    name: str, metric: Metric, samples: Tensor, held_out: Tensor, train: Tensor, seed: int
) -> tuple[Measured, float]:
    """Measure a metric that is a statistical test beside its floor; also the p-value of the samples.

    Value and floor have the standard deviation between equal laws, so that the interval is not taken by halves.
    """
    n = min(len(samples), len(train))
    points = [subsample(x, n, seed, name, i) for i, x in enumerate((samples, train))]
    of_samples, of_train = (metric.function(x, held_out, seed=seed) for x in points)
    numbers = [(metric.number(result), Z95 * getattr(result, metric.error)) for result in (of_samples, of_train)]
    return Measured(*numbers[0], *numbers[1], n), of_samples.p_value


def search_copies(
    samples: Float[Tensor, "n d"], trained: Float[Tensor, "m d"], held_out: Float[Tensor, "l d"], seed: int
) -> tuple[Copies, Memorisation, Tensor]:
    """Search for copies of training points among samples; also the indices of those that the closest are near to.

    Of more training points than can be compared in bounded time some are drawn; `Copies.train` says how many.
    """
    largest = max(1000, SEARCH // ((len(samples) + len(held_out)) * samples.shape[1]))
    compared = torch.randperm(len(trained), generator=generator(seed, "copies"))[:largest].sort().values
    memory = memorisation(samples, trained[compared], held_out)

    # suspects first, then whatever is nearest; a distance that is not finite is far
    by_distance = memory.distance.nan_to_num(math.inf).argsort(stable=True)
    closest = torch.cat([memory.copies, by_distance[~torch.isin(by_distance, memory.copies)]])[:CLOSEST]
    originals = compared[memory.nearest[closest]]
    pairs = zip(closest.tolist(), originals.tolist(), memory.distance[closest].tolist(), strict=True)
    copies = Copies(
        ratio=memory.ratio,
        closer=memory.closer,
        suspects=len(memory.copies),
        samples=len(samples),
        train=len(compared),
        closest=tuple(pairs),
    )
    return copies, memory, originals
