"""Tables as text, .csv and .tsv, of any size: read strictly and a part at a time, types found out; and written."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import IO

import numpy as np

from pushforward.data.files.cells import ArrowColumn
from pushforward.data.files.clocks import write_durations
from pushforward.data.files.dialect import Dialect, even_quotes, find_dialect, open_quote
from pushforward.data.files.formats import Contents, FileSet, Format, TextSource
from pushforward.data.files.forms import ColumnForms, decide
from pushforward.data.files.remote import File, reading
from pushforward.data.files.rows import row_name
from pushforward.data.files.stream import FILE, ArrowTable, Stream, keep_if_small, number_file, require_same
from pushforward.data.schema import ColumnSchema
from pushforward.errors import InputError

__all__ = ["read_text", "write_text"]

BLOCK = 1 << 23  # bytes of text parsed together; a line must fit in one
WHOLE = 1e15  # floats below that are whole are written with a point


# ---- reading


def read_text(source: FileSet) -> Contents:
    """Read text files whose first line names the columns, the same in each, one below the other.

    The encoding, the mark between cells and the like are found out (see `dialect`). A column becomes int64, uint64,
    float64, bool, date32 or a timestamp if every filled cell is one, as far as the schema lets it and in a form that is
    found out, too (see `forms`); any other stays text. An empty cell, NA, NaN, null and None are missing, as far as the
    schema does not say otherwise; in a column that it calls categorical, an empty cell alone. InputError: a file is
    empty, repeats a column name, has other columns than the first, or a line with too few or too many cells.
    """
    found = [find_dialect(path, source.header) for path in source.files]
    dialects = [replace(dialect, header=found[0][0].header) for dialect, _ in found]
    notes = [note for _, said in found for note in said]
    names = dialects[0].names(source.files[0])
    everywhere = [*names, FILE] if source.numbered else names
    for path, dialect in zip(source.files, dialects, strict=True):
        require_same(dialect.names(path), names, path, source.files[0])
    for i, path in enumerate(source.files):
        if dialects[i].quoted:
            dialects[i], said = _with_quotes(path, dialects[i])
            notes += said

    def read_cells() -> Iterator[ArrowTable]:
        import pyarrow as pa

        for i, (path, dialect) in enumerate(zip(source.files, dialects, strict=True)):
            for part in _text_cells(path, dialect):
                cells = part.select(names)
                yield number_file(cells, i, pa.string()) if source.numbered else cells

    # the types follow from every cell of every part, so that the text is gone through before the first row is given
    text = keep_if_small(read_cells)
    everything = source.schema.get("*", ColumnSchema())
    declared = [source.schema.get(name, everything) for name in names]
    declared += [ColumnSchema()] * source.numbered
    columns = [ColumnForms.of(name, each.kind, each.form) for name, each in zip(everywhere, declared, strict=True)]
    for part in text():
        for column, cells in zip(columns, part.columns, strict=True):
            column.update(cells)
    chosen, guessed = decide(columns, any(dialect.delimiter == ";" for dialect in dialects))

    def read_typed() -> Iterator[ArrowTable]:
        import pyarrow as pa

        empty = [pa.array([], form.arrow) for form in chosen]  # without rows there are types, too
        yield pa.table(empty, names=everywhere)
        for part in text():
            typed = [c.cast(cells, form) for c, cells, form in zip(columns, part.columns, chosen, strict=True)]
            yield pa.table(typed, names=everywhere)

    name_row = partial(_name_line, source.files, dialects)
    stream = Stream(source.origin, tuple(names), keep_if_small(read_typed), name_row)
    forms = {c.name: c.form(form) for c, form in zip(columns, chosen, strict=True)}
    named = {name: form for name, form in forms.items() if form is not None}
    return Contents(stream, notes=(*notes, *guessed), text=TextSource(named, dialects[0].header))


def _with_quotes(path: File, dialect: Dialect) -> tuple[Dialect, list[str]]:
    """The dialect of a file with quotation marks that are not closed: there they are characters like others.

    Such a mark swallows lines as a cell. InputError where the lines are of different lengths without it, too.
    """
    error: InputError | None = None
    even = even_quotes(path, dialect)
    try:
        if even and not any(_swallows(part, dialect) for part in _text_cells(path, dialect)):
            return dialect, []
    except InputError as caught:
        error = caught
    line, plain = open_quote(path, dialect), replace(dialect, quoted=False, bare=True)
    try:
        if line and plain.names(path) == dialect.names(path) and sum(1 for _ in _text_cells(path, plain)):
            return plain, [f"{path}: line {line}: a quotation mark that is not closed is read as a character"]
    except InputError:
        if even and error is None:  # prose with as many marks as there are columns
            return dialect, []
    if error is None or "block" in str(error):
        error = InputError(f"{path}: line {line}: a quotation mark is opened and not closed; close it or remove it")
    raise error


def _swallows(part: ArrowTable, dialect: Dialect) -> bool:
    """Whether a cell of several lines holds one that is a row by itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if part.num_columns < 2:
        return False
    for column in part.columns:
        several = pc.fill_null(pc.greater(pc.count_substring(column, "\n"), 1), False)
        cells = column.filter(several) if pc.any(several).as_py() else pa.array([], pa.string())
        for cell in cells.to_pylist():
            if any(line.count(dialect.delimiter) == part.num_columns - 1 for line in cell.split("\n")[1:-1]):
                return True
    return False


