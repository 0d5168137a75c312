"""Formulas of columns: ``price * count - rebate``, read from text, written, evaluated, and solved for one column."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pushforward.data.files.rows import Array
from pushforward.errors import InputError

__all__ = ["BARE", "Expression", "column", "monomial", "name_of", "parse", "total", "tokens"]

BARE = r"[^\W\d][\w.]*"  # a name that needs no quotation marks, such as Sepal.Length
TOKEN = re.compile(rf"\s*(`[^`]+`|{BARE}|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+|\*\*|>=|<=|[-+*/^()=<>,])")
FUNCTIONS = ("max", "min")
LONGEST = 500  # words and signs of a formula, which may be in a file of anyone
DEEPEST = 100  # of a formula in a file


@dataclass(frozen=True)
class Expression:
    """A number, a column, or an operation on other expressions; ``str`` writes it as ``parse`` reads it."""

    op: str  # number, column, or one of OPERATIONS
    parts: tuple[Expression, ...] = ()
    value: float | str = 0.0  # of a number, or the name of a column

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in it, each once."""
        return tuple(dict.fromkeys(self._names()))

    def _names(self) -> Iterator[str]:
        if self.op == "column":
            yield str(self.value)
        for part in self.parts:
            yield from part._names()

    def evaluate(self, values: Mapping[str, Array]) -> Array:
        """Evaluate at columns [n]; whole numbers stay so where nothing is divided. Infinite or NaN beyond floats."""
        if self.op == "column":
            return values[str(self.value)]
        if self.op == "number":
            number = float(self.value)
            return np.asarray(int(number) if number.is_integer() else number)
        with np.errstate(all="ignore"):
            return np.asarray(OPERATIONS[self.op](*(part.evaluate(values) for part in self.parts)))

    def size(self, values: Mapping[str, Array]) -> Array:
        """Limits the terms that are added in it, which says how far rounding in float64 may reach."""
        if self.op in ("+", "-", *FUNCTIONS):
            return np.asarray(sum(part.size(values) for part in self.parts))
        return np.asarray(np.abs(self.evaluate(values)))

    def solve(self, name: str, result: Array, values: Mapping[str, Array]) -> Array | None:
        """Find the column ``name`` that gives ``result`` with the others; None where it is not there exactly once."""
        if self.op == "column":
            return result if self.value == name else None
        places = [i for i, part in enumerate(self.parts) if name in part.names]
        if len(places) != 1 or self.op in FUNCTIONS:
            return None
        (place,) = places
        others = [np.asarray(part.evaluate(values), np.float64) for i, part in enumerate(self.parts) if i != place]
        with np.errstate(all="ignore"):
            inner = INVERSES[self.op, place](result, *others)
        return self.parts[place].solve(name, np.asarray(inner), values)

    def __str__(self) -> str:
        return self._text(0)

    def _text(self, outer: int) -> str:
        if self.op == "column":
            return name_of(str(self.value))
        if self.op == "number":
            short = f"{self.value:.10g}"
            return short if float(short) == self.value else repr(self.value)
        if self.op in FUNCTIONS:
            return f"{self.op}({', '.join(part._text(0) for part in self.parts)})"
        rank = RANKS[self.op]
        left, right = self.parts[0]._text(rank + (self.op == "**")), self.parts[1]._text(rank + 1)
        text = f"{left}{self.op}{right}" if self.op == "**" else f"{left} {self.op} {right}"
        return f"({text})" if rank < outer else text


def column(name: str) -> Expression:
    """Build the expression that is a column."""
    return Expression("column", value=name)


def total(terms: Mapping[str, float], constant: float = 0.0) -> Expression:
    """Build ``c1 * a1 + c2 * a2 + ... + constant``, the terms with plus first."""
    out = Expression("number", value=constant) if constant > 0 and all(c < 0 for c in terms.values()) else None
    rest = 0.0 if out else constant
    for name, factor in sorted(terms.items(), key=lambda term: term[1] < 0):
        size = abs(factor) if out else factor
        term = column(name) if size == 1 else Expression("*", (Expression("number", value=size), column(name)))
        out = term if out is None else Expression("+" if factor > 0 else "-", (out, term))
    assert out is not None  # there is a term
    if rest:
        out = Expression("+" if rest > 0 else "-", (out, Expression("number", value=abs(rest))))
    return out


def monomial(powers: Mapping[str, float], factor: float = 1.0) -> Expression:
    """Build ``factor * a ** p * ... / b ** q / ...``."""
    out = None if factor == 1 and max(powers.values()) > 0 else Expression("number", value=factor)
    for name, power in sorted(powers.items(), key=lambda term: term[1] < 0):
        size = Expression("number", value=abs(power))
        term = column(name) if abs(power) == 1 else Expression("**", (column(name), size))
        out = term if out is None else Expression("*" if power > 0 else "/", (out, term))
    assert out is not None  # there is a power
    return out


