"""Distances that are means over pairs of points: the energy distance and maximum mean discrepancies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.errors import InputError
from pushforward.metrics.base import Metric, check_comparable, mean_over_pairs, pairwise, row_blocks
from pushforward.metrics.frechet import Features, in_features
from pushforward.tensor import time_dtype

__all__ = ["energy_distance", "kernel_distance", "median_distance", "mmd"]

OCTAVES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)  # bandwidths of mmd, in median distances


def energy_distance(x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"]) -> float:
    """Compute the energy distance between two sets of points; the square root is not taken.

    ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` with all pairs in every mean, the zero ones ``|x_i - x_i|`` included: the
    V-statistic. It is the exact distance between the two empirical laws, so it is never negative and zero only for
    equal ones; as an estimate between the laws behind them it is too large by about ``E|X - X'| / n + E|Y - Y'| / m``.

    ``x [n, *d]`` and ``y [m, *d]``, distances are Euclidean over all of ``*d``; the result is in data units. Sums are
    float64, memory is bounded, time grows as ``(n + m)^2 d``. In one dimension it is the square of
    ``scipy.stats.energy_distance``.

    Raises InputError when the points differ in shape or a set is empty.

    Székely, Rizzo (2013), Energy statistics: a class of statistics based on distances, JSPI 143.
    """
    check_comparable(x, y)
    center = x.detach().mean(0).reshape(-1).to(time_dtype(x.device))  # one for all: equal sets are at 0 exactly

    def distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return pairwise(a, b, center)

    between, within_x, within_y = (mean_over_pairs(distance, a, b) for a, b in ((x, y), (x, x), (y, y)))
    return float((2 * between - within_x - within_y).clamp(min=0))  # rounding may leave -1e-17; nan stays nan


def median_distance(y: Float[Tensor, "m *d"]) -> float:
    """Compute the median distance between two different points of a set, from at most 1000 points taken at even steps.

    ``y [m, *d]``; the result is in data units, 0 when most points coincide. Raises InputError below two points.

    Gretton et al. (2012), A kernel two-sample test, JMLR 13, section 8.
    """
    check_comparable(y, y, least=2)
    thinned = y[torch.linspace(0, len(y) - 1, min(len(y), 1000), dtype=torch.float64).round().long()]
    _, rows = next(row_blocks(thinned, len(thinned)))
    pairs = pairwise(rows, rows)
    return float(pairs[torch.triu(torch.ones_like(pairs), 1) > 0].median())


def mmd(x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], bandwidths: Sequence[float] | None = None) -> float:
    """Estimate the squared maximum mean discrepancy under Gaussian kernels of several widths, without bias.

    ``E k(X, X') + E k(Y, Y') - 2 E k(X, Y)`` with ``k(a, b) = mean_h exp(-|a - b|^2 / 2 h^2)`` and pairs of different
    points only: the U-statistic. Its mean over draws from one law is 0, so it is negative about half of the time when
    nothing is wrong. Several widths h see differences at several scales. Without ``bandwidths`` they are 1/16, 1/8,
    1/4, 1/2, 1 and 2 times the `median_distance` of y alone: sets compared with one y are measured with one kernel.

    ``x [n, *d]`` and ``y [m, *d]``; bandwidths are in data units and the result, at most 2, has none. Memory is
    bounded, time grows as ``(n + m)^2 d``.

    Raises InputError when the points differ in shape, a set has fewer than two points, a bandwidth is not above 0, or
    none is given and most points of y coincide.

    Gretton, Borgwardt, Rasch, Schölkopf, Smola (2012), A kernel two-sample test, JMLR 13.
    """
    check_comparable(x, y, least=2)
    if bandwidths is None:
        median = median_distance(y)
        if median == 0:
            raise InputError(f"most of the {len(y)} points compared with coincide: give mmd its bandwidths")
        bandwidths = [octave * median for octave in OCTAVES]
    if not bandwidths or any(h <= 0 for h in bandwidths):
        raise InputError(f"bandwidths are {list(bandwidths)}; they must be above 0, one at least")

    def gaussian(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        squares = pairwise(a, b).square_()
        total = torch.zeros_like(squares)
        for h in bandwidths:
            total += (squares / (-2 * h * h)).exp_()
        return total / len(bandwidths)

    within = mean_over_pairs(gaussian, x, x, distinct=True) + mean_over_pairs(gaussian, y, y, distinct=True)
    return float(within - 2 * mean_over_pairs(gaussian, x, y))


def kernel_distance(
    x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], features: Features | None = None, degree: int = 3
) -> float:
    """Estimate the squared discrepancy of features under a polynomial kernel, without bias. With Inception: KID.

    ``E k(F, F') + E k(G, G') - 2 E k(F, G)`` with ``k(a, b) = (<a, b> / d + 1)^degree`` for features F of x and G of y,
    pairs of different points only. It compares the first ``degree`` moments of all features at once, and depends on
    where their zero is. Unlike `frechet_distance` it has no bias, so sets of different sizes can be compared.

    ``features [n, *d] -> [n, *f]`` is asked for a few hundred points at a time; None compares the points themselves.
    ``x [n, *d]`` and ``y [m, *d]``; the result is a number without units when the features have none. All pairs are
    used, not the mean over subsets of 1000 that is common for Inception features.

    Raises InputError when the points differ in shape, a set has fewer than two points, ``degree`` is below 1, or
    ``features`` does not return one row per point.

    Bińkowski, Sutherland, Arbel, Gretton (2018), Demystifying MMD GANs, ICLR.
    """
    check_comparable(x, y, least=2)
    if degree < 1:
        raise InputError(f"degree is {degree}; it must be at least 1")
    x, y = in_features(x, features), in_features(y, features)

    def polynomial(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return (a @ b.T / a.shape[1] + 1) ** degree

    within = mean_over_pairs(polynomial, x, x, distinct=True) + mean_over_pairs(polynomial, y, y, distinct=True)
    value = float(within - 2 * mean_over_pairs(polynomial, x, y))
    return value if math.isfinite(value) else math.nan


METRICS: dict[str, Metric] = {
    "energy": Metric(
        energy_distance,
        "energy distance",
        "between the two laws, sensitive to where the mass is; less is better",
        position=20,
    ),
    "mmd": Metric(
        mmd,
        "maximum mean discrepancy",
        "between the two laws at several scales, squared; 0 on average between equal laws, less is better",
    ),
    "kernel": Metric(
        kernel_distance,
        "kernel distance",
        "whether the first three moments agree; 0 on average between equal laws, less is better",
    ),
}
