"""The interface of a rule: what the model sees in the place of a column that others say, and the column back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.files.cells import ArrowColumn, counts, is_number, is_time, present
from pushforward.data.files.clocks import typed
from pushforward.data.files.rows import Array
from pushforward.errors import InputError

__all__ = ["EXACT", "Cells", "Filled", "Numbers", "Rule", "choose", "finish", "view"]

Cells: TypeAlias = Mapping[str, ArrowColumn]
Filled: TypeAlias = Callable[[str], ArrowColumn]  # a column as it would be if no value were missing
EXACT = 2**53  # whole numbers up to here are exact in float64


class Numbers(NamedTuple):
    """A column as numbers: int64 counts of dates, float64 of all else, 0 in the place of gaps."""

    values: Array
    there: Array  # bool [n]


class Rule(ABC):
    """What holds of one column, the ``target``, in every row, given other columns, the ``sources``.

    The model sees what is left of the target: nothing where the sources determine it, and otherwise what has to be
    added to them. Change of variables: the target's density given the sources is that of what is left, for the two
    differ by a shift.
    """

    target: str
    type: str  # arrow type of the target
    support: int  # training rows in which it was seen to hold; 0 where it was said
    listed = False  # whether it lists what occurs, so that a value of the target is right or wrong, and never near

    @property
    def reduces(self) -> bool:
        """Whether the model sees something else in the place of the target."""
        return True

    @property
    @abstractmethod
    def sources(self) -> tuple[str, ...]:
        """The columns that the rule needs."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The rule as it is written, by which it is switched off."""

    @property
    @abstractmethod
    def optional(self) -> bool:
        """Whether the target need not be in rows that are read again."""

    @abstractmethod
    def reduce(self, cells: Cells) -> ArrowColumn:
        """Compute what is left of the target, [n], given the sources."""

    @abstractmethod
    def restore(self, cells: Cells, filled: Filled) -> ArrowColumn:
        """Compute the target [n] from its rest, in its place, and the sources, so that the rule holds."""

    @abstractmethod
    def holds(self, cells: Cells) -> Array:
        """Mark the rows in which the rule holds, or cannot be asked; bool [n]."""

    @property
    def note(self) -> str:
        """The rule with its support, a sentence for people."""
        seen = f"holds in all {self.support:,} rows" if self.support else "was said"
        return f"rule {self.name}: {seen}, and in every sample"

    def describe(self, column: ColumnEncoder) -> tuple[str, str, str]:
        """Return name, type and a summary of the target, of whose rest is ``column``, for people."""
        rest = "" if not self.reduces or self.optional else f", beyond which {column.describe()[2]}"
        return self.target, self.type, f"{self.name}{rest}" if self.reduces else f"{column.describe()[2]}; {self.name}"

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return plain JSON that restores the rule."""


def view(cells: ArrowColumn, kind: Any, rule: str, name: str) -> Numbers:
    """Look at a column as numbers, dates by the units of the arrow type ``kind``; InputError names the rule."""
    import pyarrow as pa

    try:
        if pa.types.is_dictionary(cells.type):
            cells = cells.cast(cells.type.value_type)
        if is_time(kind):
            cells = typed(cells, kind)
        elif not is_number(cells.type) and not pa.types.is_null(cells.type):
            raise pa.ArrowInvalid("no numbers")
        there = present(cells)
        plain = cells.filter(pa.array(there))
        found = counts(plain) if is_time(kind) else np.asarray(plain.cast(pa.float64(), safe=False), np.float64)
    except pa.ArrowException as error:
        raise InputError(f"rule {rule}: column {name!r} has type {cells.type}, in training {kind}") from error
    values = np.zeros(len(there), found.dtype)
    values[there] = found
    return Numbers(values, there)


def finish(values: Array, there: Array, kind: Any) -> ArrowColumn:
    """Give numbers an arrow type, within its range; null where they are not there."""
    import pyarrow as pa

    mask = ~there
    values = np.where(mask, 0, values)
    if is_time(kind):
        whole = values if values.dtype.kind == "i" else np.rint(values).astype(np.int64)
        return (
            pa.array(whole, pa.int64(), mask=mask).cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
        )
    if pa.types.is_integer(kind):
        limits = np.iinfo(kind.to_pandas_dtype())
        near = np.clip(np.rint(values.astype(np.float64)), max(limits.min, -EXACT), min(limits.max, EXACT))
        return pa.array(near.astype(np.int64), mask=mask).cast(kind)
    if pa.types.is_boolean(kind):
        return pa.array(values > 0.5, mask=mask)
    return pa.array(values.astype(np.float64), mask=mask).cast(kind, safe=False)


def choose(mask: Array, yes: ArrowColumn, no: ArrowColumn) -> ArrowColumn:
    """Cells of ``yes`` where the mask says so, of ``no`` elsewhere, of the type of ``no``, a dictionary or not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = no.type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pc.if_else(pa.array(mask), yes.cast(plain), no.cast(plain)).cast(kind)
