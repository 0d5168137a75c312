"""Columns that are carried by numbers: dates, decimals, gaps, and columns left out. Each is exact on the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.numeric import NumericEncoder
from pushforward.data.encoders.quantile import QuantileNormal
from pushforward.data.files.cells import ArrowColumn, arrow_type, counts, present
from pushforward.data.files.rows import Array, RowNamer
from pushforward.errors import InputError
from pushforward.tensor import GaussianMixture

__all__ = ["TypedNumeric"]


@dataclass(frozen=True)
class TypedNumeric(ColumnEncoder):
    """Dates, times and durations as the integers count / ``step``, and decimals as floats: an arrow type on numbers."""

    type: str  # arrow type
    step: int  # units of the type in one unit of the numbers: all training rows are multiples of it
    numbers: NumericEncoder | QuantileNormal

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the numbers."""
        return self.numbers.name

    @property
    def plain(self) -> NumericEncoder:
        """The numbers as they are, without their ranks."""
        return self.numbers.column if isinstance(self.numbers, QuantileNormal) else self.numbers

    @property
    def width(self) -> int:
        """As the numbers."""
        return self.numbers.width

    @property
    def bin_width(self) -> list[float]:
        """One step, or one unit of the last decimal."""
        return self.numbers.bin_width

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """That of the numbers."""
        return self.numbers.marginals(most)

    @property
    def log_scale(self) -> float:
        """In steps."""
        return self.numbers.log_scale

    @property
    def normal(self) -> bool:
        """As the numbers."""
        return self.numbers.normal

    def log_scales(self, x: Array) -> Array:
        """In steps."""
        return self.numbers.log_scales(x)

    def dequantize(self, x: Array, u: Array) -> Array:
        """As the numbers."""
        return self.numbers.dequantize(x, u)

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Model units [n, width]. InputError: what cannot be turned into the column's type, gaps."""
        import pyarrow as pa

        kind = arrow_type(self.type)
        try:
            cells = cells.cast(pa.float64() if pa.types.is_decimal(kind) else kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{origin} has type {cells.type}, in training {self.type}; give that type") from error
        if pa.types.is_decimal(kind):
            return self.numbers.encode(cells, origin, name_row)
        if cells.null_count:
            first = name_row(int(np.argmin(present(cells))))
            raise InputError(f"{origin} has missing values, the first at {first}, and had none in training; drop them")
        count = counts(cells)
        steps = count // self.step if not (count % self.step).any() else count / self.step
        return self.numbers.encode(pa.array(steps), origin, name_row)

    def decode(self, x: Array) -> ArrowColumn:
        """The numbers in the arrow type."""
        import pyarrow as pa

        kind, values = arrow_type(self.type), self.numbers.decode(x)
        if pa.types.is_decimal(kind):
            most = 10.0 ** (kind.precision - kind.scale) * (1 - 1e-15) - 10.0**-kind.scale
            return pa.array(np.clip(values.to_numpy(zero_copy_only=False), -most, most)).cast(kind, safe=False)
        values = pa.array(values.to_numpy(zero_copy_only=False) * self.step)
        return values.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)

    def describe(self) -> tuple[str, str, str]:
        """The range of the training rows."""
        import pyarrow as pa

        kind, c = arrow_type(self.type), self.plain
        if pa.types.is_decimal(kind):
            return self.name, self.type, c.describe()[2]
        ends = pa.array([c.low * self.step, c.high * self.step])
        low, high = (
            ends.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind).cast(pa.string()).to_pylist()
        )
        return self.name, self.type, f"{low} to {high}"

    def describe_step(self) -> str:
        """One step of dates or times, as 1 s, 60 s, 86400 s, ..."""
        unit = self.type.partition("[")[2][:2].strip("],")
        return f"{self.step} {unit}"

    def to_json(self) -> dict[str, Any]:
        """Type, step and numbers, as ``kind`` carried."""
        return {"kind": "carried", "type": self.type, "step": self.step, "numbers": self.numbers.to_json()}
