"""The rules of a table, kept: rows to what the model sees of them, and back so that each rule holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.identifier import Identifier
from pushforward.data.encoders.infer import infer_columns
from pushforward.data.files.cells import ArrowColumn
from pushforward.data.files.rows import Array
from pushforward.data.files.stream import ArrowTable, Stream
from pushforward.data.rules.base import Filled, Rule
from pushforward.data.rules.find import find_rules
from pushforward.data.rules.offset import Offset
from pushforward.data.rules.repairs import Limits
from pushforward.data.rules.unique import Unique
from pushforward.data.schema import ColumnSchema, Schema
from pushforward.errors import InputError

__all__ = ["Rules", "fit_rules"]

MOST = 20  # rules that notes name


@dataclass(frozen=True)
class Rules:
    """Rules, of one target each, in an order in which targets can be restored."""

    kept: tuple[Rule, ...] = ()
    # sentences on training rows in which a rule that was declared does not hold, which a run has in its notes
    broken: tuple[str, ...] = field(default=(), compare=False)
    unique: tuple[Unique, ...] = ()  # what holds of rows together

    @property
    def notes(self) -> tuple[str, ...]:
        """The rules with their support, a sentence each; those of bounds and gaps together."""
        single = [rule.note for rule in self.kept if rule.reduces or rule.listed]
        more = [f"and {len(single) - MOST} rules more"] if len(single) > MOST else []
        plain = [rule.name for rule in self.kept if not (rule.reduces or rule.listed)]
        rest = ", ".join(plain[:MOST]) + (f" and {len(plain) - MOST} more" if len(plain) > MOST else "")
        words = f"bounds and gaps, kept in every sample: {rest}"
        together = [rule.note for rule in self.unique]
        return (*single[:MOST], *more, *([words] if plain else []), *together, *self.broken)

    @property
    def by_target(self) -> dict[str, Rule]:
        """The rules by the column that each says."""
        return {rule.target: rule for rule in self.kept}

    @property
    def optional_columns(self) -> set[str]:
        """Columns that need not be in rows that are read again, because others say what they are."""
        return {rule.target for rule in self.kept if rule.optional}

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain JSON that restores the rules."""
        return [rule.to_json() for rule in self.kept] + [rule.to_json() for rule in self.unique]

    def reduce(self, table: ArrowTable, origin: str) -> ArrowTable:
        """Replace each target by what is left of it; InputError, which ``origin`` opens, for columns of other types."""
        cells = {name: table.column(i) for i, name in enumerate(table.column_names)}
        for rule in self.kept:
            if rule.reduces:
                table = _put(table, rule.target, _named(rule.reduce, cells, origin))
        return table

    def restore(self, cells: Mapping[str, ArrowColumn], filled: Filled) -> dict[str, ArrowColumn]:
        """Compute the targets from what is left of them, so that every rule holds."""
        out, fixed = dict(cells), {rule.target for rule in self.kept if rule.reduces}
        for rule in self.kept:
            if isinstance(rule, Limits):
                out[rule.target] = rule.restore(out, filled)
        formulas = [rule for rule in self.kept if isinstance(rule, Offset) and rule.least is not None]
        for formula in [*formulas, *formulas]:  # twice, where one asks of another's sources
            out.update(formula.lowered(out, fixed))
        for rule in self.kept:
            if not isinstance(rule, Limits):
                out[rule.target] = rule.restore(out, filled)
        return out

    def possible(self, table: ArrowTable, origin: str) -> Array:
        """Mark the rows in which every rule holds but bounds, of those whose columns are all there; bool [n]."""
        cells = {name: table.column(i) for i, name in enumerate(table.column_names)}
        good = np.ones(len(table), bool)
        for rule in self.kept:
            if not isinstance(rule, Limits) and {rule.target, *rule.sources} <= set(cells):
                good &= _named(rule.holds, cells, origin)
        return good


def _named(compute: Callable[[Mapping[str, ArrowColumn]], Any], cells: Mapping[str, ArrowColumn], origin: str) -> Any:
    try:
        return compute(cells)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error


def _put(table: ArrowTable, name: str, cells: ArrowColumn) -> ArrowTable:
    """The table with a column in the place of that of its name, or after all others."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, cells)
    return table.append_column(name, cells)


def fit_rules(
    stream: Stream, columns: Sequence[ColumnEncoder], schema: Schema
) -> tuple[Rules, tuple[ColumnEncoder, ...]]:
    """Find the rules of a table whose columns are fitted, and fit their targets anew, to what is left of them."""
    rules = Rules(*find_rules(stream, columns, schema))
    columns = _different(rules.unique, columns)
    targets = tuple(rule.target for rule in rules.kept if rule.reduces)
    if not targets:
        return rules, columns

    def read() -> Iterator[ArrowTable]:
        return (rules.reduce(part, stream.origin).select(targets) for part in stream.read())

    rest = Stream(stream.origin, targets, read, stream.name_row)
    again = infer_columns(rest, Schema((name, ColumnSchema(scaling="quantile")) for name in targets), alone=False)
    fitted = {column.name: column for column in again}
    return rules, tuple(fitted.get(column.name, column) for column in columns)


def _different(unique: Sequence[Unique], columns: Sequence[ColumnEncoder]) -> tuple[ColumnEncoder, ...]:
    """The columns, of identifiers that are to be unique by themselves one all of whose values are different."""
    out = {column.name: column for column in columns}
    for rule in unique:
        first, *others = (out[name] for name in rule.columns)
        if isinstance(first, Identifier) and all(isinstance(other, Identifier) for other in others):
            out[first.name] = replace(first, distinct=1.0)
    return tuple(out.values())
