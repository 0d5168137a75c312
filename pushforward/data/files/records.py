"""Tables as JSON records, one to a line or in one list, and arrow's own files (Feather)."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from pushforward.data.files.formats import Contents, FileSet, Format
from pushforward.data.files.remote import File
from pushforward.data.files.stream import ArrowTable, Stream, number_file, require_distinct, require_same
from pushforward.errors import InputError, one_line

__all__ = ["read_arrow", "read_json_records"]


def read_json_records(source: FileSet) -> Contents:
    """Read records of JSON, an object to a line or a list of objects; what they nest becomes columns ``a.b``.

    InputError: the file is damaged, or holds no records.
    """
    return _joined(source, _records)


def read_arrow(source: FileSet) -> Contents:
    """Read arrow's files, Feather, or its streams. InputError: a file is damaged."""
    return _joined(source, _arrow)


def _joined(source: FileSet, read: Any) -> Contents:
    tables = [read(file) for file in source.files]
    names = tables[0].column_names
    for file, table in zip(source.files, tables, strict=True):
        require_distinct(table.column_names, str(file))
        require_same(table.column_names, names, file, source.files[0])
    for name in names:
        kinds = {str(table.schema.field(name).type) for table in tables}
        if len(kinds) > 1:
            raise InputError(
                f"{source.origin}: column {name!r} has the types {', '.join(sorted(kinds))}; make them one"
            )

    def parts() -> Iterator[ArrowTable]:
        for i, table in enumerate(tables):
            yield number_file(table.select(names), i) if source.numbered else table.select(names)

    return Contents(Stream(source.origin, tuple(names), parts))


def _records(file: File) -> ArrowTable:
    import pyarrow as pa
    from pyarrow import json as pajson

    try:
        with file.open("rb") as opened:
            data = opened.read()
        if data.lstrip()[:1] == b"[":
            rows = json.loads(data)
            if not all(isinstance(row, dict) for row in rows):
                raise InputError(f"{file}: expected a list of objects, one for each row")
            data = "\n".join(map(json.dumps, rows)).encode()
        table = pajson.read_json(io.BytesIO(data), pajson.ReadOptions(block_size=max(len(data), 1)))
        while any(pa.types.is_struct(kind) for kind in table.schema.types):
            table = table.flatten()
        return _checked(table)
    except (pa.ArrowException, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not a readable table of records: {one_line(error)[:200]}") from error


def _checked(table: ArrowTable) -> ArrowTable:
    """The table; an error of arrow, or ValueError, for text that is not UTF-8 and for what points to nothing."""
    table.validate(full=True)
    _ = table.column_names  # which are decoded here only
    return table


def _arrow(file: File) -> ArrowTable:
    import pyarrow as pa
    from pyarrow import ipc

    try:
        with file.open("rb") as opened:
            data = opened.read()
        try:
            table = ipc.open_file(data).read_all()
        except pa.ArrowInvalid:
            table = ipc.open_stream(data).read_all()
        return _checked(table)  # before a cell is looked at: what a damaged file points to may not be there
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{file}: not a readable arrow file: {one_line(error)[:200]}") from error


READ_ONLY = {
    ".json": Format("table", read_json_records),
    ".jsonl": Format("table", read_json_records),
    ".ndjson": Format("table", read_json_records),
    ".feather": Format("table", read_arrow),
    ".arrow": Format("table", read_arrow),
}
