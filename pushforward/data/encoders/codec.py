"""Columns of every kind from the JSON of a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.categorical import categorical_from_json
from pushforward.data.encoders.identifier import Identifier, identifier_from_json
from pushforward.data.encoders.mixed import NUMBER, Mixed
from pushforward.data.encoders.nullable import Ignored, Nullable
from pushforward.data.encoders.numeric import NumericEncoder, numeric_from_json
from pushforward.data.encoders.quantile import QuantileNormal, quantile_from_json
from pushforward.data.encoders.typed import TypedNumeric
from pushforward.data.encoders.written import SHAPES
from pushforward.data.files.cells import arrow_type, is_time
from pushforward.errors import InputError

__all__ = ["encoder_from_json"]

Reader: TypeAlias = Callable[[dict[str, Any], str], ColumnEncoder]


def encoder_from_json(entry: Any, origin: str) -> ColumnEncoder:
    """Restore a column of any kind from its ``to_json``; InputError, which ``origin`` opens, for what no fit gives.

    An object without ``kind`` is a column of numbers, as in every run made before there were others.
    """
    import pyarrow as pa

    read: Reader = numeric_from_json
    if isinstance(entry, dict) and "kind" in entry:
        if (kind := str(entry["kind"])) not in READERS:
            raise InputError(f"{origin} must be an object with a kind among {', '.join(READERS)}")
        keys, read = READERS[kind]
        if set(entry) != {"kind", *keys}:
            raise InputError(f"{origin} must be an object with the keys kind, {', '.join(keys)}")
    try:
        column = read(entry, origin)
        _try_out(column)
    except InputError:
        raise
    except (pa.ArrowException, LookupError, OverflowError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{origin} has a type or numbers that no fit gives; restore the file") from error
    return column


def _try_out(column: ColumnEncoder) -> None:
    """Do what samples and reports do with a column: its arrow type is known, and takes all of its values."""
    with np.errstate(all="ignore"):
        cells = column.decode(np.repeat(np.linspace(-9, 9, 19)[:, None], column.width, axis=1))
    for say in (column.describe, column.form, partial(column.marginals, 8)):
        say()
    if cells is not None:
        values: Any = getattr(cells, "dictionary", cells)
        values.to_pylist()


def _carried(entry: dict[str, Any], origin: str) -> TypedNumeric:
    import pyarrow as pa

    if not isinstance(entry["type"], str) or type(entry["step"]) is not int or not 0 < entry["step"] < 2**63:
        raise InputError(f"{origin} has a type or a step that no fit gives; restore the file")
    if not (is_time(kind := arrow_type(entry["type"])) or str(kind).startswith("decimal")):
        raise InputError(f"{origin} has a type that numbers do not carry; restore the file")
    numbers = encoder_from_json(entry["numbers"], origin)
    if not isinstance(numbers, NumericEncoder | QuantileNormal):
        raise InputError(f"{origin} is carried by what are no numbers; restore the file")
    local = entry["kind"] == "local"
    if local and not (pa.types.is_timestamp(kind) and kind.tz):
        raise InputError(f"{origin} is local and has no zone; restore the file")
    return TypedNumeric(entry["type"], entry["step"], numbers, local)


def _nullable(entry: dict[str, Any], origin: str) -> Nullable:
    inner, share = encoder_from_json(entry["inner"], origin), entry["share"]
    if (
        not isinstance(inner, NumericEncoder | TypedNumeric | QuantileNormal | Identifier)
        or type(share) not in (int, float)
        or not 0 < share < 1
    ):
        raise InputError(f"{origin} has missing values that no fit gives; restore the file")
    return Nullable(inner, float(share))


def _mixed(entry: dict[str, Any], origin: str) -> Mixed:
    inner, digits, first = encoder_from_json(entry["inner"], origin), entry["digits"], entry["first"]
    words = categorical_from_json(entry["words"], origin)
    if (
        not isinstance(inner, NumericEncoder | TypedNumeric | QuantileNormal)
        or not (digits is None or (type(digits) is int and 0 <= digits < 400))
        or not isinstance(first, str)
        or NUMBER not in words.categories
        or (column := Mixed(inner, words, digits, first)).kind not in SHAPES
    ):
        raise InputError(f"{origin} has numbers or words that no fit gives; restore the file")
    return column


def _dropped(entry: dict[str, Any], origin: str) -> Ignored:
    if not isinstance(entry["name"], str):
        raise InputError(f"{origin} must have a name that is text")
    return Ignored(entry["name"])


READERS: dict[str, tuple[tuple[str, ...], Reader]] = {
    "categorical": (("name", "type", "categories", "shares", "dictionary"), categorical_from_json),
    "carried": (("type", "step", "numbers"), _carried),
    "local": (("type", "step", "numbers"), _carried),
    "nullable": (("inner", "share"), _nullable),
    "mixed": (("inner", "words", "digits", "first"), _mixed),
    "identifier": (("name", "type", "distinct", "values"), identifier_from_json),
    "dropped": (("name",), _dropped),
    "ranked": (("column", "first", "last", "weight"), quantile_from_json),
    "ranked_few": (("least", "column", "first", "last", "weight"), quantile_from_json),
    "ranked_fit": (("least", "column", "first", "last", "weight"), quantile_from_json),
}
