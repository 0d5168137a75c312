"""Rules of pairs of values: only those that occur, and a column that two others determine together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from pushforward.data.encoders.categorical import Value
from pushforward.data.files.cells import ArrowColumn, arrow_type, is_number, is_time
from pushforward.data.files.rows import Array
from pushforward.data.rules.base import Cells, Filled, Rule, choose, view
from pushforward.data.rules.expression import name_of
from pushforward.data.rules.lookup import cells_of, plain_values

__all__ = ["Domain", "PairLookup", "PairRule", "Together"]

FAR = 1 << 40  # more than any distance between places
BLOCK = 1 << 24  # rows times pairs that are looked at together


@dataclass(frozen=True)
class Domain:
    """The values that a column had in training, in order, a missing one last; and the place of a cell among them."""

    column: str
    type: str  # arrow type
    values: tuple[Value, ...]
    dictionary: tuple[Value, ...] | None = None

    @staticmethod
    def of(column: str, kind: str, values: Iterable[Value], dictionary: tuple[Value, ...] | None) -> Domain:
        """Sort the values: numbers and dates by size, words by themselves."""
        some = set(values)
        gap: list[Value] = [None] if None in some else []
        return Domain(column, kind, (*sorted(some - {None}, key=_order), *gap), dictionary)

    @property
    def number(self) -> bool:
        """Whether it holds numbers or dates, of which one that was not seen is near others."""
        kind = arrow_type(self.type)
        return self.type != "bool" and (is_number(kind) or is_time(kind))

    @property
    def plain(self) -> tuple[Value, ...]:
        """The values but the missing one."""
        return self.values[: len(self.values) - (self.values[-1] is None)]

    def places(self, cells: ArrowColumn, rule: str) -> tuple[Array, Array]:
        """Find the places [n] of cells, of numbers that of the nearest; and whether it is the value itself."""
        gap = len(self.plain) if self.values[-1] is None else 0
        if not self.number:
            index = {value: i for i, value in enumerate(self.values)}
            found = np.array([index.get(value, -1) for value in plain_values(cells, self.type)], np.int64)
            return found.clip(0), found >= 0
        numbers = view(cells, arrow_type(self.type), rule, self.column)
        known = np.array(self.plain, numbers.values.dtype)
        if not len(known):
            return np.full(len(numbers.there), gap), ~numbers.there
        right = np.searchsorted(known, numbers.values).clip(0, len(known) - 1)
        left = (right - 1).clip(0)
        near = np.where(numbers.values - known[left] < known[right] - numbers.values, left, right)
        place = np.where(numbers.there, near, gap)
        return place, np.where(numbers.there, known[near] == numbers.values, self.values[-1] is None)

    @cached_property
    def cells(self) -> ArrowColumn:
        """The values as cells of the column's type."""
        return cells_of(self.values, self.type, self.dictionary)

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        dictionary = None if self.dictionary is None else list(self.dictionary)
        return {"column": self.column, "type": self.type, "values": list(self.values), "dictionary": dictionary}


def _order(value: Any) -> Any:
    return value if type(value) in (int, float) else repr(value)


