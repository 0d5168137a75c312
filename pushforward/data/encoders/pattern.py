"""Patterns of texts that differ in every row: which characters stand where, and fresh values that no training row has.

Values of one layout (where letters and digits stand, and what is between them) have a `Template`, one alphabet for each
place. Its values are numbers in a mixed radix, so that those of the training rows leave intervals free, from which
fresh ones are drawn: each by the number of its row, no two alike, none of a training row.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import numpy as np

from pushforward.data.files.rows import Array

__all__ = [
    "Interval",
    "Pattern",
    "Template",
    "fit_pattern",
    "free_between",
    "intervals_from_json",
    "pattern_from_json",
    "permuted",
    "scramble",
    "within",
]

Interval = tuple[int, int]  # first, and one after the last
TEMPLATES = 64  # of a column, at most
LENGTH = 400  # characters of a value that are imitated
ROOMY = 2**62  # values of a template from which no draw hits a training row
INTERVALS = 64  # between training values, the widest
SURE = 10  # values for each character of a place, after which no other is expected there
DIGITS, LOWER, UPPER = string.digits, string.ascii_lowercase, string.ascii_uppercase
# from the narrowest: the first that holds all characters seen at a place
ALPHABETS = (DIGITS, LOWER, UPPER, DIGITS + "abcdef", DIGITS + "ABCDEF", DIGITS + LOWER, DIGITS + UPPER, UPPER + LOWER)
ANY = DIGITS + UPPER + LOWER


@dataclass(frozen=True)
class Template:
    """One layout of values: the alphabet of each place, in ascending order, and the intervals of values that are free.

    The value of number r has the digits of r, in the mixed radix of the alphabets' sizes, the last place lowest.
    """

    places: tuple[str, ...]
    share: float  # of the training values
    free: tuple[Interval, ...]

    @property
    def capacity(self) -> int:
        """Number of values."""
        return math.prod(map(len, self.places))

    def longer(self, by: int) -> Template:
        """The template with ``by`` more characters, like the last that varies; all of its values are free."""
        last = max((i for i, place in enumerate(self.places) if len(place) > 1), default=-1)
        more = self.places[last] if last >= 0 else DIGITS
        cut = last + 1 if last >= 0 else len(self.places)
        places = (*self.places[:cut], *(more,) * by, *self.places[cut:])
        return Template(places, self.share, ((0, math.prod(map(len, places))),))

    def numbers(self, values: Sequence[str]) -> Array:
        """Number values of this template, int64 [n]; only where its capacity is within 2^62."""
        letters = _letters(values, len(self.places))
        number = np.zeros(len(values), np.int64)
        for place, seen in zip(self.places, letters.T, strict=True):
            number = number * len(place) + np.searchsorted(np.array(list(place)), seen)
        return number

    def write(self, index: Array, seed: int) -> Array:
        """Write the free values of rows ``index`` [n], each below their number, a text each; no two are alike."""
        if self.capacity <= ROOMY:
            rank = within(self.free, permuted(index, sum(b - a for a, b in self.free), seed))
            return self._spell(self.places, rank)
        # the widest run of places tells rows apart, the others are drawn
        parts: list[Array] = []
        groups = _groups(self.places)
        chief = max(groups, key=lambda group: math.prod(map(len, group)))
        for i, group in enumerate(groups):
            size = math.prod(map(len, group))
            by_row = group is chief
            rank = permuted(index, size, seed) if by_row else scramble(index, seed + i + 1) % np.uint64(size)
            parts.append(self._spell(group, rank.astype(np.int64)))
        text = parts[0]
        for part in parts[1:]:
            text = np.char.add(text, part)
        return text

    @staticmethod
    def _spell(places: Sequence[str], rank: Array) -> Array:
        out = np.empty((len(rank), len(places)), "U1")
        for i in range(len(places) - 1, -1, -1):
            rank, digit = np.divmod(rank, len(places[i]))
            out[:, i] = np.array(list(places[i]))[digit]
        return out.view(f"U{len(places)}")[:, 0] if places else np.zeros(len(rank), "U1")


@dataclass(frozen=True)
class Pattern:
    """The templates of a column, and the length of its longest value."""

    templates: tuple[Template, ...]
    longest: int

    def values(self, index: Array, seed: int) -> list[str]:
        """Draw a fresh value for each row of ``index`` [n], a function of the row and the seed alone; no two alike."""
        shares = np.cumsum([template.share for template in self.templates])
        u = scramble(index, seed) / 2.0**64 * shares[-1]
        chosen = np.searchsorted(shares, u, side="right").clip(0, len(shares) - 1)
        out = np.empty(len(index), object)
        beyond = np.zeros(len(index), bool)
        for i, template in enumerate(self.templates):
            room = template.capacity if template.capacity > ROOMY else sum(b - a for a, b in template.free)
            here, fits = chosen == i, index < room
            out[here & fits] = template.write(index[here & fits], seed + i)
            beyond |= here & ~fits

        # rows for which no value is left get one that is longer than all values in training
        first = self.templates[0]
        for extra in count(max(1, self.longest + 1 - len(first.places))) if beyond.any() else ():
            template = first.longer(extra)
            fits = beyond & (index < min(template.capacity, 2**63 - 1))
            out[fits] = template.write(index[fits], seed)
            beyond &= ~fits
            if not beyond.any():
                break
        return [str(value) for value in out]

    @property
    def example(self) -> str:
        """One value."""
        return self.values(np.zeros(1, np.int64), 0)[0]

    def to_json(self) -> dict[str, Any]:
        """The alphabets, and the templates by their numbers."""
        alphabets = sorted({place for template in self.templates for place in template.places})
        number = {alphabet: i for i, alphabet in enumerate(alphabets)}
        templates = [
            {"places": [number[p] for p in t.places], "share": t.share, "free": [list(pair) for pair in t.free]}
            for t in self.templates
        ]
        return {"alphabets": alphabets, "templates": templates, "longest": self.longest}


def fit_pattern(values: Collection[str], complete: bool) -> Pattern:
    """Fit the pattern of different values; ``complete``: these are all, so that what is between them is free."""
    layouts: dict[str, list[str]] = {}
    longest = max(map(len, values))
    for value in values:
        if value:
            layouts.setdefault(re.sub(r"[^\W_]", "x", value[:LENGTH]), []).append(value[:LENGTH])
    groups = sorted(layouts.values(), key=len, reverse=True)[:TEMPLATES] or [["x"]]
    letters = frozenset(character for group in groups for value in group for character in value)
    begin, end = _common(values), _common([value[::-1] for value in values])
    templates = [_template(group, letters, (begin, end), complete and longest <= LENGTH) for group in groups]
    total = math.fsum(template.share for template in templates)
    return Pattern(tuple(Template(t.places, t.share / total, t.free) for t in templates), longest)


def pattern_from_json(data: dict[str, Any]) -> Pattern:
    """Restore from ``Pattern.to_json``; ValueError, LookupError or TypeError for what no fit gives."""
    alphabets, longest = data["alphabets"], data["longest"]
    if (
        not all(isinstance(place, str) and 0 < len(place) == len(set(place)) for place in alphabets)
        or type(longest) is not int
        or not 0 <= longest < 2**31
        or not 0 < len(data["templates"]) <= TEMPLATES
    ):
        raise ValueError("no pattern")
    templates = []
    for each in data["templates"]:
        share, places = float(each["share"]), tuple(alphabets[int(i)] for i in each["places"])
        template = Template(places, share, intervals_from_json(each["free"]))
        if not 0 < share <= 1 or len(places) > LENGTH or any(b > template.capacity for _, b in template.free):
            raise ValueError("no template")
        templates.append(template)
    return Pattern(tuple(templates), longest)


def intervals_from_json(free: Any) -> tuple[Interval, ...]:
    """Restore ascending intervals of numbers within 2^62 from pairs; ValueError or TypeError for anything else."""
    pairs = tuple((first, last) for first, last in free)
    flat = [value for pair in pairs for value in pair]
    if not all(type(v) is int and abs(v) <= ROOMY for v in flat) or sorted(set(flat)) != flat:
        raise ValueError("no intervals")
    return pairs


def _template(group: Sequence[str], letters: frozenset[str], common: tuple[int, int], complete: bool) -> Template:
    """The template of values of one layout; of the column, the ``letters`` and how much all values have in common."""
    width = len(group[0])
    seen = [sorted(set(column)) for column in _letters(group, width).T.tolist()]
    whole = _closure(letters & set(ANY))
    places: list[str] = []
    for i, here in enumerate(seen):
        # zeros that fill a number up from the left may be any digit
        varies = _fills_up(seen, i)
        sure = len(group) >= SURE * len(here) or (len(here) == 1 and (i < common[0] or width - i <= common[1]))
        if set(here) <= set(DIGITS) and (len(here) > 1 or (here == ["0"] and varies) or not sure):
            places.append(DIGITS if "0" in here or not sure else DIGITS[1:])
        elif sure or not set(here) & set(ANY):
            places.append("".join(here))
        else:
            narrow = set(_closure(frozenset(here))) & set(whole)
            places.append("".join(sorted(narrow | set(here))))
    template = Template(tuple(places), float(len(group)), ())
    if template.capacity > ROOMY or not complete:
        return template
    taken = np.unique(template.numbers(group))
    return Template(template.places, template.share, free_between(taken, 0, template.capacity))


def _fills_up(seen: Sequence[Sequence[str]], i: int) -> bool:
    """Whether place ``i`` is one of the zeros with which digits begin, and some that follow it vary."""
    begin, end = i, i + 1
    while begin and set(seen[begin - 1]) <= set(DIGITS):
        begin -= 1
    while end < len(seen) and set(seen[end]) <= set(DIGITS):
        end += 1
    return all(here == ["0"] for here in seen[begin : i + 1]) and any(len(later) > 1 for later in seen[i:end])


def _closure(letters: frozenset[str]) -> str:
    """The narrowest of the alphabets that holds letters, of which those of other scripts are left alone."""
    plain = letters & set(ANY)
    return next((alphabet for alphabet in ALPHABETS if plain <= set(alphabet)), ANY)


def _common(values: Collection[str]) -> int:
    """Number of characters with which all of enough values begin."""
    low, high = min(values), max(values)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return same if len(values) >= SURE else 0


def _letters(values: Sequence[str], width: int) -> Array:
    return np.array(values, f"U{width}").view("U1").reshape(len(values), width)


def _groups(places: Sequence[str]) -> list[list[str]]:
    """Consecutive places, each group with at most 2^62 values."""
    groups: list[list[str]] = [[]]
    for place in places:
        if math.prod(map(len, groups[-1])) * len(place) > ROOMY:
            groups.append([])
        groups[-1].append(place)
    return groups


# ---- numbers


def free_between(taken: Array, low: int, high: int) -> tuple[Interval, ...]:
    """The widest intervals of low .. high - 1 between sorted integers; of wide ones not the ends, next to a row."""
    ends = [low - 1, *map(int, taken), high]
    gaps = [(a + 1, b) for a, b in pairwise(ends) if b > a + 1]
    widest = sorted(gaps, key=lambda gap: gap[0] - gap[1])[:INTERVALS]
    trimmed = [(a + (b - a) // 16, b - (b - a) // 16) if b - a >= 64 else (a, b) for a, b in widest]
    return tuple(sorted(trimmed))


def within(free: Sequence[Interval], number: Array) -> Array:
    """The number-th value of intervals, from 0; int64 [n]."""
    starts = np.array([a for a, _ in free], np.int64)
    before = np.cumsum([0, *(b - a for a, b in free)])[:-1].astype(np.int64)
    which = np.searchsorted(before, number, side="right") - 1
    return np.asarray(starts[which] + number - before[which])


def permuted(index: Array, size: int, seed: int) -> Array:
    """Take each of the numbers below ``size``, at most 2^62, to another of them, no two to the same; int64 [n]."""
    if size < 2:
        return np.zeros(len(index), np.int64)
    a, b = (int(v) for v in scramble(np.arange(2), seed))
    factor = a % size
    while math.gcd(factor, size) > 1:
        factor = (factor + 1) % size
    # in Python's integers, where the product would not fit
    if size < 2**31 and int(index.max(initial=0)) < size:
        return np.asarray((index * factor + b % size) % size)
    return np.array([(int(i) * factor + b) % size for i in index], np.int64)


def scramble(index: Array, seed: int) -> Array:
    """Draw for each number of ``index`` one that looks random, uint64 [n] (SplitMix64), alone by the two."""
    with np.errstate(over="ignore"):
        state = index.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 0x9E3779B97F4A7C15)):
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
        return state ^ (state >> np.uint64(29))
