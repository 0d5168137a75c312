"""The schema of a table: what a user declares of its columns, as a dict or a JSON file. All else is inferred.

``{"id": "drop", "zip": "categorical", "age": {"kind": "number", "bounds": [0, null], "decimals": 0}}``
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pushforward.data.files.cells import is_number, is_text, is_time
from pushforward.errors import InputError, nearest
from pushforward.files.jsonfile import read_json

__all__ = [
    "MISSING",
    "Bounds",
    "ColumnKind",
    "ColumnSchema",
    "Schema",
    "TextForm",
    "kind_of",
    "read_schema",
    "text_form",
]

ColumnKind = Literal["number", "categorical", "datetime", "text", "keep", "drop"]
Scaling = Literal["linear", "quantile"]
Bounds: TypeAlias = tuple[float | None, float | None]
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "Null", "None")  # texts that mean no value
RULES = "rules"
THOUSANDS = ".,' \u00a0\u202f"
KEYS = ("kind", "bounds", "decimals", "scaling", "missing", "format", "decimal", "thousands")
DIGITS = 8  # of a rounded column, after the point


@dataclass(frozen=True)
class TextForm:
    """How the cells of a column are written in text files; None: found out.

    ``missing`` are the texts that stand for no value, ``format`` is that of dates (as of strftime), ``decimal`` and
    ``thousands`` the marks in numbers.
    """

    missing: tuple[str, ...] | None = None
    format: str | None = None
    decimal: str | None = None
    thousands: str | None = None


@dataclass(frozen=True)
class ColumnSchema:
    """What is declared of one column; None: inferred from the rows.

    ``bounds``, for numbers: samples are clipped to [low, high], of which either may be None; ``"data"`` is the range of
    the training rows. ``decimals``, for floats: how many digits after the point samples are rounded to.
    ``scaling``, for numbers: linear is (v - mean) / scale; quantile makes a column normal by its ranks, and is what is
    done where there are values enough. ``form`` is how it is written in text.
    """

    kind: ColumnKind | None = None
    bounds: Bounds | Literal["data"] | None = None
    decimals: int | None = None
    scaling: Scaling | None = None
    form: TextForm = TextForm()


class Schema(dict[str, ColumnSchema]):
    """What is declared of columns, by their names, and ``rules`` that hold in every row.

    Rules are texts such as ``end >= start``; after the word ``not`` the name of one that is not to be found, or any.
    """

    rules: tuple[str, ...] = ()

    def with_rules(self, rules: Iterable[str]) -> Schema:
        """The same with other rules."""
        out = Schema(self)
        out.rules = tuple(rules)
        return out


def read_schema(source: str | Path | Mapping[str, Any] | None) -> Schema:
    """Read the schema in a JSON file, or in a dict of the same form; None is empty: everything is inferred.

    Each column name stands for a kind or for an object with keys among kind, bounds, decimals and scaling, and missing,
    format, decimal and thousands (see `TextForm`); the name ``*`` for all columns that are not named; under the name
    ``rules`` a list holds what is true of every row (see `Schema`). Kinds are number, categorical, datetime; text, of
    which samples get fresh values of the same pattern; keep, whatever it is, learned however much it looks like an
    identifier; drop. InputError names the file, the column and what is wrong.
    """
    origin, data = "schema", source
    if isinstance(source, str | Path):
        origin = f"schema {source}"
        try:
            data = json.loads(read_json(Path(source)))
        except OSError as error:
            raise InputError(f"{origin}: cannot read: {error.strerror or error}; check the path") from error
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f"{origin}: not valid JSON ({error}); see docs/how-to/describe-columns.md") from error
    if data is None:
        return Schema()
    if isinstance(data, Schema):
        return data
    if not isinstance(data, Mapping):
        raise InputError(f'{origin}: expected an object such as {{"id": "drop", "zip": "categorical"}}')
    columns = {name: entry for name, entry in data.items() if name != RULES or not isinstance(entry, list | tuple)}
    schema = Schema((name, _column_schema(entry, f"{origin}: column {name!r}")) for name, entry in columns.items())
    rules = data[RULES] if len(columns) < len(data) else ()
    if odd := [rule for rule in rules if not isinstance(rule, str)]:
        raise InputError(f'{origin}: rules must be texts, such as "end >= start", found {odd[0]!r:.40}')
    return schema.with_rules(rules)


def _column_schema(entry: Any, origin: str) -> ColumnSchema:
    if isinstance(entry, ColumnSchema):
        return entry
    declared: Any = {"kind": entry} if isinstance(entry, str) else entry
    if not isinstance(declared, Mapping) or not set(declared) <= set(KEYS):
        raise InputError(f"{origin}: expected a kind, or an object with keys among {', '.join(KEYS)}")
    form = text_form(declared, origin)
    kind, bounds, decimals = declared.get("kind"), declared.get("bounds"), declared.get("decimals")
    scaling = declared.get("scaling")
    if scaling is not None and scaling not in get_args(Scaling):
        raise InputError(f"{origin}: {nearest(str(scaling), get_args(Scaling), 'scaling')}")
    if kind is not None and kind not in get_args(ColumnKind):
        raise InputError(f"{origin}: {nearest(str(kind), get_args(ColumnKind), 'kind')}")
    if kind not in (None, "number") and (bounds is not None or decimals is not None or scaling is not None):
        raise InputError(f"{origin}: bounds, decimals and scaling are for numbers, not for kind {kind}")
    if decimals is not None and not (type(decimals) is int and 0 <= decimals <= DIGITS):
        raise InputError(f"{origin}: decimals must be an integer from 0 to {DIGITS}, found {decimals!r}")
    if bounds is None or bounds == "data":
        return ColumnSchema(kind, bounds, decimals, scaling, form)
    if not isinstance(bounds, list | tuple) or len(bounds) != 2 or not all(map(_is_bound, bounds)):
        raise InputError(f'{origin}: bounds must be [low, high] (null: none) or "data", found {bounds!r}')
    low, high = bounds
    if low is not None and high is not None and not low < high:
        raise InputError(f"{origin}: bounds [{low}, {high}] hold nothing; give low < high")
    return ColumnSchema(kind, (low, high), decimals, scaling, form)


def text_form(declared: Mapping[str, Any], origin: str) -> TextForm:
    """Read how the cells of a column are written, from an object with the keys of `TextForm`."""
    missing, marks = declared.get("missing"), [declared.get(key) for key in ("format", "decimal", "thousands")]
    if missing is not None and not (isinstance(missing, list | tuple) and all(isinstance(m, str) for m in missing)):
        raise InputError(f'{origin}: missing must be a list of texts, such as ["", "NA"], found {missing!r}')
    if not all(mark is None or isinstance(mark, str) for mark in marks):
        raise InputError(f"{origin}: format, decimal and thousands must be texts")
    format, decimal, thousands = marks
    if decimal not in (None, ".", ",") or (thousands or " ") not in THOUSANDS or decimal == (thousands or "x"):
        raise InputError(f"{origin}: decimal must be '.' or ',', and thousands another mark among {THOUSANDS!r}")
    if format is not None and not {"%d", "%m"} & set(re.findall("%.", format)):
        raise InputError(f"{origin}: format must be one of dates, such as %d/%m/%Y, found {format!r}")
    return TextForm(None if missing is None else tuple(missing), format, decimal, thousands)


def _is_bound(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and abs(value) <= sys.float_info.max)


def kind_of(kind: Any) -> ColumnKind | None:
    """As what the cells of an arrow type are read from text; None where that is found out."""
    if is_text(kind):
        return "categorical"
    if str(kind).startswith("duration"):  # which text has by a clock, or as a number of units
        return None
    return "datetime" if is_time(kind) else "number" if is_number(kind) else None
