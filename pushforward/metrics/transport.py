"""Wasserstein distances between two sets of points: along lines, and exact."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.errors import InputError
from pushforward.metrics import base
from pushforward.metrics.base import Metric, check_comparable, finite, pairwise, row_blocks, rows_per_block
from pushforward.tensor import dimension, per_sample, time_dtype

__all__ = ["sliced_wasserstein", "wasserstein"]

PAIRS = 2**24  # the largest cost matrix that exact transport makes (128 MiB); the solver needs a few more of that size


def _squared_w2(x: Float[Tensor, "p n"], y: Float[Tensor, "p m"]) -> Float[Tensor, "p"]:
    """Compute ``int_0^1 (F_x^-1(u) - F_y^-1(u))^2 du`` between sorted rows, exactly for any n and m.

    Both quantile functions are steps: F_x^-1 changes at i / n and F_y^-1 at j / m. In units of 1 / (n m) all the
    changes are integers, so the pieces on which both are constant are found without rounding.
    """
    n, m = x.shape[1], y.shape[1]
    breaks: Tensor = torch.unique(torch.cat([torch.arange(n + 1) * m, torch.arange(m + 1) * n])).to(x.device)
    width = breaks.diff().to(x.dtype) / (n * m)
    start = breaks[:-1]
    return (x[:, start // m] - y[:, start // n]).square() @ width


def sliced_wasserstein(
    x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], projections: int = 256, seed: int = 0
) -> float:
    """Estimate the sliced 2-Wasserstein distance between two sets of points.

    ``SW_2(x, y)^2 = E_theta W_2(<theta, x>, <theta, y>)^2`` with theta uniform on the unit sphere, and in one dimension
    ``W_2^2 = int_0^1 (F_x^-1(u) - F_y^-1(u))^2 du``, computed exactly for n != m too. The mean over theta is a Monte
    Carlo estimate: its relative error falls as ``1 / sqrt(projections)``, and the directions are a function of ``seed``
    and the dimension alone, so distances of several sets to one reference compare like with like. More projections
    extend the same directions.

    ``x [n, *d]`` and ``y [m, *d]``; the result is in data units: sets that differ by a shift s are ``|s| / sqrt(d)``
    apart, not ``|s|``. Sums are float64 and memory does not grow with ``projections``.

    Raises InputError when the points differ in shape, a set is empty, or ``projections`` is below 1.

    Bonneel, Rabin, Peyré, Pfister (2015), Sliced and Radon Wasserstein barycenters of measures, JMIV 51.
    """
    check_comparable(x, y)
    if projections < 1:
        raise InputError(f"projections is {projections}; it must be at least 1")
    d = dimension(x)
    chunk = max(1, base.BLOCK // max(len(x) + len(y), d))
    total = torch.zeros((), dtype=time_dtype(x.device), device=x.device)

    def normal(count: int, g: torch.Generator) -> Tensor:
        return torch.randn(count, d, generator=g, dtype=torch.float64)

    for first in range(0, projections, chunk):
        theta = per_sample(normal, first, min(chunk, projections - first), "sliced_wasserstein", seed)
        theta = (theta / theta.norm(dim=1, keepdim=True)).to(total)
        rows = base.BLOCK // d
        px, py = (torch.cat([theta @ b.T for _, b in row_blocks(z, rows)], dim=1).sort(dim=1).values for z in (x, y))
        total += _squared_w2(px, py).sum()
    return float((total / projections).sqrt())


def wasserstein(x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], p: int = 2) -> float:
    """Compute the exact p-Wasserstein distance between two sets of points, by linear programming.

    ``W_p(x, y)^p = min_P sum_ij P_ij |x_i - y_j|^p`` over the plans P >= 0 whose rows sum to 1/n and whose columns
    sum to 1/m. Exact between the sets; as an estimate between the laws behind them it is too large, by an amount that
    falls only as ``n^(-1/d)``: compare at one n, and with its floor.

    ``x [n, *d]`` and ``y [m, *d]``; the result is in data units: sets that differ by a shift s are ``|s|`` apart. The
    plan needs all n m costs at once, and time grows as about ``n^3``: a second at n = m = 2000, a minute at 4000.

    Raises InputError when the points differ in shape, a set is empty, p is not 1 or 2, n m exceeds ``2^24``, or the
    solver does not converge.

    Bonneel, van de Panne, Paris, Heidrich (2011), Displacement interpolation using Lagrangian mass transport; solved
    by POT: Flamary et al. (2021), JMLR 22.
    """
    check_comparable(x, y)
    if p not in (1, 2):
        raise InputError(f"p is {p}; it must be 1 or 2")
    if len(x) * len(y) > PAIRS:
        raise InputError(
            f"exact transport between {len(x)} and {len(y)} points needs all their pairs in memory, at most {PAIRS}; "
            f"take {math.isqrt(PAIRS)} of each, or sliced_wasserstein"
        )
    if not finite(x, y):
        return math.nan
    import ot

    rows = [
        torch.cat([pairwise(a, b) for _, b in row_blocks(y, rows_per_block(y))], 1)
        for _, a in row_blocks(x, rows_per_block(x))
    ]
    cost = torch.cat(rows).pow_(p)
    unit = float(cost.max()) or 1.0  # the solver's tolerances are absolute
    total, log = ot.emd2([], [], (cost / unit).cpu().double().numpy(), numItermax=10**8, log=True)
    if log["warning"] is not None:
        raise InputError(f"exact transport between {len(x)} and {len(y)} points: {log['warning']}")
    mean = max(float(total), 0.0) * unit
    return mean if p == 1 else math.sqrt(mean)


METRICS: dict[str, Metric] = {
    "sliced_wasserstein": Metric(
        sliced_wasserstein,
        "sliced Wasserstein",
        "mean distance along lines, in standard deviations; less is better",
        position=10,
    ),
    "wasserstein": Metric(
        wasserstein,
        "Wasserstein",
        "mean distance that the mass must move, in standard deviations; less is better",
    ),
}
