"""Rules from the JSON of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

from pushforward.data.files.cells import arrow_type, is_number, is_time
from pushforward.data.rules.base import Rule
from pushforward.data.rules.expression import parse, tokens
from pushforward.data.rules.joint import Domain, PairLookup, PairRule, Together
from pushforward.data.rules.keep import Rules
from pushforward.data.rules.lookup import Lookup
from pushforward.data.rules.offset import Offset
from pushforward.data.rules.repairs import Gap, Limits
from pushforward.data.rules.unique import Unique
from pushforward.errors import InputError

__all__ = ["rules_from_json"]

Reader: TypeAlias = Callable[[dict[str, Any]], Rule]
LARGEST = 2.0**63


def rules_from_json(data: Any, names: Collection[str]) -> Rules:
    """Restore rules of columns with these names; InputError for what no fit gives."""
    import pyarrow as pa

    origin = "transform: rules"
    if not isinstance(data, list):
        raise InputError(f"{origin} must be a list")
    rules: list[Rule] = []
    unique = [_unique(entry, names) for entry in data if isinstance(entry, dict) and entry.get("kind") == "unique"]
    for entry in data[: len(data) - len(unique)]:  # which come last
        kind = entry.get("kind") if isinstance(entry, dict) else None
        if kind not in READERS:
            raise InputError(f"{origin} must be objects with a kind among {', '.join(READERS)}")
        keys, read = READERS[kind]
        if set(entry) - {"dictionary"} != {"kind", "target", "type", "support", *keys}:
            raise InputError(f"{origin} of kind {kind} must have the keys target, type, support, {', '.join(keys)}")
        try:
            rule = read(entry)
        except (pa.ArrowException, LookupError, OverflowError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{origin} hold what no fit gives; restore the file") from error
        later = {rule.target, *(earlier.target for earlier in rules)}
        if (
            type(rule.support) is not int
            or not 0 <= rule.support < LARGEST
            or not {rule.target, *rule.sources} <= set(names)
            or len(later) <= len(rules)
            or any(rule.target in earlier.sources for earlier in rules)
            or rule.target in rule.sources
        ):
            raise InputError(f"{origin} hold what no fit gives; restore the file")
        rules.append(rule)
    return Rules(tuple(rules), unique=tuple(unique))


def _unique(entry: dict[str, Any], names: Collection[str]) -> Unique:
    columns = entry.get("columns")
    good = isinstance(columns, list) and set(entry) == {"kind", "columns"} and all(type(c) is str for c in columns)
    if not good or not columns or len(set(columns)) < len(columns) or not set(columns) <= set(names):
        raise InputError("transform: rules of kind unique must have columns, each once; restore the file")
    return Unique(tuple(columns))


def _offset(entry: dict[str, Any]) -> Offset:
    fields = {key: value for key, value in entry.items() if key not in ("kind", "formula")}
    rule = Offset(**fields, formula=parse(tokens(entry["formula"]), entry["formula"]))
    _require(
        is_number(rule.kind) or is_time(rule.kind),
        all(value is None or _finite(value) for value in (rule.low, rule.high, rule.least)),
        rule.low is None or rule.high is None or rule.low <= rule.high,
        type(rule.strict) is type(rule.clips) is type(rule.follows) is bool
        and not (rule.exact and rule.clips)
        and _finite(rule.reference),
        all(d is None or (type(d) is int and 0 <= d < 16) for d in (rule.decimals, rule.places)),
        bool(rule.sources),
    )
    return rule


def _lookup(entry: dict[str, Any]) -> Lookup:
    keys, values = (tuple(entry[key]) for key in ("keys", "values"))
    listed = entry.get("dictionary")
    fields = {key: value for key, value in entry.items() if key not in ("kind", "keys", "values", "dictionary")}
    rule = Lookup(**fields, keys=keys, values=values, dictionary=None if listed is None else tuple(listed))
    plain = keys[: len(keys) - (bool(keys) and keys[-1] is None)]
    _require(
        len(plain) > 0 and len(keys) == len(values) and None not in plain,
        all(type(value) in (str, int, float, bool, type(None)) for value in (*keys, *values)),
        (rule.dictionary is not None) == rule.type.startswith("dictionary"),
        type(rule.steps) is bool and (not rule.steps or (all(map(_finite, plain)) and list(plain) == sorted(plain))),
    )
    rule.check()
    return rule


def _limits(entry: dict[str, Any]) -> Limits:
    rule = Limits(**{key: value for key, value in entry.items() if key != "kind"})
    ends = [end for end in (rule.low, rule.high) if end is not None]
    _require(bool(ends), all(map(_finite, ends)), ends == sorted(ends), is_number(arrow_type(rule.type)))
    return rule


def _gap(entry: dict[str, Any]) -> Gap:
    rule = Gap(**{key: value for key, value in entry.items() if key != "kind"})
    _require(type(rule.together) is bool, isinstance(rule.source, str))
    arrow_type(rule.type)
    return rule


def _domain(entry: Any) -> Domain:
    values, listed = tuple(entry["values"]), entry["dictionary"]
    domain = Domain(entry["column"], entry["type"], values, None if listed is None else tuple(listed))
    _require(
        set(entry) == {"column", "type", "values", "dictionary"} and type(domain.column) is str,
        len(values) > 0 and len(set(values)) == len(values) and None not in values[:-1],
        all(type(value) in (str, int, float, bool, type(None)) for value in values),
        (listed is not None) == domain.type.startswith("dictionary"),
    )
    plain: list[Any] = list(domain.plain)
    _require(not domain.number or (all(map(_finite, plain)) and plain == sorted(plain)))
    return domain


def _joint(entry: dict[str, Any]) -> PairRule:
    first, second, pairs = _domain(entry["first"]), _domain(entry["second"]), tuple(entry["pairs"])
    size = len(second.values)
    _require(
        first.column != second.column,
        all(type(pair) is int for pair in pairs) and list(pairs) == sorted(set(pairs)),
        {pair // size for pair in pairs} == set(range(len(first.values)))
        and {p % size for p in pairs} == {*range(size)},
    )
    same = {"target": entry["target"], "type": entry["type"], "support": entry["support"]}
    if entry["kind"] == "together":
        _require(entry["target"] == second.column and entry["type"] == second.type)
        rule: PairRule = Together(first=first, second=second, pairs=pairs, **same)
    else:
        values, listed = tuple(entry["values"]), entry.get("dictionary")
        _require(
            len(values) == len(pairs) and (listed is not None) == entry["type"].startswith("dictionary"),
            all(type(value) in (str, int, float, bool, type(None)) for value in values),
        )
        dictionary = None if listed is None else tuple(listed)
        rule = PairLookup(first=first, second=second, pairs=pairs, values=values, dictionary=dictionary, **same)
    rule.check()
    return rule


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST


def _require(*conditions: bool) -> None:
    if not all(conditions):
        raise ValueError


READERS: dict[str, tuple[tuple[str, ...], Reader]] = {
    "offset": (
        ("formula", "low", "high", "strict", "decimals", "places", "reference", "follows", "least", "clips"),
        _offset,
    ),
    "lookup": (("source", "source_type", "steps", "keys", "values"), _lookup),
    "pair": (("first", "second", "pairs", "values"), _joint),
    "together": (("first", "second", "pairs"), _joint),
    "limits": (("low", "high"), _limits),
    "gap": (("source", "together"), _gap),
}
