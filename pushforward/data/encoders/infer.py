"""From the rows of a table to its columns in model units: one pass for what there is, two for the moments."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.categorical import Categorical, Value
from pushforward.data.encoders.nullable import Ignored, Nullable
from pushforward.data.encoders.numeric import NumericEncoder, above
from pushforward.data.encoders.order import in_order
from pushforward.data.encoders.quantile import QuantileNormal, fit_quantiles
from pushforward.data.encoders.typed import TypedNumeric
from pushforward.data.files.cells import ArrowColumn, counts, is_number, is_text, is_time, present, stray
from pushforward.data.files.rows import Array, RowNamer
from pushforward.data.files.stream import Stream
from pushforward.data.schema import DIGITS, ColumnSchema, Schema
from pushforward.errors import InputError

__all__ = ["fit_numbers", "infer_columns"]

OTHERS = "*"  # in a schema: all columns that it does not name
SAMPLE = 1 << 18  # values of which ranks are taken, at most; of more every second, fourth, ... one
FEWEST = 200  # values of which ranks say something
CATEGORIES = 1 << 16  # of a column, at most
FEW = 10  # different texts that are no sign of an identifier, however few the rows
SECONDS = (86400, 3600, 60, 1)
YEARS = (-62135596800, 253402300799)  # the seconds from year 1 to 9999


def infer_columns(stream: Stream, schema: Schema | None = None) -> tuple[tuple[ColumnEncoder, ...], int]:
    """Every column of a table as it enters the model, and the number of rows. InputError names the column at fault."""
    schema = schema or {}
    origin, names = stream.origin, stream.names
    if not names:
        raise InputError(f"{origin}: no columns; give a table with rows")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{origin}: column {repeated!r} appears twice; give every column its own name")
    for name in schema:
        if name not in names and name != OTHERS:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{origin}: the schema speaks of a column {name!r}, which is not there{hint}")
    found = [
        ColumnStats(name, f"{origin}: column {name!r}", schema.get(name, schema.get(OTHERS, ColumnSchema())))
        for name in names
    ]
    rows = 0
    for first, part in stream.parts():
        for one in found:
            one.see(part.column(one.name), stream.name_rows_from(first))
        rows += len(part)
    if rows == 0:
        raise InputError(f"{origin}: no rows after the header; give a table with rows")
    if rows < 2:
        raise InputError(f"{origin}: found 1 row; a fit needs at least 2 rows")
    for add in ("add_mean", "add_square") if any(one.low < one.high for one in found) else ():
        for _, part in stream.parts():
            for one in found:
                if one.low < one.high:
                    getattr(one, add)(one.numbers(part.column(one.name)))
    return in_order(stream, [one.coder(rows) for one in found]), rows


def fit_numbers(name: str, values: Array, origin: str) -> NumericEncoder:
    """The column of an array, or of all entries of a set of images."""
    found = ColumnStats(name, f"{origin}: column {name!r}", ColumnSchema())
    number = int if values.dtype.kind in "biu" else float
    found.low, found.high, found.present = number(values.min()), number(values.max()), values.size
    found.decimals = DIGITS + 1
    if found.low < found.high:
        found.add_mean(values)
        found.add_square(values)
    return found.column(np.dtype(values.dtype.name))  # in native byte order


@dataclass(eq=False)
class ColumnStats:
    """What is known of one column so far."""

    name: str
    origin: str
    declared: ColumnSchema
    type: Any = None  # arrow type
    present: int = 0
    low: int | float = 0
    high: int | float = 0
    decimals: int = 0
    divisor: int = 0  # the greatest that all counts of a date share
    tally: Counter[Value] = field(default_factory=Counter)
    dictionary: dict[Value, None] = field(default_factory=dict)  # in its order
    sample: list[Array] = field(default_factory=list)
    stride: int = 1
    sums: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)

    # ---- what there is

    @property
    def kind(self) -> str:
        """number, categorical, datetime or drop."""
        import pyarrow as pa

        if self.declared.kind is not None:
            return self.declared.kind
        if is_text(self.type) or pa.types.is_null(self.type):
            return "categorical"
        return "datetime" if is_time(self.type) else "number"

    def see(self, cells: ArrowColumn, name_row: RowNamer) -> None:
        """Take in the next rows."""
        if self.type is None:
            self.type = cells.type
            self._require_kind(cells, name_row)
        if self.kind == "drop":
            return
        there = present(cells)
        if self.kind == "categorical":
            self._see_values(cells, there, name_row)
        elif there.any():
            values = self._present(cells, there)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                bad = np.flatnonzero(there)[~np.isfinite(values)]
                raise InputError(
                    f"{self.origin} has infinite values (NaN or inf): {len(bad)} here, the first at "
                    f"{name_row(int(bad[0]))}; drop those rows"
                )
            self._see_numbers(values)

    def _require_kind(self, cells: ArrowColumn, name_row: RowNamer) -> None:
        import pyarrow as pa

        kind, wanted = self.type, self.kind
        value_type = getattr(kind, "value_type", kind) if pa.types.is_dictionary(kind) else kind
        plain = is_text(value_type) and not pa.types.is_dictionary(value_type)
        number = is_number(kind) or pa.types.is_null(kind)
        fits = {
            "drop": True,
            "number": number,
            "datetime": is_time(kind),
            "categorical": plain or pa.types.is_null(kind) or (is_number(value_type) and not pa.types.is_decimal(kind)),
        }
        if fits[wanted]:
            return
        if wanted == "number" and plain:
            raise stray(cells, self.origin, name_row) or InputError(
                f"{self.origin} holds text, where the schema says number"
            )
        if self.declared.kind is None:
            raise InputError(
                f"{self.origin} has type {kind}, which is not supported; leave it out with --schema FILE holding "
                f'{{"{self.name}": "drop"}}'
            )
        form = " (dates are written 2024-12-31, times 2024-12-31 23:59:59)" if wanted == "datetime" else ""
        raise InputError(f"{self.origin} has type {kind}, where the schema says {wanted}{form}")

    def _see_numbers(self, values: Array) -> None:
        if self.declared.scaling != "linear" and values.dtype.kind != "b":
            self._see_sample(values)
        number = int if values.dtype.kind in "biu" else float
        low, high = number(values.min()), number(values.max())
        self.low, self.high = (min(self.low, low), max(self.high, high)) if self.present else (low, high)
        self.present += len(values)
        if self.kind == "datetime":
            self.divisor = math.gcd(self.divisor, int(np.gcd.reduce(values)))
        elif values.dtype.kind == "f":
            digits = np.finfo(values.dtype).nmant
            while self.decimals <= DIGITS and not _rounded(values, self.decimals, digits):
                self.decimals += 1

    def _see_sample(self, values: Array) -> None:
        """Every ``stride``-th of the values before these and of these."""
        self.sample.append(values[-self.present % self.stride :: self.stride].copy())
        while sum(map(len, self.sample)) > SAMPLE:
            self.sample, self.stride = [np.concatenate(self.sample)[::2]], 2 * self.stride

    def _see_values(self, cells: ArrowColumn, there: Array, name_row: RowNamer) -> None:
        import pyarrow as pa

        if pa.types.is_dictionary(cells.type):
            chunks = cells.chunks if isinstance(cells, pa.ChunkedArray) else [cells]
            for chunk in chunks:
                self.dictionary |= dict.fromkeys(chunk.dictionary.to_pylist())
            cells = cells.cast(cells.type.value_type)
        elif is_text(cells.type) and self.declared.kind is None and (error := stray(cells, self.origin, name_row)):
            raise error
        plain = cells.filter(pa.array(there))
        self.present += len(plain)
        for pair in plain.value_counts().to_pylist():
            self.tally[pair["values"]] += pair["counts"]
        if len(self.tally) > CATEGORIES:
            raise self._identifier(f"more than {CATEGORIES:,} different values")

    # ---- moments

    def numbers(self, cells: ArrowColumn) -> Array:
        """The values present, as they are standardised."""
        values = self._present(cells, present(cells))
        return values // self._step() if self.kind == "datetime" else values

    def add_mean(self, values: Array) -> None:
        """Take in the next values for the mean; (v − low)/spread lies in [0, 1], cannot overflow or lose a column."""
        low, spread = self._low_and_spread()
        self.sums += [float((step / spread).sum()) for step in above(values, low)]

    def add_square(self, values: Array) -> None:
        """Take in the next values for the standard deviation; the mean is known."""
        (low, spread), mean = self._low_and_spread(), math.fsum(self.sums) / self.present
        self.squares += [float(((step / spread - mean) ** 2).sum()) for step in above(values, low)]

    def _low_and_spread(self) -> tuple[int | float, float]:
        step = self._step()
        low, high = (self.low // step, self.high // step) if step > 1 else (self.low, self.high)
        spread = float(high - low)
        if not 1e-300 < spread < math.inf:
            raise InputError(f"{self.origin} reaches from {low} to {high}; rescale it into the float64 range")
        return low, spread

    def _present(self, cells: ArrowColumn, there: Array) -> Array:
        import pyarrow as pa

        cells = cells if there.all() else cells.filter(pa.array(there))
        if self.kind == "datetime":
            return counts(cells)
        if pa.types.is_decimal(cells.type):
            cells = cells.cast(pa.float64())
        return np.asarray(cells.to_numpy(zero_copy_only=False) if isinstance(cells, pa.Array) else cells.to_numpy())

    def _step(self) -> int:
        """Of a date or time: how many of its units all values are multiples of, a whole second, minute, hour or day."""
        import pyarrow as pa

        if self.type is None or self.kind != "datetime" or pa.types.is_date32(self.type):
            return 1
        unit = "ms" if pa.types.is_date64(self.type) else self.type.unit
        steps = [second * PER_SECOND[unit] for second in SECONDS]
        steps += [PER_SECOND[unit] // per for per in (10**3, 10**6) if PER_SECOND[unit] >= per]
        return next((step for step in steps if self.divisor % step == 0), 1)

    # ---- the column

    def coder(self, rows: int) -> ColumnEncoder:
        """The column in model units."""
        import pyarrow as pa

        if self.kind == "drop":
            return Ignored(self.name)
        if self.kind == "categorical" or not self.present:
            return self._categorical(rows)
        inner: NumericEncoder | TypedNumeric | QuantileNormal
        if self.kind == "datetime":
            step, (low, high) = self._step(), _range(self.type)
            column = self.column(np.dtype(np.int64), (-(-low // step), high // step))
            inner = TypedNumeric(str(self.type), step, self._ranked(column))
        elif pa.types.is_decimal(self.type):
            self.decimals = self.type.scale if self.type.scale >= 0 else self.decimals
            inner = TypedNumeric(str(self.type), 1, self._ranked(self.column(np.dtype(np.float64))))
        else:
            inner = self._ranked(self.column(np.dtype(self.type.to_pandas_dtype())))
        return Nullable(inner, 1 - self.present / rows) if self.present < rows else inner

    def _ranked(self, column: NumericEncoder) -> NumericEncoder | QuantileNormal:
        """By its ranks, if they are asked for or there are enough of them."""
        asked = self.declared.scaling == "quantile"
        if column.constant or not self.sample or (self.present < FEWEST and not asked):
            return column
        sample = np.concatenate(self.sample)
        return fit_quantiles(column, sample // self._step() if self.kind == "datetime" else sample)

    def column(self, dtype: np.dtype[Any], bounds: tuple[int, int] | None = None) -> NumericEncoder:
        """The column of the numbers themselves."""
        step = self._step()
        low, high = (self.low // step, self.high // step) if step > 1 else (self.low, self.high)
        decimals = self.declared.decimals if self.declared.decimals is not None else self.decimals
        rounded = decimals if dtype.kind == "f" and decimals <= DIGITS else None
        limits = (low, high) if self.declared.bounds == "data" else self.declared.bounds or bounds
        if limits is not None:
            least, most = limits
            if (least is not None and low < least) or (most is not None and high > most):
                raise InputError(f"{self.origin} reaches from {low} to {high}, beyond its bounds {least} and {most}")
        if low == high:
            return NumericEncoder(self.name, dtype.name, low, high, 0.0, 0.0, None, limits)
        spread = self._low_and_spread()[1]
        mean, square = (math.fsum(sums) / self.present for sums in (self.sums, self.squares))
        return NumericEncoder(
            self.name, dtype.name, low, high, mean * spread, math.sqrt(square) * spread, rounded, limits
        )

    def _categorical(self, rows: int) -> Categorical:
        import pyarrow as pa

        inferred = is_text(self.type) and self.declared.kind is None and not pa.types.is_dictionary(self.type)
        if inferred and len(self.tally) > max(FEW, self.present / 2):
            raise self._identifier(f"{len(self.tally):,} different values in {self.present:,} rows")
        position = {value: i for i, value in enumerate(self.dictionary)}
        known: list[Any] = sorted(self.tally, key=position.__getitem__ if position else None)
        shares = [self.tally[value] / rows for value in known]
        if self.present < rows:
            known, shares = [*known, None], [*shares, 1 - self.present / rows]
        dictionary = tuple(self.dictionary) if pa.types.is_dictionary(self.type) else None
        return Categorical(self.name, str(self.type), tuple(known), tuple(shares), dictionary)

    def _identifier(self, words: str) -> InputError:
        return InputError(
            f"{self.origin} holds text with {words}, as an identifier does; leave it out or keep it with --schema FILE "
            f'holding {{"{self.name}": "drop"}} or {{"{self.name}": "categorical"}}'
        )


def _rounded(values: Array, decimals: int, digits: int) -> bool:
    """Whether no value has more decimals, while the type could hold more."""
    most = float(np.abs(values).max(initial=0)) * 10.0**decimals
    with np.errstate(over="ignore"):
        near = np.round(values.astype(np.float64), decimals).astype(values.dtype)
    return bool(most < 2**digits and np.array_equal(near, values))


def _range(kind: Any) -> tuple[int, int]:
    """The least and the greatest count that is a date or a time in this arrow type."""
    import pyarrow as pa

    if pa.types.is_date32(kind):
        return YEARS[0] // 86400, YEARS[1] // 86400
    unit = PER_SECOND["ms" if pa.types.is_date64(kind) else kind.unit]
    if pa.types.is_time(kind):
        return 0, 86400 * unit - 1
    if pa.types.is_duration(kind):
        return -(2**63) + 1, 2**63 - 1
    day = 86400 * unit  # left free at both ends, for time zones
    return max(YEARS[0] * unit, -(2**63)) + day, min(YEARS[1] * unit, 2**63 - 1) - day


PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
