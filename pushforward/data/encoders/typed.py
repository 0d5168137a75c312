"""Columns of another arrow type on numbers: dates, times, durations and decimals, each exact on the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.numeric import NumericEncoder
from pushforward.data.encoders.quantile import QuantileNormal
from pushforward.data.files.cells import ArrowColumn, arrow_type, counts, present
from pushforward.data.files.clocks import in_zone, typed, wall_clock
from pushforward.data.files.rows import Array, RowNamer
from pushforward.errors import InputError
from pushforward.tensor import GaussianMixture

__all__ = ["TypedNumeric"]


@dataclass(frozen=True)
class TypedNumeric(ColumnEncoder):
    """Dates, times and durations as the integers count / ``step``, and decimals as floats: an arrow type on numbers.

    Everything but the type is that of the ``numbers``: their entries, noise, marginals, and scale, which is in steps.
    """

    type: str  # arrow type
    step: int  # units of the type in one unit of the numbers: all training rows are multiples of it
    numbers: NumericEncoder | QuantileNormal
    local: bool = False  # whether counts are those of the clocks of the type's zone, whose midnights are whole days

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the numbers."""
        return self.numbers.name

    @property
    def plain(self) -> NumericEncoder:
        """The numbers as they are, without their ranks."""
        return self.numbers.plain

    @property
    def numeric(self) -> bool:
        """Whether the type is a decimal, which becomes a float."""
        return self.type.startswith("decimal")

    @property
    def width(self) -> int:
        """Number of entries of the numbers."""
        return self.numbers.width

    @property
    def bin_width(self) -> list[float]:
        """One step, or one unit of the last decimal, in model units."""
        return self.numbers.bin_width

    @property
    def normal(self) -> bool:
        """Whether the numbers enter by rank."""
        return self.numbers.normal

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """Approximate the marginal of the numbers."""
        return self.numbers.marginals(most)

    @property
    def log_scale(self) -> float:
        """Log (steps per model unit)."""
        return self.numbers.log_scale

    def log_scales(self, x: Array) -> Array:
        """Evaluate log (steps per model unit) at each row of x."""
        return self.numbers.log_scales(x)

    def dequantize(self, x: Array, u: Array) -> Array:
        """Replace model units by points of the numbers' cells."""
        return self.numbers.dequantize(x, u)

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Convert cells to numbers and encode them. InputError: cells of another kind than the column's type, gaps."""
        import pyarrow as pa

        kind = arrow_type(self.type)
        try:
            cells = cells.cast(pa.float64()) if pa.types.is_decimal(kind) else typed(cells, kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{origin} has type {cells.type}, in training {self.type}; give that type") from error
        if pa.types.is_decimal(kind):
            return self.numbers.encode(cells, origin, name_row)
        if cells.null_count:
            first = name_row(int(np.argmin(present(cells))))
            raise InputError(f"{origin} has missing values, the first at {first}, and had none in training; drop them")
        count = counts(wall_clock(cells) if self.local else cells)
        steps = count // self.step if not (count % self.step).any() else count / self.step
        return self.numbers.encode(pa.array(steps), origin, name_row)

    def decode(self, x: Array) -> ArrowColumn:
        """Decode the numbers and give them the arrow type; decimals are kept within what it can hold."""
        import pyarrow as pa

        kind, values = arrow_type(self.type), self.numbers.decode(x)
        if pa.types.is_decimal(kind):
            most = 10.0 ** (kind.precision - kind.scale) * (1 - 1e-15) - 10.0**-kind.scale
            return pa.array(np.clip(values.to_numpy(zero_copy_only=False), -most, most)).cast(kind, safe=False)
        return self._dated(pa.array(values.to_numpy(zero_copy_only=False) * self.step), kind)

    def _dated(self, count: ArrowColumn, kind: Any) -> ArrowColumn:
        import pyarrow as pa

        return in_zone(_with_type(count, pa.timestamp(kind.unit)), kind) if self.local else _with_type(count, kind)

    def describe(self) -> tuple[str, str, str]:
        """Summarize by the range of the training rows."""
        import pyarrow as pa

        kind, c = arrow_type(self.type), self.plain
        if pa.types.is_decimal(kind):
            return self.name, self.type, c.describe()[2]
        ends = pa.array([c.low * self.step, c.high * self.step])
        low, high = self._dated(ends, kind).cast(pa.string()).to_pylist()
        return self.name, self.type, f"{low} to {high}"

    def form(self) -> str:
        """A number, or a date with its step; by rank or not."""
        if not self.width:
            return "constant"
        ranked = ", by rank" if self.normal else ""
        if self.step > 1:
            return f"datetime, in steps of {self.describe_step()}{ranked}"
        return ("datetime" if self.plain.integer else replace(self.plain, bounds=None).form()) + ranked

    def describe_step(self) -> str:
        """Name one step of dates or times, as 1 s, 60 s, 86400 s, ..."""
        unit = self.type.partition("[")[2][:2].strip("],")
        return f"{self.step} {unit}"

    @property
    def note(self) -> str:
        """How far values may be off on the way back, in steps."""
        return self.numbers.note

    def to_json(self) -> dict[str, Any]:
        """Type, step and numbers, as ``kind`` carried, or local."""
        kind = "local" if self.local else "carried"
        return {"kind": kind, "type": self.type, "step": self.step, "numbers": self.numbers.to_json()}


def _with_type(counts: ArrowColumn, kind: Any) -> ArrowColumn:
    """Counts of units as dates, times or durations of an arrow type."""
    import pyarrow as pa

    return counts.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
