"""Numbers in user units, standardized to model units, and back."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from pushforward.data.encoders.base import EDGE, ROOT, ColumnEncoder, mixture
from pushforward.data.files.cells import ArrowColumn, numbers
from pushforward.data.files.rows import Array, RowNamer
from pushforward.errors import InputError
from pushforward.tensor import GaussianMixture

__all__ = ["NumericEncoder", "above", "numeric_from_json", "off_by", "type_limits"]

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
TYPES = ["bool", *INTEGERS, "float16", "float32", "float64"]
CHUNK = 1 << 20  # entries converted to float64 at a time, so that a large image set is never held twice
EXACT = 2**53  # integers up to here are exact in float64
OPTIONAL = ("decimals", "bounds")  # in JSON only where they say something


@dataclass(frozen=True)
class NumericEncoder(ColumnEncoder):
    """Numbers in user units: value v ↦ ((v − low) − mean) / scale. An image set is one column of all its entries.

    ``low`` and ``high`` are the range of the training rows (exact, of the column's own type); ``mean`` and ``scale``
    are the mean and population standard deviation of v − low. A constant column has low = high and scale 0.
    ``decimals`` (of floats that were all rounded) and ``bounds`` hold on the way back.
    """

    name: str
    type: str  # numpy dtype name
    low: int | float
    high: int | float
    mean: float
    scale: float
    decimals: int | None = None
    bounds: tuple[int | float | None, int | float | None] | None = None

    @property
    def constant(self) -> bool:
        """Whether every training row holds the same value."""
        return self.low == self.high

    @property
    def integer(self) -> bool:
        """Whether the values are integers or booleans."""
        return np.dtype(self.type).kind in "biu"

    @property
    def plain(self) -> NumericEncoder:
        """The numbers as they are: this column."""
        return self

    @property
    def numeric(self) -> bool:
        """Always numbers without gaps."""
        return True

    @property
    def width(self) -> int:
        """One entry; none for a constant column."""
        return 0 if self.constant else 1

    @property
    def unit(self) -> float:
        """Distance between neighbouring values: 1 for integers, the last decimal of rounded floats, 0 for others."""
        return 1.0 if self.integer else 0.0 if self.decimals is None else 10.0**-self.decimals

    @property
    def edge(self) -> float:
        """Share of the unit that the noise around a value covers: all of it, but where few values make the column."""
        return EDGE if self.unit > self.scale / 2 else 1.0

    @property
    def bin_width(self) -> list[float]:
        """One unit of an integer, or of the last decimal of a rounded float; less where few values make the column."""
        return [] if self.constant else [self.edge * self.unit / self.scale]

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """Two points for a column of two values, otherwise a standard normal."""
        if self.constant or round(float(self.high - self.low) / (self.unit or math.inf)) != 1:
            return super().marginals(most)
        share = self.mean / self.unit
        ends = (np.array([0.0, self.unit]) - self.mean) / self.scale
        return (mixture(ends, np.full(2, self.bin_width[0] * ROOT), np.array([1 - share, share])),)

    @property
    def log_scale(self) -> float:
        """log (scale / edge); 0 for a constant column."""
        return 0.0 if self.constant else math.log(self.scale / self.edge)

    def forward(self, values: Array) -> Array:
        """Standardize values; float32 of the same shape, infinite beyond 1e38 standard deviations."""
        with np.errstate(over="ignore"):
            parts = [((step - self.mean) / self.scale).astype(np.float32) for step in above(values, self.low)]
        return np.concatenate(parts).reshape(values.shape) if parts else np.zeros(values.shape, np.float32)

    def inverse(self, x: Array, clip: bool) -> Array:
        """Convert to the column's type, within its bounds and that type's range (``clip``: the training range)."""
        with np.errstate(over="ignore"):  # what overflows is clipped
            return self.finish(x.astype(np.float64) * self.scale + self.mean, clip)

    def finish(self, above: Array, clip: bool = False) -> Array:
        """Convert values v − low in float64 to the column's type, decimals and range."""
        dtype = np.dtype(self.type)
        low, high = (self.low, self.high) if clip else self._range()
        with np.errstate(over="ignore"):
            if not self.integer:
                values = above + self.low
                values = values if self.decimals is None else np.round(values, self.decimals)
                return np.clip(values, low, high).astype(dtype)
        above = np.clip(np.rint(above), float(low - self.low), float(high - self.low))
        if np.abs(above).max(initial=0) + abs(self.low) < EXACT:
            return (above + self.low).astype(dtype)
        exact = [min(max(int(step) + int(self.low), int(low)), int(high)) for step in above.flat]
        return np.array(exact, dtype).reshape(above.shape)

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Standardize cells; InputError: text, gaps and infinities, in a constant column too."""
        values = numbers(cells, origin, name_row)
        return np.zeros((len(values), 0), np.float32) if self.constant else self.forward(values)[:, None]

    def decode(self, x: Array) -> ArrowColumn:
        """Convert model units to numbers of the column's own type."""
        import pyarrow as pa

        return pa.array(np.full(len(x), self.low, self.type) if self.constant else self.inverse(x[:, 0], clip=False))

    def describe(self) -> tuple[str, str, str]:
        """Summarize by mean, standard deviation and range in user units."""
        summary = f"{self.low + self.mean:.6g} ± {self.scale:.6g} in [{self.low:.6g}, {self.high:.6g}]"
        return self.name, self.type, summary

    def form(self) -> str:
        """A constant, a whole number or a number, with its bounds and decimals."""
        if self.constant:
            return "constant"
        bounds = "" if self.bounds is None else f" in {list(self.bounds)}"
        if self.integer:
            return f"whole number{bounds}"
        digits = "" if self.decimals is None else f", {self.decimals} decimal{'s' * (self.decimals != 1)}"
        return f"number{bounds}{digits}"

    @property
    def note(self) -> str:
        """How far values may be off on the way back, where their range has more units than float32 has steps."""
        if self.constant or not self.unit:
            return ""
        farthest = max(self.mean, float(self.high - self.low) - self.mean) / self.scale
        return off_by(self, float(np.spacing(np.float32(farthest))) * self.scale / self.unit)

    def to_json(self) -> dict[str, Any]:
        """The fields, without ``kind``, as in every run made before there were other kinds."""
        fields = {key: value for key, value in asdict(self).items() if value is not None or key not in OPTIONAL}
        return fields if self.bounds is None else fields | {"bounds": list(self.bounds)}

    def _range(self) -> tuple[int | float, int | float]:
        low, high = type_limits(np.dtype(self.type))
        least, most = self.bounds or (None, None)
        if self.integer:  # the integers between the bounds
            least, most = (None if least is None else math.ceil(least), None if most is None else math.floor(most))
        return low if least is None else max(low, least), high if most is None else min(high, most)


def off_by(column: NumericEncoder, steps: float) -> str:
    """Say that values of a column may be off by so many units on the way back; of fractions, where it is 1/10,000."""
    far = math.ceil(steps / 2)
    if steps < 1 or (not column.integer and far * column.unit < 1e-4 * (float(column.high) - float(column.low))):
        return ""
    much = f"{far:,} units" if column.integer else f"{far * column.unit:.3g}"
    return f"column {column.name!r}: rows are float32, in which its values come back up to {much} off"


def above(values: Array, low: int | float) -> Iterator[Array]:
    """Iterate over chunks of v − low in float64, exact for integers of any size."""
    flat = values.reshape(-1)
    for start in range(0, len(flat), CHUNK):
        chunk = flat[start : start + CHUNK]
        if chunk.dtype.kind in "iu" and max(int(chunk.max()), -int(chunk.min())) > EXACT:
            yield (chunk.astype(object) - int(low)).astype(np.float64)
        else:
            yield chunk.astype(np.float64) - low


def type_limits(dtype: np.dtype[Any]) -> tuple[int, int] | tuple[float, float]:
    """Return the least and the greatest finite value of a type."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return float(np.finfo(dtype).min), float(np.finfo(dtype).max)


def numeric_from_json(entry: Any, origin: str) -> NumericEncoder:
    """Restore a column from ``NumericEncoder.to_json``; InputError, which ``origin`` opens, for what no fit gives."""
    keys = {field.name for field in fields(NumericEncoder)}
    if not isinstance(entry, dict) or not keys - set(OPTIONAL) <= set(entry) <= keys:
        raise InputError(
            f"{origin} must be an object with the keys {', '.join(f.name for f in fields(NumericEncoder))}"
        )
    if not isinstance(entry["name"], str):
        raise InputError(f"{origin} must have a name that is text")
    if entry["type"] not in TYPES:
        raise InputError(f"{origin} has an unknown type")
    number = float if entry["type"].startswith("float") else int
    low, high, mean, scale = entry["low"], entry["high"], entry["mean"], entry["scale"]
    decimals, bounds = entry.get("decimals"), entry.get("bounds")
    least, most = type_limits(np.dtype(entry["type"]))
    if (
        not all(type(value) in (int, number) for value in (low, high))
        or not all(type(value) in (int, float) and 0 <= value <= sys.float_info.max for value in (mean, scale))
        or not least <= low <= high <= most
        or (scale > 0) != (low < high)
        or max(mean, scale) > 1.001 * min(high - low, sys.float_info.max / 1.002)  # both are within the range
        or not (decimals is None or (type(decimals) is int and 0 <= decimals < 16))
        or not (bounds is None or (isinstance(bounds, list) and len(bounds) == 2 and all(map(_is_bound, bounds))))
    ):
        raise InputError(f"{origin} has numbers that no fit gives; restore the file")
    edges = None if bounds is None else (bounds[0], bounds[1])
    return NumericEncoder(
        entry["name"], entry["type"], number(low), number(high), float(mean), float(scale), decimals, edges
    )


def _is_bound(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and abs(value) <= sys.float_info.max)
