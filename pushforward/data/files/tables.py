"""Tables of named columns from .csv, .tsv and .parquet files of any size, read strictly and a part at a time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from pushforward.data.files.arrays import Array, RowNamer, row_name
from pushforward.data.files.cells import NUMBER, Cells, numbers
from pushforward.data.files.remote import File, reading, schema_of
from pushforward.data.schema import Kind, Schema
from pushforward.errors import InputError

__all__ = [
    "ENDINGS",
    "Stream",
    "Table",
    "columns",
    "open_files",
    "read_csv",
    "read_parquet",
    "read_tsv",
]

Table: TypeAlias = Any  # pyarrow.Table
Read: TypeAlias = Callable[[], Iterator[Table]]
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "Null", "None")
PART = 1 << 18  # rows looked at together
HOLD = 1 << 27  # bytes of a table that is kept in memory; a larger one is read again for each pass
FIRST = 64  # cells tried before the whole column, because a cast does not stop at the first cell that it cannot take
BLOCK = 1 << 23  # bytes of text parsed together; a line must fit in one
PADDED = r"^[+-]?0\d+$"  # 007 is a name, not a number


@dataclass(frozen=True, eq=False)
class Stream:
    """A table that is read anew at each use, so that it may be larger than memory."""

    where: str
    names: tuple[str, ...]
    read: Read  # parts of any size
    place: RowNamer = row_name

    @staticmethod
    def of(table: Table, where: str, place: RowNamer = row_name) -> Stream:
        """A table in memory."""
        return Stream(where, tuple(table.column_names), lambda: iter([table]), place)

    def parts(self) -> Iterator[tuple[int, Table]]:
        """Parts of ``PART`` rows, the last one shorter, each with the number of its first row; none is empty."""
        import pyarrow as pa

        first, count = 0, 0
        held: list[Table] = []
        for part in self.read():
            held, count = [*held, part], count + len(part)
            if count >= PART:
                whole = pa.concat_tables(held)
                for start in range(0, count - count % PART, PART):
                    yield first, whole.slice(start, PART)
                    first += PART
                count %= PART
                held = [whole.slice(len(whole) - count)]
        if count:
            yield first, pa.concat_tables(held)

    def at(self, first: int) -> RowNamer:
        """Names the rows of a part that begins with row number ``first``."""
        return lambda row: self.place(first + row)

    def table(self) -> Table:
        """All of it in memory."""
        import pyarrow as pa

        return pa.concat_tables(list(self.read()))


def open_files(paths: Sequence[File], where: str, schema: Schema | None = None) -> Stream:
    """Files of one ending and with the same columns, one below the other; ``where`` opens every message.

    A column of text cells becomes int64, uint64, float64, bool, date32 or a timestamp if every filled cell is one, as
    far as the ``schema`` lets it; any other stays text, trimmed. An empty cell, NA, NaN, null and None are missing.
    """
    read = _open_parquet if paths[0].suffix.lower() == ".parquet" else _open_text
    return read(paths, where, schema or {})


def read_csv(path: File) -> tuple[Table, None]:
    """The table in a text file whose first line names the columns; ``;``, tabs and ``|`` are found out.

    InputError: the file is empty, is not UTF-8, has no header, repeats a column name, or has a line with too few or too
    many cells.
    """
    return open_files([path], str(path)).table(), None


def read_tsv(path: File) -> tuple[Table, None]:
    """As ``read_csv``, with tabs between the cells."""
    return read_csv(path)


def read_parquet(path: File) -> tuple[Table, None]:
    """The table in a .parquet file; InputError if it is damaged."""
    return open_files([path], str(path)).table(), None


def columns(table: Table, where: str, place: RowNamer = row_name) -> dict[str, Array]:
    """Each column of a pyarrow.Table as a numpy array [n] of bool, integers or floats (decimals become float64).

    InputError names the column and the first bad row: text, missing values, dates and other types.
    """
    return {
        name: numbers(column, f"{where}: column {name!r}", place)
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _kept(read: Read) -> Read:
    """The same parts, in memory if they are small."""
    kept, size = [], 0
    for part in read():
        kept.append(part)
        size += part.nbytes
        if size > HOLD:
            return read
    return lambda: iter(kept)


# ---- Parquet


def _open_parquet(paths: Sequence[File], where: str, schema: Schema) -> Stream:
    import pyarrow as pa
    from pyarrow import parquet

    def parts(path: File) -> Iterator[Table]:
        try:
            with reading(path) as opened, parquet.ParquetFile(opened) as file:
                for batch in file.iter_batches(1 << 18):
                    yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: not a readable .parquet file: {_first_line(error)}") from error

    def read() -> Iterator[Table]:
        yield kinds.empty_table()
        for path in paths:
            yield from (part.select(kinds.names).cast(kinds) for part in parts(path))

    try:
        shapes = [schema_of(path).remove_metadata() for path in paths]
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{where}: not a readable .parquet file: {_first_line(error)}") from error
    kinds = pa.schema([field.with_nullable(True).remove_metadata() for field in shapes[0]])
    for path, shape in zip(paths, shapes, strict=True):
        _require_distinct(shape.names, str(path))
        _require_same(shape.names, kinds.names, path, paths[0])
        for name in kinds.names:
            if (kind := shape.field(name).type) != (wanted := kinds.field(name).type):
                raise InputError(
                    f"{path}: column {name!r} has type {kind}, in {paths[0]} it has {wanted}; make them one"
                )

    def count(path: File) -> int:
        with reading(path) as opened:
            return int(parquet.ParquetFile(opened).metadata.num_rows)

    sizes = [partial(count, path) for path in paths]
    return Stream(where, tuple(kinds.names), _kept(read), partial(_place, paths, sizes))


def _place(paths: Sequence[File], sizes: Sequence[Callable[[], int]], row: int) -> str:
    for path, size in zip(paths, sizes, strict=True):
        if len(paths) == 1 or row < (count := size()):
            return row_name(row) if len(paths) == 1 else f"{path.name}, {row_name(row)}"
        row -= count
    return row_name(row)


# ---- text


def _open_text(paths: Sequence[File], where: str, schema: Schema) -> Stream:
    marks = [_delimiter(path) for path in paths]
    names = _header(paths[0], marks[0])
    for path, mark in zip(paths, marks, strict=True):
        _require_same(_header(path, mark), names, path, paths[0])

    def texts() -> Iterator[Table]:
        for path, mark in zip(paths, marks, strict=True):
            yield from (part.select(names) for part in _texts(path, mark))

    comma = ";" in marks  # those who separate by semicolons write 1,5
    held = _kept(texts)
    kinds = _kinds(held(), names, {name: field.kind for name, field in schema.items()}, comma)

    def typed() -> Iterator[Table]:
        import pyarrow as pa

        yield pa.table([pa.array([], kind) for kind in kinds], names=names)
        for part in held():
            cells = [_cast(_filled(c), kind, comma) for c, kind in zip(part.columns, kinds, strict=True)]
            yield pa.table(cells, names=names)

    return Stream(where, tuple(names), _kept(typed), partial(_line_of, paths, marks))


def _texts(path: File, delimiter: str) -> Iterator[Table]:
    """Parts of one file, every cell as text."""
    import pyarrow as pa
    from pyarrow import csv as pacsv

    names = _header(path, delimiter)
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    try:
        options = pacsv.ReadOptions(block_size=BLOCK)
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
        raise InputError(f"{path}: not a readable table: {_first_line(error)}") from error


def _kinds(parts: Iterator[Table], names: list[str], said: dict[str, Kind | None], comma: bool) -> list[Any]:
    """For each column the first type that takes every filled cell of every part."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = [pa.int64(), pa.uint64(), pa.float64()]
    times = [pa.date32(), *(pa.timestamp(unit, zone) for zone in (None, "UTC") for unit in ("s", "us", "ns"))]
    choices = {None: [*whole, pa.bool_(), *times], "number": [*whole, pa.bool_()], "datetime": times}
    left: list[list[Any]] = [list(choices.get(said.get(name), [])) for name in names]
    for part in parts:
        for i, column in enumerate(part.columns):
            filled = _filled(column)
            if left[i] and left[i][0] in whole and said.get(names[i]) is None:
                padded = pc.any(pc.match_substring_regex(filled, PADDED)).as_py()
                left[i] = [kind for kind in left[i] if not (padded and kind in whole)]
            for some in (filled[:FIRST], filled) if len(filled) > FIRST else (filled,):
                left[i] = [kind for kind in left[i] if _takes(some, kind, comma)]
    return [(kinds or [pa.string()])[0] for kinds in left]


