"""Statistics of one column of a table, taken in part by part, and the encoder that they ask for."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.categorical import Categorical, Value
from pushforward.data.encoders.clock import common_step, type_range
from pushforward.data.encoders.identifier import KEYED, Identifier, fit_keys, is_key
from pushforward.data.encoders.nullable import Ignored, Nullable
from pushforward.data.encoders.numeric import NumericEncoder, above
from pushforward.data.encoders.pattern import fit_pattern
from pushforward.data.encoders.quantile import QuantileNormal, fit_quantiles
from pushforward.data.encoders.typed import TypedNumeric
from pushforward.data.encoders.words import WordStats
from pushforward.data.encoders.written import as_text, kind_of_most, marked, read_written
from pushforward.data.files.cells import ArrowColumn, arrow_type, counts, is_number, is_text, is_time, present, stray
from pushforward.data.files.clocks import local_midnights, wall_clock
from pushforward.data.files.rows import Array, RowNamer
from pushforward.data.schema import DIGITS, ColumnSchema
from pushforward.errors import InputError

__all__ = ["ColumnStats"]

SAMPLE = 1 << 18  # values of which ranks are taken, at most; of more every second, fourth, ... one
FEWEST = 200  # values of which ranks say something
REPEATED = 20  # values that do, too, where each comes twice on average: spikes, codes, counts
CATEGORIES = 1 << 16  # of a column, at most
FEW = 10  # different texts that are no sign of an identifier, however few the rows


@dataclass(eq=False)
class ColumnStats:
    """Statistics of one column over the rows seen so far."""

    name: str
    origin: str
    declared: ColumnSchema
    type: Any = None  # arrow type
    present: int = 0
    low: int | float = 0
    high: int | float = 0
    decimals: int = 0
    divisor: int = 0  # the greatest that all counts of a date share
    counting: bool = True  # whether each whole number is one more than that before it
    last: int | None = None
    tally: Counter[Value] = field(default_factory=Counter)
    local: bool = False  # whether times are counted as the clocks of their zone show them
    many: bool = False  # whether there are more different values than are counted
    words: WordStats | None = None  # of text that is mostly numbers or dates
    dictionary: dict[Value, None] = field(default_factory=dict)  # in its order
    sample: list[Array] = field(default_factory=list)
    stride: int = 1
    sums: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)

    # ---- kinds, ranges and categories

    @property
    def kind(self) -> str:
        """Kind of the column: number, categorical, datetime or drop."""
        import pyarrow as pa

        if self.declared.kind not in (None, "keep", "text"):
            return str(self.declared.kind)
        if is_text(self.type) or pa.types.is_null(self.type):
            return "categorical"
        return "datetime" if is_time(self.type) else "number"

    @property
    def counted(self) -> ColumnStats:
        """The statistics of the numbers: these, or those of the numbers among words."""
        return self.words.numbers if self.words else self

    def update(self, cells: ArrowColumn, name_row: RowNamer) -> None:
        """Take in the next rows for all but the moments."""
        if self.type is None:
            self.type = cells.type
            self._require_kind(cells, name_row)
            self.local = self.kind == "datetime" and local_midnights(cells)
        if self.kind == "drop":
            return
        filled = present(cells)
        if self.kind == "categorical":
            self._update_values(cells, filled, name_row)
        elif filled.any():
            values = self._filled(cells, filled)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                bad = np.flatnonzero(filled)[~np.isfinite(values)]
                raise InputError(
                    f"{self.origin} has infinite values (NaN or inf): {len(bad)} here, the first at "
                    f"{name_row(int(bad[0]))}; drop those rows"
                )
            self._update_numbers(values)

    def _require_kind(self, cells: ArrowColumn, name_row: RowNamer) -> None:
        import pyarrow as pa

        kind, expected = self.type, self.kind
        value_type = getattr(kind, "value_type", kind) if pa.types.is_dictionary(kind) else kind
        plain = is_text(value_type) and not pa.types.is_dictionary(value_type)
        number = is_number(kind) or pa.types.is_null(kind)
        fits = {
            "drop": True,
            "number": number,
            "datetime": is_time(kind),
            "categorical": plain or pa.types.is_null(kind) or (is_number(value_type) and not pa.types.is_decimal(kind)),
        }
        if fits[expected] and expected == "datetime":
            try:
                arrow_type(str(kind))
            except LookupError as error:
                raise InputError(
                    f"{self.origin} has type {kind}, whose time zone is not known here; turn it into UTC, or leave the "
                    f'column out with --schema FILE holding {{"{self.name}": "drop"}}'
                ) from error
        if fits[expected]:
            return
        if expected == "number" and plain:
            raise stray(cells, self.origin, name_row) or InputError(
                f"{self.origin} holds text, where the schema says number"
            )
        if self.declared.kind in (None, "keep", "text"):
            raise InputError(
                f"{self.origin} has type {kind}, which is not supported; leave it out with --schema FILE holding "
                f'{{"{self.name}": "drop"}}'
            )
        form = " (dates are written 2024-12-31, times 2024-12-31 23:59:59)" if expected == "datetime" else ""
        raise InputError(f"{self.origin} has type {kind}, where the schema says {expected}{form}")

    def _update_numbers(self, values: Array) -> None:
        if self.declared.scaling != "linear" and values.dtype.kind != "b":
            self._update_sample(values)
        number = int if values.dtype.kind in "biu" else float
        low, high = number(values.min()), number(values.max())
        self.low, self.high = (min(self.low, low), max(self.high, high)) if self.present else (low, high)
        self.present += len(values)
        if self.kind == "datetime":
            self.divisor = math.gcd(self.divisor, int(np.gcd.reduce(values)))
        elif values.dtype.kind in "iu":
            after = self.last is None or int(values[0]) == self.last + 1
            self.counting = self.counting and after and bool((np.diff(values) == 1).all())
            self.last = int(values[-1])
        elif values.dtype.kind == "f":
            digits = np.finfo(values.dtype).nmant
            while self.decimals <= DIGITS and not _rounded(values, self.decimals, digits):
                self.decimals += 1

    def _update_sample(self, values: Array) -> None:
        """Every ``stride``-th of the values before these and of these."""
        self.sample.append(values[-self.present % self.stride :: self.stride].copy())
        while sum(map(len, self.sample)) > SAMPLE:
            self.sample, self.stride = [np.concatenate(self.sample)[::2]], 2 * self.stride

    def _update_values(self, cells: ArrowColumn, filled: Array, name_row: RowNamer) -> None:
        import pyarrow as pa

        if pa.types.is_dictionary(cells.type):
            chunks = cells.chunks if isinstance(cells, pa.ChunkedArray) else [cells]
            for chunk in chunks:
                self.dictionary |= dict.fromkeys(chunk.dictionary.to_pylist())
            cells = cells.cast(cells.type.value_type)
        elif is_text(cells.type) and self.declared.kind is None:
            self._update_words(as_text(cells), name_row)
        plain = cells.filter(pa.array(filled))
        self.present += len(plain)
        if self.many:
            return
        for pair in plain.value_counts().to_pylist():
            self.tally[pair["values"]] += pair["counts"]
        self.many = len(self.tally) > CATEGORIES
        if self.many and self.declared.kind in ("categorical", "keep"):
            raise InputError(
                f"{self.origin} has more than {CATEGORIES:,} different values, and a categorical column has so many at "
                'most; drop it ("drop" in the schema), call it "text", or give rare values one name'
            )

    def _update_words(self, text: ArrowColumn, name_row: RowNamer) -> None:
        """Take in numbers and words apart, where the first cells are mostly numbers."""
        if self.words is None and not self.present and (kind := kind_of_most(text)):
            self.words = WordStats(kind, ColumnStats(self.name, self.origin, ColumnSchema()))
        if self.words:
            self.words.update(text, name_row)

    def numbers(self, cells: ArrowColumn) -> Array:
        """Extract the values present, as they are standardized: dates in steps; of text, the numbers among words."""
        import pyarrow as pa

        if self.words:
            text = as_text(cells)
            number = marked(text, self.words.kind)
            return self.counted.numbers(read_written(text.filter(pa.array(number)), self.words.kind))
        values = self._filled(cells, present(cells))
        return values // self.step if self.kind == "datetime" else values

    def add_mean(self, values: Array) -> None:
        """Take in the next values for the mean; (v − low)/range lies in [0, 1], cannot overflow or lose a column."""
        low, extent = self._low_and_extent()
        self.sums += [float((height / extent).sum()) for height in above(values, low)]

    def add_square(self, values: Array) -> None:
        """Take in the next values for the standard deviation, once the mean is complete."""
        (low, extent), mean = self._low_and_extent(), math.fsum(self.sums) / self.present
        self.squares += [float(((height / extent - mean) ** 2).sum()) for height in above(values, low)]

    def _range(self) -> tuple[int | float, int | float]:
        """The least and the greatest of the numbers, dates in steps."""
        step = self.step
        return (self.low // step, self.high // step) if step > 1 else (self.low, self.high)

    def _low_and_extent(self) -> tuple[int | float, float]:
        low, high = self._range()
        extent = float(high - low)
        if not 1e-300 < extent < math.inf:
            raise InputError(f"{self.origin} reaches from {low} to {high}; rescale it into the float64 range")
        return low, extent

    def _filled(self, cells: ArrowColumn, filled: Array) -> Array:
        import pyarrow as pa

        cells = cells if filled.all() else cells.filter(pa.array(filled))
        if self.kind == "datetime":
            return counts(wall_clock(cells) if self.local else cells)
        if pa.types.is_decimal(cells.type):
            cells = cells.cast(pa.float64())
        return np.asarray(cells.to_numpy(zero_copy_only=False) if isinstance(cells, pa.Array) else cells.to_numpy())

    @property
    def step(self) -> int:
        """Units of a date or time in one unit of the numbers; 1 for other columns."""
        return common_step(self.type, self.divisor) if self.type is not None and self.kind == "datetime" else 1

    # ---- the column

    def encoder(self, rows: int, keys: bool = True) -> ColumnEncoder:
        """Build the encoder that the statistics of all ``rows`` ask for; without ``keys``, numbers are none."""
        import pyarrow as pa

        if self.kind == "drop":
            return Ignored(self.name)
        if self.kind == "categorical" or not self.present:
            return self._values(rows)
        if self.declared.kind == "text" or (keys and self._is_key(rows)):
            return self._keys(rows)
        inner: NumericEncoder | TypedNumeric | QuantileNormal
        if self.kind == "datetime":
            step, (low, high) = self.step, type_range(self.type)
            column = self.numeric(np.dtype(np.int64), (-(-low // step), high // step))
            inner = TypedNumeric(str(self.type), step, self._by_rank(column), self.local)
        elif pa.types.is_decimal(self.type):
            self.decimals = self.type.scale if self.type.scale >= 0 else self.decimals
            inner = TypedNumeric(str(self.type), 1, self._by_rank(self.numeric(np.dtype(np.float64))))
        else:
            inner = self._by_rank(self.numeric(np.dtype(self.type.to_pandas_dtype())))
        return Nullable(inner, 1 - self.present / rows) if self.present < rows else inner

    def _by_rank(self, column: NumericEncoder) -> NumericEncoder | QuantileNormal:
        """The column by its ranks, if the schema wants them, there are enough, or they repeat; otherwise as it is."""
        if column.constant or not self.sample:
            return column
        sample = np.concatenate(self.sample)
        repeats = len(sample) >= REPEATED and 2 * len(np.unique(sample)) <= len(sample)
        if self.present < FEWEST and not repeats and self.declared.scaling != "quantile":
            return column
        return fit_quantiles(column, sample // self.step if self.kind == "datetime" else sample)

    def numeric(self, dtype: np.dtype[Any], bounds: tuple[int, int] | None = None) -> NumericEncoder:
        """Build the encoder of the numbers themselves, as they are."""
        low, high = self._range()

        # what holds on the way back: decimals and bounds, declared or else inferred
        decimals = self.declared.decimals if self.declared.decimals is not None else self.decimals
        rounded = decimals if dtype.kind == "f" and decimals <= DIGITS else None
        limits = (low, high) if self.declared.bounds == "data" else self.declared.bounds or bounds
        if limits is not None:
            least, most = limits
            if (least is not None and low < least) or (most is not None and high > most):
                raise InputError(f"{self.origin} reaches from {low} to {high}, beyond its bounds {least} and {most}")

        if low == high:
            return NumericEncoder(self.name, dtype.name, low, high, 0.0, 0.0, None, limits)
        extent = self._low_and_extent()[1]
        mean, square = (math.fsum(sums) / self.present for sums in (self.sums, self.squares))
        return NumericEncoder(
            self.name, dtype.name, low, high, mean * extent, math.sqrt(square) * extent, rounded, limits
        )

    # ---- keys, text and categories

    def _is_key(self, rows: int) -> bool:
        """Whether whole numbers without gaps, of which nothing is declared, tell rows apart and say nothing else."""
        import pyarrow as pa

        if self.declared != ColumnSchema() or not pa.types.is_integer(self.type) or self.present < rows:
            return False
        counting = self.counting and rows >= KEYED
        return self.low in (0, 1) if counting else is_key(self.name, np.concatenate(self.sample), rows)

    def _keys(self, rows: int) -> ColumnEncoder:
        import pyarrow as pa

        if not pa.types.is_integer(self.type) or not self.sample:
            raise InputError(f"{self.origin} has type {self.type}, where the schema says text; text and keys are drawn")
        values = np.concatenate(self.sample)
        distinct = len(np.unique(values)) / len(values)
        keys = fit_keys(values, self.counting and self.low in (0, 1) and self.present == rows, self.stride == 1)
        column = Identifier(self.name, str(self.type), distinct, keys)
        return Nullable(column, 1 - self.present / rows) if self.present < rows else column

    def _values(self, rows: int) -> ColumnEncoder:
        """The column of text or categories: free text, numbers with words, or categories."""
        import pyarrow as pa

        text = is_text(self.type) and not pa.types.is_dictionary(self.type)
        inferred = text and self.declared.kind is None
        if inferred and self.words and (self.many or len(self.tally) > FEW) and self.words.apply:
            return self.words.encoder(self.name, rows)
        different = self.many or len(self.tally) > max(FEW, self.present / 2)
        if self.present and ((inferred and different) or (text and self.declared.kind == "text")):
            values = [str(value) for value in self.tally]
            distinct = 1.0 if self.many else len(values) / self.present
            column = Identifier(self.name, str(self.type), distinct, fit_pattern(values, not self.many))
            return Nullable(column, 1 - self.present / rows) if self.present < rows else column
        return self._categorical(rows)

    def _categorical(self, rows: int) -> Categorical:
        import pyarrow as pa

        position = {value: i for i, value in enumerate(self.dictionary)}
        values: list[Any] = sorted(self.tally, key=position.__getitem__ if position else None)
        shares = [self.tally[value] / rows for value in values]
        if self.present < rows:
            values, shares = [*values, None], [*shares, 1 - self.present / rows]
        dictionary = tuple(self.dictionary) if pa.types.is_dictionary(self.type) else None
        return Categorical(self.name, str(self.type), tuple(values), tuple(shares), dictionary)


def _rounded(values: Array, decimals: int, digits: int) -> bool:
    """Whether no value has more decimals, while the type could hold more."""
    most = float(np.abs(values).max(initial=0)) * 10.0**decimals
    with np.errstate(over="ignore"):
        near = np.round(values.astype(np.float64), decimals).astype(values.dtype)
    return bool(most < 2**digits and np.array_equal(near, values))
