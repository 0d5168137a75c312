"""Rows of which no two may agree in some columns: those that repeat an earlier one are drawn again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pushforward.errors import InputError
from pushforward.progress import SILENT, Progress

if TYPE_CHECKING:
    from pushforward.data import Transform
    from pushforward.data import UserRows as Rows
    from pushforward.data.files.rows import Array
    from pushforward.data.rules.observed import ObservedRows
    from pushforward.data.rules.unique import Combination, Unique

__all__ = ["Make", "distinct_rows"]

Make: TypeAlias = "Callable[[Array, int, int], Rows]"  # (numbers of rows [k], seed, first) -> those rows, drawn
TOGETHER = 256  # draws of a round at least, for few rows several of each
DRAWS, LEAST = 20, 5_000  # draws in all: so many for each row, and for few rows at least
LUCKY = 5  # rows more than a round has given that the next ones may give


def distinct_rows(
    transform: Transform,
    make: Make,
    n: int,
    seed: int,
    first: int,
    given: ObservedRows | None = None,
    progress: Progress = SILENT,
) -> Rows:
    """Draw ``n`` rows so that those that are to be unique are: sequentially, without what earlier rows have.

    Rows of ``given``, one or n, of which all columns of a rule are known stay as they are and come first. What is not
    learned, as keys, is that of the row's number. Where nothing repeats, row i is that of (seed, first + i) alone.
    InputError where the model does not give so many different combinations.
    """
    import pyarrow as pa
    import torch

    from pushforward.tensor import generator

    compared = [_Comparison.of(rule, given, n) for rule in transform.rules.unique]
    made = make(np.arange(n), seed, first)
    if not compared:
        return made
    unlearned = {column.name for column in transform.columns if not column.width} - set(transform.rules.by_target)
    parts, place, numbers, count, spent, dry = [made], np.arange(n), np.arange(n), n, 0, 0
    for one in compared:
        one.begin(made)
    while True:
        gained = _admit(compared, parts[-1], numbers)
        drawn = len(numbers)
        place[list(gained)] = count - drawn + np.array(list(gained.values()), np.int64)
        todo = np.setdiff1d(numbers, list(gained))
        if not len(todo):
            return pa.concat_tables(parts).take(pa.array(place)) if len(parts) > 1 else made
        left, dry = max(DRAWS * n, LEAST) - spent, drawn if gained else dry + drawn
        if left <= 0 or (len(gained) + LUCKY) * left < len(todo) * dry:
            raise InputError(_too_few(transform.rules.unique, n, len(todo)))
        progress.steps(n - len(todo), n, f"{n - len(todo):,} without repetition")
        numbers = np.repeat(todo, max(TOGETHER // len(todo), 1))
        other = int(torch.randint(2**31, (), generator=generator(seed, "distinct", first, len(parts))))
        part = make(numbers, other, 0)
        for name in unlearned & set(part.column_names):
            part = part.set_column(part.column_names.index(name), name, made.column(name).take(pa.array(numbers)))
        parts, count, spent = [*parts, part], count + len(numbers), spent + len(numbers)


@dataclass(frozen=True)
class _Comparison:
    """One rule, the rows [n] whose combinations are known and stay, and the combinations that there are."""

    rule: Unique
    fixed: Array
    seen: set[Combination]

    @staticmethod
    def of(rule: Unique, given: ObservedRows | None, n: int) -> _Comparison:
        """Begin with no combination; InputError for several rows that are all to be the same one."""
        if given is None:
            return _Comparison(rule, np.zeros(n, bool), set())
        fixed = np.logical_and.reduce([given.known(name) for name in rule.columns])
        if len(fixed) < n and fixed.all():
            raise InputError(f"where: says all columns of {rule.name}, which at most one row can have; ask for one row")
        return _Comparison(rule, np.broadcast_to(fixed, (n,)) if len(fixed) == n else np.zeros(n, bool), set())

    def begin(self, made: Rows) -> None:
        """Take in the combinations that are known."""
        if self.fixed.any():
            self.seen.update(c for c, known in zip(self.rule.combinations(made), self.fixed, strict=True) if known)


def _admit(compared: Sequence[_Comparison], rows: Rows, numbers: Array) -> dict[int, int]:
    """Take in rows that repeat nothing, of each number one; their places by number."""
    taken: dict[int, int] = {}
    combinations = zip(*(one.rule.combinations(rows) for one in compared), strict=True)
    for i, (number, row) in enumerate(zip(numbers.tolist(), combinations, strict=True)):
        open_ = [(one.seen, c) for one, c in zip(compared, row, strict=True) if c is not None and not one.fixed[number]]
        if number not in taken and not any(c in seen for seen, c in open_):
            taken[number] = i
            for seen, c in open_:
                seen.add(c)
    return taken


def _too_few(rules: Sequence[Unique], n: int, missing: int) -> str:
    names = " and ".join(rule.name for rule in rules)
    return (
        f"rule {names}: of the {n:,} rows that were asked for the model gives {n - missing:,} without repetition, and "
        f"hardly one more; ask for {n - missing:,} at most"
    )
