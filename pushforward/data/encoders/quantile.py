"""Numbers by their rank: each value a cell of the standard normal law, as wide as the value is frequent.

With F the distribution of the training rows, a value v that repeats is the interval from F(v-) to F(v), any other a
point of F, and the entry of the model row is the normal quantile ``x = Phi^-1(u)`` of a u there, uniform in training.
So every column is exactly standard normal, whatever its shape: spikes have room, tails have no weight, and a sample
``Phi(x)``, looked up in F, has the frequencies of the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder, mixture
from pushforward.data.encoders.numeric import NumericEncoder, above, column_from_json
from pushforward.data.files.cells import ArrowColumn, numbers
from pushforward.data.files.rows import Array, RowNamer
from pushforward.errors import InputError
from pushforward.tensor import GaussianMixture

__all__ = ["QuantileNormal", "fit_quantiles", "ranked_from_json"]

CELLS = 4096  # at most, about: a quarter of them for values of their own
SHARED = 256  # of equal weight, about, for all other values
FILL = 0.5  # of a cell that noise covers: what is between two cells is learned sooner than a wall
ATOM = 5  # rows of one value that make a cell of its own
PER = 16  # rows of these, at least, so that the density is no picture of single rows
LEAST = 2.0**-21  # share of a cell, so that float32 tells its values
POINTS = 16  # of a cell, for its mean and spread
TAIL = 0.5  # rows' worth of values below the training range, and as much above


@dataclass(frozen=True)
class QuantileNormal(ColumnEncoder):
    """v ↦ Phi^-1(u), u in the cell of its position p = (v − low) / unit (unit 1 for floats that were not rounded).

    Cell i holds the positions ``first[i] .. last[i]``: whole numbers if values are rounded, all equally frequent; an
    interval of constant density, or one point, if not. Its share of the line is that of its ``weight``; what lies
    between two cells with training rows is a cell of its own with a small weight, and what lies beyond both ends goes
    on linearly, ``column.scale`` to a unit of x. So the map is increasing, defined for every value, and exact on the
    way back as far as float32 can tell the values of one cell.
    """

    column: NumericEncoder
    first: tuple[float, ...]
    last: tuple[float, ...]
    weight: tuple[float, ...]  # in rows

    @property
    def name(self) -> str:  # type: ignore[override]  # a field elsewhere, and here the column's
        """That of the numbers."""
        return self.column.name

    @property
    def width(self) -> int:
        """1."""
        return 1

    @property
    def normal(self) -> bool:
        """Yes."""
        return True

    @property
    def bin_width(self) -> list[float]:
        """Nothing that is the same for all rows: see ``dequantize``."""
        return [0.0]

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """The cells, of more than ``most`` some together: mean and spread of what training draws there."""
        from scipy.special import ndtri

        _, _, lower, upper = self._edges
        weight, wide = np.array(self.weight), np.array(self.last) > np.array(self.first)
        some = weight > min(1.0, weight.max() / 2)  # not the row's worth of what lies between training rows
        lower, upper, weight, wide = lower[some], upper[some], weight[some], wide[some]
        inside = np.where(wide, 1.0, FILL)[:, None] * ((np.arange(POINTS) + 0.5) / POINTS - 0.5)
        x = ndtri((lower + upper)[:, None] / 2 + (upper - lower)[:, None] * inside)
        middle = (np.cumsum(weight) - weight / 2) / weight.sum()
        of = (
            np.arange(len(weight))
            if len(weight) <= most
            else np.unique((most * middle).astype(int), return_inverse=True)[1]
        )
        total = np.bincount(of, weight)
        mean, square = (np.bincount(of, weight * value.mean(1)) / total for value in (x, x**2))
        return (mixture(mean, np.sqrt((square - mean**2).clip(0)), total),)

    @property
    def log_scale(self) -> float:
        """InputError: there is not one number for all rows."""
        raise InputError(
            f"column {self.name!r} enters by its ranks, whose log-determinant differs by row: use log_dets"
        )

    @property
    def unit(self) -> float:
        """User units in a step of the positions."""
        return self.column.unit or 1.0

    @cached_property
    def _edges(self) -> tuple[Array, Array, Array, Array]:
        """Of each cell: where it begins, how wide it is, in positions; where it begins and ends as u."""
        half = 0.5 if self.column.unit else 0.0
        begin, weight = np.array(self.first) - half, np.array(self.weight)
        tail = max(TAIL, weight.sum() * LEAST)
        ends = (tail + np.concatenate([[0.0], np.cumsum(weight)])) / (weight.sum() + 2 * tail)
        return begin, np.array(self.last) + half - begin, ends[:-1], ends[1:]

    def to_grid(self, values: Array) -> Array:
        """(v − low) / unit in float64, 0 where low itself is rounded."""
        return np.concatenate([np.zeros(0), *above(values, self.column.low)]) / self.unit + self._offset

    @property
    def _offset(self) -> float:
        """Position of low: not 0 where a schema asks for fewer decimals than the rows have."""
        c = self.column
        return 0.0 if c.decimals is None or c.integer else (c.low - round(c.low, c.decimals)) / self.unit

    def to_normal(self, p: Array) -> Array:
        """x at positions p, those of rounded values at the middle of their cell; float64."""
        from scipy.special import ndtri

        begin, width, lower, upper = self._edges
        cell = np.clip(np.searchsorted(begin, p, side="right") - 1, 0, len(begin) - 1)
        share = np.divide(p - begin[cell], width[cell], out=np.full(len(p), 0.5), where=width[cell] > 0)
        x = ndtri(lower[cell] + share.clip(0, 1) * (upper - lower)[cell])
        beyond = p - p.clip(begin[0], begin[-1] + width[-1])
        return np.asarray(x + beyond * (self.unit / self.column.scale))

    def _at(self, x: Array) -> tuple[Array, Array, Array]:
        """Cell and position of points x, and how far they lie beyond the cells, in units of x."""
        from scipy.special import ndtr, ndtri

        begin, width, lower, upper = self._edges
        x = x.astype(np.float64)
        inside = x.clip(ndtri(lower[0]), ndtri(upper[-1]))
        cell = np.clip(np.searchsorted(lower, u := ndtr(inside), side="right") - 1, 0, len(begin) - 1)
        share = ((u - lower[cell]) / (upper - lower)[cell]).clip(0, 1)
        return cell, begin[cell] + share * width[cell], x - inside

    def dequantize(self, x: Array, u: Array) -> Array:
        """Points in the middle of the cells of the values at x, by u in [0, 1); x itself where values do not repeat."""
        from scipy.special import ndtri

        cell, p, beyond = self._at(x[:, 0])
        begin, width, lower, upper = (edge[cell] for edge in self._edges)
        k = np.rint(p).clip(begin, begin + width) if self.column.unit else begin
        wide, some = width > 0, 0.5 + FILL * (u[:, 0].astype(np.float64) - 0.5)
        low = np.divide(k - 0.5 - begin, width, out=np.zeros(len(k)), where=wide).clip(0, 1)
        high = np.divide(k + 0.5 - begin, width, out=np.ones(len(k)), where=wide).clip(0, 1)
        moved = ndtri(lower + (upper - lower) * (low + some * (high - low)))
        moved = np.where(wide, x[:, 0], moved) if not self.column.unit else moved
        step = x[:, 0] + (some - 0.5) * (self.column.unit / self.column.scale)
        return np.where(beyond == 0, moved, step).astype(np.float32)[:, None]

    def log_scales(self, x: Array) -> Array:
        """log (user units per model unit) at each point x [n, 1], float64 [n]; 1/probability for a point of F."""
        cell, _, beyond = self._at(x[:, 0])
        _, width, lower, upper = (edge[cell] for edge in self._edges)
        fill = np.where((width > 0) & (self.column.unit == 0), 1.0, FILL)
        per = np.where(width > 0, width * self.unit, 1.0) / (upper - lower) / fill
        edge = math.log(FILL) if self.column.unit else 0.0
        density = -0.5 * x[:, 0].astype(np.float64) ** 2 - 0.5 * math.log(2 * math.pi)
        return np.where(beyond == 0, np.log(per) + density, math.log(self.column.scale) - edge)

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Model units [n, 1]. InputError: text, gaps, infinities."""
        with np.errstate(over="ignore"):
            return self.to_normal(self.to_grid(numbers(cells, origin, name_row))).astype(np.float32)[:, None]

    def decode(self, x: Array) -> ArrowColumn:
        """Numbers in the column's own type, rounded and bounded as it is."""
        import pyarrow as pa

        _, p, beyond = self._at(x[:, 0])
        rounded = p + beyond * (self.column.scale / self.unit)
        rounded = np.rint(rounded) if self.column.unit else rounded
        return pa.array(self.column.finish((rounded - self._offset) * self.unit))

    def describe(self) -> tuple[str, str, str]:
        """As the numbers."""
        return self.column.describe()

    def to_json(self) -> dict[str, Any]:
        """All four, as ``kind`` ranked."""
        cells = {"first": list(self.first), "last": list(self.last), "weight": list(self.weight)}
        return {"kind": "ranked", "column": self.column.to_json(), **cells}


