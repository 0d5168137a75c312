"""One column of a table: its arrow type by name, its numbers, and the first cell that is at fault."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import numpy as np

from pushforward.data.files.rows import Array, RowNamer, row_name
from pushforward.errors import InputError

__all__ = [
    "NUMBER",
    "ArrowColumn",
    "arrow_type",
    "counts",
    "is_number",
    "is_text",
    "is_time",
    "numbers",
    "plot_column",
    "plot_values",
    "present",
    "stray",
]

ArrowColumn: TypeAlias = Any  # pyarrow.Array or pyarrow.ChunkedArray, of one column
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
SIMPLE = (
    *("null", "bool", "string", "large_string", "date32", "date64", "halffloat", "float", "double"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)


def arrow_type(name: str) -> Any:
    """Find the arrow type whose ``str`` is ``name``, among those that a column may have; LookupError for any other."""
    import pyarrow as pa

    word = name.partition("[")[0]
    if word in SIMPLE and str(simple := pa.type_for_alias(word)) == name:
        return simple
    if match := re.fullmatch(r"(timestamp|duration|time32|time64)\[(s|ms|us|ns)(?:, tz=([\w/+:-]+))?\]", name):
        kind, unit, zone = match.groups()
        if kind == "timestamp":
            return _zoned(pa.timestamp(unit, zone), name)
        if zone is None and (kind == "duration" or (kind == "time32") == (unit in ("s", "ms"))):
            return getattr(pa, kind)(unit)
    if match := re.fullmatch(r"decimal128\((\d{1,2}), (-?\d{1,2})\)", name):
        return pa.decimal128(max(1, min(38, int(match[1]))), int(match[2]))
    if match := re.fullmatch(r"dictionary<values=((?!dictionary).+), indices=(u?int\d+), ordered=([01])>", name):
        return pa.dictionary(arrow_type(match[2]), arrow_type(match[1]), match[3] == "1")
    raise LookupError(f"no column has type {name[:60]!r}")


def _zoned(kind: Any, name: str) -> Any:
    """A type of instants, if its time zone is known here; LookupError otherwise."""
    import pyarrow as pa

    try:
        pa.array([0], kind).cast(pa.string())
    except pa.ArrowException as error:
        raise LookupError(f"no time zone of {name[:60]!r}") from error
    return kind


def is_text(kind: Any) -> bool:
    """Tell whether cells of this arrow type are text, plain or by dictionary."""
    import pyarrow as pa

    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_time(kind: Any) -> bool:
    """Tell whether cells of this arrow type are dates, times or durations."""
    import pyarrow as pa

    return bool(pa.types.is_temporal(kind) and not pa.types.is_interval(kind))


def is_number(kind: Any) -> bool:
    """Tell whether cells of this arrow type are numbers or booleans."""
    import pyarrow as pa

    t = pa.types
    return bool(t.is_integer(kind) or t.is_floating(kind) or t.is_boolean(kind) or t.is_decimal128(kind))


def present(cells: ArrowColumn) -> Array:
    """Mark the cells that hold a value, neither null nor NaN; bool [n]."""
    import pyarrow as pa

    nan = pa.types.is_floating(cells.type)
    return np.asarray(~np.asarray(cells.is_null(nan_is_null=nan)))


def counts(cells: ArrowColumn) -> Array:
    """Count the units since their zero of dates, times and durations without gaps; int64 [n]."""
    import pyarrow as pa

    return np.asarray(cells.cast(pa.int32() if cells.type.bit_width == 32 else pa.int64()), np.int64)


def numbers(cells: ArrowColumn, origin: str, name_row: RowNamer = row_name) -> Array:
    """Convert a column of numbers to a numpy array [n] of bool, integers or floats (decimals become float64).

    InputError, which ``origin`` opens, with the first bad row: text, missing values, infinities, dates and other types.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    if is_text(cells.type):
        raise stray(cells, origin, name_row) or _text_error(cells, origin)
    if pa.types.is_decimal(cells.type):
        cells = cells.cast(pa.float64())
    elif not (is_number(cells.type) or pa.types.is_null(cells.type)):
        raise InputError(f"{origin} has type {cells.type}, where numbers are expected; drop it or turn it into numbers")
    missing = ~present(cells)
    if not missing.all():
        values: Array = cells.to_numpy(zero_copy_only=False) if isinstance(cells, pa.Array) else cells.to_numpy()
        missing |= ~np.isfinite(values) if pa.types.is_floating(cells.type) else False
    if missing.any():
        count = f"missing values (empty, NaN or inf): {int(missing.sum())} in all"
        raise InputError(
            f"{origin} has {count}, the first at {name_row(int(np.argmax(missing)))}; fill or drop those rows"
        )
    return values


def stray(cells: ArrowColumn, origin: str, name_row: RowNamer = row_name) -> InputError | None:
    """Find the first cell that is no number in a text column of mostly numbers: the error that names it, else None.

    Mostly: at least half of the first 1,000 cells, but not every cell of the column.
    """
    sample = [value for value in cells[:1000].to_pylist() if value is not None]
    if not sample or 2 * sum(bool(NUMBER.fullmatch(str(value))) for value in sample) < len(sample):
        return None
    for row, value in enumerate(cells.to_pylist()):
        if value is not None and not NUMBER.fullmatch(str(value)):
            return InputError(
                f"{origin}, {name_row(row)}: {value[:40]!r} is not a number; correct it, drop the row, or call the "
                "column categorical in a schema"
            )
    return None


def plot_values(table: Any) -> Array:
    """Convert a table to float64 [n, d] for pictures: categories by number in order, dates as counts, gaps as NaN."""
    return np.stack([plot_column(cells) for cells in table.columns], axis=1)


def plot_column(cells: ArrowColumn) -> Array:
    """Convert a column as `plot_values` does; float64 [n]."""
    import pyarrow as pa

    out, filled = np.full(len(cells), np.nan), present(cells)
    plain = cells.filter(pa.array(filled))
    if is_text(cells.type):
        out[filled] = np.unique(np.array(plain.to_pylist(), dtype=str), return_inverse=True)[1]
    elif is_time(cells.type):
        out[filled] = counts(plain)
    elif filled.any():
        out[filled] = numbers(plain, "the samples")
    return out


def _text_error(cells: ArrowColumn, origin: str) -> InputError:
    examples = ", ".join(repr(str(value)[:20]) for value in dict.fromkeys(cells[:1000].drop_null().to_pylist()[:3]))
    return InputError(
        f"{origin} holds text ({examples}, ...), where numbers are expected; drop it or turn it into numbers"
    )
