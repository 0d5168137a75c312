"""Metrics of points in model units, each beside its floor, and the search for copies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.evaluation.result import Copies, Score
from pushforward.metrics import (
    Measured,
    Memorisation,
    classifier_two_sample,
    energy_distance,
    frechet_distance,
    memorisation,
    precision_recall,
    sliced_wasserstein,
    with_floor,
    with_floors,
)
from pushforward.metrics.base import some
from pushforward.tensor import Points, dimension, generator

__all__ = ["READINGS", "Lens", "copies", "lens", "scores", "two_sample"]

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


def scores(
    samples: Float[Tensor, "n d"],
    held_out: Float[Tensor, "m d"],
    train: Float[Tensor, "l d"],
    seed: int,
    say: Callable[[float, str], None],
) -> list[Score]:
    """Each metric of samples against held-out points beside that of training points; the classifier is not among them.

    Intervals are 95 %, from 20 random halves.
    """
    found = {}
    for i, (name, metric) in enumerate(DISTANCES.items()):
        say(i / 4, name.replace("_", " "))
        found[name] = with_floor(metric, samples, held_out, train, RESAMPLES, seed=seed)
    say(3 / 4, "precision and recall")

    def four(x: Tensor, y: Tensor) -> tuple[float, ...]:
        p = precision_recall(x, y)
        return p.precision, p.recall, p.density, p.coverage

    names = ("precision", "recall", "density", "coverage")
    found |= dict(zip(names, with_floors(four, samples, held_out, train, RESAMPLES, seed=seed), strict=True))
    return [Score(name, measured, name in names, *READINGS[name]) for name, measured in found.items()]


def two_sample(
    samples: Float[Tensor, "n d"], held_out: Float[Tensor, "m d"], train: Float[Tensor, "l d"], seed: int
) -> tuple[Score, float]:
    """The classifier two-sample test of samples and of training points, and the p-value of samples.

    Both accuracies have the standard deviation between equal laws, so its 95 % interval is not taken by halves.
    """
    n = min(len(samples), len(train))
    points, floor = (some(x, n, seed, "two_sample", i) for i, x in enumerate((samples, train)))
    ours, theirs = (classifier_two_sample(x, held_out, seed=seed) for x in (points, floor))
    measured = Measured(ours.accuracy, Z95 * ours.error, theirs.accuracy, Z95 * theirs.error, n)
    return Score("two_sample", measured, False, *READINGS["two_sample"]), ours.p_value


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


DISTANCES = {"sliced_wasserstein": sliced_wasserstein, "energy": energy_distance, "frechet": frechet_distance}
# what each is called, and how it is read
READINGS: dict[str, tuple[str, str]] = {
    "sliced_wasserstein": ("sliced Wasserstein", "mean distance along lines, in standard deviations; less is better"),
    "energy": ("energy distance", "between the two laws, sensitive to where the mass is; less is better"),
    "frechet": ("Fréchet distance", "whether means and covariances agree; less is better"),
    "two_sample": ("classifier two-sample", "how often a classifier tells samples from data; 0.5 is chance, 1 always"),
    "precision": ("precision", "share of samples that lie among the data; low: implausible samples"),
    "recall": ("recall", "share of the data that lies among the samples; low: parts are missing"),
    "density": ("density", "how deep among the data samples lie; low: implausible samples, high: too narrow"),
    "coverage": ("coverage", "share of the data with a sample nearby; low: parts are missing"),
    "columns": ("single columns", "mean distance of columns (Kolmogorov-Smirnov, total variation); less is better"),
    "pairs": ("pairs of columns", "mean difference in how two columns are related; less is better"),
}
