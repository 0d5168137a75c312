"""What a user says of the columns of a table: a dict, or the same as a JSON file. What is not said is inferred.

``{"id": "drop", "zip": "categorical", "age": {"kind": "number", "bounds": [0, null], "decimals": 0}}``
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pushforward.errors import InputError, nearest

__all__ = ["Bounds", "Field", "Kind", "Schema", "read_schema"]

Kind = Literal["number", "categorical", "datetime", "drop"]
Scaling = Literal["linear", "quantile"]
Bounds: TypeAlias = tuple[float | None, float | None]
DIGITS = 8  # of a rounded column, after the point


@dataclass(frozen=True)
class Field:
    """What is said of one column; None: inferred from the rows.

    ``bounds``, for numbers: samples are clipped to [low, high], of which either may be None; ``"data"`` is the range of
    the training rows. ``decimals``, for floats: how many digits after the point samples are rounded to.
    ``scaling``, for numbers: linear is (v - mean) / scale; quantile makes a column normal by its ranks, and is what is
    done where there are values enough.
    """

    kind: Kind | None = None
    bounds: Bounds | Literal["data"] | None = None
    decimals: int | None = None
    scaling: Scaling | None = None


Schema: TypeAlias = dict[str, Field]


def read_schema(source: str | Path | Mapping[str, Any] | None) -> Schema:
    """The schema in a JSON file, or in a dict of the same form; None is empty: everything is inferred.

    Each column name stands for a kind (number, categorical, datetime, drop) or for an object with the keys kind,
    bounds, decimals and scaling; the name ``*`` for all columns that are not named. InputError names the file, the
    column and what is wrong.
    """
    where, data = "schema", source
    if isinstance(source, str | Path):
        where = f"schema {source}"
        try:
            data = json.loads(Path(source).read_bytes())
        except OSError as error:
            raise InputError(f"{where}: cannot read: {error.strerror or error}; check the path") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not valid JSON ({error}); see docs/how-to/describe-columns.md") from error
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise InputError(f'{where}: expected an object such as {{"id": "drop", "zip": "categorical"}}')
    return {name: _field(entry, f"{where}: column {name!r}") for name, entry in data.items()}


def _field(entry: Any, where: str) -> Field:
    if isinstance(entry, Field):
        return entry
    said: Any = {"kind": entry} if isinstance(entry, str) else entry
    if not isinstance(said, Mapping) or not set(said) <= {"kind", "bounds", "decimals", "scaling"}:
        raise InputError(f"{where}: expected a kind, or an object with the keys kind, bounds, decimals and scaling")
    kind, bounds, decimals = said.get("kind"), said.get("bounds"), said.get("decimals")
    scaling = said.get("scaling")
    if scaling is not None and scaling not in get_args(Scaling):
        raise InputError(f"{where}: {nearest(str(scaling), get_args(Scaling), 'scaling')}")
    if kind is not None and kind not in get_args(Kind):
        raise InputError(f"{where}: {nearest(str(kind), get_args(Kind), 'kind')}")
    if kind not in (None, "number") and (bounds is not None or decimals is not None or scaling is not None):
        raise InputError(f"{where}: bounds, decimals and scaling are for numbers, not for kind {kind}")
    if decimals is not None and not (type(decimals) is int and 0 <= decimals <= DIGITS):
        raise InputError(f"{where}: decimals must be an integer from 0 to {DIGITS}, found {decimals!r}")
    if bounds is None or bounds == "data":
        return Field(kind, bounds, decimals, scaling)
    if not isinstance(bounds, list | tuple) or len(bounds) != 2 or not all(map(_is_bound, bounds)):
        raise InputError(f'{where}: bounds must be [low, high] (null: none) or "data", found {bounds!r}')
    low, high = bounds
    if low is not None and high is not None and not low < high:
        raise InputError(f"{where}: bounds [{low}, {high}] hold nothing; give low < high")
    return Field(kind, (low, high), decimals, scaling)


def _is_bound(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))
