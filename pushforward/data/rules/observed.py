"""Rows of which some columns are known, under rules: what the known say of the others, and rules that hold again.

A known target says something of its sources. Where one source alone is unknown, an exact formula is solved for it.
Else sources are drawn several times, one draw is kept by how near it comes to the target (importance resampling, with
a normal kernel for numbers), and what is left of the distance is moved into one source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pushforward.data.files.cells import ArrowColumn, arrow_type, present
from pushforward.data.files.rows import Array
from pushforward.data.files.stream import ArrowTable
from pushforward.data.rules.base import Rule, choose, finish, view
from pushforward.data.rules.joint import PairRule
from pushforward.data.rules.keep import Rules
from pushforward.data.rules.lookup import Lookup, plain_values
from pushforward.data.rules.offset import Offset
from pushforward.data.rules.repairs import Gap, Limits
from pushforward.errors import InputError

__all__ = ["ObservedRows"]

IMPOSSIBLE = -1e6  # of a draw that is out of the question
KERNEL = 0.1  # standard deviations of a target, over the draws, that count as near


@dataclass(frozen=True, eq=False)
class ObservedRows:
    """The known cells of rows, the columns' arrow types, and the rules; ``nulls_known``: a null is a missing value."""

    rows: ArrowTable
    types: Mapping[str, object]
    rules: Rules
    nulls_known: bool

    def known(self, name: str) -> Array:
        """Mark the rows in which a column is known; bool [n]."""
        if name not in self.rows.column_names:
            return np.zeros(len(self.rows), bool)
        return np.ones(len(self.rows), bool) if self.nulls_known else present(self.rows.column(name))

    def completed(self) -> ObservedRows:
        """With the sources that exact formulas, and targets of one source only, determine."""
        out, rules = self, [*self.rules.kept, *reversed(self.rules.kept)]
        for rule in rules:
            if rule.target in out.rows.column_names:
                out = out._gap(rule) if isinstance(rule, Gap) else out._with_sources(rule)
        return out

    def _with_sources(self, rule: Rule) -> ObservedRows:
        unknown = {name: ~self.known(name) for name in rule.sources}
        alone = self.known(rule.target) & (sum(unknown.values()) == 1)
        rows = self.rows
        for name, gap in unknown.items():
            where = alone & gap
            if not where.any():
                continue
            solved = _solve(rule, name, self._cells(rule, where), self.types)
            if solved is not None:
                rows = _scatter(rows, name, solved, np.flatnonzero(where), self.types[name])
        return ObservedRows(rows, self.types, self.rules, self.nulls_known)

    def _gap(self, rule: Gap) -> ObservedRows:
        """With a source that is known to be missing because its target is, or is not."""
        import pyarrow as pa

        missing = ~present(self.rows.column(rule.target)) == rule.together
        if not self.nulls_known or self.known(rule.source).any() or not missing.all():
            return self
        nulls = pa.nulls(len(self.rows), self.types[rule.source])
        return replace(self, rows=self.rows.append_column(rule.source, nulls))

    def _cells(self, rule: Rule, where: Array) -> dict[str, ArrowColumn]:
        """The columns of a rule in some rows, of nulls where there is none."""
        import pyarrow as pa

        index, out = pa.array(np.flatnonzero(where)), {}
        for name in (rule.target, *rule.sources):
            there = name in self.rows.column_names
            out[name] = self.rows.column(name).take(index) if there else pa.nulls(len(index), self.types[name])
        return out

    def reduced(self) -> ArrowTable:
        """The rows as conditions have them: what is left of targets, where it is known, and null elsewhere."""
        import pyarrow as pa

        table = self.rows
        for rule in self.rules.kept:
            if not rule.reduces or rule.target not in table.column_names:
                continue
            known = np.logical_and.reduce([self.known(name) for name in (rule.target, *rule.sources)])
            place = table.column_names.index(rule.target)
            if rule.optional or not known.any() or (self.nulls_known and not known.all()):
                table = table.remove_column(place)
                continue
            rest = rule.reduce(self._cells(rule, np.ones(len(known), bool)))
            table = table.set_column(place, rule.target, rest.take(pa.array(np.arange(len(known)), mask=~known)))
        return table

    @property
    def open(self) -> Array:
        """Mark the rows in which a known target says something that conditions do not hold; bool [n]."""
        out = np.zeros(len(self.rows), bool)
        for rule in self.rules.kept:
            if rule.reduces or rule.listed or isinstance(rule, Gap):
                unknown = np.logical_or.reduce([~self.known(name) for name in rule.sources])
                out |= self.known(rule.target) & unknown
        return out

    def log_weights(self, draws: ArrowTable, row: Array) -> Array:
        """Weigh draws by how near they come to the known targets of their ``row`` [k]; float64 [k]."""
        import pyarrow as pa

        out = np.zeros(len(draws))
        for rule in self.rules.kept:
            where = self.known(rule.target)[row]
            if isinstance(rule, Gap) and rule.target in self.rows.column_names:
                want = present(self.rows.column(rule.target))[row] == rule.together
                out += np.where(where & (present(draws.column(rule.source)) != want), IMPOSSIBLE, 0.0)
            if not (rule.reduces or rule.listed) or not where.any():
                continue
            wanted = self.rows.column(rule.target).cast(self.types[rule.target]).take(pa.array(row))
            made = draws.column(rule.target)
            if rule.listed:
                values = [np.array(plain_values(cells, rule.type), object) for cells in (made, wanted)]
                out += np.where(where & (values[0] != values[1]), IMPOSSIBLE, 0.0)
                continue
            pair = [view(cells, arrow_type(rule.type), rule.name, rule.target) for cells in (made, wanted)]
            both = pair[0].there & pair[1].there
            spread = float(pair[0].values[pair[0].there].std()) if pair[0].there.any() else 0.0
            far = (pair[0].values - pair[1].values) / (KERNEL * spread or 1.0)
            out += np.where(where, np.where(both, -0.5 * far**2, IMPOSSIBLE * (pair[0].there != pair[1].there)), 0.0)
        return out

    def require(self, origin: str) -> None:
        """InputError for a row whose known columns break a rule among them; bounds may be left."""
        for rule in self.rules.kept:
            known = np.logical_and.reduce([self.known(name) for name in (rule.target, *rule.sources)])
            if known.any() and not isinstance(rule, Limits) and not rule.holds(self._cells(rule, known)).all():
                raise InputError(f"{origin}: breaks what holds in every row of the training data: {rule.name}")
            if isinstance(rule, PairRule) and self.known(rule.target).any():
                self._require_pair(rule, origin)

    def _require_pair(self, rule: PairRule, origin: str) -> None:
        """InputError for a row with a target that no pair has whose known value, of one column, is as it is there."""
        sources = [name for name in rule.sources if self.known(name).any()]
        cells = self._cells(rule, self.known(rule.target))
        if len(sources) < len(rule.sources) and not rule.possible(cells, sources).all():
            listed = " and ".join(map(repr, (rule.target, *sources)))
            raise InputError(f"{origin}: no row of the training data has these {listed} ({rule.name})")

    @property
    def gapped(self) -> set[str]:
        """Columns that rules want missing in some rows."""
        gaps = [rule for rule in self.rules.kept if isinstance(rule, Gap) and not rule.together]
        return {name for rule in gaps for name in (rule.target, rule.source)}

    def settled(self, made: ArrowTable, written: ArrowTable) -> ArrowTable:
        """Mend rows that were ``made`` [n], in which the known cells were ``written``, so that the rules hold."""
        before = {name: made.column(name) for name in made.column_names}
        after = {name: written.column(name) for name in made.column_names}
        for rule in self.rules.kept:
            after[rule.target] = self._put(after[rule.target], rule.target)
        for rule in reversed(self.rules.kept):  # known targets move their sources, those of sources theirs
            self._move(rule, after)
        for rule in self.rules.kept:
            free = ~self.known(rule.target)
            if isinstance(rule, Gap | Limits) or not free.any():
                continue
            rest = rule.reduce(before)
            restored = rule.restore({**after, rule.target: rest}, lambda name: before[name])
            after[rule.target] = choose(free, restored, after[rule.target])
        for name, cells in after.items():
            made = made.set_column(made.column_names.index(name), name, cells)
        return made

    def _put(self, cells: ArrowColumn, name: str) -> ArrowColumn:
        known = self.known(name)
        if not known.any() or cells.equals(self.rows.column(name)):
            return cells
        return choose(known, self.rows.column(name).cast(self.types[name]), cells)

    def _move(self, rule: Rule, cells: dict[str, ArrowColumn]) -> None:
        """Change unknown sources of known targets, as little as makes the rule hold."""
        wrong = self.known(rule.target) & ~rule.holds(cells)
        if isinstance(rule, Gap) or not wrong.any():
            return
        computed = {name for name, other in self.rules.by_target.items() if other.reduces or not rule.listed}
        movable = [name for name in rule.sources if name not in computed] or list(rule.sources)
        for name in reversed(movable):
            where = wrong & ~self.known(name)
            if where.any():
                picked = {other: cells[other].take(np.flatnonzero(where)) for other in (rule.target, *rule.sources)}
                solved = _solve(rule, name, picked, self.types, near=True)
                if solved is not None:
                    cells[name] = _spread(cells[name], solved, np.flatnonzero(where))
                wrong = self.known(rule.target) & ~rule.holds(cells)


