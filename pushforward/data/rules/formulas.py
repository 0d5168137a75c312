"""Search for formulas: columns that are a sum, or a product, of others, to the last digit that they have.

A column is a linear function of others if what is left of it, after its projection on those before it, is rounding
alone; of logarithms the same makes products, ratios and powers. Factors are then rounded to the shortest number that
the noise allows, and the formula is held against the rows as it is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pushforward.data.files.rows import Array
from pushforward.data.rules.candidates import NEAR
from pushforward.data.rules.columns import CHANCE, Known, Sample
from pushforward.data.rules.expression import Expression, monomial, total
from pushforward.data.rules.offset import Offset

__all__ = ["find_formulas", "offset"]

TERMS = 24  # of a formula, at most
SPARE = 20  # rows that a fit has more than columns
POWERS = (-3, -2, -1, -0.5, 0.5, 1, 2, 3)
FACTORS = 3  # of a product
HALF = 0.5  # of the rows have no zero in a column of a product
COMPLETE = (0.5, 0.9, 1.0)  # share of the rows in which columns must be there, the first that leaves rows enough
LOUD = 0.05  # standard deviations of a column that may be rounding


@dataclass(frozen=True)
class Relation:
    """sum_i factors[i] * column_i + constant = 0, of columns or of their logarithms."""

    factors: Mapping[str, float]
    constant: float
    loud: bool  # whether it holds but for rounding, so that many factors do


def find_formulas(rows: Sample) -> list[Offset]:
    """Guess formulas from a sample of rows; each is the best way to write what was found."""
    numbers = [c for c in rows.columns if c.number and not c.time]
    if len(rows.cells) < SPARE + 2 or len(numbers) < 2:
        return []
    x, there = rows.matrix(numbers)
    # of products, columns without signs; rows with zeros say nothing
    signed = ((x < 0) & there).any(0)
    positive = (x > 0) & there
    found: list[Offset] = []
    # products last: of what is a sum, too, the sum is the plainer law
    for marks, log in ((there, False), (positive, True)):
        usable = ~np.array([log and c.boolean for c in numbers]) & ~(signed & log)
        for share in (HALF,) if log else COMPLETE:
            often = usable & (marks.mean(0) >= share)
            whole = marks[:, often].all(1)
            if whole.sum() >= SPARE + 2 * often.sum():
                break
        columns = [c for c, o in zip(numbers, often, strict=True) if o]
        if len(columns) < 2 or whole.sum() < SPARE + 2:
            continue
        table = x[whole][:, [numbers.index(c) for c in columns]]
        units = np.array([c.unit or 0.0 for c in columns])
        noise = units * 12**-0.5 / (np.abs(table) if log else 1.0) * np.ones_like(table)
        values = np.log(table) if log else table
        for relation in _relations(values, np.sqrt((noise**2).mean(0)), columns, log):
            best = _best_form(relation, log, rows, columns)
            if best is not None:
                found.append(best)
    return found


def _relations(x: Array, noise: Array, columns: Sequence[Known], log: bool) -> Iterator[Relation]:
    """Find linear relations among columns x [n, d], each of one column and some before it."""
    from scipy.linalg import solve_triangular

    mean, scale = x.mean(0), x.std(0)
    z = np.divide(x - mean, scale, out=np.zeros_like(x), where=scale > 0)
    n, free = len(x), list[int]()
    basis, corner = np.zeros((n, 0)), np.zeros((0, 0))  # z of the free columns = basis @ corner
    for j, known in enumerate(columns):
        # what is constant here, but for rounding in float64, is explained by all; few rows explain anything
        if scale[j] <= 1e-12 * max(1.0, abs(mean[j])) or len(free) + SPARE + 2 > n:
            continue
        first = basis.T @ z[:, j]
        left = z[:, j] - basis @ first
        second = basis.T @ left  # twice is as good as exact
        left, first = left - basis @ second, first + second
        size = float(np.sqrt((left**2).mean()))
        loud = 4 * math.hypot(noise[j], max((noise[i] for i in free), default=0.0)) / scale[j]
        exact = 1e-5 if str(known.type) == "float" else 1e-8
        relation = None
        if free and size <= max(exact, min(loud, LOUD)):
            factors = solve_triangular(corner, first)
            large = np.abs(factors) > max(1e-4, 4 * size / math.sqrt(n))
            relation = _rounded(x, j, [i for i, keep in zip(free, large, strict=True) if keep], scale, log)
            if relation is not None:
                yield Relation({columns[i].name: f for i, f in relation[0].items()}, relation[1], size > exact)
        if size > exact and relation is None:  # noise of a column that is said already explains nothing
            free.append(j)
            length = float(np.linalg.norm(left))
            corner = np.block([[corner, first[:, None]], [np.zeros((1, len(corner))), np.array([[length]])]])
            basis = np.column_stack([basis, left / length])


def _rounded(x: Array, j: int, terms: list[int], scale: Array, log: bool) -> tuple[dict[int, float], float] | None:
    """Fit column j by others, leave out those that do not matter, and round the factors."""
    large = np.zeros(1, bool)
    while terms and not large.all():
        centred = x[:, terms] - x[:, terms].mean(0)
        goal = x[:, j] - x[:, j].mean()
        factors = np.linalg.lstsq(centred / scale[terms], goal, rcond=None)[0] / scale[terms]
        off = float(np.sqrt(((goal - centred @ factors) ** 2).mean()))
        error = 4 * off / (scale[terms] * math.sqrt(len(x))) + 1e-9 * scale[j] / scale[terms]
        large = np.abs(factors) > np.maximum(error, 1e-4 * scale[j] / scale[terms])
        if not large.all():
            terms = [t for t, keep in zip(terms, large, strict=True) if keep]
    if not terms:
        return None
    if len(terms) > (FACTORS if log else TERMS):
        return None
    if log:
        near = [min(POWERS, key=lambda p: abs(p - f)) for f in factors]
        if any(abs(p - f) > max(e, 0.02) for p, f, e in zip(near, factors, error, strict=True)):
            return None
    else:
        near = [shortest(f, e) for f, e in zip(factors, error, strict=True)]
    left = x[:, j] - x[:, terms] @ np.array(near)
    spread = 4 * float(left.std()) / math.sqrt(len(x))
    constant = float(left.mean())
    if not log:
        tiny = 1e-9 * max(float(np.abs(x[:, j]).max()), *(float(np.abs(x[:, t]).max()) for t in terms))
        constant = shortest(constant, spread + tiny)
    return dict(zip(terms, near, strict=True)) | {j: -1.0}, constant


def shortest(value: float, error: float) -> float:
    """Find the number with the fewest digits within ``error`` of a value."""
    if abs(value) <= error:
        return 0.0
    for digits in range(1, 11):
        near = float(f"{value:.{digits - 1}e}")
        if abs(near - value) <= error:
            return near
    return float(f"{value:.9e}")


def _best_form(relation: Relation, log: bool, rows: Sample, columns: Sequence[Known]) -> Offset | None:
    """Solve a relation for one of its columns: the one that comes out to the digit, in the plainest formula."""
    known, best = {c.name: c for c in columns}, None
    for place, (name, own) in enumerate(relation.factors.items()):
        others = {other: -f / own for other, f in relation.factors.items() if other != name}
        if log:
            if any(p not in POWERS for p in others.values()) or (len(others) == 1 and 1 in others.values()):
                continue
            factor = math.exp(-relation.constant / own)
            formula = monomial(others, _factor(factor, others, name, rows, known))
        else:
            formula = total({o: float(f"{f:.10g}") for o, f in others.items()}, -relation.constant / own or 0.0)
        rule = offset(name, formula, 0.0, 0.0, known)
        judged = _judge(rule, rows, len(columns))
        plain = log or all(shortest(f, 5e-4 * abs(f)) == f for f in [*others.values(), relation.constant])
        if judged is None or (relation.loud and not plain):
            continue
        awkward = sum(f < 0 for f in others.values()) + sum(abs(f) not in (1, 2) for f in others.values())
        rank = (judged, awkward + (relation.constant != 0 and not log), -place)
        if best is None or rank < best[0]:
            best = (rank, rule)
    return best[1] if best else None


def _factor(value: float, powers: Mapping[str, float], name: str, rows: Sample, known: Mapping[str, Known]) -> float:
    """Round the factor of a product to the shortest number with which it comes out in most rows."""
    target = rows.numbers(known[name])
    views = {other: rows.numbers(known[other]) for other in powers}
    product = monomial(powers).evaluate({other: numbers.values for other, numbers in views.items()})
    complete = np.logical_and.reduce([target.there, *(numbers.there for numbers in views.values())])
    complete &= np.isfinite(product) & (product != 0) & (target.values != 0)
    if not complete.any():
        return value
    ratio = target.values[complete] / product[complete]
    error = 4 * float(np.std(ratio)) / math.sqrt(len(ratio)) + 1e-9 * abs(value)
    return shortest(float(np.mean(ratio)), error)


def _judge(rule: Offset, rows: Sample, tried: int) -> int | None:
    """Whether a formula misses its target by rounding at some rows (1) or none (0); None: more, or it may be chance.

    The chance that it fits in all rows of a column that has nothing to do with it is at most that of one row, over
    shuffled rows, to the power of the rows; the formulas that might have been tried are counted.
    """
    known = rows.known
    target = rows.numbers(known[rule.target])
    views = {name: rows.numbers(known[name]) for name in rule.sources}
    base = rule.base_of(views, len(target.values))
    complete = target.there & base.there
    if not complete.any():
        return None
    goal, formula = target.values[complete], base.values[complete]
    size = rule.formula.size({name: v.values[complete] for name, v in views.items()})
    size = np.broadcast_to(size, goal.shape).astype(np.float64)
    off = np.where(rule.fits(goal - formula, size), 0.0, np.abs(goal - formula))
    far = float(off.max())
    if far > NEAR * float(goal.std()):
        return None
    draw = np.random.default_rng(0)
    hits, candidates = 1, 2
    for _ in range(8):
        order = draw.permutation(len(goal))
        hits += int((np.abs(goal[order] - formula) <= far + 1e-9 * size).sum())
        candidates += len(goal)
    terms = len(rule.sources)
    choices = terms * math.log10(2 * tried) + 2 * terms + math.log10(tried)
    return int(far > 0) if len(goal) * math.log10(hits / candidates) + choices < CHANCE else None


def offset(
    target: str, formula: Expression, low: float | None, high: float | None, known: Mapping[str, Known]
) -> Offset:
    """Build a rule of a column with the decimals that it and the columns of the formula have."""
    own = known[target].decimals
    digits = [known[name].decimals for name in (target, *formula.names)]
    places = None if None in digits else max(d for d in digits if d is not None)
    if low == high == 0:
        places = own
    return Offset(target, str(known[target].type), formula, low, high, decimals=own, places=places)