def _takes(filled: Cells, kind: Any, comma: bool) -> bool:
    import pyarrow as pa

    try:
        _cast(filled, kind, comma)
    except pa.ArrowInvalid:
        return False
    return True


def _cast(filled: Cells, kind: Any, comma: bool) -> Cells:
    import pyarrow.compute as pc

    if comma and str(kind) == "double":
        filled = pc.replace_substring_regex(filled, r"^([+-]?\d*),(\d+)$", r"\1.\2")
    return filled.cast(kind)


def _filled(cells: Cells) -> Cells:
    """Text without the white space around it; null where it says that there is nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(cells)
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(MISSING)), pa.scalar(None, pa.string()), trimmed)


def _delimiter(path: File) -> str:
    """A tab in a .tsv file; in a .csv file, a comma unless that leaves one column and another mark makes several."""
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
    _require_distinct(names, str(path))
    return names


def _require_distinct(names: Sequence[str], where: str) -> None:
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{where}: column {repeated!r} appears twice; give every column its own name")


def _require_same(names: Sequence[str], wanted: Sequence[str], path: File, first: File) -> None:
    for name in sorted(set(names) ^ set(wanted)):
        odd, other = (path, first) if name in names else (first, path)
        raise InputError(f"{odd}: column {name!r} is not in {other}; files read together must have the same columns")


def _lines(path: File, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number in the file and cells of each row, the header first; blank lines are skipped, as pyarrow does."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter)
            yield from ((reader.line_num, cells) for cells in reader if cells)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it again with UTF-8 encoding") from error
    except csv.Error as error:
        raise InputError(f"{path}: not a readable table: {error}") from error


def _line_of(paths: Sequence[File], marks: Sequence[str], row: int) -> str:
    """Where the ``row``-th data row (from 0) stands: ``line 2`` follows the header."""
    left = row
    for path, mark in zip(paths, marks, strict=True):
        for i, (line, _) in enumerate(_lines(path, mark)):
            if i == left + 1:
                return f"line {line}" if len(paths) == 1 else f"{path.name}, line {line}"
        left -= i
    return row_name(row)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


ENDINGS = (".csv", ".tsv", ".parquet")