def _solve(
    rule: Rule, name: str, cells: Mapping[str, ArrowColumn], types: Mapping[str, object], near: bool = False
) -> ArrowColumn | None:
    """Find the source ``name`` with which a rule gives its target; None where it cannot be told.

    ``near``: one that fits, the nearest to what it is.
    """
    if isinstance(rule, Lookup):
        return _look_back(rule, cells, near)
    if isinstance(rule, PairRule):
        return rule.solve(name, cells, near)
    if not isinstance(rule, Offset) or (not rule.exact and not near):
        return None
    kind: object = types[name]
    views = {other: view(cells[other], rule.kind, rule.name, other) for other in (rule.target, *rule.sources)}
    target, there = views[rule.target].values, views[rule.target].there
    values = {other: views[other].values for other in rule.sources}
    if rule.exact or rule.formula.op not in ("max", "min", "column"):
        found = rule.formula.solve(name, target, values)
        if found is None:
            return None
        good = there & np.isfinite(found)
        return finish(np.where(good, found, 0), good, kind)
    # on the right side of the target: what is beyond it goes to it
    step = int(rule.strict) if target.dtype.kind == "i" else rule.strict * 10.0 ** -(rule.places or 12)
    moved = np.minimum(values[name], target - step) if rule.high is None else np.maximum(values[name], target + step)
    return finish(moved, views[name].there, kind)


