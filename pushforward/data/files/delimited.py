"""Tables as text, .csv and .tsv, of any size: read strictly and a part at a time, types found out; and written."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import IO, Any

import numpy as np

from pushforward.data.files.cells import NUMBER, ArrowColumn
from pushforward.data.files.formats import Contents, FileSet, Format
from pushforward.data.files.forms import ColumnForms, decide
from pushforward.data.files.remote import File, reading
from pushforward.data.files.rows import row_name
from pushforward.data.files.stream import ArrowTable, Stream, keep_if_small, require_distinct, require_same
from pushforward.data.schema import ColumnSchema
from pushforward.errors import InputError

__all__ = ["read_text", "write_text"]

BLOCK = 1 << 23  # bytes of text parsed together; a line must fit in one
WHOLE = 1e15  # floats below that are whole are written with a point


# ---- reading


def read_text(source: FileSet) -> Contents:
    """Read text files whose first line names the columns, the same in each, one below the other.

    Commas between the cells, or ``;``, tabs and ``|``, are found out. A column becomes int64, uint64, float64, bool,
    date32 or a timestamp if every filled cell is one, as far as the schema lets it and in a form that is found out, too
    (see `forms`); any other stays text. An empty cell, NA, NaN, null and None are missing, as far as the schema does not
    say otherwise; in a column that it calls categorical, an empty cell alone. InputError: a file is empty, is not UTF-8, has no header, repeats a
    column name, has other columns than the first, or a line with too few or too many cells.
    """
    delimiters = [_delimiter(path) for path in source.files]
    names = _header(source.files[0], delimiters[0])
    for path, delimiter in zip(source.files, delimiters, strict=True):
        require_same(_header(path, delimiter), names, path, source.files[0])

    def read_cells() -> Iterator[ArrowTable]:
        for path, delimiter in zip(source.files, delimiters, strict=True):
            yield from (part.select(names) for part in _text_cells(path, delimiter))

    # the types follow from every cell of every part, so that the text is gone through before the first row is given
    text = keep_if_small(read_cells)
    everything = source.schema.get("*", ColumnSchema())
    declared = [source.schema.get(name, everything) for name in names]
    columns = [ColumnForms.of(name, each.kind, each.form) for name, each in zip(names, declared, strict=True)]
    for part in text():
        for column, cells in zip(columns, part.columns, strict=True):
            column.update(cells)
    chosen, notes = decide(columns, ";" in delimiters)

    def read_typed() -> Iterator[ArrowTable]:
        import pyarrow as pa

        yield pa.table([pa.array([], form.arrow) for form in chosen], names=names)  # without rows there are types, too
        for part in text():
            yield pa.table([c.cast(cells, form) for c, cells, form in zip(columns, part.columns, chosen, strict=True)], names=names)

    name_row = partial(_name_line, source.files, delimiters)
    stream = Stream(source.origin, tuple(names), keep_if_small(read_typed), name_row)
    return Contents(stream, notes=tuple(notes))


def _text_cells(path: File, delimiter: str) -> Iterator[ArrowTable]:
    """Parts of one file, every cell as text."""
    import pyarrow as pa
    from pyarrow import csv as pacsv

    names = _header(path, delimiter)
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    try:
        options = pacsv.ReadOptions(block_size=BLOCK, skip_rows=int(_named_delimiter(path) is not None))
        with reading(path) as opened, pacsv.open_csv(opened, options, parse, convert) as batches:
            for batch in batches:
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        for line, cells in _lines(path, delimiter):
            if len(cells) != len(names):
                raise InputError(
                    f"{path}: line {line}: expected {len(names)} columns, as in the first line, found {len(cells)}; "
                    "give every line the same number of cells"
                ) from error
        raise InputError(f"{path}: not a readable table: {str(error).partition(chr(10))[0]}") from error


def _named_delimiter(path: File) -> str | None:
    """The mark that a first line ``sep=;`` names, as Excel writes it and leaves out; None without such a line."""
    with path.open("rb") as file:
        first = file.read(16).removeprefix(b"\xef\xbb\xbf").splitlines()[:1]
    match = re.fullmatch(rb'"?sep=([,;|\t ])"?', first[0]) if first else None
    return match[1].decode() if match else None


def _delimiter(path: File) -> str:
    """A tab in a .tsv file; in a .csv file, a comma unless that leaves one column and another mark makes several.

    A first line ``sep=;`` decides.
    """
    if (named := _named_delimiter(path)) is not None:
        return named
    if path.suffix.lower() == ".tsv":
        return "\t"
    for mark in ",;\t|":
        widths = [len(cells) for _, (_, cells) in zip(range(3), _lines(path, mark), strict=False)]
        if widths and widths[0] > 1 and (mark == "," or len(set(widths)) == 1):
            return mark
    return ","


def _header(path: File, delimiter: str) -> list[str]:
    names = next((cells for _, cells in _lines(path, delimiter)), None)
    if names is None:
        raise InputError(f"{path}: the file is empty; give a line of column names followed by rows")
    if all(NUMBER.fullmatch(name) for name in names):
        raise InputError(f"{path}: the first line holds only numbers; add a first line that names the columns")
    require_distinct(names, str(path))
    return names


def _lines(path: File, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number in the file and cells of each row, the header first; blank lines are skipped, as pyarrow does."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter)
            named = _named_delimiter(path) is not None
            yield from ((reader.line_num, cells) for cells in reader if cells and not (named and reader.line_num == 1))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it again with UTF-8 encoding") from error
    except csv.Error as error:
        raise InputError(f"{path}: not a readable table: {error}") from error


def _name_line(paths: Sequence[File], delimiters: Sequence[str], row: int) -> str:
    """Name the line of the ``row``-th data row (from 0): ``line 2`` follows the header."""
    left = row
    for path, delimiter in zip(paths, delimiters, strict=True):
        for i, (line, _) in enumerate(_lines(path, delimiter)):
            if i == left + 1:
                return f"line {line}" if len(paths) == 1 else f"{path.name}, line {line}"
        left -= i
    return row_name(row)


# ---- writing


def write_text(file: IO[bytes], table: ArrowTable, labels: Sequence[str] | None, delimiter: str = ",") -> None:
    """Write a table as text under a line of column names; floats are read as floats again; labels are left out."""
    import pyarrow as pa
    from pyarrow import csv as pacsv

    header = io.StringIO()  # pyarrow would put every name in quotes
    csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(table.column_names)
    file.write(header.getvalue().encode())
    cells = [_with_point(column) for column in table.columns]
    if len(cells) == 1 and cells[0].null_count:  # a line without a cell would be skipped when it is read
        cells = [cells[0].cast(pa.string()).fill_null("")]
    options = pacsv.WriteOptions(include_header=False, delimiter=delimiter)
    if len(table):  # in one piece: for an empty one pyarrow 26 writes a kilobyte of whatever lies in memory
        pacsv.write_csv(pa.table(cells, names=table.column_names).combine_chunks(), file, options)


def _with_point(cells: ArrowColumn) -> ArrowColumn:
    """Floats that are all whole as 3.0, so that they are read as floats; anything else as it is."""
    import pyarrow as pa

    if not pa.types.is_floating(cells.type):
        return cells
    values = cells.drop_null().to_numpy()
    if not len(values) or not (np.abs(values) < WHOLE).all() or (values % 1).any():
        return cells
    return cells.cast(pa.float64()).cast(pa.decimal128(18, 1))


FORMATS = {
    ".csv": Format("table", read_text, write_text),
    ".tsv": Format("table", read_text, partial(write_text, delimiter="\t")),
}
