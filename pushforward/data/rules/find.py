"""The rules of a table: those that were said, and those that were found, each once held against all rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.files.stream import Stream
from pushforward.data.rules.base import Rule
from pushforward.data.rules.columns import Sample, sample
from pushforward.data.rules.formulas import find_formulas
from pushforward.data.rules.pairs import find_bounds, find_gaps, find_lookups, find_orders
from pushforward.data.rules.said import ANY, forgotten, read_choice, read_rule
from pushforward.data.rules.trial import LookupTrial, OffsetTrial, PlainTrial, Trial
from pushforward.data.schema import ColumnSchema, Schema
from pushforward.errors import InputError

__all__ = ["find_rules"]


def find_rules(
    stream: Stream, encoders: Sequence[ColumnEncoder], schema: Schema
) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    """Find the rules that are kept, in an order in which targets can be restored, and what is to be said of them.

    A column is the target of one rule at most: of one that was said; of a formula, what determines it, an order, its
    gaps, a bound, in this order. Of what ``schema`` declares nothing is found. InputError: a rule that was said and
    cannot be read, speaks of columns that are not there, or does not hold in half of the rows; two of one column.
    """
    choice = read_choice(schema.rules)
    if not choice.said and ANY in choice.forgotten:
        return (), ()
    rows = sample(stream, encoders)
    trials: list[Trial] = [read_rule(text, rows, stream.origin) for text in choice.said]
    _require_single(trials, stream.origin)
    if ANY not in choice.forgotten:
        free = {c.name for c in rows.columns if schema.get(c.name, schema.get("*", ColumnSchema())) == ColumnSchema()}
        guesses = [t for t in _guess(rows) if t.target in free and not forgotten(t.name, choice)]
        trials = _without_circles([*trials, *guesses], stream.origin)

    for first, part in stream.parts():
        cells = {column.name: part.column(column.name) for column in rows.columns}
        for trial in trials:
            if trial.alive:
                trial.update(cells, first)

    rules, notes = [], []
    for trial in trials:
        rule = trial.result()
        if rule is None and trial.said:
            where = "" if trial.first < 0 else f", the first is {stream.name_row(trial.first)}"
            raise InputError(
                f"{stream.origin}: rule {trial.name} does not hold in {trial.broken:,} of {rows.rows:,} rows{where}; "
                "correct it or leave it out"
            )
        if rule is None:
            continue
        rules.append(rule)
        if trial.broken:
            notes.append(
                f"rule {rule.name}: does not hold in {trial.broken:,} of {rows.rows:,} rows, the first is "
                f"{stream.name_row(trial.first)}; they are learned as if it did"
            )
    return _in_order(rules), tuple(notes)


def _guess(rows: Sample) -> Iterable[Trial]:
    """All guesses, those first that say more."""
    known = rows.known
    yield from (OffsetTrial(rule, known) for rule in find_formulas(rows))
    yield from (LookupTrial(target, source, known) for target, source in find_lookups(rows))
    yield from (OffsetTrial(rule, known) for rule in find_orders(rows))
    yield from (PlainTrial(rule) for rule in find_gaps(rows))
    yield from (PlainTrial(rule) for rule in find_bounds(rows))


def _require_single(trials: Sequence[Trial], origin: str) -> None:
    for i, trial in enumerate(trials):
        for other in trials[:i]:
            if other.target == trial.target:
                raise InputError(
                    f"{origin}: rules {other.name} and {trial.name} both say what column {trial.target!r} is; say one, "
                    "or the other of another column"
                )


def _without_circles(trials: Sequence[Trial], origin: str) -> list[Trial]:
    """The trials in order, without those whose target has one or whose sources need it."""
    needs: dict[str, set[str]] = {}
    kept = []
    for trial in trials:
        if trial.target in needs:
            continue
        reached, todo = set[str](), list(trial.sources)
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += needs.get(name, ())
        if trial.target in reached:
            if trial.said:
                raise InputError(f"{origin}: rule {trial.name}: its columns are said by {trial.target!r} themselves")
            continue
        needs[trial.target] = set(trial.sources)
        kept.append(trial)
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
