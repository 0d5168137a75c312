"""The Frechet distance between two sets of points or of their features."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.errors import InputError
from pushforward.metrics import base
from pushforward.metrics.base import Metric, check_comparable, finite, row_blocks
from pushforward.tensor import Points, dimension, time_dtype

__all__ = ["Features", "frechet_distance", "in_features"]

Features: TypeAlias = Callable[[Tensor], Tensor]
BATCH = 256  # points whose features are taken at a time


def in_features(x: Points, features: Features | None) -> Float[Tensor, "n *f"]:
    """Compute ``features(x)``, a few points at a time and without gradients; the points themselves for None.

    Raises InputError when a batch of points does not give as many rows.
    """
    if features is None:
        return x
    parts = []
    for batch in x.detach().split(BATCH):
        with torch.no_grad():
            parts.append(features(batch))
        if parts[-1].ndim < 2 or len(parts[-1]) != len(batch):
            shapes = f"{tuple(batch.shape)} -> {tuple(parts[-1].shape)}"
            raise InputError(f"features must give one row of numbers per point, not {shapes}")
    return torch.cat(parts)


def _moments(x: Points) -> tuple[Float[Tensor, "f"], Float[Tensor, "r f"]]:
    """Compute the mean, and an ``R`` with ``R' R`` the covariance (divided by n - 1).

    R is the triangle of a QR decomposition of the centred points, built up block by block. The covariance is never
    formed, so that small variances keep all their digits beside large ones.
    """
    d, rows = dimension(x), base.BLOCK // dimension(x)
    mean = torch.stack([block.sum(0) for _, block in row_blocks(x, rows)]).sum(0) / len(x)
    triangle = torch.zeros(0, d, dtype=time_dtype(x.device), device=x.device)
    for _, block in row_blocks(x, rows):
        triangle = torch.linalg.qr(torch.cat([triangle, block - mean]), mode="r").R
    return mean, triangle / math.sqrt(len(x) - 1)


def frechet_distance(x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], features: Features | None = None) -> float:
    """Compute the Frechet distance, squared as is the custom: ``W_2^2`` between two fitted normals. Inception: FID.

    ``|mu - nu|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)`` with the means and the covariances (divided by n - 1) of the
    features. With ``A = R'R`` and ``B = S'S`` the last trace is the sum of the singular values of ``R S'``: no square
    root of a matrix is taken, and singular covariances (n < d, constant features) need no small constant added.

    It sees two moments only, and is biased: between draws from a unit normal in f dimensions it is about
    ``f (f + 5) / 4 (1 / n + 1 / m)``. Compare at one n, and with its floor. ``features [n, *d] -> [n, *f]`` is asked
    for a few hundred points at a time; None compares the points themselves. ``x [n, *d]`` and ``y [m, *d]``; the result
    is in squared units of the features. Memory grows as ``(n + m) f + f^2``.

    Raises InputError when the points differ in shape, a set has fewer than two points, or ``features`` does not return
    one row per point.

    Dowson, Landau (1982), The Fréchet distance between multivariate normal distributions, J. Multivariate Analysis 12;
    Heusel et al. (2017), GANs trained by a two time-scale update rule, NeurIPS.
    """
    check_comparable(x, y, least=2)
    x, y = in_features(x, features), in_features(y, features)
    if not finite(x, y):
        return math.nan
    (mu, r), (nu, s) = _moments(x), _moments(y)
    value = (mu - nu).square().sum() + r.square().sum() + s.square().sum() - 2 * torch.linalg.svdvals(r @ s.T).sum()
    return max(float(value), 0.0)


METRICS: dict[str, Metric] = {
    "frechet": Metric(
        frechet_distance,
        "Fréchet distance",
        "whether means and covariances agree; less is better",
        position=30,
    )
}
