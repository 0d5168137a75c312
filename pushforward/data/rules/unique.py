"""Rules on rows together: no two of them have the same values of some columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from pushforward.data.encoders.categorical import Value
from pushforward.data.files.rows import Array
from pushforward.data.files.stream import ArrowTable
from pushforward.data.rules.base import Cells
from pushforward.data.rules.expression import name_of
from pushforward.data.rules.lookup import plain_values

__all__ = ["Combination", "Unique", "UniqueCandidate"]

Combination: TypeAlias = "tuple[Value, ...] | None"


@dataclass(frozen=True)
class Unique:
    """No two rows agree in all of the ``columns``; a missing value is like no other, as in databases."""

    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """As ``unique(order, line)``."""
        return f"unique({', '.join(map(name_of, self.columns))})"

    @property
    def note(self) -> str:
        """The rule, a sentence for people."""
        return f"rule {self.name}: was said, and holds among the rows of every sample"

    def combinations(self, cells: Cells | ArrowTable) -> list[Combination]:
        """The values of each row, [n]; None where one is missing, so that the row cannot be asked."""
        columns = [cells[name] for name in self.columns]
        rows = zip(*(plain_values(column, str(column.type)) for column in columns), strict=True)
        return [None if None in row else row for row in rows]

    def to_json(self) -> dict[str, Any]:
        """The columns, as ``kind`` unique."""
        return {"kind": "unique", "columns": list(self.columns)}


@dataclass
class UniqueCandidate:
    """A rule that was said, held against the rows of a table a part at a time: 8 bytes of each row are kept."""

    rule: Unique
    hashes: list[Array] = field(default_factory=list)
    numbers: list[Array] = field(default_factory=list)

    def update(self, cells: Cells, first: int) -> None:
        """Take in the next rows, of which the first has the number ``first``."""
        rows = self.rule.combinations(cells)
        number = [i for i, row in enumerate(rows) if row is not None]
        self.hashes.append(np.array([hash(repr(rows[i])) for i in number], np.int64))
        self.numbers.append(np.array(number, np.int64) + first)

    def repeats(self) -> tuple[int, int, int]:
        """Count the rows that repeat an earlier one, and those that could be asked; and the first that does, or -1."""
        hashes, numbers = np.concatenate(self.hashes), np.concatenate(self.numbers)
        again = np.ones(len(hashes), bool)
        again[np.unique(hashes, return_index=True)[1]] = False
        return int(again.sum()), len(hashes), int(numbers[again][0]) if again.any() else -1
