"""A column that is a step function of a number whose values need not repeat: obese by bmi, age group by exact age."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from pushforward.data.encoders.categorical import Value
from pushforward.data.files.rows import Array
from pushforward.data.rules.base import Cells, view
from pushforward.data.rules.candidates import Candidate, steps_of
from pushforward.data.rules.columns import CHANCE, Known, Levels, Sample
from pushforward.data.rules.lookup import Lookup, plain_values

__all__ = ["StepCandidate", "find_steps", "has_steps", "step_candidate"]

ROWS = 5  # of each level, on average
EDGE = 5.0  # rows beyond the thresholds that normal levels of the same mean and deviation would have
EACH = 1.0  # of them beyond each


def find_steps(rows: Sample) -> list[tuple[str, str]]:
    """Guess (target, source) of which each value of the target lies in an interval of the source, a number.

    Under shuffling of the target over the n different values of the source, the chance of k intervals is
    ``k! n_1! ... n_k! / n!`` with n_i the number of those in each. A law also shows at its thresholds: of levels that
    are normal with the same mean and deviation some would lie beyond them, or they are only apart.
    """
    sources = [one for one in rows.levels if _is_source(one, rows)]
    targets = [one for one in rows.levels if _is_target(one, rows)]
    tests = math.log10(max(len(sources) * len(targets), 1))
    return [
        (target.known.name, source.known.name)
        for source in sources
        for target, values, level in _intervals(source, targets, rows)
        if target is not source and _no_chance(values, level, tests) and _monotone(target, level, rows)
    ]


def has_steps(target: str, source: str, rows: Sample) -> bool:
    """Whether each value of the target lies in an interval of the source, whose values hardly repeat."""
    by, to = (next(one for one in rows.levels if one.known.name == name) for name in (source, target))
    return _is_source(by, rows) and _is_target(to, rows) and bool(_intervals(by, [to], rows))


def _is_source(one: Levels, rows: Sample) -> bool:
    """Numbers without gaps most of which come once; what repeats is held against the rows that share a value."""
    return one.known.number and not one.known.boolean and 2 * one.size > len(rows.cells) and one.gap < 0


def _is_target(one: Levels, rows: Sample) -> bool:
    return one.size > 1 and ROWS * one.size <= len(rows.cells) and one.gap < 0


def _intervals(source: Levels, targets: Sequence[Levels], rows: Sample) -> list[tuple[Levels, Array, Array]]:
    """The targets each of whose values lies in an interval; with the source's values, sorted, and those of each."""
    if not targets:
        return []
    values, first = np.unique(rows.numbers(source.known).values, return_index=True)
    levels = np.stack([target.codes for target in targets], 1)[first]
    steps = (levels[1:] != levels[:-1]).sum(0)
    return [(one, values, levels[:, i]) for i, one in enumerate(targets) if steps[i] == one.size - 1]


def _no_chance(values: Array, level: Array, tests: float) -> bool:
    """Whether levels [n] of sorted values [n] that are intervals of them can be neither chance nor mere distance."""
    sizes = np.bincount(level)
    ways = math.lgamma(len(level) + 1) - sum(math.lgamma(size + 1) for size in sizes.tolist())
    if (math.lgamma(len(sizes) + 1) - ways) / math.log(10) + tests >= CHANCE:
        return False
    ends = np.flatnonzero(np.diff(level))
    x = values.astype(np.float64)
    groups = np.split(x, ends + 1)
    beyond = []
    for (low, high), end in zip(pairwise(groups), ends.tolist(), strict=True):
        middle = (x[end] + x[end + 1]) / 2
        beyond.append(_tail(middle - low.mean(), low) + _tail(high.mean() - middle, high))
    return min(beyond) > EACH and sum(beyond) > EDGE


def _tail(far: float, group: Array) -> float:
    """Rows beyond a distance from the mean that a normal law with the group's deviation would have."""
    spread = float(group.std()) * math.sqrt(2)
    return 0.5 * len(group) * math.erfc(far / spread) if spread > 0 else 0.0


def _monotone(target: Levels, level: Array, rows: Sample) -> bool:
    """Whether the levels of a number rise or fall; those of words are in any order."""
    if not target.known.number or target.known.boolean:
        return True
    numbers = rows.numbers(target.known).values
    order = [numbers[np.argmax(target.codes == code)] for code in level[np.flatnonzero(np.diff(level, prepend=-1))]]
    rising = np.diff(np.array(order)) > 0
    return bool(rising.all() or not rising.any())


@dataclass
class StepCandidate(Candidate):
    """The interval of the source in which each value of the target lies; dropped where two of them meet."""

    rule: Lookup
    ends: dict[Value, tuple[float, float]] = field(default_factory=dict)

    def update(self, cells: Cells, first: int) -> None:
        """Widen the intervals."""
        name = self.rule.source
        numbers = view(cells[name], self.known[name].type, self.rule.name, name)
        target = np.array(plain_values(cells[self.rule.target], self.rule.type), object)
        levels = dict.fromkeys(target.tolist())
        for value in levels:
            some = numbers.values[(target == value) & numbers.there]
            if len(some):
                low, high = self.ends.get(value, (some[0].item(), some[0].item()))
                self.ends[value] = min(low, some.min().item()), max(high, some.max().item())
        self.rows += len(target)
        order = sorted(self.ends.items(), key=lambda item: item[1])
        for (one, (_, high)), (other, (low, _)) in pairwise(order):
            if high >= low and self.alive:
                self.alive, self.conflict = False, f"{one!r} and {other!r} both lie within {low:.6g} and {high:.6g}"
        if not numbers.there.all() and self.alive:
            self.alive, self.conflict = False, f"{name!r} has missing values"

    def result(self) -> Lookup | None:
        """The intervals, each from half way to the one before."""
        if not self.alive:
            return None
        pairs = [(end, value) for value, ends in self.ends.items() for end in dict.fromkeys(ends)]
        steps = [*steps_of(pairs, whole=self.known[self.rule.source].decimals == 0)]
        keys, values = (tuple(side) for side in zip(*steps, strict=True))
        return replace(self.rule, keys=keys, values=values, support=0 if self.declared else self.rows)


def step_candidate(target: str, source: str, known: dict[str, Known], declared: bool = False) -> StepCandidate:
    """Build a candidate for ``target by source``, whose intervals are still empty."""
    to, by = known[target], known[source]
    return StepCandidate(
        Lookup(target, str(to.type), source, str(by.type), True, (), (), to.dictionary), known, declared
    )
