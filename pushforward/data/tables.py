"""Tables of named columns: strict reading of .csv, .tsv and .parquet, and the checks every table passes before use."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pushforward.data.arrays import Array, Place, numbered
from pushforward.errors import InputError

__all__ = ["Table", "columns", "line_of", "read_csv", "read_parquet", "read_tsv"]

Table: TypeAlias = Any  # pyarrow.Table
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "Null", "None")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


def read_csv(path: Path, delimiter: str = ",") -> tuple[Table, None]:
    """The table in a text file whose first line names the columns.

    A column whose every filled cell is a number (or true/false) becomes int64, uint64, float64 or bool, with null
    for a missing cell (empty, NA, NaN, null, None); any other column stays text. InputError: the file is empty, is not
    UTF-8, has no header, repeats a column name, or has a line with too few or too many cells.
    """
    import pyarrow as pa
    from pyarrow import csv as pacsv

    names = _header(path, delimiter)
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    try:
        # a line must fit in one block, so that thousands of columns need blocks larger than the default of 1 MiB
        table = pacsv.read_csv(path, pacsv.ReadOptions(block_size=1 << 24), parse, convert)
    except pa.ArrowInvalid as error:
        for line, cells in _lines(path, delimiter):
            if len(cells) != len(names):
                raise InputError(
                    f"{path}: line {line}: expected {len(names)} columns, as in the first line, found {len(cells)}; "
                    "give every line the same number of cells"
                ) from error
        raise InputError(f"{path}: not a readable table: {_first_line(error)}") from error
    return pa.table([_parse(column) for column in table.columns], names=table.column_names), None


def read_tsv(path: Path) -> tuple[Table, None]:
    """As ``read_csv``, with tabs between the cells."""
    return read_csv(path, "\t")


def read_parquet(path: Path) -> tuple[Table, None]:
    """The table in a .parquet file; InputError if it is damaged."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            return file.read(), None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable .parquet file: {_first_line(error)}") from error


def line_of(path: Path, row: int) -> str:
    """Where the ``row``-th data row (from 0) of a .csv or .tsv file stands: ``line 2`` follows the header."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = (line for line, _ in _lines(path, delimiter))
    return next((f"line {line}" for i, line in enumerate(lines) if i == row + 1), numbered(row))


def columns(table: Table, where: str, place: Place = numbered) -> dict[str, Array]:
    """Each column of a pyarrow.Table as a numpy array [n] of bool, integers or floats (decimals become float64).

    InputError names the column and the first bad row: text, missing values, a repeated name, dates and other types,
    no columns, no rows.
    """
    names = table.column_names
    if not names or not table.num_rows:
        raise InputError(f"{where}: {'no rows after the header' if names else 'no columns'}; give a table with rows")
    _require_distinct(names, where)
    return {
        name: _values(column, f"{where}: column {name!r}", place)
        for name, column in zip(names, table.columns, strict=True)
    }


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _values(column: Any, where: str, place: Place) -> Array:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raise _text_error(column, where, place)  # the seam at which a categorical column would enter
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or kind in (pa.bool_(), pa.null())):
        raise InputError(f"{where} has type {kind}, which is not supported; drop it or turn it into numbers")
    missing = column.is_null(nan_is_null=True).to_numpy()
    if not missing.all():
        values: Array = column.to_numpy()
        missing |= ~np.isfinite(values) if pa.types.is_floating(column.type) else False
    if missing.any():
        count = f"missing values (empty, NaN or inf): {int(missing.sum())} in all"
        raise InputError(f"{where} has {count}, the first at {place(int(np.argmax(missing)))}; fill or drop those rows")
    return values


def _text_error(column: Any, where: str, place: Place) -> InputError:
    """Mostly numbers among the first 1,000 values: name the stray one. Otherwise: the column is text."""
    sample = [value for value in column[:1000].to_pylist() if value is not None]
    if 2 * sum(bool(NUMBER.fullmatch(value)) for value in sample) >= len(sample):
        for row, value in enumerate(column.to_pylist()):
            if value is not None and not NUMBER.fullmatch(value):
                return InputError(f"{where}, {place(row)}: {value[:40]!r} is not a number; correct it or drop the row")
    shown = ", ".join(repr(value[:20]) for value in list(dict.fromkeys(sample))[:3])
    advice = "this version models numeric columns only; drop it or encode it as numbers"
    return InputError(f"{where} holds text ({shown}, ...); {advice}")


def _parse(column: Any) -> Any:
    """Text cells as the first type that takes every filled one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(trimmed, value_set=pa.array(MISSING))
    filled = pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)
    for kind in (pa.int64(), pa.uint64(), pa.float64(), pa.bool_()):
        try:
            return filled.cast(kind)
        except pa.ArrowInvalid:
            continue
    return filled


def _header(path: Path, delimiter: str) -> list[str]:
    names = next((cells for _, cells in _lines(path, delimiter)), None)
    if names is None:
        raise InputError(f"{path}: the file is empty; give a line of column names followed by rows")
    if all(NUMBER.fullmatch(name) for name in names):
        raise InputError(f"{path}: the first line holds only numbers; add a first line that names the columns")
    _require_distinct(names, str(path))
    return names


def _require_distinct(names: list[str], where: str) -> None:
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{where}: column {repeated!r} appears twice; give every column its own name")


def _lines(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number in the file and cells of each row, the header first; blank lines are skipped, as pyarrow does."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter)
            yield from ((reader.line_num, cells) for cells in reader if cells)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it again with UTF-8 encoding") from error
    except csv.Error as error:
        raise InputError(f"{path}: not a readable table: {error}") from error
