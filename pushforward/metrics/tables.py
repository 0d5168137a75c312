"""Metrics of tables: single columns, pairs of columns, and rows against the closest record.

A table is a tensor ``[n, d]`` of numbers; the columns named in ``categorical`` hold codes, which are equal or not and
have no order. Units do not matter: every result is the same for a column in metres and in miles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.errors import InputError
from pushforward.metrics.base import Metric, check_comparable, finite, nearest_neighbors
from pushforward.tensor import time_dtype

__all__ = ["ClosestRecord", "Columns", "Pairs", "associations", "closest_record", "column_distances", "pair_distances"]


@dataclass(frozen=True)
class Columns:
    """The distance of each column between two tables, from 0, the same law, to 1, nothing in common."""

    each: tuple[float, ...]

    @property
    def mean(self) -> float:
        return math.fsum(self.each) / len(self.each)


@dataclass(frozen=True, eq=False)
class Pairs:
    """The difference of each pair of columns between two tables ``[d, d]``, from 0, as related, to 1, the reverse."""

    each: Float[Tensor, "d d"]

    @property
    def mean(self) -> float:
        d = len(self.each)
        return float(self.each.sum()) / (d * (d - 1))  # the diagonal is 0


@dataclass(frozen=True)
class ClosestRecord:
    """Distance from a row to the closest training row: of samples, and of held-out rows in their place.

    ``median`` and ``low`` (the quantile 0.05), and the share of rows that are ``identical`` to a training row.
    """

    median: float
    low: float
    identical: float
    held_out_median: float
    held_out_low: float
    held_out_identical: float


def _check(x: Tensor, y: Tensor, categorical: Sequence[int], least: int = 1) -> None:
    check_comparable(x, y, least)
    d = x.shape[1]
    if wrong := [c for c in categorical if not 0 <= c < d]:
        raise InputError(
            f"categorical columns {wrong} do not exist: the tables have shape {tuple(x.shape)}, 0 to {d - 1}"
        )


def _kolmogorov_smirnov(x: Float[Tensor, "n"], y: Float[Tensor, "m"]) -> float:
    x, y = x.sort()[0].contiguous(), y.sort()[0].contiguous()
    at = torch.cat([x, y])
    lower, upper = (torch.searchsorted(z, at, right=True).double() / len(z) for z in (x, y))
    return float((lower - upper).abs().max())


def _total_variation(x: Float[Tensor, "n"], y: Float[Tensor, "m"]) -> float:
    codes, which = torch.unique(torch.cat([x, y]), return_inverse=True)
    p, q = (torch.bincount(w, minlength=len(codes)).double() / len(w) for w in (which[: len(x)], which[len(x) :]))
    return float((p - q).abs().sum() / 2)


def column_distances(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], categorical: Sequence[int] = ()) -> Columns:
    """Measure how far each column's law is between two tables, whatever the other columns do.

    Numeric columns: Kolmogorov-Smirnov, ``max_v |F_x(v) - F_y(v)|``. Categorical ones: total variation,
    ``1/2 sum_c |p_x(c) - p_y(c)|``.

    ``x [n, d]``, ``y [m, d]``; results are from 0 to 1 and have no units. Between draws from one law, a numeric
    column is at about ``0.87 sqrt(1/n + 1/m)``.

    Raises InputError when the tables differ in columns, one is empty, or a categorical column does not exist.

    Massey (1951), The Kolmogorov-Smirnov test for goodness of fit, JASA 46.
    """
    _check(x, y, categorical)
    if not finite(x, y):
        return Columns((math.nan,) * x.shape[1])
    by = {True: _total_variation, False: _kolmogorov_smirnov}
    return Columns(tuple(by[c in categorical](x[:, c].detach(), y[:, c].detach()) for c in range(x.shape[1])))


def associations(x: Float[Tensor, "n d"], categorical: Sequence[int] = ()) -> Float[Tensor, "d d"]:
    """Measure how strongly each pair of columns of a table is associated.

    Two numeric columns: Pearson's correlation, from -1 to 1. Two categorical ones: Cramer's V,
    ``sqrt(chi^2 / n (min(r, c) - 1))`` with r and c the numbers of categories. One of each: the correlation ratio,
    ``sqrt(sum_c n_c (mean_c - mean)^2 / sum (v - mean)^2)``. A constant column has 0 with every other.

    ``x [n, d]``; the result is symmetric with ones on the diagonal, and has no units.

    Raises InputError when the table is empty or a categorical column does not exist.

    Cramér (1946), Mathematical Methods of Statistics, section 21.9; Fisher (1925), Statistical Methods for Research
    Workers, section 45.
    """
    _check(x, x, categorical)
    columns = [_column(x[:, c], c in categorical) for c in range(x.shape[1])]
    out = torch.eye(len(columns), dtype=time_dtype(x.device), device=x.device)
    for i, a in enumerate(columns):
        for j, b in enumerate(columns[:i]):
            out[i, j] = out[j, i] = _association(a, b)
    return out


def _column(v: Float[Tensor, "n"], categorical: bool) -> Tensor:
    """Center a numeric column, or number the codes of a categorical one 0, 1, ..."""
    if categorical:
        _, codes = torch.unique(v.detach(), return_inverse=True)
        return cast(Tensor, codes)
    v = v.detach().to(time_dtype(v.device))
    return torch.zeros_like(v) if (v == v[0]).all() else v - v.mean()


def _association(a: Tensor, b: Tensor) -> float:
    """Compute the association of two columns out of `_column`: floating point is numeric, integers are codes."""
    if a.is_floating_point() and b.is_floating_point():
        return _over(float(a @ b), float(a.norm() * b.norm()))
    if a.is_floating_point():
        a, b = b, a
    if b.is_floating_point():
        between = torch.bincount(a, weights=b).square() / torch.bincount(a)
        return math.sqrt(_over(float(between.sum()), float(b.square().sum())))
    r, c = int(a.max()) + 1, int(b.max()) + 1
    together = torch.bincount(a * c + b, minlength=r * c).reshape(r, c).double() / len(a)
    alone = together.sum(1, keepdim=True) * together.sum(0)
    return math.sqrt(_over(float(((together - alone).square() / alone).sum()), min(r, c) - 1))


def _over(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def pair_distances(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], categorical: Sequence[int] = ()) -> Pairs:
    """Measure how differently each pair of columns is associated in two tables.

    ``|a_x - a_y|`` with the `associations` of both tables, halved for two numeric columns, whose correlations are from
    -1 to 1. What the columns are by themselves does not enter, apart from their effect on the correlation.

    ``x [n, d]``, ``y [m, d]``; results are from 0 to 1 and have no units.

    Raises InputError when the tables differ in columns, have only one, one is empty, or a categorical column does not
    exist.

    Patki, Wedge, Veeramachaneni (2016), The synthetic data vault, DSAA.
    """
    _check(x, y, categorical)
    d = x.shape[1]
    if d < 2:
        raise InputError(f"tables of shapes {tuple(x.shape)} and {tuple(y.shape)} have no pair of columns")
    if not finite(x, y):
        return Pairs(torch.full((d, d), math.nan, dtype=time_dtype(x.device), device=x.device))
    difference = (associations(x, categorical) - associations(y, categorical)).abs()
    numeric = torch.tensor([c not in categorical for c in range(d)], device=x.device)
    return Pairs(torch.where(numeric & numeric[:, None], difference / 2, difference))


def closest_record(
    samples: Float[Tensor, "n d"],
    train: Float[Tensor, "m d"],
    held_out: Float[Tensor, "l d"],
    categorical: Sequence[int] = (),
) -> ClosestRecord:
    """Measure the distance to the closest record: how near samples come to training rows, and how near is usual.

    ``|a - b|^2 = sum_numeric ((a_c - b_c) / std_c)^2 + sum_categorical [a_c != b_c]`` with the standard deviations of
    the training table; columns that are constant there count as they are. Samples much nearer than held-out rows are
    copies; `memorisation` names them.

    ``samples [n, d]``, ``train [m, d]``, ``held_out [l, d]``; distances are in standard deviations. Memory grows with
    the rows and the number of categories, time as ``(n + l) m``.

    Raises InputError when the tables differ in columns, one is empty, or a categorical column does not exist.

    Park et al. (2018), Data synthesis based on generative adversarial networks, PVLDB 11.
    """
    _check(samples, train, categorical)
    _check(held_out, train, categorical)
    tables = [z.detach().to(time_dtype(z.device)) for z in (samples, train, held_out)]
    if not finite(*tables):
        return ClosestRecord(*[math.nan] * 6)

    # a table becomes points whose Euclidean distance is that of the record: codes as scaled unit vectors
    parts: list[list[Tensor]] = [[], [], []]
    for c in range(train.shape[1]):
        whole = torch.cat([z[:, c] for z in tables])
        if c in categorical:
            _, which = torch.unique(whole, return_inverse=True)
            column = torch.nn.functional.one_hot(which).to(whole) / math.sqrt(2)  # two codes are sqrt(1/2 + 1/2) apart
        else:
            std = float(tables[1][:, c].std(correction=0))
            column = whole[:, None] / (std or 1.0)
        for part, rows in zip(parts, column.split([len(z) for z in tables]), strict=True):
            part.append(rows)
    points, records, reference = (torch.cat(part, 1) for part in parts)
    # quantiles of the distance, for samples and for held-out rows
    results = []
    for rows in (points, reference):
        distance = nearest_neighbors(rows, records)[0][:, 0]
        low, median = distance.quantile(
            torch.tensor([0.05, 0.5], dtype=distance.dtype, device=distance.device)
        ).tolist()
        results += [median, low, float((distance == 0).double().mean())]
    return ClosestRecord(*results)


METRICS: dict[str, Metric] = {
    "columns": Metric(
        column_distances,
        "single columns",
        "mean distance of columns (Kolmogorov-Smirnov, total variation); less is better",
        value="mean",
        columns=1,
        position=60,
    ),
    "pairs": Metric(
        pair_distances,
        "pairs of columns",
        "mean difference in how two columns are related; less is better",
        value="mean",
        columns=2,
        position=70,
    ),
}
