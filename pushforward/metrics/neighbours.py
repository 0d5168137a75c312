"""Metrics of nearest neighbours: precision and recall, density and coverage, and copies of training points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pushforward.errors import InputError
from pushforward.metrics.base import (
    Metric,
    check_comparable,
    finite,
    nearest_neighbors,
    pairwise,
    row_blocks,
    rows_per_block,
)

__all__ = ["Memorisation", "PrecisionRecall", "memorisation", "precision_recall"]


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and density: do samples look like data? Recall and coverage: is all data among the samples?"""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True, eq=False)
class Memorisation:
    """How close samples come to training points, against held-out data.

    ``ratio``: median distance to the nearest training point, of samples over held-out; 1 as for new data, 0 copied.
    ``closer``: chance that a sample is closer than a held-out point, ties half; 1/2 as for new data, 1 all copied.
    ``copies [c]``: indices of samples suspected of being copies, the most suspect first.
    ``distance [n]`` (in data units) and ``nearest [n]``: of each sample, to its nearest training point, and its index;
    ``reference_distance [l]``: of each held-out point to its own.
    """

    ratio: float
    closer: float
    copies: Int[Tensor, "c"]
    distance: Float[Tensor, "n"]
    nearest: Int[Tensor, "n"]
    reference_distance: Float[Tensor, "l"]


def _within(
    x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], radius: Float[Tensor, "m"]
) -> tuple[Int[Tensor, "n"], Int[Tensor, "m"]]:
    """Count in how many balls around points of y each point of x lies, and how many points of x lie in each ball."""
    around = torch.zeros(len(x), dtype=torch.long, device=x.device)
    inside = torch.zeros(len(y), dtype=torch.long, device=x.device)
    for i, a in row_blocks(x, rows_per_block(x)):
        for j, b in row_blocks(y, rows_per_block(y)):
            covered = pairwise(a, b) <= radius[j : j + len(b)]
            around[i : i + len(a)] += covered.sum(1)
            inside[j : j + len(b)] += covered.sum(0)
    return around, inside


def precision_recall(x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], k: int = 5) -> PrecisionRecall:
    """Compute precision, recall, density and coverage of samples x against data y.

    With the ball ``B(y_j)`` of a radius that just reaches the k-th nearest neighbour of y_j in y, and ``B(x_i)`` alike:

    - precision: the share of x in any ``B(y_j)``;  density: the mean over x of (number of ``B(y_j)`` around it) / k
    - recall: the share of y in any ``B(x_i)``;  coverage: the share of ``B(y_j)`` with any x in them

    Precision and recall are stretched by outliers, whose balls are large; density and coverage less so. None of them is
    1 for perfect samples except by chance, and density may exceed 1: quote the floor. ``x [n, *d]``, ``y [m, *d]``;
    the results have no units. Memory is bounded, time grows as ``(n + m)^2 d``.

    Raises InputError when the points differ in shape, or a set has not more than k points.

    Kynkäänniemi et al. (2019), Improved precision and recall metric for assessing generative models, NeurIPS; Naeem et
    al. (2020), Reliable fidelity and diversity metrics for generative models, ICML.
    """
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1")
    check_comparable(x, y, least=k + 1)
    if not finite(x, y):
        return PrecisionRecall(math.nan, math.nan, math.nan, math.nan)
    radius_x, radius_y = (nearest_neighbors(z, z, k, others=True)[0][:, -1] for z in (x, y))
    balls, samples = _within(x, y, radius_y)
    recalled, _ = _within(y, x, radius_x)
    precision, recall, coverage = (float((count > 0).double().mean()) for count in (balls, recalled, samples))
    return PrecisionRecall(precision, recall, float(balls.double().mean()) / k, coverage)


