"""What the search for rules needs of the columns of a table: kind, precision, and the numbers of a sample of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.categorical import Categorical, Value
from pushforward.data.encoders.nullable import Nullable
from pushforward.data.encoders.numeric import NumericEncoder
from pushforward.data.encoders.quantile import QuantileNormal
from pushforward.data.encoders.typed import TypedNumeric
from pushforward.data.files.cells import is_time
from pushforward.data.files.rows import Array
from pushforward.data.files.stream import ArrowTable, Stream
from pushforward.data.rules.base import EXACT, Numbers, view
from pushforward.data.rules.lookup import plain_values

__all__ = ["CHANCE", "Known", "Levels", "Sample", "sample_rows"]

ROWS = (512, 4096)  # looked at in search of rules, at least and at most; what is found is checked on all
CELLS = 1 << 21  # of them, about: the search in wide tables compares each column with each
CHANCE = -6.0  # log10 of the chance that any rule holds in columns that have nothing to do with each other


@dataclass(frozen=True)
class Known:
    """One column: its name, arrow type, and how its values are rounded."""

    name: str
    type: Any
    number: bool  # or a date
    decimals: int | None  # None: not rounded
    gaps: bool
    dictionary: tuple[Value, ...] | None = None  # of categories, in its order

    @property
    def time(self) -> bool:
        """Whether it holds dates, times or durations."""
        return is_time(self.type)

    @property
    def unit(self) -> float:
        """Distance between neighbouring values; 0: not rounded."""
        return 0.0 if self.decimals is None else 10.0**-self.decimals

    @property
    def boolean(self) -> bool:
        """Whether it holds true and false."""
        return str(self.type) == "bool"

    @staticmethod
    def of(encoder: ColumnEncoder) -> Known | None:
        """Look at a fitted column; None for one of which no rule speaks: constants, identifiers, numbers with words."""
        gaps = isinstance(encoder, Nullable)
        inner = encoder.inner if isinstance(encoder, Nullable) else encoder
        if (
            "`" in inner.name
            or not inner.width
            or not isinstance(inner, Categorical | NumericEncoder | QuantileNormal | TypedNumeric)
        ):
            return None
        cells = inner.decode(np.zeros((1, inner.width)))
        assert cells is not None
        if isinstance(inner, Categorical):
            return Known(inner.name, cells.type, False, None, None in inner.categories, inner.dictionary)
        plain = inner.plain
        time = is_time(cells.type)
        if not time and max(abs(plain.low), abs(plain.high)) > EXACT:
            return None
        return Known(inner.name, cells.type, True, 0 if time or plain.integer else plain.decimals, gaps)


class Levels(NamedTuple):
    """The different values of one column of a sample, by number."""

    known: Known
    codes: Array  # int64 [n]
    size: int
    gap: int  # number of the missing value; -1 without


@dataclass(frozen=True)
class Sample:
    """Some rows of a table: the columns that rules may speak of, and their cells."""

    columns: tuple[Known, ...]
    cells: ArrowTable
    rows: int  # of the whole table
    names: tuple[str, ...]  # of all its columns

    @cached_property
    def known(self) -> dict[str, Known]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def levels(self) -> tuple[Levels, ...]:
        """The columns by number of their values."""
        out = []
        for known in self.columns:
            index: dict[object, int] = {}
            values = plain_values(self.cells.column(known.name), str(known.type))
            codes = np.array([index.setdefault(value, len(index)) for value in values], np.int64)
            out.append(Levels(known, codes, len(index), index.get(None, -1)))
        return tuple(out)

    @cached_property
    def _views(self) -> dict[str, Numbers]:
        return {c.name: view(self.cells.column(c.name), c.type, "", c.name) for c in self.columns if c.number}

    def numbers(self, column: Known) -> Numbers:
        """A column of numbers or dates, of the sample."""
        return self._views[column.name]

    def matrix(self, columns: Sequence[Known]) -> tuple[Array, Array]:
        """Columns as float64 [n, d], and whether they are there."""
        views = [self.numbers(column) for column in columns]
        empty = np.zeros((len(self.cells), 0))
        if not views:
            return empty, empty.astype(bool)
        return np.stack([v.values.astype(np.float64) for v in views], 1), np.stack([v.there for v in views], 1)


def sample_rows(stream: Stream, encoders: Sequence[ColumnEncoder]) -> Sample:
    """Take some rows of a table, as far apart as they can be, and its columns of which rules may speak."""
    import pyarrow as pa

    columns = [column for encoder in encoders if (column := Known.of(encoder))]
    names, parts, rows = [column.name for column in columns], [], 0
    most = min(max(CELLS // max(len(columns), 1), ROWS[0]), ROWS[1])
    for _, part in stream.parts():
        parts.append(_thin(part.select(names), most))
        rows += len(part)
    return Sample(tuple(columns), _thin(pa.concat_tables(parts), most), rows, stream.names)


def _thin(table: ArrowTable, most: int) -> ArrowTable:
    import pyarrow as pa

    if len(table) <= most:
        return table
    return table.take(pa.array(np.linspace(0, len(table) - 1, most).astype(np.int64)))