def fit_quantiles(column: NumericEncoder, sample: Array) -> QuantileNormal:
    """The map for a column that is not constant, from some or all of its training values.

    Values of `ATOM` rows and more have cells of their own, the most frequent first; what lies between them shares
    `SHARED` cells of as many rows each, which are constant densities.
    """
    whole = column.unit > 0
    p = QuantileNormal(column, (), (), ()).to_grid(sample)
    values, count = np.unique(np.rint(p) if whole else p, return_counts=True)
    least = max(ATOM, int(np.sort(count)[-CELLS // 4]) + 1 if len(count) > CELLS // 4 else 0)
    atom = count >= least
    per = max(PER, int(count[~atom].sum()) // SHARED)
    cells: list[tuple[float, float, float]] = []
    for run in np.split(np.arange(len(values)), np.flatnonzero(atom[1:] | atom[:-1]) + 1):
        some, rows = values[run], count[run]
        if len(run) == 1:
            cells.append((float(some[0]), float(some[0]), float(rows[0])))
            continue
        ends = np.cumsum(rows)
        cut = np.unique(np.searchsorted(ends, np.linspace(0, ends[-1], max(1, int(ends[-1]) // per) + 1)[1:-1]))
        if whole:  # a cell goes on to the next
            begins = np.concatenate([[0], cut + 1])
            begins = begins[begins < len(some)]
            last = np.append(some[begins[1:]] - 1, some[-1])
            cells += zip(some[begins].tolist(), last.tolist(), np.add.reduceat(rows, begins).tolist(), strict=True)
        else:  # from value to value, whose rows count half on either side
            knots = np.unique(np.concatenate([[0], cut, [len(some) - 1]]))
            middle = ends - rows / 2
            share = np.diff(middle[knots]) * (ends[-1] / (middle[-1] - middle[0]))
            cells += zip(some[knots[:-1]].tolist(), some[knots[1:]].tolist(), share.tolist(), strict=True)
    return _whole(column, cells)


def _whole(column: NumericEncoder, cells: list[tuple[float, float, float]]) -> QuantileNormal:
    """Cells with what lies between them: a row's worth in all, and never less than float32 can tell."""
    least = LEAST * sum(weight for _, _, weight in cells)

    def between(a: float, b: float) -> tuple[float, float] | None:
        if column.unit:
            return (a + 1, b - 1) if b > a + 1 else None
        return (math.nextafter(a, math.inf), b) if b > a else None

    gaps = [between(a[1], b[0]) for a, b in pairwise(cells)]
    weight = max(least, 1 / max(1, sum(gap is not None for gap in gaps)))
    out = []
    for cell, gap in zip(cells, [*gaps, None], strict=True):
        out.append((cell[0], cell[1], max(cell[2], least)))
        out += [] if gap is None else [(*gap, weight)]
    first, last, weights = (tuple(map(float, line)) for line in zip(*out, strict=True))
    return QuantileNormal(column, first, last, weights)


def ranked_from_json(entry: dict[str, Any], origin: str) -> QuantileNormal:
    """The inverse of ``QuantileNormal.to_json``; InputError, which ``origin`` opens, for what no fit gives."""
    column = column_from_json(entry["column"], origin)
    lists = [entry["first"], entry["last"], entry["weight"]]
    finite = all(
        isinstance(line, list) and all(type(v) in (int, float) and abs(v) < 1e300 for v in line) for line in lists
    )
    if (
        column.constant
        or not math.isfinite(column.scale / (column.unit or 1.0))
        or not finite
        or not 0 < len(lists[0]) == len(lists[1]) == len(lists[2])
        or any(b < a for a, b in zip(lists[0], lists[1], strict=True))
        or any(b < a or c <= a for a, b, c in zip(lists[0][:-1], lists[1][:-1], lists[0][1:], strict=True))
        or any(c < b for b, c in zip(lists[1][:-1], lists[0][1:], strict=True))
        or not all(0 < weight < 1e18 for weight in lists[2])
        or min(lists[2]) < LEAST / 2 * sum(lists[2])
    ):
        raise InputError(f"{origin} has cells that no fit gives; restore the file")
    first, last, weight = (tuple(map(float, line)) for line in lists)
    return QuantileNormal(column, first, last, weight)