def memorisation(
    samples: Float[Tensor, "n *d"],
    train: Float[Tensor, "m *d"],
    held_out: Float[Tensor, "l *d"],
    k: int = 5,
    level: float = 0.01,
) -> Memorisation:
    """Test whether samples are closer to the training data than held-out data is, and name those that are copies.

    Of every sample and every held-out point the nearest training point is found; see `Memorisation` for the results.

    A sample is suspect when it is much closer to one training point than to the k-th: with ``r`` the first distance
    over the k-th, in data that is locally uniform in D dimensions ``r^D`` has the law Beta(1, k - 1). D is fitted to
    the held-out points, ``D = (1 + 1/2 + ... + 1/(k - 1)) / mean log(1/r)``, so a sample has the p-value
    ``1 - (1 - r^D)^(k - 1)``, or the share of held-out points with as small an r if that is more. Copies have a p-value
    below ``level / n``: the chance that any honest sample is among them is about ``level``. In 2 dimensions a copy must
    be exact to a part in a thousand; in high dimension r < 1/3 is enough.

    ``samples [n, *d]``, ``train [m, *d]``, ``held_out [l, *d]``, in the features in which copies look alike. Memory is
    bounded, time grows as ``(n + l) m d``.

    Raises InputError when the points differ in shape, a set is empty, k is below 2 or above m, or level is not in
    (0, 1).

    Meehan, Chaudhuri, Dasgupta (2020), A non-parametric test to detect data-copying, AISTATS; the law of r is that of
    Levina, Bickel (2004), Maximum likelihood estimation of intrinsic dimension, NeurIPS.
    """
    check_comparable(samples, train)
    check_comparable(held_out, train)
    if k < 2 or not 0 < level < 1:
        raise InputError(f"k is {k} and level {level}; k must be at least 2 and level between 0 and 1")
    # distances to the training rows, of samples and of rows that were never trained on
    (distances, index), (expected, _) = (nearest_neighbors(z, train, k) for z in (samples, held_out))
    first, reference = distances[:, 0].contiguous(), expected[:, 0]
    if not finite(samples, train, held_out):
        none = torch.empty(0, dtype=torch.long, device=samples.device)
        return Memorisation(math.nan, math.nan, none, first, index[:, 0], reference)

    # the chance of being closer is a rank statistic: ties count half
    ranked = reference.sort()[0]
    below, upto = (torch.searchsorted(ranked, first, right=right) for right in (False, True))
    closer = 1 - float((below + upto).double().mean()) / (2 * len(reference))

    # Bonferroni's bound over all samples: honest ones are named with probability ``level`` at most
    p = _copy_p_value(distances, expected)
    suspect = torch.nonzero(p < level / len(samples)).flatten()
    copies = suspect[p[suspect].argsort(stable=True)]
    ratio = float(first.median() / reference.median())
    return Memorisation(ratio, closer, copies, first, index[:, 0], reference)


def _copy_p_value(distances: Float[Tensor, "n k"], expected: Float[Tensor, "l k"]) -> Float[Tensor, "n"]:
    """Compute how often an honest point is as much closer to one training point than to the k-th; see `memorisation`.

    ``distances`` and ``expected`` are those of samples and of held-out points to their k nearest training points.
    """
    k = distances.shape[1]
    # of many coinciding training points the k-th is at 0 too: 0 / 0 is a copy
    ratio, reference = (torch.where(z[:, 0] == 0, z[:, 0], z[:, 0] / z[:, -1]) for z in (distances, expected))
    logs = -reference[reference > 0].log()
    mean = float(logs.mean()) if len(logs) else math.inf
    dimension = sum(1 / i for i in range(1, k)) / mean if mean > 0 else math.inf
    law = -torch.expm1((k - 1) * torch.log1p(-(ratio**dimension)))
    share = torch.searchsorted(reference.sort()[0], ratio.contiguous(), right=True) / len(reference)
    return torch.maximum(law, share.to(law))


METRICS: dict[str, Metric] = {
    "precision": Metric(
        precision_recall,
        "precision",
        "share of samples that lie among the data; low: implausible samples",
        higher_is_better=True,
        value="precision",
        position=40,
    ),
    "recall": Metric(
        precision_recall,
        "recall",
        "share of the data that lies among the samples; low: parts are missing",
        higher_is_better=True,
        value="recall",
        position=41,
    ),
    "density": Metric(
        precision_recall,
        "density",
        "how deep among the data samples lie; low: implausible samples, high: too narrow",
        higher_is_better=True,
        value="density",
        position=42,
    ),
    "coverage": Metric(
        precision_recall,
        "coverage",
        "share of the data with a sample nearby; low: parts are missing",
        higher_is_better=True,
        value="coverage",
        position=43,
    ),
}
