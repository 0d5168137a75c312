"""Histograms of a column: cells of equal weight, and cells of their own for values that repeat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pushforward.data.files.rows import Array

__all__ = ["LEAST", "Cells", "Edges", "fit_cells"]

CELLS = 4096  # at most, about: a quarter of them for values of their own
SHARED = 256  # of equal weight, about, for all other values
ATOM = 5  # rows of one value that make a cell of its own
PER = 16  # rows of the others, at least, so that the density is no picture of single rows
LEAST = 2.0**-21  # share of a cell, so that float32 tells its values
TAIL = 0.5  # rows' worth of values below the training range, and as much above


class Edges(NamedTuple):
    """Where cells [k] begin and how wide they are, as positions; and where they begin and end in (0, 1)."""

    begin: Array
    width: Array
    lower: Array
    upper: Array

    def take(self, cells: Array) -> Edges:
        """Select the edges of the cells with these numbers, [n]."""
        return Edges(*(edge[cells] for edge in self))


@dataclass(frozen=True)
class Cells:
    """Cells in rising order: cell i covers the positions ``first[i] .. last[i]`` and has the ``weight[i]``, in rows.

    Of rounded values, positions are whole numbers, and a cell holds all from first to last, equally frequent. Of
    others, it is an interval of constant density, or one point where first = last: a value that repeats.
    """

    first: tuple[float, ...]
    last: tuple[float, ...]
    weight: tuple[float, ...]

    def edges(self, rounded: bool) -> Edges:
        """Lay the cells out: a rounded value reaches half a unit to both sides, and the tails have a weight, too."""
        half = 0.5 if rounded else 0.0
        begin, weight = np.array(self.first) - half, np.array(self.weight)
        tail = max(TAIL, weight.sum() * LEAST)
        ends = (tail + np.concatenate([[0.0], np.cumsum(weight)])) / (weight.sum() + 2 * tail)
        return Edges(begin, np.array(self.last) + half - begin, ends[:-1], ends[1:])

    def with_gaps(self, rounded: bool) -> Cells:
        """Add cells for what lies between two cells: a row's worth in all, and never less than float32 can tell."""
        least = LEAST * sum(self.weight)
        gaps = [_between(a, b, rounded) for a, b in zip(self.last, self.first[1:], strict=False)]
        weight = max(least, 1 / max(1, sum(gap is not None for gap in gaps)))
        cells = []
        for first, last, rows, gap in zip(self.first, self.last, self.weight, [*gaps, None], strict=True):
            cells.append((first, last, max(rows, least)))
            cells += [] if gap is None else [(*gap, weight)]
        return _from_list(cells)


def fit_cells(positions: Array, rounded: bool) -> Cells:
    """Fit cells to the positions of training values.

    Values of `ATOM` rows and more have cells of their own, the most frequent first; what lies between them shares
    `SHARED` cells of as many rows each.
    """
    values, count = np.unique(np.rint(positions) if rounded else positions, return_counts=True)

    # atoms: values that repeat often enough, and no more of them than a quarter of all cells
    least = max(ATOM, int(np.sort(count)[-CELLS // 4]) + 1 if len(count) > CELLS // 4 else 0)
    atom = count >= least

    # the others: stretches between two atoms, each cut into cells of about as many rows
    per_cell = max(PER, int(count[~atom].sum()) // SHARED)
    cells: list[tuple[float, float, float]] = []
    for run in np.split(np.arange(len(values)), np.flatnonzero(atom[1:] | atom[:-1]) + 1):
        cells += _cut(values[run], count[run], per_cell, rounded)
    return _from_list(cells).with_gaps(rounded)


def _cut(values: Array, rows: Array, per_cell: int, rounded: bool) -> list[tuple[float, float, float]]:
    """Cells (first, last, weight) of neighbouring values, each with about ``per_cell`` of their ``rows``."""
    if len(values) == 1:
        return [(float(values[0]), float(values[0]), float(rows[0]))]
    ends = np.cumsum(rows)
    shares = np.linspace(0, ends[-1], max(1, int(ends[-1]) // per_cell) + 1)[1:-1]
    cut = np.unique(np.searchsorted(ends, shares))
    if rounded:  # each cell holds whole values: the next begins at the value after its last
        begins = np.concatenate([[0], cut + 1])
        begins = begins[begins < len(values)]
        last = np.append(values[begins[1:]] - 1, values[-1])
        return list(zip(values[begins].tolist(), last.tolist(), np.add.reduceat(rows, begins).tolist(), strict=True))

    # intervals share the values at their ends, whose rows count half on either side
    knots = np.unique(np.concatenate([[0], cut, [len(values) - 1]]))
    middle = ends - rows / 2
    weight = np.diff(middle[knots]) * (ends[-1] / (middle[-1] - middle[0]))
    return list(zip(values[knots[:-1]].tolist(), values[knots[1:]].tolist(), weight.tolist(), strict=True))


def _between(last: float, first: float, rounded: bool) -> tuple[float, float] | None:
    """The positions after the ``last`` of one cell and before the ``first`` of the next; None if there are none."""
    if rounded:
        return (last + 1, first - 1) if first > last + 1 else None
    begin = math.nextafter(last, math.inf)
    return (begin, first) if first > begin else None


def _from_list(cells: list[tuple[float, float, float]]) -> Cells:
    return Cells(*(tuple(map(float, line)) for line in zip(*cells, strict=True)))
