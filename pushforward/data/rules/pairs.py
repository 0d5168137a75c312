"""Search for what ties two columns: one determines the other, one is never above the other, gaps come together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pushforward.data.files.cells import present
from pushforward.data.files.rows import Array
from pushforward.data.rules.columns import CHANCE, Known, Sample
from pushforward.data.rules.expression import Expression, column
from pushforward.data.rules.formulas import offset
from pushforward.data.rules.offset import Offset
from pushforward.data.rules.repairs import Gap, Limits

__all__ = ["find_bounds", "find_gaps", "find_lookups", "find_orders"]

LEVELS = 5  # different values of a column whose order says something
EDGES = 4  # columns that another one is never below, the nearest of all
FINER = 1.5  # times as many differences as values of a column make it better seen as it is
NEGATIVE = 5.0  # differences below 0 that normal ones of the same mean and deviation would have
SIEVE = 256  # rows that most pairs fail at
REACHED = 10  # rows on a bound, at least
EDGE_ROWS = 30  # at an end of a column, by which an edge is told from a tail


# ---- one column determines another


def find_lookups(rows: Sample) -> list[tuple[str, str]]:
    """Guess (target, source) pairs in which the source determines the target, the source with fewest values for each.

    Under shuffling, the chance that all rows with one value of the source agree is the product over these values of
    ``sum_v p_v ** m``, with p the shares of the target's values and m the number of the rows.
    """
    n = len(rows.cells)
    levels = [one for one in rows.levels if 2 <= one.size < n]
    columns, codes, counts, gaps = zip(*levels, strict=True) if levels else ((), (), (), ())
    if len(columns) < 2 or n < 2:
        return []
    table = np.stack(codes, 1)
    order = sorted(range(len(columns)), key=lambda i: (-counts[i], i))
    rank = {i: place for place, i in enumerate(order)}
    tests = math.log10(len(columns) * (len(columns) - 1))
    best: dict[int, int] = {}
    for source in order:
        first = np.unique(table[:, source], return_index=True)[1]
        agree = (table[first][table[:, source]] == table).all(0)
        for target in np.flatnonzero(agree).tolist():
            # of two that determine each other the first is the source, so that there is no circle
            if rank[source] < rank[target] and _no_chance(table[:, source], table[:, target], gaps[source], tests):
                best[target] = source  # the last is the one with the fewest values
    return [(columns[target].name, columns[source].name) for target, source in best.items()]


def _no_chance(source: Array, target: Array, gap: int, tests: float) -> bool:
    """Whether rows that share a value of the source agree on the target more often than chance has it.

    Gaps, of code ``gap``, and the value with most rows are not asked: one value alone is no law. Most values must come
    several times.
    """
    shares = np.bincount(target) / len(target)
    sizes = np.bincount(source)
    sizes[gap if gap >= 0 else np.argmax(sizes)] = 0
    sizes[np.argmax(sizes)] = 0
    if 2 * np.count_nonzero(sizes) > sizes.sum():
        return False
    many, often = np.unique(sizes[sizes > 1], return_counts=True)
    logs = np.log10(shares[shares > 0])[:, None] * many
    agree = np.log10((10 ** (logs - logs.max(0))).sum(0)) + logs.max(0)
    return bool((often * agree).sum() + tests < CHANCE)


# ---- one column is never above another


def find_orders(rows: Sample) -> list[Offset]:
    """Guess ``b >= a`` among columns of one type, without those that follow from others.

    The chance is ``P(a <= b) ** n`` of pairs from different rows. A law also shows at its edge: of differences that
    are normal with the same mean and deviation some would be negative, or it is only a distance.
    """
    found: dict[str, list[str]] = {}
    for columns in _comparable(rows).values():
        x, there = rows.matrix(columns)
        d = len(columns)
        below, gaps = np.zeros((d, d), bool), np.zeros((d, d))
        for a in range(d):
            laws, gaps[a] = _above(x, there, a)
            below[a] = laws
        # what follows from two others is left out; of equals none
        below &= ~(below & below.T)
        direct = below & ~((below.astype(np.float32) @ below.astype(np.float32)) > 0)
        for b in range(d):
            nearest = sorted(np.flatnonzero(direct[:, b]).tolist(), key=lambda a: gaps[a, b])[:EDGES]
            if nearest:
                found[columns[b].name] = [columns[a].name for a in sorted(nearest)]
    rules = [
        offset(target, _most([column(name) for name in sources]), 0.0, None, rows.known)
        for target, sources in found.items()
    ]
    return [replace(rule, clips=_coarse(rule, rows)) for rule in rules]


def _coarse(rule: Offset, rows: Sample) -> bool:
    """Whether the target has a law of its own that differences would hide: few values, of which theirs are many."""
    target = rows.numbers(rows.known[rule.target])
    views = {name: rows.numbers(rows.known[name]) for name in rule.sources}
    base = rule.base_of(views, len(target.values))
    both = target.there & base.there
    rest = target.values[both] - base.values[both]
    rest = rest if rule.places is None or rest.dtype.kind == "i" else np.round(rest, rule.places)
    return len(np.unique(rest)) > FINER * len(np.unique(target.values[both]))


def _most(parts: Sequence[Expression]) -> Expression:
    return parts[0] if len(parts) == 1 else Expression("max", tuple(parts))


def _comparable(rows: Sample) -> dict[str, list[Known]]:
    """Columns of numbers rounded alike, and dates of each type, with values enough."""
    groups: dict[str, list[Known]] = {}
    for known in rows.columns:
        zoned = "tz=" in str(known.type)
        if known.number and not known.boolean and not zoned:
            numbers = rows.numbers(known)
            if len(np.unique(numbers.values[numbers.there])) >= LEVELS:
                groups.setdefault(str(known.type) if known.time else f"{known.decimals} decimals", []).append(known)
    return groups


def _above(x: Array, there: Array, a: int) -> tuple[Array, Array]:
    """Mark the columns of x [n, d] that are never below column a by law, and their mean distance; [d] each."""
    n, d = x.shape
    few = slice(None, None, max(n // SIEVE, 1))
    least = np.where(there[few] & there[few][:, [a]], x[few] - x[few][:, [a]], np.inf).min(0)
    some = np.flatnonzero((least >= 0) & (np.arange(d) != a))
    both = there[:, some] & there[:, [a]]
    gap = np.where(both, x[:, some] - x[:, [a]], 0.0)
    count = both.sum(0).clip(1)
    mean = gap.sum(0) / count
    spread = np.sqrt((np.where(both, gap - mean, 0.0) ** 2).sum(0) / count)

    tests = math.log10(max(d * (d - 1), 1))
    laws, distance = np.zeros(d, bool), np.full(d, np.inf)
    ratio = np.divide(mean, spread * math.sqrt(2), out=np.full(len(some), np.inf), where=spread > 0)
    for k in np.flatnonzero((gap >= 0).all(0) & (count > n / 2)).tolist():
        if count[k] * 0.5 * math.erfc(ratio[k]) > NEGATIVE:
            low, high = x[both[:, k], a], x[both[:, k], some[k]]
            share = np.searchsorted(np.sort(low), high, side="right").mean() / len(low)  # of pairs from any rows
            laws[some[k]] = len(low) * math.log10(max(float(share), 1e-300)) + tests < CHANCE
            distance[some[k]] = mean[k]
    return laws, distance


# ---- edges


def find_bounds(rows: Sample) -> list[Limits]:
    """Guess bounds that are reached: so many rows lie at the end that a tail would go on.

    With c0 rows in the last cell and c1 in the one before, a tail would have about ``c0 min(1, c0 / c1)`` beyond; the
    chance of none is exp(-that).
    """
    found = []
    for known in rows.columns:
        if not known.number or known.time or known.boolean:
            continue
        numbers = rows.numbers(known)
        x = np.sort(numbers.values[numbers.there])
        if len(x) < 4 * EDGE_ROWS:
            continue
        low, high = _edge(x, known.unit, len(rows.columns)), _edge(-x[::-1], known.unit, len(rows.columns))
        if low is not None or high is not None:
            found.append(Limits(known.name, str(known.type), low, None if high is None else -high))
    return found


def _edge(x: Array, unit: float, columns: int) -> float | None:
    """The least of sorted numbers, if it is a bound; None for the end of a tail, or one that hardly a row reaches."""
    width = max(float(x[EDGE_ROWS - 1] - x[0]), unit)
    if width == 0:  # of numbers that were not rounded, many at the end itself
        width = float(np.min(np.diff(np.unique(x))))
    first, second = (int(np.searchsorted(x, x[0] + k * width - unit / 2)) for k in (1, 2))
    beyond = first * min(1.0, first / max(second - first, 1))
    reached = int(np.searchsorted(x, x[0], side="right")) >= REACHED
    return float(x[0]) if reached and math.log10(2 * columns) - beyond / math.log(10) < CHANCE else None


# ---- gaps


def find_gaps(rows: Sample) -> list[Gap]:
    """Guess columns that are missing in the same rows, or one just where the other is not.

    The chance is one over the number of ways to place so many gaps.
    """
    n, first, found = len(rows.cells), dict[bytes, str](), []
    tests = math.log10(max(len(rows.columns) ** 2, 1))
    for known in rows.columns:
        if not known.gaps:
            continue
        gap = ~present(rows.cells.column(known.name))
        k = int(gap.sum())
        ways = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(10)
        same, other = first.get(gap.tobytes()), first.get((~gap).tobytes())
        if (source := same or other) and -ways + tests < CHANCE:
            found.append(Gap(known.name, str(known.type), source, same is not None))
        else:
            first.setdefault(gap.tobytes(), known.name)
    return found
