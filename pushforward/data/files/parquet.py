"""Parquet files: tables of any size, read a part at a time; tables of encoded pictures; and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from pushforward.data.files.cells import ArrowColumn, is_number, is_text, is_time
from pushforward.data.files.formats import Contents, FileSet, Format
from pushforward.data.files.images import decode_pictures, looks_like_picture
from pushforward.data.files.remote import File, reading
from pushforward.data.files.rows import row_name
from pushforward.data.files.stream import ArrowTable, Stream, keep_if_small, number_file, require_distinct, require_same
from pushforward.data.schema import Schema
from pushforward.errors import InputError
from pushforward.files.limits import allow

__all__ = ["picture_column", "read_parquet", "write_parquet"]

ROWS = 1 << 18  # read together, if they are numbers
TEXTS, PICTURES = 1 << 12, 1 << 6  # and if they are text or pictures, which a file may hold once and repeat
LABELS = ("label", "labels", "y", "class", "fine_label")  # columns that may hold the labels of pictures


def read_parquet(source: FileSet) -> Contents:
    """Read the table in .parquet files, one below the other, or the pictures that they hold, with their labels.

    InputError: a file is damaged, or has other columns or types than the first.
    """
    import pyarrow as pa

    try:
        column = picture_column(_schema_of(source.files[0]))
        declared = source.schema.get(column or "")
        pictures = column is not None and declared is None and _holds_pictures(source.files[0], column)
    except (pa.ArrowException, OSError):  # read_table says what is wrong
        pictures = False
    return _read_pictures(source) if pictures else _read_table(source)


def _holds_pictures(path: File, column: str) -> bool:
    """Whether the first filled cell of a binary column begins as a picture does: older tools write text so, too."""
    from pyarrow import parquet

    with reading(path) as opened, parquet.ParquetFile(opened) as file:
        for batch in file.iter_batches(PICTURES, columns=[column]):
            for cell in batch.column(0).to_pylist():
                data = cell.get("bytes") if isinstance(cell, dict) else cell
                if data:
                    return looks_like_picture(data)
    return False


def picture_column(schema: Any) -> str | None:
    """Find the column of encoded pictures in an arrow schema: binary, or a struct with a field ``bytes``; else None."""
    import pyarrow as pa

    def holds(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(i).name == "bytes" and binary(kind.field(i).type) for i in range(kind.num_fields))
        return binary(kind)

    def binary(kind: Any) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    columns = [field.name for field in schema if holds(field.type)]
    return columns[0] if len(columns) == 1 else None


def write_parquet(file: IO[bytes], table: ArrowTable, labels: Sequence[str] | None) -> None:
    """Write a table; labels are left out."""
    from pyarrow import parquet

    parquet.write_table(table, file, write_page_checksum=True)


# ---- tables


def _read_table(source: FileSet) -> Contents:
    import pyarrow as pa
    from pyarrow import parquet

    paths = source.files
    try:
        schemas = [_schema_of(path).remove_metadata() for path in paths]
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source.origin}: not a readable .parquet file: {_first_line(error)}") from error

    # all files must have the columns of the first, with its types, in any order
    kinds = pa.schema([field.with_nullable(True).remove_metadata() for field in schemas[0]])
    typed = pa.schema([field.with_type(_text_type(field, source.schema)) for field in kinds])
    for path, schema in zip(paths, schemas, strict=True):
        require_distinct(schema.names, str(path))
        require_same(schema.names, kinds.names, path, paths[0])
        for name in kinds.names:
            if (kind := schema.field(name).type) != (expected := kinds.field(name).type):
                raise InputError(
                    f"{path}: column {name!r} has type {kind}, in {paths[0]} it has {expected}; make them one"
                )

    def read_parts(path: File) -> Iterator[ArrowTable]:
        try:
            with reading(path) as opened, parquet.ParquetFile(opened, page_checksum_verification=True) as file:
                plain = all(is_number(kind) or is_time(kind) for kind in kinds.types)
                for batch in _allowed(file, _file_size(opened), path, ROWS if plain else TEXTS):
                    yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: not a readable .parquet file: {_first_line(error)}") from error

    def read() -> Iterator[ArrowTable]:
        empty = typed.empty_table()
        yield number_file(empty, 0) if source.numbered else empty
        for i, path in enumerate(paths):
            for part in read_parts(path):
                try:
                    rows = part.select(kinds.names).cast(typed)
                except pa.ArrowInvalid as error:
                    words = "a binary column holds what is no text; leave it out with a schema"
                    raise InputError(f"{path}: {words} ({_first_line(error)})") from error
                yield number_file(rows, i) if source.numbered else rows

    name_row = partial(_name_row, paths, [partial(_count, path) for path in paths])
    return Contents(Stream(source.origin, tuple(kinds.names), keep_if_small(read), name_row))


def _allowed(file: Any, size: int, path: File, rows: int, columns: list[str] | None = None) -> Iterator[Any]:
    """Batches of a file of ``size`` bytes, which may unpack to so much only: runs of one value take no room in it.

    InputError for more; pyarrow's error for text that is not UTF-8.
    """
    metadata = file.metadata
    packed = metadata.serialized_size
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        packed += sum(group.column(j).total_compressed_size for j in range(group.num_columns))
    packed = min(packed, size)  # what it says of itself may be a lie
    allow(8 * metadata.num_rows * len(columns or metadata.schema), packed, path)
    total = 0
    for batch in file.iter_batches(rows, columns=columns):
        batch.validate(full=True)
        total += sum(map(_bytes, batch.columns))
        allow(total, packed, path)
        yield batch


def _file_size(opened: Any) -> int:
    """The bytes of a file by its path, or open."""
    if isinstance(opened, Path):
        return opened.stat().st_size
    here, size = opened.tell(), opened.seek(0, 2)
    opened.seek(here)
    return int(size)


def _bytes(cells: ArrowColumn) -> int:
    """The bytes of a column, each cell with its own value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(cells.type) or not is_text(cells.type.value_type):
        return int(cells.nbytes)
    return pc.sum(pc.binary_length(cells.dictionary).take(cells.indices)).as_py() or 0


