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
from typing import Any

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder, mixture
from pushforward.data.encoders.components import ROWS, fit_components, grouped, grouped_before
from pushforward.data.encoders.histogram import LEAST, Cells, Edges, fit_cells
from pushforward.data.encoders.numeric import NumericEncoder, above, numeric_from_json, off_by
from pushforward.data.files.cells import ArrowColumn, numbers
from pushforward.data.files.rows import Array, RowNamer
from pushforward.errors import InputError
from pushforward.tensor import GaussianMixture

__all__ = ["FILL", "QuantileNormal", "fit_quantiles", "quantile_from_json"]

FILL = 0.5  # of a cell that noise covers: what is between two cells is learned sooner than a wall
POINTS = 16  # of a cell, for its mean and standard deviation
FEW = 2048  # rows below which components of the marginal have a least number of them


@dataclass(frozen=True)
class QuantileNormal(ColumnEncoder):
    """v ↦ Phi^-1(u), u in the cell of its position p = (v − low) / unit (unit 1 for floats that were not rounded).

    A cell's share of the line is that of its weight; what lies between two cells with training rows is a cell of its
    own with a small weight, and what lies beyond both ends goes on linearly, ``column.scale`` to a unit of x. So the
    map is increasing, defined for every value, and exact on the way back as far as float32 can tell the values of one
    cell.
    """

    column: NumericEncoder
    cells: Cells
    least: int = 0  # rows of a component of the marginal; 0: any, as of many rows
    fitted: bool = True  # whether components are fitted, as they were not at first

    @property
    def name(self) -> str:  # type: ignore[override]  # a field elsewhere, and here the column's
        """Name of the numbers."""
        return self.column.name

    @property
    def plain(self) -> NumericEncoder:
        """The numbers as they are, without their ranks."""
        return self.column

    @property
    def numeric(self) -> bool:
        """Always numbers without gaps."""
        return True

    @property
    def width(self) -> int:
        """One entry."""
        return 1

    @property
    def normal(self) -> bool:
        """Always standard normal over the training rows."""
        return True

    @property
    def bin_width(self) -> list[float]:
        """0, for no width is that of all cells: see ``dequantize``."""
        return [0.0]

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """Approximate the law of what training draws by about ``most`` Gaussians (`fit_components`)."""
        from scipy.special import ndtri

        # points within each cell that has training rows, over the part of it that noise covers
        weight, wide = np.array(self.cells.weight), np.array(self.cells.last) > np.array(self.cells.first)
        filled = self._filled()
        _, _, lower, upper = self._edges.take(filled)
        weight, wide = weight[filled], wide[filled]
        inside = np.where(wide, 1.0, FILL)[:, None] * ((np.arange(POINTS) + 0.5) / POINTS - 0.5)
        x = ndtri((lower + upper)[:, None] / 2 + (upper - lower)[:, None] * inside)

        group = grouped if self.fitted else grouped_before
        component = group(weight, wide, most, self.least)
        return (mixture(*fit_components(x, weight, component, self.fitted)),)

    # ---- positions

    @property
    def unit(self) -> float:
        """User units in a step of the positions."""
        return self.column.unit or 1.0

    @property
    def rounded(self) -> bool:
        """Whether values lie on a grid, so that their positions are whole numbers."""
        return self.column.unit > 0

    @cached_property
    def _edges(self) -> Edges:
        return self.cells.edges(self.rounded)

    @property
    def _offset(self) -> float:
        """Position of low: not 0 where a schema asks for fewer decimals than the rows have."""
        c = self.column
        return 0.0 if c.decimals is None or c.integer else (c.low - round(c.low, c.decimals)) / self.unit

    def to_grid(self, values: Array) -> Array:
        """Convert values to positions, (v − low) / unit in float64, 0 where low itself is rounded."""
        return np.concatenate([np.zeros(0), *above(values, self.column.low)]) / self.unit + self._offset

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        """The least and the greatest x of each cell in float32, where it has any.

        Of values that are not rounded, no bound towards an interval or a tail that goes on where this one ends.
        """
        from scipy.special import ndtri

        _, width, lower, upper = self._edges
        low, high = ndtri(lower), ndtri(upper)
        first, last = low.astype(np.float32), high.astype(np.float32)
        first = np.where(first <= low, np.nextafter(first, np.float32(np.inf)), first)
        last = np.where(last >= high, np.nextafter(last, np.float32(-np.inf)), last)
        none = first > last
        goes_on = self._filled() & (width > 0) & (not self.rounded)
        first = np.where(none, low, np.where(np.append(not self.rounded, goes_on[:-1]), -np.inf, first))
        last = np.where(none, high, np.where(np.append(goes_on[1:], not self.rounded), np.inf, last))
        return first.astype(np.float32), last.astype(np.float32)

    def to_normal(self, p: Array) -> Array:
        """Convert positions to x, float32, those of rounded values at the middle of their part of the cell."""
        from scipy.special import ndtri

        begin, width, lower, upper = self._edges
        cell = np.clip(np.searchsorted(begin, p, side="right") - 1, 0, len(begin) - 1)
        share = np.divide(p - begin[cell], width[cell], out=np.full(len(p), 0.5), where=width[cell] > 0)
        x = ndtri(lower[cell] + share.clip(0, 1) * (upper - lower)[cell])
        beyond = p - p.clip(begin[0], begin[-1] + width[-1])
        out = (x + beyond * (self.unit / self.column.scale)).astype(np.float32)
        return np.where(beyond == 0, self._within(out, cell), out)

    def _within(self, x: Array, cell: Array) -> Array:
        """Keep x within the cells of their values, as float32 has them: beside one may be a wide one, of a gap."""
        first, last = self._ends
        return np.asarray(x.clip(first[cell], last[cell]))

    def _locate(self, x: Array) -> tuple[Array, Array, Array]:
        """Cell and position of points x, and how far they lie beyond the cells, in units of x."""
        from scipy.special import ndtr, ndtri

        begin, width, lower, upper = self._edges
        x = x.astype(np.float64)
        inside = x.clip(ndtri(lower[0]), ndtri(upper[-1]))
        cell = np.clip(np.searchsorted(lower, u := ndtr(inside), side="right") - 1, 0, len(begin) - 1)
        share = ((u - lower[cell]) / (upper - lower)[cell]).clip(0, 1)
        return cell, begin[cell] + share * width[cell], x - inside

    # ---- the change of variables

    def dequantize(self, x: Array, u: Array) -> Array:
        """Replace x by points in the middle of its values' cells, by u in [0, 1); not where values do not repeat."""
        from scipy.special import ndtri

        cell, p, beyond = self._locate(x[:, 0])
        begin, width, lower, upper = self._edges.take(cell)
        wide, inner = width > 0, 0.5 + FILL * (u[:, 0].astype(np.float64) - 0.5)

        # the part low .. high of its cell that a value has: a unit's share if rounded, all of it if it is a point
        value = np.rint(p).clip(begin, begin + width) if self.rounded else begin
        low = np.divide(value - 0.5 - begin, width, out=np.zeros(len(value)), where=wide).clip(0, 1)
        high = np.divide(value + 0.5 - begin, width, out=np.ones(len(value)), where=wide).clip(0, 1)
        moved = ndtri(lower + (upper - lower) * (low + inner * (high - low)))
        if not self.rounded:  # an interval is continuous as it is
            moved = np.where(wide, x[:, 0], moved)

        # beyond the cells a unit is as wide everywhere
        step = x[:, 0] + (inner - 0.5) * (self.column.unit / self.column.scale)
        moved = self._within(moved.astype(np.float32), cell)
        return np.where(beyond == 0, moved, step).astype(np.float32)[:, None]

    @property
    def log_scale(self) -> float:
        """InputError: no number is that of all rows."""
        raise InputError(
            f"column {self.name!r} enters by its ranks, whose log-determinant differs by row: use log_dets"
        )

    def log_scales(self, x: Array) -> Array:
        """Evaluate log (user units per model unit) at each x [n, 1], float64 [n]; 1/probability for a point of F."""
        cell, _, beyond = self._locate(x[:, 0])
        _, width, lower, upper = self._edges.take(cell)
        fill = np.where((width > 0) & (not self.rounded), 1.0, FILL)
        per_share = np.where(width > 0, width * self.unit, 1.0) / (upper - lower) / fill
        edge = math.log(FILL) if self.rounded else 0.0
        density = -0.5 * x[:, 0].astype(np.float64) ** 2 - 0.5 * math.log(2 * math.pi)
        return np.where(beyond == 0, np.log(per_share) + density, math.log(self.column.scale) - edge)

    # ---- there and back

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Convert cells to normal quantiles [n, 1]; InputError: text, gaps, infinities."""
        with np.errstate(over="ignore"):
            return self.to_normal(self.to_grid(numbers(cells, origin, name_row)))[:, None]

    def decode(self, x: Array) -> ArrowColumn:
        """Look the quantiles up: numbers of the column's own type, rounded and bounded as it is."""
        import pyarrow as pa

        _, p, beyond = self._locate(x[:, 0])
        p = p + beyond * (self.column.scale / self.unit)
        p = np.rint(p) if self.rounded else p
        return pa.array(self.column.finish((p - self._offset) * self.unit))

    def describe(self) -> tuple[str, str, str]:
        """Summarize the numbers."""
        return self.column.describe()

    @property
    def note(self) -> str:
        """How far values may be off on the way back, where a cell has more units than float32 has steps."""
        from scipy.special import ndtri

        if not self.rounded:
            return ""
        filled = self._filled()
        _, width, lower, upper = self._edges.take(filled)
        low, high = ndtri(lower), ndtri(upper)
        step = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(np.float32))
        # a step of x moves the position most where the normal density is greatest, at the end nearer to 0
        nearest = np.where(low * high < 0, 0, np.minimum(np.abs(low), np.abs(high)))
        slope = width * np.exp(-0.5 * nearest**2) / math.sqrt(2 * math.pi) / (upper - lower)
        several = np.array(self.cells.last)[filled] > np.array(self.cells.first)[filled]
        return off_by(self.column, 2 * float((several * slope * step).max(initial=0.0)))

    def _filled(self) -> Array:
        """Mark the cells that have training rows, and not the row's worth of what lies between."""
        weight = np.array(self.cells.weight)
        return np.asarray(weight > min(1.0, weight.max() / 2))

    def form(self) -> str:
        """The numbers, by rank."""
        return f"{self.column.form()}, by rank"

    def to_json(self) -> dict[str, Any]:
        """The numbers and their cells, as ``kind`` ranked_fit; ranked or ranked_few where components are not fitted."""
        cells = {name: list(getattr(self.cells, name)) for name in ("first", "last", "weight")}
        kind = "ranked_fit" if self.fitted else "ranked_few" if self.least else "ranked"
        least = {"least": self.least} if self.fitted or self.least else {}
        return {"kind": kind, **least, "column": self.column.to_json(), **cells}


