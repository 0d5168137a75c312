"""Search for rules of pairs of values, and what is left of the guesses after all rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from pushforward.data.encoders.categorical import Value
from pushforward.data.files.rows import Array
from pushforward.data.rules.base import Cells
from pushforward.data.rules.candidates import MOST, Candidate
from pushforward.data.rules.columns import CHANCE, Known, Levels, Sample
from pushforward.data.rules.joint import Domain, PairLookup, Together
from pushforward.data.rules.lookup import plain_values

__all__ = ["PairCandidate", "find_pair_lookups", "find_together", "pair_candidate", "together_candidate"]

RICH = 8  # rows of a pair, on average, where pairs determine a third column
OFTEN = 5  # rows of each pair, at least, where no other pair is to occur
SIEVE = 512  # rows that most guesses fail at
WIDE = 128  # columns that are looked at, those with the fewest values
SOURCES = 64  # of them that may determine others in pairs
NUMBERS = 32  # values of a number that may: of more a pair is like the name of a row


def _levels(rows: Sample) -> list[Levels]:
    """The columns whose values repeat, those with the fewest first."""
    some = [level for level in rows.levels if level.size > 1 and OFTEN * level.size <= len(rows.cells)]
    return sorted(some, key=lambda level: level.size)[:WIDE]


def _determined(source: Array, table: Array) -> Array:
    """Mark the columns of a table [n, d] in which rows that agree in the source [n], numbered from 0, agree."""
    first = np.unique(source, return_index=True)[1]
    return np.asarray((table[first][source] == table).all(0))


def _numbered(codes: Array) -> Array:
    """The same with numbers from 0 on."""
    return np.unique(codes, return_inverse=True)[1]


# ---- a column that two others determine


def find_pair_lookups(rows: Sample) -> list[tuple[str, str, str]]:
    """Guess (target, first, second) of which the pair determines the target, and neither does alone.

    Under shuffling of the target among rows that share the value of one of the two, the chance that rows of each pair
    agree is the product over pairs of ``sum_v p_v ** m``, with p the shares of the target's values there and m the
    number of rows of the pair. The larger of the two chances counts: both columns must say something of their own. The
    pair with most rows is not asked, nor are gaps; each has `RICH` rows on average. A target
    that determines both alone says more in their place.
    """
    levels = _levels(rows)
    if len(levels) < 3:
        return []
    table = np.stack([level.codes for level in levels], 1)
    few = table[:: max(len(table) // SIEVE, 1)]
    alone = np.array([_determined(table[:, a], table) for a in range(len(levels))])  # [a, b]: a determines b
    np.fill_diagonal(alone, False)
    plain = [a for a, one in enumerate(levels) if not one.known.number or one.size <= NUMBERS]
    tried = list(combinations(plain[:SOURCES], 2))
    tests = math.log10(max(len(tried) * len(levels), 1))
    best: dict[int, tuple[int, int, int]] = {}
    for a, b in tried:
        if alone[a, b] or alone[b, a]:
            continue
        open_ = _determined(_numbered(few[:, a] * levels[b].size + few[:, b]), few) & ~alone.any(0)
        open_[[a, b]] = False
        if not open_.any():
            continue
        pair = _numbered(table[:, a] * levels[b].size + table[:, b])
        cells = int(pair.max()) + 1
        if RICH * cells > len(table):
            continue
        gaps = (table[:, a] == levels[a].gap) | (table[:, b] == levels[b].gap)
        for t in np.flatnonzero(open_ & _determined(pair, table)).tolist():
            if (t in best and best[t][0] <= cells) or (alone[t, a] and alone[t, b]):  # which says both of them
                continue
            chance = max(_agreement(table[:, s], pair, table[:, t], gaps) for s in (a, b))
            if chance + tests < CHANCE:
                first, second = sorted((a, b), key=lambda i: rows.names.index(levels[i].known.name))
                best[t] = cells, first, second
    return [(levels[t].known.name, levels[a].known.name, levels[b].known.name) for t, (_, a, b) in best.items()]


def _agreement(given: Array, pair: Array, target: Array, gaps: Array) -> float:
    """log10 of the chance that rows of each pair agree, if the target depends on ``given`` alone."""
    joint = np.zeros((int(given.max()) + 1, int(target.max()) + 1))
    np.add.at(joint, (given, target), 1.0)
    with np.errstate(divide="ignore"):
        logs = np.log10(joint / joint.sum(1, keepdims=True))
    sizes = np.bincount(pair[~gaps], minlength=int(pair.max()) + 1)
    sizes[np.argmax(sizes)] = 0
    first = np.unique(pair, return_index=True)[1]
    powers = logs[given[first[sizes > 0]]] * sizes[sizes > 0, None]
    most = powers.max(1)
    return float((np.log10((10 ** (powers - most[:, None])).sum(1)) + most).sum())


# ---- pairs that do not occur


def find_together(rows: Sample) -> list[tuple[str, str]]:
    """Guess pairs of category columns of which only some pairs of values occur: half of all at most, each often.

    Of n independent rows the cell of values with shares p and q is empty with probability ``(1 - p q) ** n``; with
    lambda the sum of these, z or more empty ones have a chance of at most ``exp(z - lambda - z log(z / lambda))``, for
    counts of balls in cells are negatively associated.
    """
    levels = [one for one in _levels(rows) if (not one.known.number or one.known.boolean) and one.size > 2]
    tests, found = math.log10(max(len(levels) * (len(levels) - 1) / 2, 1)), list[tuple[float, str, str]]()
    for one, other in combinations(levels, 2):
        a, b = (one, other) if one.size <= other.size else (other, one)
        counts = np.zeros((a.size, b.size))
        np.add.at(counts, (a.codes, b.codes), 1.0)
        empty, often = counts == 0, counts[counts > 0].min() >= OFTEN
        one_alone = min((counts > 0).sum(0).max(), (counts > 0).sum(1).max()) == 1
        if not often or one_alone or 2 * empty.sum() < empty.size:
            continue
        n, z = counts.sum(), float(empty.sum())
        expected = float(np.exp(n * np.log1p(-np.outer(counts.sum(1), counts.sum(0)) / n**2)).sum())
        chance = (z - expected - z * math.log(z / max(expected, 1e-300))) / math.log(10)
        if z > expected and chance + tests < CHANCE:
            found.append((1 - z / empty.size, a.known.name, b.known.name))
    return [(first, second) for _, first, second in sorted(found)]


# ---- held against all rows


@dataclass
class PairCandidate(Candidate):
    """The pairs that occur, with the value of a third column, if there is one."""

    rule: Together | PairLookup
    table: dict[tuple[Value, Value], Value] = field(default_factory=dict)
    closed: bool = False  # whether no pairs beyond those of the table may come

    def update(self, cells: Cells, first: int) -> None:
        """Take in the next rows."""
        import pyarrow as pa

        names = [self.rule.first.column, self.rule.second.column]
        names += [self.rule.target] if isinstance(self.rule, PairLookup) else []
        columns = [pa.array(plain_values(cells[name], str(self.known[name].type))) for name in names]
        rows = pa.table(columns, names=[str(i) for i in range(len(names))])
        for row in rows.group_by(rows.column_names).aggregate([]).to_pylist():
            pair, value = (row["0"], row["1"]), row.get("2")
            if self.closed and pair not in self.table:
                self.alive = False
            elif self.table.setdefault(pair, value) != value:
                self.alive, self.conflict = False, f"{pair} have {self.table[pair]!r} and {value!r}"
        if len(self.table) > MOST:
            self.alive, self.conflict = False, f"more than {MOST:,} pairs occur"
        self.rows += len(rows)

    def result(self) -> Together | PairLookup | None:
        """The pairs, in order."""
        if not self.alive:
            return None
        old = self.rule
        sides = zip((old.first, old.second), zip(*self.table, strict=True), strict=True)
        first, second = (Domain.of(d.column, d.type, values, d.dictionary) for d, values in sides)
        places = [{value: i for i, value in enumerate(d.values)} for d in (first, second)]
        codes = {places[0][a] * len(second.values) + places[1][b]: value for (a, b), value in self.table.items()}
        support = 0 if self.declared else self.rows
        pairs = tuple(sorted(codes))
        if isinstance(old, Together):
            return replace(old, first=first, second=second, pairs=pairs, support=support)
        values = tuple(codes[pair] for pair in pairs)
        return replace(old, first=first, second=second, pairs=pairs, values=values, support=support)


def _domain(known: Known) -> Domain:
    """The domain of a column whose values are still to come."""
    return Domain(known.name, str(known.type), (), known.dictionary)


def pair_candidate(
    target: str, first: str, second: str, known: dict[str, Known], declared: bool = False
) -> PairCandidate:
    """Build a candidate for ``target by first, second``, whose table is still empty."""
    to = known[target]
    rule = PairLookup(target, str(to.type), _domain(known[first]), _domain(known[second]), (), (), to.dictionary)
    return PairCandidate(rule, known, declared)


def together_candidate(first: str, second: str, rows: Sample, declared: bool = False) -> PairCandidate:
    """Build a candidate for ``together(first, second)``; unless it is declared, of the pairs in the sample only."""
    known = rows.known
    rule = Together(second, str(known[second].type), _domain(known[first]), _domain(known[second]), ())
    values: Iterable[list[Value]] = (
        plain_values(rows.cells.column(name), str(known[name].type)) for name in (first, second)
    )
    pairs = dict.fromkeys(zip(*values, strict=True))
    return PairCandidate(rule, known, declared, table={} if declared else pairs, closed=not declared)