def _text_type(field: Any, schema: Schema) -> Any:
    """The type of a column, binary ones as text, unless the user leaves them out."""
    import pyarrow as pa

    dropped = field.name in schema and schema[field.name].kind == "drop"
    binary = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    return pa.string() if binary and not dropped else field.type


def _schema_of(path: File) -> Any:
    """The arrow schema of a file, as pyarrow reads it."""
    from pyarrow import parquet

    with reading(path) as opened:
        return parquet.read_schema(opened)


def _count(path: File) -> int:
    """The number of a file's rows."""
    from pyarrow import parquet

    with reading(path) as opened:
        return int(parquet.ParquetFile(opened).metadata.num_rows)


def _name_row(paths: Sequence[File], counts: Sequence[Callable[[], int]], row: int) -> str:
    """Name the ``row``-th row of all files, by its file if there are several."""
    for path, count in zip(paths, counts, strict=True):
        if len(paths) == 1 or row < (size := count()):
            return row_name(row) if len(paths) == 1 else f"{path.name}, {row_name(row)}"
        row -= size
    return row_name(row)


# ---- pictures


def _read_pictures(source: FileSet) -> Contents:
    """The encoded pictures of all files; labels from the column label (or labels, y, class)."""
    import pyarrow as pa
    from pyarrow import parquet

    def read_file(path: File) -> Any:
        with reading(path) as opened, parquet.ParquetFile(opened, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            columns = [name for name in schema.names if name in (*LABELS, picture_column(schema))]
            batches = list(_allowed(file, _file_size(opened), path, PICTURES, columns))
            return pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in columns], schema.metadata))

    origin = source.origin
    try:
        table = pa.concat_tables([read_file(path) for path in source.files], promote_options="permissive")
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{origin}: not a readable .parquet file: {_first_line(error)}") from error
    column = picture_column(table.schema)
    assert column is not None
    cells = table.column(column).to_pylist()
    data = [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]
    rows, kept, notes = decode_pictures(
        origin, [(f"{origin}, row {i + 1}", cell) for i, cell in enumerate(data)], source.size
    )

    # labels are classes by number where the metadata names the classes, otherwise whatever they are
    name = next((name for name in LABELS if name in table.column_names and name != column), None)
    if name is None:
        return Contents(rows, None, (), notes)
    label = table.column(name)
    if label.null_count or not (pa.types.is_integer(label.type) or pa.types.is_string(label.type)):
        raise InputError(f"{origin}: column {name!r} must hold integers or text without gaps, found {label.type}")
    values = label.to_numpy() if pa.types.is_integer(label.type) else np.array(label.to_pylist())
    classes = _class_names(table.schema.metadata, name) if values.dtype.kind in "iu" else ()
    numbered = bool(classes) and values.min() >= 0 and values.max() < len(classes)
    return Contents(rows, values[kept], classes if numbered else (), notes)


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """The names that the datasets library leaves beside a column of class numbers."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    plain: Iterable[Any] = names if isinstance(names, list) else ()
    return tuple(map(str, plain))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


FORMATS = {".parquet": Format("table", read_parquet, write_parquet)}