def fit_quantiles(column: NumericEncoder, sample: Array) -> QuantileNormal:
    """Fit the map for a column that is not constant to some or all of its training values."""
    positions = QuantileNormal(column, Cells((), (), ())).to_grid(sample)
    return QuantileNormal(column, fit_cells(positions, column.unit > 0), ROWS if len(sample) < FEW else 0)


def quantile_from_json(entry: dict[str, Any], origin: str) -> QuantileNormal:
    """Restore a column from ``QuantileNormal.to_json``; InputError, which ``origin`` opens, for what no fit gives."""
    column = numeric_from_json(entry["column"], origin)
    first, last, weight = lists = [entry["first"], entry["last"], entry["weight"]]
    least = entry.get("least", 0)
    finite = all(
        isinstance(line, list) and all(type(v) in (int, float) and abs(v) < 1e300 for v in line) for line in lists
    )
    if (
        column.constant
        or not math.isfinite(column.scale / (column.unit or 1.0))
        or not finite
        or not 0 < len(first) == len(last) == len(weight)
        or any(b < a for a, b in zip(first, last, strict=True))
        or any(b < a or c <= a for a, b, c in zip(first[:-1], last[:-1], first[1:], strict=True))
        or any(c < b for b, c in zip(last[:-1], first[1:], strict=True))
        or not all(0 < rows < 1e18 for rows in weight)
        or min(weight) < LEAST / 2 * sum(weight)
        or type(least) is not int
        or not 0 <= least < FEW
    ):
        raise InputError(f"{origin} has cells that no fit gives; restore the file")
    cells = Cells(*(tuple(map(float, line)) for line in lists))
    return QuantileNormal(column, cells, least, entry["kind"] == "ranked_fit")
