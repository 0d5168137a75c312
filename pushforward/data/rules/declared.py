"""Rules that are declared: ``total = a + b``, ``end >= start``, ``city by zip``, ``missing(b) = missing(a)``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pushforward.data.rules.candidates import Candidate, OffsetCandidate, PlainCandidate, lookup_candidate
from pushforward.data.rules.columns import Known, Sample
from pushforward.data.rules.expression import parse, tokens
from pushforward.data.rules.formulas import offset
from pushforward.data.rules.joint_search import pair_candidate, together_candidate
from pushforward.data.rules.repairs import Gap, Limits
from pushforward.data.rules.steps import has_steps, step_candidate
from pushforward.data.rules.unique import Unique
from pushforward.errors import InputError, nearest

__all__ = ["ANY", "RuleChoice", "excluded", "read_choice", "read_rule", "read_unique"]

ANY = "any"  # in the place of the name of a rule, all that are found
WORDS = ("by", "missing", "max", "min", "together")  # of rules, which may be columns, too
SIGNS = ("=", ">=", "<=", ">", "<")


@dataclass(frozen=True)
class RuleChoice:
    """Rules that are declared, and the names of those that are not to be found, ``any`` for all."""

    declared: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


def read_choice(texts: Sequence[str]) -> RuleChoice:
    """Sort texts into rules that are declared, and, after the word ``not``, those that are not to be found."""
    off = [text.strip()[4:].strip() for text in texts if text.strip().startswith("not ")]
    return RuleChoice(tuple(text for text in texts if not text.strip().startswith("not ")), tuple(off))


def excluded(name: str, choice: RuleChoice) -> bool:
    """Whether a rule that was found is switched off, by its name however it is spaced."""
    return _bare(name) in map(_bare, choice.excluded)


def _bare(name: str) -> str:
    return re.sub(r"\s+", "", name)


def read_unique(text: str, names: Sequence[str], origin: str) -> Unique | None:
    """Read ``unique(a, b)`` of columns with these names; None for a rule of another kind, InputError for no columns."""
    words = tokens(text)
    if words[:2] != ["unique", "("]:
        return None
    columns, marks = [word.strip("`") for word in words[2:-1:2]], words[3:-1:2]
    if words[-1] != ")" or len(words) < 4 or set(marks) - {","} or len(words) % 2 or len(set(columns)) < len(columns):
        raise InputError(f"{origin}: rule {text!r}: write unique(a), or unique(a, b, ...) with each column once")
    if odd := [name for name in columns if name not in names]:
        raise InputError(f"{origin}: rule {text!r}: {nearest(odd[0], names, 'column')}")
    return Unique(tuple(columns))


def read_rule(text: str, rows: Sample, origin: str) -> Candidate:
    """Read a rule that is declared; InputError: it cannot be read, or does not fit these columns."""
    known, words = rows.known, tokens(text)
    names = [word.strip("`") for word in dict.fromkeys(words) if re.match(r"`|[^\W\d]", word)]
    if odd := [name for name in names if name not in known and name not in WORDS]:
        raise _unknown(text, odd[0], rows, origin)
    if len(words) == 3 and words[1] == "by":
        target, source = words[0].strip("`"), words[2].strip("`")
        build = step_candidate if has_steps(target, source, rows) else lookup_candidate
        candidate: Candidate = build(target, source, known, declared=True)
    elif len(words) == 5 and words[1] == "by" and words[3] == ",":
        target, first, second = (words[i].strip("`") for i in (0, 2, 4))
        if first == second:
            raise InputError(f"{origin}: rule {text!r}: name two columns, each once, or write {target} by {first}")
        candidate = pair_candidate(target, first, second, known, declared=True)
    elif words[:2] == ["together", "("]:
        if len(words) != 6 or words[3] != "," or words[5] != ")":
            raise InputError(f"{origin}: rule {text!r}: write together(a, b) of two columns")
        candidate = _together(text, words[2].strip("`"), words[4].strip("`"), rows)
    elif words[:2] == ["missing", "("]:
        candidate = _gap(text, words, known)
    else:
        candidate = _formula(text, words, known)
    if candidate.rule.target in candidate.rule.sources:
        raise InputError(f"{origin}: rule {text!r} says what {candidate.rule.target!r} is by itself")
    return candidate


def _unknown(text: str, name: str, rows: Sample, origin: str) -> InputError:
    """What is wrong with a name: there is no such column, or one of which no rule speaks."""
    if name in rows.names:
        return InputError(
            f"{origin}: rule {text!r}: column {name!r} is the same in every row, an identifier, or left out; rules are "
            "of columns that are learned"
        )
    return InputError(f"{origin}: rule {text!r}: {nearest(name, rows.names, 'column')}")


def _together(text: str, first: str, second: str, rows: Sample) -> Candidate:
    """Only pairs that occur: the first column has values that were there in training, as categories have."""
    if rows.known[first].number and not rows.known[first].boolean:
        first, second = second, first
    if rows.known[first].number and not rows.known[first].boolean:
        raise InputError(
            f'rule {text!r}: both columns hold numbers or dates; say "{first}": "categorical" in the schema of one '
            "whose values are names"
        )
    return together_candidate(first, second, rows, declared=True)


def _gap(text: str, words: list[str], known: dict[str, Known]) -> Candidate:
    """``missing(a) = missing(b)``, or ``missing(a) = 1 - missing(b)`` for one of the two."""
    match words:
        case ["missing", "(", target, ")", "=", "missing", "(", source, ")"]:
            together = True
        case ["missing", "(", target, ")", "=", "1", "-", "missing", "(", source, ")"]:
            together = False
        case _:
            raise InputError(f"rule {text!r}: write missing(b) = missing(a), or missing(b) = 1 - missing(a)")
    target, source = target.strip("`"), source.strip("`")
    return PlainCandidate(Gap(target, str(known[target].type), source, together), known, declared=True)


def _formula(text: str, words: list[str], known: dict[str, Known]) -> Candidate:
    """A column, a sign, and a formula, in this order or the other; or a column and a number."""
    if len(words) == 5 and words[1] == words[3] == "<=" and words[2].strip("`") in known:
        return _between(text, words, known)
    signs = [i for i, word in enumerate(words) if word in SIGNS]
    if len(signs) != 1:
        raise InputError(f"rule {text!r}: write a column, one of {' '.join(SIGNS)}, and a formula")
    left, sign, right = words[: signs[0]], words[signs[0]], words[signs[0] + 1 :]
    if len(left) != 1 or re.match(r"[\d.]", left[0]):  # a + b = total
        left, right = right, left
        sign = sign.translate(str.maketrans("<>", "><"))
    if len(left) != 1 or re.match(r"[\d.]", left[0]) or not right:
        raise InputError(f"rule {text!r}: one side must be a column: write a + b <= c as a <= c - b")
    target, formula = left[0].strip("`"), parse(right, text)
    names = (target, *formula.names)
    if odd := [name for name in names if not known[name].number]:
        raise InputError(f"rule {text!r}: column {odd[0]!r} holds neither numbers nor dates")
    kinds = {str(known[name].type) if known[name].time else "numbers" for name in names}
    if len(kinds) > 1:
        raise InputError(f"rule {text!r}: compares {' with '.join(sorted(kinds))}; compare columns of one type")
    if not formula.names:
        if sign in ("=", ">", "<") or known[target].time:
            raise InputError(f"rule {text!r}: a column and a number are compared by >= and <=, and dates not at all")
        value = float(formula.evaluate({}))
        ends: tuple[float | None, float | None] = (value, None) if sign == ">=" else (None, value)
        return PlainCandidate(Limits(target, str(known[target].type), *ends), known, declared=True)
    if known[target].time and not {"+", "-", "*", "/", "**"}.isdisjoint(words):
        raise InputError(f"rule {text!r}: dates are compared as they are, or with max and min of others")
    least, most = (None if sign[0] == "<" else 0.0), (None if sign[0] == ">" else 0.0)
    rule = offset(target, formula, least, most, known)
    return OffsetCandidate(replace(rule, strict=sign in ("<", ">")), known, declared=True)


def _between(text: str, words: list[str], known: dict[str, Known]) -> Candidate:
    """A column of numbers within two: ``low <= column <= high``."""
    column = known[words[2].strip("`")]
    try:
        ends = float(words[0]), float(words[4])
    except ValueError:
        ends = (0.0, 0.0)
    if not column.number or column.time or not ends[0] < ends[1]:
        raise InputError(f"rule {text!r}: write two numbers in order, and a column of numbers between them")
    return PlainCandidate(Limits(column.name, str(column.type), *ends), known, declared=True)
