"""Tables that are read a part at a time, so that they may be larger than memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pushforward.data.files.remote import File
from pushforward.data.files.rows import Array, RowNamer, row_name
from pushforward.errors import InputError

__all__ = ["FILE", "ArrowTable", "Parts", "Stream", "keep_if_small", "number_file", "require_distinct", "require_same"]

ArrowTable: TypeAlias = Any  # pyarrow.Table
Parts: TypeAlias = Callable[[], Iterator[ArrowTable]]  # reads a table from its beginning
PART = 1 << 18  # rows looked at together
FILE = "\0file"  # no name of a column
HOLD = 1 << 27  # bytes of a table that is kept in memory; a larger one is read again for each pass


@dataclass(frozen=True, eq=False)
class Stream:
    """A table that is read anew at each use, so that it may be larger than memory."""

    origin: str  # opens every message about these rows
    names: tuple[str, ...]
    read: Parts  # parts of any size
    name_row: RowNamer = row_name

    @staticmethod
    def of(table: ArrowTable, origin: str, name_row: RowNamer = row_name) -> Stream:
        """Wrap a table in memory."""
        return Stream(origin, tuple(table.column_names), lambda: iter([table]), name_row)

    def parts(self) -> Iterator[tuple[int, ArrowTable]]:
        """Iterate over parts of ``PART`` rows, the last one shorter, each with the number of its first row.

        No part is empty.
        """
        import pyarrow as pa

        first, count = 0, 0
        waiting: list[ArrowTable] = []
        for part in self.read():
            waiting, count = [*waiting, part], count + len(part)
            if count >= PART:
                joined = pa.concat_tables(waiting)
                for start in range(0, count - count % PART, PART):
                    yield first, joined.slice(start, PART)
                    first += PART
                count %= PART
                waiting = [joined.slice(len(joined) - count)]
        if count:
            yield first, pa.concat_tables(waiting)

    def name_rows_from(self, first: int) -> RowNamer:
        """Name the rows of a part that begins with row number ``first``."""
        return lambda row: self.name_row(first + row)

    def table(self) -> ArrowTable:
        """Read all of it into memory."""
        import pyarrow as pa

        return pa.concat_tables(list(self.read()))

    def numbers(self, kind: str) -> Array:
        """Read rows of numbers, as samples of an array are in a text file, as one array; InputError for other cells."""
        import pyarrow as pa

        table = self.table()
        for name, column in zip(table.column_names, table.columns, strict=True):
            if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) or column.null_count:
                raise InputError(f"{self.origin}: column {name!r} is not all numbers, as the rows of training were")
        return np.stack([column.to_numpy().astype(kind) for column in table.columns], axis=1)


def keep_if_small(read: Parts) -> Parts:
    """Read the parts once and keep them, if they take at most ``HOLD`` bytes; otherwise return ``read`` itself."""
    kept, size = [], 0
    for part in read():
        kept.append(part)
        size += part.nbytes
        if size > HOLD:
            return read
    return lambda: iter(kept)


def number_file(part: ArrowTable, file: int, kind: Any = None) -> ArrowTable:
    """Append the column `FILE`, int64 or of an arrow type, with the number of the file that rows are of."""
    import pyarrow as pa

    cells = pa.repeat(pa.scalar(file, pa.int64()), len(part))
    return part.append_column(FILE, cells if kind is None else cells.cast(kind))


def require_distinct(names: Sequence[str], origin: str) -> None:
    """Raise InputError if two columns have one name."""
    if len(set(names)) < len(names):
        repeated = next(name for name, count in Counter(names).items() if count > 1)
        raise InputError(f"{origin}: column {repeated!r} appears twice; give every column its own name")


def require_same(names: Sequence[str], expected: Sequence[str], path: File, first: File) -> None:
    """Raise InputError unless the columns of ``path`` are the ``expected`` ones, those of ``first``, in any order."""
    for name in sorted(set(names) ^ set(expected)):
        odd, other = (path, first) if name in names else (first, path)
        raise InputError(f"{odd}: column {name!r} is not in {other}; files read together must have the same columns")