class PairRule(Rule):
    """A list of the pairs of values of two columns that occurred, each as ``place * size of the second + place``."""

    first: Domain
    second: Domain
    pairs: tuple[int, ...]  # sorted

    listed = True

    @cached_property
    def _codes(self) -> Array:
        return np.array(self.pairs, np.int64)

    def _split(self) -> tuple[Array, Array]:
        """The places of both values of each pair."""
        return np.divmod(self._codes, len(self.second.values))

    def _nearest(self, cells: Cells) -> tuple[Array, Array]:
        """Find the pair [n] of each row, or that with the same first value whose second is nearest; bool [n]: it is it.

        Every first value has a pair, which stands among the neighbours of a code that has none.
        """
        size = len(self.second.values)
        (first, seen), (second, also) = (d.places(cells[d.column], self.name) for d in (self.first, self.second))
        code = first * size + second
        right = np.searchsorted(self._codes, code).clip(0, len(self._codes) - 1)
        left = (right - 1).clip(0)
        far = [np.abs(self._codes[i] - code) + FAR * (self._codes[i] // size != first) for i in (left, right)]
        near = np.where(far[0] < far[1], left, right)
        return near, seen & also & (self._codes[near] == code)

    @abstractmethod
    def fitting(self, cells: Cells) -> Array:
        """Mark for each row the pairs with which the rule gives its target; bool [n, pairs]."""

    def solve(self, name: str, cells: Cells, near: bool) -> ArrowColumn | None:
        """Find the source ``name`` with which the rule gives its target, if there is but one in every row.

        ``near``: one that fits, with the other source as it is if it can be, and nearest to what it is.
        """
        import pyarrow as pa

        n, step = len(cells[self.target]), max(BLOCK // len(self.pairs), 1)
        blocks = [{key: column.slice(i, step) for key, column in cells.items()} for i in range(0, n, step)]
        found = np.concatenate([self._solve(name, block, near) for block in blocks])
        if not near and (found < 0).any():
            return None
        return (self.first if name == self.first.column else self.second).cells.take(pa.array(found, mask=found < 0))

    def _solve(self, name: str, cells: Cells, near: bool) -> Array:
        """The places of the source that is found, int64 [n]; -1 for none, and for several unless one is to be near."""
        fits, domain, beside = self.fitting(cells), self.first, self.second
        mine, other = self._split()
        if name == self.second.column:
            domain, beside, mine, other = beside, domain, other, mine
        if beside.column in self.sources:
            same = other == beside.places(cells[beside.column], self.name)[0][:, None]
            fits = np.where((fits & same).any(1)[:, None] | (not near), fits & same, fits)
        here, _ = domain.places(cells[name], self.name)
        away = np.abs(mine - here[:, None]) + np.where(fits, 0, FAR)
        alone = fits.any(1) if near else fits.sum(1) == 1
        return np.where(alone, mine[np.argmin(away, axis=1)], -1)

    def possible(self, cells: Cells, known: Collection[str]) -> Array:
        """Mark the rows of which some pair has the target and the ``known`` sources; bool [n]."""
        fits = self.fitting(cells)
        for domain, places in zip((self.first, self.second), self._split(), strict=True):
            if domain.column in known and domain.column in self.sources:
                fits = fits & (places == domain.places(cells[domain.column], self.name)[0][:, None])
        return np.asarray(fits.any(1))

    def check(self) -> None:
        """Build the cells; an error of arrow, or LookupError, for types that do not fit the values."""
        _ = self.first.cells, self.second.cells

    def _fields(self) -> dict[str, Any]:
        plain = {"target": self.target, "type": self.type, "support": self.support, "pairs": list(self.pairs)}
        return plain | {"first": self.first.to_json(), "second": self.second.to_json()}


@final
@dataclass(frozen=True)
class Together(PairRule):
    """Only pairs of values that occurred: of another one the second value, the target, goes to the nearest that did.

    Near is by size for numbers and dates, and in their order for words.
    """

    target: str
    type: str
    first: Domain
    second: Domain
    pairs: tuple[int, ...]
    support: int = 0

    optional = False
    reduces = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The first column."""
        return (self.first.column,)

    @property
    def name(self) -> str:
        """As ``together(department, job)``."""
        return f"together({name_of(self.first.column)}, {name_of(self.second.column)})"

    @property
    def note(self) -> str:
        """How many pairs there are."""
        most = len(self.first.values) * len(self.second.values)
        seen = f"hold in all {self.support:,} rows" if self.support else "were said"
        return f"rule {self.name}: {len(self.pairs):,} of {most:,} pairs {seen}, and no other in any sample"

    def reduce(self, cells: Cells) -> ArrowColumn:
        """The target as it is."""
        return cells[self.target]

    def restore(self, cells: Cells, filled: Filled) -> ArrowColumn:
        """Put the nearest value that occurs with the first in the place of one that does not."""
        import pyarrow as pa

        near, there = self._nearest(cells)
        if there.all():
            return cells[self.target]
        return choose(there, cells[self.target], self.second.cells.take(pa.array(self._split()[1][near])))

    def holds(self, cells: Cells) -> Array:
        """Whether the pair occurred."""
        return self._nearest(cells)[1]

    def fitting(self, cells: Cells) -> Array:
        """Mark the pairs with the target's value."""
        place, there = self.second.places(cells[self.target], self.name)
        return np.asarray((self._split()[1][None] == place[:, None]) & there[:, None])

    def to_json(self) -> dict[str, Any]:
        """The fields, as ``kind`` together."""
        return {"kind": "together"} | self._fields()


@final
@dataclass(frozen=True)
class PairLookup(PairRule):
    """target = table[first, second]; of a pair that did not occur that of the nearest with the same first value."""

    target: str
    type: str
    first: Domain
    second: Domain
    pairs: tuple[int, ...]
    values: tuple[Value, ...]  # of the target, as many as pairs
    dictionary: tuple[Value, ...] | None = None
    support: int = 0

    optional = True

    @property
    def sources(self) -> tuple[str, ...]:
        """Both columns."""
        return (self.first.column, self.second.column)

    @property
    def name(self) -> str:
        """As ``price by make, model``."""
        return f"{name_of(self.target)} by {', '.join(map(name_of, self.sources))}"

    def check(self) -> None:
        """Build the targets, too."""
        super().check()
        _ = self._table

    @cached_property
    def _table(self) -> ArrowColumn:
        return cells_of(self.values, self.type, self.dictionary)

    def reduce(self, cells: Cells) -> ArrowColumn:
        """Nothing is left: the same in every row."""
        import pyarrow as pa

        return pa.array(np.zeros(len(cells[self.first.column]), np.int8))

    def restore(self, cells: Cells, filled: Filled) -> ArrowColumn:
        """Look the target up."""
        import pyarrow as pa

        return self._table.take(pa.array(self._nearest(cells)[0]))

    def holds(self, cells: Cells) -> Array:
        """Compare with what is looked up, also for a pair that did not occur."""
        expected = np.array(plain_values(self._table, self.type), object)[self._nearest(cells)[0]]
        return np.asarray(expected == np.array(plain_values(cells[self.target], self.type), object))

    def fitting(self, cells: Cells) -> Array:
        """Mark the pairs that have the target's value."""
        values = np.array(plain_values(self._table, self.type), object)
        wanted = np.array(plain_values(cells[self.target], self.type), object)
        return np.asarray(values[None] == wanted[:, None])

    def to_json(self) -> dict[str, Any]:
        """The fields, as ``kind`` pair."""
        dictionary = None if self.dictionary is None else list(self.dictionary)
        return {"kind": "pair"} | self._fields() | {"values": list(self.values), "dictionary": dictionary}