def _look_back(rule: Lookup, cells: Mapping[str, ArrowColumn], near: bool) -> ArrowColumn | None:
    """The source whose target is the one that is known, if it is one alone; ``near``: one of several."""
    import pyarrow as pa

    keys: dict[object, list[object]] = {}
    for key, value in zip(rule.keys, rule.values, strict=True):
        keys.setdefault(value, []).append(key)
    wanted = plain_values(cells[rule.target], rule.type)
    if not near and (rule.steps or any(len(keys.get(value, ())) != 1 for value in wanted)):
        return None
    plain = [keys[value][0] if value in keys else None for value in wanted]
    kind = arrow_type(rule.source_type)
    if rule.steps:
        numbers = np.array([0 if value is None else value for value in plain])
        return finish(
            np.ceil(numbers) if pa.types.is_integer(kind) else numbers, np.array([v is not None for v in plain]), kind
        )
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.array(plain, value_type).cast(kind)


def _spread(cells: ArrowColumn, values: ArrowColumn, index: Array) -> ArrowColumn:
    """Cells with those at an index replaced."""
    import pyarrow as pa

    place = np.full(len(cells), -1)
    place[index] = np.arange(len(index))
    whole = values.take(pa.array(place, mask=place < 0))
    return choose(place >= 0, whole, cells)


def _scatter(rows: ArrowTable, name: str, values: ArrowColumn, index: Array, kind: object) -> ArrowTable:
    """The table with values put into some rows of a column, of nulls where it is not there."""
    import pyarrow as pa

    if name not in rows.column_names:
        rows = rows.append_column(name, pa.nulls(len(rows), kind))
    place = rows.column_names.index(name)
    return rows.set_column(place, name, _spread(rows.column(place).cast(kind), values, index))
