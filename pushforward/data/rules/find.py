"""The rules of a table: those that were declared, and those that were found, each once held against all rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.files.stream import Stream
from pushforward.data.rules.base import Rule
from pushforward.data.rules.candidates import Candidate, OffsetCandidate, PlainCandidate, lookup_candidate
from pushforward.data.rules.columns import Sample, sample_rows
from pushforward.data.rules.declared import ANY, excluded, read_choice, read_rule, read_unique
from pushforward.data.rules.formulas import find_formulas
from pushforward.data.rules.joint_search import find_pair_lookups, find_together, pair_candidate, together_candidate
from pushforward.data.rules.pairs import find_bounds, find_gaps, find_lookups, find_orders
from pushforward.data.rules.steps import find_steps, step_candidate
from pushforward.data.rules.unique import Unique, UniqueCandidate
from pushforward.data.schema import ColumnSchema, Schema
from pushforward.errors import InputError

__all__ = ["FoundRules", "find_rules"]


class FoundRules(NamedTuple):
    """Rules of one column each, in an order in which targets can be restored; sentences; rules on rows together."""

    kept: tuple[Rule, ...] = ()
    broken: tuple[str, ...] = ()  # of training rows in which a rule that was declared does not hold
    unique: tuple[Unique, ...] = ()


def find_rules(stream: Stream, encoders: Sequence[ColumnEncoder], schema: Schema) -> FoundRules:
    """Find the rules that are kept, and what is to be said of them.

    A column is the target of one rule at most: of one that was declared; of a formula, what determines it, an order,
    its gaps, pairs that occur, a bound, in this order. Of what ``schema`` declares nothing is found. InputError: a
    declared rule that cannot be read, speaks of columns that are not there, or does not hold in half of the rows; two
    of one column.
    """
    choice = read_choice(schema.rules)
    if not choice.declared and ANY in choice.excluded:
        return FoundRules()
    rows = sample_rows(stream, encoders)
    names = [encoder.name for encoder in encoders if not encoder.ignored]
    alone, compared = list[str](), dict[Unique, UniqueCandidate]()
    for text in choice.declared:
        if (unique := read_unique(text, names, stream.origin)) is None:
            alone.append(text)
        else:
            compared[unique] = UniqueCandidate(unique)
    candidates: list[Candidate] = [read_rule(text, rows, stream.origin) for text in alone]
    _require_single(candidates, stream.origin)
    _without_circles([candidate.rule for candidate in candidates], len(candidates), stream.origin)
    if ANY not in choice.excluded:
        free = {c.name for c in rows.columns if schema.get(c.name, schema.get("*", ColumnSchema())) == ColumnSchema()}
        guesses = [t for t in _guess(rows) if t.rule.target in free and not excluded(t.rule.name, choice)]
        candidates += guesses

    for first, part in stream.parts():
        cells = {name: part.column(name) for name in names}
        for candidate in candidates:
            if candidate.alive:
                candidate.update(cells, first)
        for comparison in compared.values():
            comparison.update(cells, first)

    rules, notes, declared = list[Rule](), list[str](), len(alone)
    for candidate in candidates:
        rule = candidate.result()
        if rule is None and candidate.declared:
            where = f", the first is {stream.name_row(candidate.first)}" if candidate.first >= 0 else ""
            why = candidate.conflict or f"does not hold in {candidate.broken:,} of {rows.rows:,} rows{where}"
            raise InputError(f"{stream.origin}: rule {candidate.rule.name}: {why}; correct it or leave it out")
        if rule is None:
            continue
        rules.append(rule)
        if candidate.broken:
            words = _broken(rule.name, candidate.broken, rows.rows, stream.name_row(candidate.first))
            notes.append(f"{words}; they are learned as if it did")
    for comparison in compared.values():
        count, of, row = comparison.repeats()
        words = _broken(comparison.rule.name, count, of, stream.name_row(row))
        if count and 2 * count >= of:
            raise InputError(f"{stream.origin}: {words}; correct it or leave it out")
        notes += [f"{words}; samples do not repeat any"] if count else []
    rules = _without_circles(rules, declared, stream.origin)
    return FoundRules(_in_order(rules), tuple(notes), tuple(compared))


def _broken(name: str, count: int, of: int, row: str) -> str:
    """How many rows break a rule that was declared, and the first."""
    return f"rule {name}: does not hold in {count:,} of {of:,} rows, the first is {row}"


def _guess(rows: Sample) -> Iterable[Candidate]:
    """All guesses, those first that say more."""
    known = rows.known
    yield from (OffsetCandidate(rule, known) for rule in find_formulas(rows))
    lookups = find_lookups(rows)  # of a name before pairs, of a number, which may only be like a name, after them
    yield from (lookup_candidate(target, source, known) for target, source in lookups if not known[source].number)
    yield from (step_candidate(target, source, known) for target, source in find_steps(rows))
    yield from (pair_candidate(*names, known) for names in find_pair_lookups(rows))
    yield from (lookup_candidate(target, source, known) for target, source in lookups if known[source].number)
    yield from (OffsetCandidate(rule, known) for rule in find_orders(rows))
    yield from (PlainCandidate(rule, known) for rule in find_gaps(rows))
    yield from (together_candidate(first, second, rows) for first, second in find_together(rows))
    yield from (PlainCandidate(rule, known) for rule in find_bounds(rows))


def _require_single(candidates: Sequence[Candidate], origin: str) -> None:
    for i, candidate in enumerate(candidates):
        for other in candidates[:i]:
            if other.rule.target == candidate.rule.target:
                pair = f"{other.rule.name} and {candidate.rule.name}"
                raise InputError(
                    f"{origin}: rules {pair} both say what column {candidate.rule.target!r} is; say one, or the other "
                    "of another column"
                )


def _without_circles(rules: Sequence[Rule], declared: int, origin: str) -> list[Rule]:
    """The rules, those that are declared first, without those whose target has one or whose sources need it."""
    needs: dict[str, set[str]] = {}
    kept = []
    for i, rule in enumerate(rules):
        if rule.target in needs:
            continue
        reached, todo = set[str](), list(rule.sources)
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += needs.get(name, ())
        if rule.target in reached:
            if i < declared:
                raise InputError(f"{origin}: rule {rule.name}: {rule.target!r} says what its columns are")
            continue
        needs[rule.target] = set(rule.sources)
        kept.append(rule)
    return kept


def _in_order(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Each after those whose targets are its sources."""
    left, out = list(rules), list[Rule]()
    while left:
        targets = {rule.target for rule in left}
        ready = [rule for rule in left if not targets & set(rule.sources)]
        out += ready
        left = [rule for rule in left if rule not in ready]
    return tuple(out)
