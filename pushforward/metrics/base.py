"""The record of a metric, and blockwise pairwise distances in bounded memory, shared by all metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pushforward.errors import InputError
from pushforward.tensor import Points, dimension, generator, time_dtype

__all__ = [
    "FlatRows",
    "Metric",
    "check_comparable",
    "finite",
    "mean_over_pairs",
    "nearest_neighbors",
    "pairwise",
    "row_blocks",
    "rows_per_block",
    "subsample",
]

FlatRows: TypeAlias = Float[Tensor, "rows d"]

BLOCK = 2**22  # numbers in one intermediate tensor (32 MiB in float64); results do not depend on it
LOW = 32  # dimensions up to which distances are taken from differences, not from matrix products


@final
@dataclass(frozen=True)
class Metric:
    """A metric, ``metric(samples, data) -> float``, with what a report needs to measure it and to explain it.

    ``function`` takes two sets of points ``[n, *d]`` and ``[m, *d]``. Its result is the number, or has it as the
    attribute ``value``; metrics of one function are measured together. ``title`` and ``reading`` are shown to people;
    ``failure`` says in words that samples are worse than data, where the ratio of both values would say little.

    ``position``: its place among the measures of a report, from the top; None where no report measures it.
    ``error``: the attribute of the result that is its standard deviation between equal laws, for an interval without
    resampling. ``columns``: of a metric of tables ``[n, d]``, whose function takes ``categorical=`` too, the least
    number of columns; 0 for points of any shape.
    """

    function: Callable[..., Any]
    title: str
    reading: str
    higher_is_better: bool = False
    value: str = ""
    error: str = ""
    failure: str = ""
    columns: int = 0
    position: int | None = None

    def __call__(self, samples: Tensor, data: Tensor) -> float:
        """The metric of samples ``[n, *d]`` against data ``[m, *d]``; a table's columns are taken for numeric."""
        if self.columns:
            samples, data = samples.flatten(1), data.flatten(1)
        return self.number(self.function(samples, data))

    def number(self, result: Any) -> float:
        """The number that the metric is, from what its function returned."""
        return float(getattr(result, self.value) if self.value else result)


def check_comparable(x: Tensor, y: Tensor, least: int = 1) -> None:
    """Check that two sets have points of one shape and at least ``least`` each; InputError otherwise."""
    if x.shape[1:] != y.shape[1:]:
        raise InputError(f"points of shape {tuple(x.shape[1:])} cannot be compared with {tuple(y.shape[1:])}")
    if x.numel() == 0 or y.numel() == 0:
        raise InputError(f"cannot compare empty sets: shapes {tuple(x.shape)} and {tuple(y.shape)}")
    if min(len(x), len(y)) < least:
        raise InputError(f"sets of shapes {tuple(x.shape)} and {tuple(y.shape)}: each needs at least {least} points")


def finite(*sets: Tensor) -> bool:
    """Tell whether every number is finite: a metric of diverged samples is nan or inf, never one that looks good."""
    return all(bool(torch.isfinite(block).all()) for x in sets for block in x.detach().split(BLOCK))


def row_blocks(x: Points, rows: int) -> Iterator[tuple[int, FlatRows]]:
    """Yield the points as float64 rows ``[<= rows, d]``, block by block, with the index of each block's first point."""
    rows = max(1, rows)
    for i, block in enumerate(torch.split(x.detach(), rows)):
        yield i * rows, block.reshape(len(block), -1).to(time_dtype(x.device))


def rows_per_block(x: Points) -> int:
    """Find how many rows a block has if neither it nor the square of its pairs is to exceed ``BLOCK`` numbers."""
    return max(1, min(int(BLOCK**0.5), BLOCK // dimension(x)))


def subsample(x: Shaped[Tensor, "m *d"], n: int, *key: int | str) -> Shaped[Tensor, "k *d"]:
    """Draw n of the points without replacement, by the key, in the order they had; all of them if there are no more."""
    return x[torch.randperm(len(x), generator=generator(*key))[:n].sort().values.to(x.device)]


def pairwise(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], center: Float[Tensor, "d"] | None = None
) -> Float[Tensor, "n m"]:
    """Compute all distances ``|a_i - b_j|`` of two blocks; ``center`` defaults to the mean of b.

    Matrix products are 20 times faster on images, but |a|^2 - 2 ab + |b|^2 loses digits: hence the common center, and
    differences in low dimension, where near-duplicates are common and products save little.
    """
    mode = "donot_use_mm_for_euclid_dist" if a.shape[1] <= LOW else "use_mm_for_euclid_dist"
    center = b.mean(0) if center is None else center
    return torch.cdist(a - center, b - center, compute_mode=mode)


def mean_over_pairs(
    f: Callable[[Tensor, Tensor], Tensor], x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], distinct: bool = False
) -> Float[Tensor, ""]:
    """Average over all pairs: ``mean_ij f(x_i, y_j)``, where ``f`` maps two blocks to the square ``[a, b]`` of theirs.

    ``distinct`` is for y = x and leaves out i = j: the U-statistic.
    """
    total = torch.zeros((), dtype=time_dtype(x.device), device=x.device)
    for i, a in row_blocks(x, rows_per_block(x)):
        for j, b in row_blocks(y, rows_per_block(y)):
            square = f(a, b)
            total += square.sum()
            if distinct and i == j:
                total -= square.diagonal().sum()
    return total / (len(x) * (len(y) - distinct))


def nearest_neighbors(
    x: Float[Tensor, "n *d"], y: Float[Tensor, "m *d"], k: int = 1, others: bool = False
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """Find the k nearest points of y to each point of x: their distances ``[n, k]``, rising, and their indices in y.

    ``others`` is for y = x and leaves out the point itself. A point that coincides is at distance 0 exactly.
    Raises InputError when y has fewer than k points to offer.
    """
    if not 1 <= k <= len(y) - others:
        raise InputError(
            f"k is {k}; it must be from 1 to {len(y) - others}, as there are {len(y)} points to be near to"
        )
    parts = [_nearest_of_block(i, a, y, k, others) for i, a in row_blocks(x, rows_per_block(x))]
    return torch.cat([distance for distance, _ in parts]), torch.cat([index for _, index in parts])


def _nearest_of_block(i: int, a: FlatRows, y: Points, k: int, others: bool) -> tuple[Tensor, Tensor]:
    """Find the k nearest to one block of x that begins at point i: the best so far against one block of y at a time."""
    best, index = a.new_empty(len(a), 0), torch.empty(len(a), 0, dtype=torch.long, device=a.device)
    for j, b in row_blocks(y, rows_per_block(y)):
        square = pairwise(a, b)
        if others and i == j:
            square.fill_diagonal_(torch.inf)
        candidates = torch.arange(j, j + len(b), device=a.device).expand(len(a), -1)
        best, at = torch.cat([best, square], 1).topk(min(k, best.shape[1] + len(b)), largest=False)
        index = torch.cat([index, candidates], 1).gather(1, at)
    # products lose the digits of a near-duplicate, so the few distances that are kept are taken again by differences
    flat = y.detach().reshape(len(y), -1)
    exact = [(a - flat[column].to(a)).norm(dim=1) for column in index.T]
    distance, order = torch.stack(exact, 1).sort(stable=True, dim=1)
    return distance, index.gather(1, order)