def name_of(name: str) -> str:
    """Write a column's name as formulas have it: in back quotes, if it is not one word."""
    return name if re.fullmatch(BARE, name) and name not in FUNCTIONS else f"`{name}`"


# ---- from text


def tokens(text: str) -> list[str]:
    """Split a rule into names, numbers and signs; InputError for what is none."""
    found, place, end = list[str](), 0, len(text.rstrip())
    while place < end:
        match = TOKEN.match(text, place)
        if not match:
            raise InputError(f"rule {text!r}: {text[place:].strip()[:20]!r} is no formula of columns")
        found.append(match[1])
        place = match.end()
        if len(found) > LONGEST:
            raise InputError(f"rule {text[:40]!r}...: has more than {LONGEST} words and signs")
    return found


def parse(words: list[str], text: str) -> Expression:
    """Read a formula from its ``tokens``, all of them; InputError names ``text``."""
    reader = _Reader(words, text)
    out = reader.sum(0)
    if reader.left:
        raise reader.error()
    return out


@dataclass
class _Reader:
    left: list[str]
    text: str

    def sum(self, depth: int) -> Expression:
        return self._chain(("+", "-"), self.product, depth)

    def product(self, depth: int) -> Expression:
        return self._chain(("*", "/"), self.power, depth)

    def _chain(self, signs: tuple[str, ...], part: Callable[[int], Expression], depth: int) -> Expression:
        out = part(depth)
        while self.left and self.left[0] in signs:
            out = Expression(self.left.pop(0), (out, part(depth)))
        return out

    def power(self, depth: int) -> Expression:
        base = self.atom(depth + 1)
        if self.left and self.left[0] in ("**", "^"):
            self.left.pop(0)
            return Expression("**", (base, self.atom(depth + 1)))
        return base

    def atom(self, depth: int) -> Expression:
        if not self.left or depth > DEEPEST:
            raise self.error()
        word = self.left.pop(0)
        if word == "-" and self.left and re.match(r"[\d.]", self.left[0]):
            return Expression("number", value=-float(self.left.pop(0)))
        if word == "-":
            return Expression("*", (Expression("number", value=-1.0), self.power(depth)))
        if word == "(":
            out = self.sum(depth)
            self._expect(")")
            return out
        if word in FUNCTIONS and self.left and self.left[0] == "(":
            self.left.pop(0)
            parts = [self.sum(depth)]
            while self.left and self.left[0] == ",":
                self.left.pop(0)
                parts.append(self.sum(depth))
            self._expect(")")
            return Expression(word, tuple(parts))
        if word[0] == "`" or re.fullmatch(BARE, word):
            return column(word.strip("`"))
        if re.match(r"[\d.]", word) and math.isfinite(float(word)):
            return Expression("number", value=float(word))
        raise self.error()

    def _expect(self, sign: str) -> None:
        if not self.left or self.left.pop(0) != sign:
            raise self.error()

    def error(self) -> InputError:
        return InputError(
            f"rule {self.text!r}: cannot be read; write it as total = a + b, rate = a / b ** 2, end >= start or "
            "`last day` >= max(a, b)"
        )


def _most(*parts: Array) -> Array:
    out = parts[0]
    for part in parts[1:]:
        out = np.asarray(np.maximum(out, part))
    return out


def _least(*parts: Array) -> Array:
    return np.asarray(-_most(*(np.asarray(-part) for part in parts)))


RANKS = {"+": 1, "-": 1, "*": 2, "/": 2, "**": 3}
OPERATIONS: dict[str, Callable[..., Array]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "**": lambda a, b: np.asarray(a, np.float64) ** b,
    "max": _most,
    "min": _least,
}
# the part at a place of an operation, of its result r and the other part
INVERSES: dict[tuple[str, int], Callable[[Array, Array], Array]] = {
    ("+", 0): lambda r, other: r - other,
    ("+", 1): lambda r, other: r - other,
    ("-", 0): lambda r, other: r + other,
    ("-", 1): lambda r, other: other - r,
    ("*", 0): lambda r, other: r / other,
    ("*", 1): lambda r, other: r / other,
    ("/", 0): lambda r, other: r * other,
    ("/", 1): lambda r, other: other / r,
    ("**", 0): lambda r, other: np.asarray(r, np.float64) ** (1 / other),
    ("**", 1): lambda r, other: np.log(np.asarray(r, np.float64)) / np.log(other),
}