def _text_cells(path: File, dialect: Dialect) -> Iterator[ArrowTable]:
    """Parts of one file, every cell as text."""
    import pyarrow as pa
    from pyarrow import csv as pacsv

    names = dialect.names(path)
    parse = pacsv.ParseOptions(
        delimiter=dialect.delimiter, newlines_in_values=dialect.quoted, quote_char='"' if dialect.quoted else False
    )
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    encoding = "utf8" if dialect.encoding == "utf-8-sig" else dialect.encoding
    given = {} if dialect.header else {"column_names": names}
    try:
        options = pacsv.ReadOptions(block_size=BLOCK, skip_rows=dialect.skip, encoding=encoding, **given)
        with reading(path) as opened, pacsv.open_csv(opened, options, parse, convert) as batches:
            for batch in batches:
                part = pa.Table.from_batches([batch])
                yield _without_quotes(part) if dialect.bare else part
    except pa.ArrowInvalid as error:
        for line, cells in dialect.lines(path):
            if len(cells) != len(names):
                raise InputError(
                    f"{path}: line {line}: expected {len(names)} columns, as in the first line, found {len(cells)}; "
                    "give every line the same number of cells"
                ) from error
        raise InputError(f"{path}: not a readable table: {str(error).partition(chr(10))[0]}") from error


def _without_quotes(part: ArrowTable) -> ArrowTable:
    """Cells without the quotation marks around them, where both are there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def bare(cells: ArrowColumn) -> ArrowColumn:
        quoted = pc.match_substring_regex(cells, r'(?s)^".*"$')
        inner = pc.replace_substring(pc.utf8_slice_codeunits(cells, 1, -1), '""', '"')
        return pc.if_else(quoted, inner, cells)

    return pa.table([bare(column) for column in part.columns], names=part.column_names)


def _name_line(paths: Sequence[File], dialects: Sequence[Dialect], row: int) -> str:
    """Name the line of the ``row``-th data row (from 0): ``line 2`` follows the header."""
    left = row
    for path, dialect in zip(paths, dialects, strict=True):
        i = 0
        for i, (line, _) in enumerate(dialect.lines(path), 1 - dialect.header):
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
    cells = [_as_read(column) for column in table.columns]
    if len(cells) == 1 and cells[0].null_count:  # a line without a cell would be skipped when it is read
        cells = [cells[0].cast(pa.string()).fill_null("")]
    options = pacsv.WriteOptions(include_header=False, delimiter=delimiter)
    if len(table):  # in one piece: for an empty one pyarrow 26 writes a kilobyte of whatever lies in memory
        pacsv.write_csv(pa.table(cells, names=table.column_names).combine_chunks(), file, options)


def _as_read(cells: ArrowColumn) -> ArrowColumn:
    """Floats that are all whole as 3.0, so that they are read as floats, durations with units; others as they are."""
    import pyarrow as pa

    if pa.types.is_duration(cells.type):
        return write_durations(cells)
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
