"""The components of a column's marginal: which values share one, and the Gaussians that fit them best.

A network corrects which component a value is of, and hardly the shape of one: a marginal that is wrong stays wrong in
the samples. Gaussians with the moments of neighbouring stretches have a density that waves by 40 % about a flat one, so
that means, widths and weights are fitted together, by expectation-maximisation (Dempster et al. 1977).
"""

from __future__ import annotations

import numpy as np

from pushforward.data.files.rows import Array

__all__ = ["ROWS", "fit_components", "grouped", "grouped_before"]

ROWS, REPEATS = 32, 8  # of a component where rows are few, and of a value that is one by itself there
ITERATIONS, WIDER = 50, 1.7  # of the fit, which begins with stretches that overlap
MOST_POINTS = 2048  # that it is of
NARROWEST = 1e-3  # standard deviation
APART = 10**6  # more than there are components


def grouped(weight: Array, wide: Array, most: int, least: int) -> Array:
    """Number the component of each of neighbouring cells with these rows: about ``most`` of them.

    Values that have their share of the rows are components of their own, the rest are stretches of equal weight between
    them. With ``least`` rows to a stretch there are fewer: which of many a row belongs to would be learned by heart.
    """
    total = weight.sum()
    if len(weight) <= most and not least:
        return np.arange(len(weight))
    alone = ~wide & (weight >= (max(REPEATS, total / most) if least else total / (2 * most)))
    rest = np.where(alone, 0.0, weight)
    count = max(1, int(rest.sum() / least) if least else most - int(alone.sum()))
    middle = (np.cumsum(rest) - rest / 2) / max(rest.sum(), 1)
    stretch = (count * middle).astype(int)
    # of many rows a stretch ends where a value stands alone
    between = 0 if least else np.cumsum(np.append(False, alone[1:] | alone[:-1]))
    return _numbered(np.where(alone, 0, 1 + stretch) + APART * np.where(alone, APART + np.arange(len(weight)), between))


def grouped_before(weight: Array, wide: Array, most: int, least: int) -> Array:
    """Number the components as `grouped` did at first: what the networks of such runs were made for."""
    alone = np.zeros(len(weight), bool)
    count = most if len(weight) > most else 0
    if least and weight.sum() < least * most:
        alone = ~wide & (weight >= max(REPEATS, weight.sum() / most))
        count = max(1, int(weight[~alone].sum() / least))
    elif not count:
        return np.arange(len(weight))
    rest = np.where(alone, 0.0, weight)
    middle = (np.cumsum(rest) - rest / 2) / max(rest.sum(), 1)
    return _numbered(np.where(alone, count + np.arange(len(weight)), (count * middle).astype(int)))


def fit_components(x: Array, weight: Array, component: Array, fitted: bool) -> tuple[Array, Array, Array]:
    """Means, standard deviations and weights of the components of cells with points ``x [cells, points]``.

    The moments of each component's points; ``fitted``, the mixture of greatest likelihood near that one.
    """
    total = np.bincount(component, weight)
    mean, square = (np.bincount(component, weight * value.mean(1)) / total for value in (x, x**2))
    std = np.sqrt((square - mean**2).clip(0))
    cells = np.bincount(component)
    if not fitted or cells.max() == 1:  # single cells are components as they are
        return mean, std, total
    points, mass = _thinned(x, weight, component)
    std, share = np.where(cells > 1, WIDER * std, std).clip(NARROWEST), total / total.sum()
    for _ in range(ITERATIONS):
        log = (points[:, None] - mean) / std
        log *= -0.5 * log
        log += np.log(share / std)
        log -= log.max(1, keepdims=True)
        belongs = np.exp(log, out=log)
        belongs *= (mass / belongs.sum(1))[:, None]
        share = belongs.sum(0).clip(1e-12)
        mean = points @ belongs / share
        std = np.sqrt((points**2 @ belongs / share - mean**2).clip(NARROWEST**2))
    return mean, std, share


def _thinned(x: Array, weight: Array, component: Array) -> tuple[Array, Array]:
    """At most about `MOST_POINTS` points with masses of sum 1 for the points of cells: means of neighbours.

    None are of two components: where a spike ends is kept.
    """
    few = x.reshape(len(x), 4, -1).mean(2)
    points, mass = few.ravel(), np.repeat(weight / few.shape[1], few.shape[1])
    mass = mass / mass.sum()
    if len(points) > MOST_POINTS:
        bins = (MOST_POINTS * (np.cumsum(mass) - mass / 2)).astype(int)
        bins = _numbered(bins + APART * np.repeat(component, few.shape[1]))
        total = np.bincount(bins, mass)
        return np.bincount(bins, mass * points) / total, total
    return points, mass


def _numbered(keys: Array) -> Array:
    """The number of each key among the different ones, from 0."""
    return np.asarray(np.unique(keys, return_inverse=True)[1])
