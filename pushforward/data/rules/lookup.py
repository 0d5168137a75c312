"""A column that another one determines: city by zip, age group by age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pushforward.data.encoders.categorical import Value
from pushforward.data.files.cells import ArrowColumn, arrow_type, is_time
from pushforward.data.files.rows import Array
from pushforward.data.rules.base import Cells, Filled, Rule, view
from pushforward.data.rules.expression import name_of
from pushforward.errors import InputError

__all__ = ["Lookup", "cells_of", "plain_values", "source_values"]


SHOWN = 4  # steps that a note names


@dataclass(frozen=True)
class Lookup(Rule):
    """target = table[source], of all values that were seen; None is a missing one.

    Of a source that is a number, ``keys`` are the least values of the intervals in which the target stays the same:
    a number that was not seen has the target of the interval in which it lies, which ends half way to the next.
    """

    target: str
    type: str
    source: str
    source_type: str
    steps: bool  # whether the source is a number
    keys: tuple[Value, ...]
    values: tuple[Value, ...]  # of the target, as many as keys
    dictionary: tuple[Value, ...] | None = None  # of the target's type, in its order
    support: int = 0

    optional = True
    listed = True

    @property
    def sources(self) -> tuple[str, ...]:
        """The one that determines."""
        return (self.source,)

    @property
    def name(self) -> str:
        """As ``city by zip``."""
        return f"{name_of(self.target)} by {name_of(self.source)}"

    @property
    def note(self) -> str:
        """With the steps of a number."""
        count = len(self.keys) - 1 - (self.keys[-1] is None)
        if not self.steps or not count:
            return super().note
        near = is_time(arrow_type(self.source_type)) or count > SHOWN
        places = "" if near else " at " + ", ".join(f"{key:.6g}" for key in self.keys[1 : count + 1])
        seen = f"holds in all {self.support:,} rows" if self.support else "was said"
        return f"rule {self.name} ({count:,} step{'s' * (count > 1)}{places}): {seen}, and in every sample"

    @cached_property
    def _table(self) -> ArrowColumn:
        """The targets of the keys, of the target's type."""
        return cells_of(self.values, self.type, self.dictionary)

    def check(self) -> None:
        """Build what the rule looks up; an error of arrow, or LookupError, for types that do not fit the values."""
        _ = self._table.to_pylist() if not hasattr(self._table, "dictionary") else self._table.indices
        kind = arrow_type(self.source_type)
        if not self.steps:
            import pyarrow as pa

            pa.array(list(self.keys), kind.value_type if pa.types.is_dictionary(kind) else kind)

    def reduce(self, cells: Cells) -> ArrowColumn:
        """Nothing is left: the same in every row."""
        import pyarrow as pa

        return pa.array(np.zeros(len(cells[self.source]), np.int8))

    def positions(self, cells: ArrowColumn) -> Array:
        """Find the keys of source cells, int64 [n]; that of the nearest for a number, -1 for a value not seen."""
        import pyarrow as pa
        import pyarrow.compute as pc

        gap = self.keys[-1] is None
        if not self.steps:
            plain = source_values(cells, self.source_type, self.name, self.source)
            known = pa.array(list(self.keys[: len(self.keys) - gap]), plain.type)
            found = pc.index_in(plain, value_set=known)
            found = np.asarray(pc.fill_null(found, -1), np.int64)
            return np.where(np.asarray(plain.is_null()), len(known) if gap else -1, found)
        numbers = view(cells, arrow_type(self.source_type), self.name, self.source)
        keys = np.array(self.keys[: len(self.keys) - gap], numbers.values.dtype)
        found = np.searchsorted(keys, numbers.values, side="right") - 1
        return np.where(numbers.there, found.clip(0), len(keys) if gap else -1)

    def restore(self, cells: Cells, filled: Filled) -> ArrowColumn:
        """Look the target up; missing where the source has a value that was not seen."""
        import pyarrow as pa

        found = self.positions(cells[self.source])
        return self._table.take(pa.array(found, mask=found < 0))

    def holds(self, cells: Cells) -> Array:
        """Compare with what is looked up; a value of the source that was not seen cannot be asked."""
        found = self.positions(cells[self.source])
        expected = np.array(plain_values(self._table, self.type), object)[found]
        target = np.array(plain_values(cells[self.target], self.type), object)
        return np.asarray((found < 0) | (expected == target))

    def to_json(self) -> dict[str, Any]:
        """The fields, as ``kind`` lookup."""
        plain = {key: getattr(self, key) for key in ("target", "type", "source", "source_type", "steps", "support")}
        return {"kind": "lookup", **plain, "keys": list(self.keys), "values": list(self.values)} | (
            {} if self.dictionary is None else {"dictionary": list(self.dictionary)}
        )


def cells_of(values: Sequence[Value], name: str, dictionary: Sequence[Value] | None) -> ArrowColumn:
    """Plain values as cells of an arrow type, of a dictionary in its order; the inverse of ``plain_values``."""
    import pyarrow as pa

    kind = arrow_type(name)
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if is_time(plain):
        number = pa.int32() if plain.bit_width == 32 else pa.int64()
        return pa.array(list(values), number).cast(plain)
    if dictionary is not None:
        place = {value: i for i, value in enumerate(dictionary)}
        indices = pa.array([None if value is None else place[value] for value in values], kind.index_type)
        return pa.DictionaryArray.from_arrays(indices, pa.array(dictionary, plain), ordered=kind.ordered)
    numbers = pa.array(list(values), pa.float64() if pa.types.is_decimal(plain) else plain)
    return numbers.cast(kind, safe=not pa.types.is_decimal(plain))


def plain_values(cells: ArrowColumn, name: str) -> list[Value]:
    """Cells of an arrow type as plain values, dates as counts, gaps as None."""
    import pyarrow as pa

    kind = arrow_type(name)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    plain = cells.cast(pa.float64() if pa.types.is_decimal(kind) else kind)
    if is_time(kind):
        plain = plain.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    values: list[Value] = plain.to_pylist()
    return [None if value != value else value for value in values] if pa.types.is_floating(plain.type) else values


def source_values(cells: ArrowColumn, name: str, rule: str, column: str) -> ArrowColumn:
    """Cells of a source that is no number, of the plain type of its values; InputError names the rule."""
    import pyarrow as pa

    kind = arrow_type(name)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    try:
        return cells.cast(kind)
    except pa.ArrowException as error:
        raise InputError(f"rule {rule}: column {column!r} has type {cells.type}, in training {name}") from error
