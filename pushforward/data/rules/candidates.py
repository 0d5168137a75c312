"""Guessed rules, held against every row of a table, a part at a time: what of them is left."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pushforward.data.encoders.categorical import Value
from pushforward.data.files.cells import ArrowColumn
from pushforward.data.files.rows import Array
from pushforward.data.rules.base import Cells, Numbers, Rule, view
from pushforward.data.rules.columns import Known
from pushforward.data.rules.lookup import Lookup, plain_values, source_values
from pushforward.data.rules.offset import Offset
from pushforward.data.rules.repairs import Gap, Limits

__all__ = ["Candidate", "LookupCandidate", "OffsetCandidate", "PlainCandidate", "lookup_candidate", "steps_of"]

NEAR = 0.01  # standard deviations by which a formula may miss its target where both were rounded
MOST = 1 << 16  # values of a column that determines another


@dataclass
class Candidate(ABC):
    """A rule in the making; ``declared``, or else found and dropped at the first row that breaks it."""

    rule: Rule
    known: dict[str, Known]
    declared: bool = False
    rows: int = 0  # that it was held against
    alive: bool = True
    broken: int = 0  # rows that break a rule that was declared
    first: int = -1  # of them
    conflict: str = ""  # what stands against one that was declared, where rows cannot be counted

    @abstractmethod
    def update(self, cells: Cells, first: int) -> None:
        """Look at the next rows, of which the first has the number ``first``."""

    @abstractmethod
    def result(self) -> Rule | None:
        """The rule as the rows have it; None if it does not hold."""

    def _break(self, wrong: Array, first: int) -> None:
        """Take in rows that break the rule; bool [n]."""
        count = int(wrong.sum())
        if count and self.first < 0:
            self.first = first + int(np.argmax(wrong))
        self.broken += count
        self.alive = self.declared or not self.broken


@dataclass
class OffsetCandidate(Candidate):
    """A formula, or an order: extremes of the rest, gaps, and the reference."""

    rule: Offset
    least: float = math.inf
    most: float = -math.inf
    unlike: bool = False  # whether the target is missing elsewhere than the sources
    smallest: float = math.inf  # of the target
    sums: list[float] = field(default_factory=list)
    moments: list[tuple[int, float, float]] = field(default_factory=list)  # of the target

    def update(self, cells: Cells, first: int) -> None:
        """Compute the rests."""
        names = (self.rule.target, *self.rule.sources)
        views = {name: view(cells[name], self.rule.kind, self.rule.name, name) for name in names}
        target = views.pop(self.rule.target)
        base = self.rule.base_of(views, len(target.values))
        sources = np.logical_and.reduce([one.there for one in views.values()])
        self.unlike |= not np.array_equal(target.there, sources & base.there)
        complete = target.there & base.there
        if not complete.any():
            return
        picked = {name: Numbers(one.values[complete], one.there[complete]) for name, one in views.items()}
        rest = (target.values - base.values)[complete]
        values = {name: one.values for name, one in picked.items()}
        size = np.broadcast_to(self.rule.formula.size(values), rest.shape).astype(np.float64)
        self.rows += int(complete.sum())
        self.sums.append(float(base.values[complete].astype(np.float64).sum()))
        goal = target.values[complete].astype(np.float64)
        self.moments.append((len(goal), float(goal.mean()), float(goal.var())))
        self.smallest = min(self.smallest, float(goal.min()))
        good = self.rule.fits(rest, size)
        if self.rule.exact and not self.declared:  # formulas that are found may be off as far as both were rounded
            off = np.where(good, 0.0, rest)
            self.least, self.most = min(self.least, float(off.min())), max(self.most, float(off.max()))
            self.alive = max(-self.least, self.most) <= NEAR * self._spread()
            return
        wrong = np.zeros(len(complete), bool)
        wrong[complete] = ~good
        self._break(wrong, first)

    def _spread(self) -> float:
        """Standard deviation of the target, so far."""
        count = sum(n for n, _, _ in self.moments)
        mean = sum(n * m for n, m, _ in self.moments) / count
        return math.sqrt(sum(n * (v + (m - mean) ** 2) for n, m, v in self.moments) / count)

    def result(self) -> Offset | None:
        """The rule with what was seen of it."""
        if not self.alive or not self.rows or 2 * self.broken > self.rows:
            return None
        mean = math.fsum(self.sums) / self.rows
        rule = replace(self.rule, support=0 if self.declared else self.rows, follows=not self.unlike)
        if rule.exact and not self.declared and (far := max(-self.least, self.most)) > 0:
            if not (unit := self.known[self.rule.target].unit):
                return None
            far = round(far / unit) * unit
            rule = replace(rule, low=-far, high=far, follows=False)
        if rule.exact and self.smallest >= 0:
            rule = replace(rule, least=0.0)
        decimals = rule.decimals
        return replace(rule, reference=float(round(mean) if rule.places == 0 else round(mean, decimals or 0)))


@dataclass
class LookupCandidate(Candidate):
    """A table from the values of one column to those of another."""

    rule: Lookup
    table: dict[Value, Value] = field(default_factory=dict)

    def update(self, cells: Cells, first: int) -> None:
        """Take in the pairs that occur."""
        import pyarrow as pa

        source = self._plain(cells[self.rule.source])
        target = pa.array(plain_values(cells[self.rule.target], self.rule.type))
        pairs = pa.table({"s": source, "t": target})
        for row in pairs.group_by(["s", "t"]).aggregate([]).to_pylist():
            if self.table.setdefault(row["s"], row["t"]) != row["t"]:
                self.alive = False
                self.conflict = f"{row['s']!r} has {self.table[row['s']]!r} and {row['t']!r}"
                return
        self.rows += len(source)
        self.alive = len(self.table) <= MOST

    def _plain(self, cells: ArrowColumn) -> ArrowColumn:
        import pyarrow as pa

        if self.rule.steps:
            numbers = view(cells, self.known[self.rule.source].type, self.rule.name, self.rule.source)
            return pa.array(numbers.values, mask=~numbers.there)
        return source_values(cells, self.rule.source_type, self.rule.name, self.rule.source)

    def result(self) -> Lookup | None:
        """The table, of a number by the intervals in which the target stays the same."""
        if not self.alive:
            return None
        pairs: list[tuple[Value, Value]] = [(key, value) for key, value in self.table.items() if key is not None]
        if self.rule.steps:
            pairs = [*steps_of(pairs, whole=self.known[self.rule.source].decimals == 0)]
        else:
            pairs.sort(key=repr)
        pairs += [(None, self.table[None])] if None in self.table else []
        keys, values = (tuple(side) for side in zip(*pairs, strict=True))
        return replace(self.rule, keys=keys, values=values, support=0 if self.declared else self.rows)


def steps_of(pairs: Iterable[tuple[Any, Value]], whole: bool) -> Iterator[tuple[Value, Value]]:
    """The least numbers of the intervals between which the target changes, from half way to the number before."""
    last: tuple[Any, Value] | None = None
    for key, value in sorted(pairs, key=lambda pair: pair[0]):
        if last is None:
            yield key, value
        elif value != last[1]:
            middle = (key + last[0]) / 2
            # neighbours in float64 have nothing between them
            yield (math.ceil(middle) if whole else middle if last[0] < middle <= key else key), value
        last = key, value


def lookup_candidate(target: str, source: str, known: dict[str, Known], declared: bool = False) -> LookupCandidate:
    """Build a candidate for ``target by source``, whose table is still empty."""
    to, by = known[target], known[source]
    steps = by.number and not by.boolean
    rule = Lookup(target, str(to.type), source, str(by.type), steps, (), (), to.dictionary)
    return LookupCandidate(rule, known, declared)


@dataclass
class PlainCandidate(Candidate):
    """A rule that is complete as it was guessed, and holds or does not."""

    rule: Limits | Gap

    def update(self, cells: Cells, first: int) -> None:
        """Ask whether it holds."""
        self.rows += len(cells[self.rule.target])
        self._break(~self.rule.holds(cells), first)

    def result(self) -> Rule | None:
        """The rule, with the rows that it was seen in."""
        if not self.alive or 2 * self.broken > self.rows:
            return None
        return replace(self.rule, support=0 if self.declared else self.rows)
