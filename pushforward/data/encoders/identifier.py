"""Identifiers and free text: not learned, and in samples fresh values of the same pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass
from shlex import quote
from typing import Any

import numpy as np

from pushforward.data.encoders.base import Unmodelled
from pushforward.data.encoders.pattern import (
    Interval,
    Pattern,
    free_between,
    intervals_from_json,
    pattern_from_json,
    permuted,
    within,
)
from pushforward.data.files.cells import ArrowColumn, arrow_type
from pushforward.data.files.rows import Array
from pushforward.errors import InputError

__all__ = ["KEYED", "Identifier", "Keys", "fit_keys", "identifier_from_json", "is_key"]

KEYED = 20  # rows of which a key says something
CHANCE = 14.0  # nats that numbers drawn from their range, all different, would need: fewer than 1 in 10^6 columns do
LARGE = 10**15  # numbers from here on are names
THINGS = (
    "account|case|claim|client|cust|customer|device|employee|event|invoice|item|member|obs|observation|order|patient"
)
THINGS += "|person|policy|product|record|row|sample|session|student|subject|ticket|transaction|txn?|user|visit"
NAME = re.compile(  # of a column that may be a key, in any case but for the Id of camelCase
    rf"(?i:(.*[^a-z])?(id|uuid|guid|key|rownames?)|({THINGS})s?[ _.-]?(id|no|nr|num|number|key))|.*[a-z](Id|ID)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Keys:
    """Whole numbers that no training row has: those of intervals in any order, then those from ``beyond`` in theirs.

    Or, ``counting``, the numbers of the rows from ``beyond``.
    """

    counting: bool
    free: tuple[Interval, ...]
    beyond: int
    most: int  # the greatest of the type, after which counting begins again

    def values(self, index: Array, seed: int) -> list[int]:
        """A key for each row of ``index`` [n], a function of the row and the seed alone; no two alike."""
        size = sum(b - a for a, b in self.free)
        room = max(self.most + 1 - self.beyond, 1)
        out = (index - size).astype(object) % room + self.beyond
        inside = index < size
        if inside.any():
            out[inside] = within(self.free, permuted(index[inside], size, seed)).astype(object)
        return [int(value) for value in out]

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        free = [list(pair) for pair in self.free]
        return {"counting": self.counting, "free": free, "beyond": self.beyond, "most": self.most}


@dataclass(frozen=True)
class Identifier(Unmodelled):
    """A column that tells rows apart, or of free text: no entries, and fresh values on the way back.

    ``distinct`` is the share of the training rows that have a value of their own: 1 where all were different, which all
    are then on the way back, too.
    """

    name: str
    type: str  # arrow type
    distinct: float
    values: Pattern | Keys

    @property
    def numeric(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.values, Keys)

    def decode(self, x: Array) -> ArrowColumn:
        """Draw fresh values for the first rows of seed 0."""
        return self.draw(x, np.arange(len(x)), 0)

    def draw(self, x: Array, index: Array, seed: int) -> ArrowColumn:
        """Draw fresh values for rows ``index`` [n], each a function of its number and the seed alone."""
        import pyarrow as pa

        rows = index if self.distinct == 1 else (index * self.distinct).astype(np.int64)
        return pa.array(self.values.values(rows, seed), arrow_type(self.type))

    def describe(self) -> tuple[str, str, str]:
        """Say what is drawn."""
        return self.name, self.type, self.form()

    def form(self) -> str:
        """Not learned; what samples get."""
        if isinstance(self.values, Keys):
            return "counts the rows" if self.values.counting else "key: fresh values, not learned"
        return f"fresh values such as {self.values.example[:40]!r}, not learned"

    @property
    def note(self) -> str:
        """Why the column is not learned, what samples get, and what to say otherwise."""
        other = f"--keep {quote(self.name)} learns it, --drop {quote(self.name)} leaves it out"
        if isinstance(self.values, Keys) and self.values.counting:
            return f"column {self.name!r} counts the rows: not learned, and counts those of samples ({other})"
        why = "another value in every row" if self.distinct == 1 else f"{self.distinct:.0%} as many values as rows"
        example = str(self.decode(np.zeros((1, 0)))[0].as_py())[:40]
        return f"column {self.name!r} has {why}: not learned, samples get fresh ones such as {example!r} ({other})"

    def to_json(self) -> dict[str, Any]:
        """The fields, as ``kind`` identifier."""
        kind = "keys" if isinstance(self.values, Keys) else "pattern"
        fields = {"name": self.name, "type": self.type, "distinct": self.distinct}
        return {"kind": "identifier", **fields, "values": {kind: self.values.to_json()}}


def is_key(name: str, values: Array, rows: int) -> bool:
    """Whether whole numbers of some of the ``rows`` tell rows apart and say nothing else.

    All are different, and called an id; or too large for a quantity; or they begin near 0 and are so dense that as many
    draws from their range would not be different: n^2 / (2 range) nats say how unlikely that is.
    """
    if rows < KEYED or len(np.unique(values)) < len(values):
        return False
    low, high = int(values.min()), int(values.max())
    extent = high - low + 1
    dense = len(values) ** 2 / (2 * extent) > CHANCE and 0 <= low <= 1 + 20 * extent / rows
    return bool(NAME.fullmatch(name)) or abs(high) >= LARGE or dense


def fit_keys(values: Array, counting: bool, complete: bool) -> Keys:
    """Fit the keys that no row has to different whole numbers; ``complete``: these are all."""
    low, high, most = int(values.min()), int(values.max()), int(np.iinfo(values.dtype).max)
    if counting:
        return Keys(True, (), low, most)
    known = complete and high < 2**62 and high - low < 2**62
    return Keys(False, free_between(np.sort(values), low, high + 1) if known else (), min(high + 1, most), most)


def identifier_from_json(entry: dict[str, Any], origin: str) -> Identifier:
    """Restore a column from ``Identifier.to_json``; InputError, which ``origin`` opens, for what no fit gives."""
    name, kind, distinct, values = (entry[key] for key in ("name", "type", "distinct", "values"))
    if (
        not (isinstance(name, str) and isinstance(kind, str) and isinstance(values, dict) and len(values) == 1)
        or type(distinct) not in (int, float)
        or not 0 < distinct <= 1
    ):
        raise InputError(f"{origin} has values that no fit gives; restore the file")
    ((which, data),) = values.items()
    drawn: Pattern | Keys = (
        _keys(data) if which == "keys" else pattern_from_json(data) if which == "pattern" else entry[which]
    )
    return Identifier(name, kind, float(distinct), drawn)


def _keys(data: dict[str, Any]) -> Keys:
    counting, free, beyond, most = (data[key] for key in ("counting", "free", "beyond", "most"))
    if type(counting) is not bool or not all(type(v) is int and abs(v) < 2**64 for v in (beyond, most)):
        raise ValueError("no keys")
    return Keys(counting, intervals_from_json(free), min(beyond, most), most)
