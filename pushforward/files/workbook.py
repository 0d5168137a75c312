"""Cells of one sheet of a workbook, read in a process of its own, whose memory has a bound.

A sheet takes memory for every cell between its first and its last, so that one stray cell, or a file made to do harm,
asks for all there is; what reads it then ends its process. `copy_sheet` runs in a process of its own: a workbook on the
standard input, its cells as an arrow stream on the standard output.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import IntEnum
from itertools import islice
from pathlib import Path
from typing import IO, Any

from pushforward.errors import InputError, one_line
from pushforward.files.limits import RATIO, allowed, size_in_words

__all__ = ["EXACT", "Cell", "Sheet", "read_sheet"]

EXACT = 2.0**53  # whole numbers below are told apart
ROWS = 1 << 12  # turned into columns together
PACKAGE = "python_calamine"
BROKEN, DAMAGED, LOCKED, NO_SHEET, LARGE = 1, 3, 4, 5, 6  # exit codes; the first is Python's own
# the modules that this process sees, and none of the folder it stands in
PROCESS = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from pushforward.files.workbook import copy_sheet
sys.exit(copy_sheet(*sys.argv[2:]))
"""


class Cell(IntEnum):
    """What a cell holds."""

    EMPTY, NUMBER, TEXT, BOOLEAN, DATE, DATETIME, TIME, DURATION = range(8)


@dataclass(frozen=True, eq=False)
class Sheet:
    """The cells of a sheet from its first row on, ``text`` and ``kinds`` (see `Cell`) by column, as arrow columns.

    A cell is empty, or written as text: ``2.5``, ``true``, ``2024-01-31``, ``2024-01-31 12:30:00``, ``12:30:00``,
    ``1 days 02:03:04``. ``merged`` are the first and the last row and column of merged cells, from 0.
    """

    name: str
    others: tuple[str, ...]
    merged: tuple[tuple[int, int, int, int], ...]
    text: tuple[Any, ...]
    kinds: tuple[Any, ...]


def read_sheet(opened: IO[bytes], origin: str, wanted: str | None) -> Sheet:
    """Read the sheet that is ``wanted``, otherwise the first that holds a table.

    InputError, which ``origin`` opens: the file is damaged, has a password or no such sheet, or is larger than a file
    may be (see `limits.allow`); the package that reads workbooks is missing.
    """
    import pyarrow as pa

    if importlib.util.find_spec(PACKAGE) is None:
        raise InputError(f'{origin}: workbooks are read by python-calamine: pip install "pushforward[excel]"')
    size = opened.seek(0, 2)
    opened.seek(0)
    most = max(allowed(), RATIO * size)
    paths = json.dumps([*sys.path, str(Path(__file__).parents[2])])
    command = [sys.executable, "-I", "-c", PROCESS, paths, str(most), *([] if wanted is None else [wanted])]
    # arrow's own way of taking memory asks for much ahead
    done = subprocess.run(
        command, stdin=opened, capture_output=True, env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"}
    )
    if done.returncode == 0:
        table = pa.ipc.open_stream(done.stdout).read_all()
        said = json.loads(table.schema.metadata[b"sheet"])
        columns = tuple(column.combine_chunks() for column in table.columns)
        merged = tuple(map(tuple, said["merged"]))
        return Sheet(said["name"], tuple(said["others"]), merged, columns[::2], columns[1::2])
    words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
    if done.returncode == LOCKED:
        raise InputError(f"{origin}: the workbook has a password; save it without one")
    if done.returncode == NO_SHEET:
        raise InputError(f"{origin}: {words}")
    if done.returncode == BROKEN:
        raise InputError(
            f"{origin}: the process that reads workbooks does not start: {words}; install pushforward anew"
        )
    if done.returncode == DAMAGED:
        raise InputError(f"{origin}: not a readable workbook ({words}); save it again, as .xlsx or .csv")
    raise InputError(
        f"{origin}: the sheet takes more than {size_in_words(most)} of memory; delete stray cells far from the table, "
        f"or, where you trust it, allow more: --largest {-(-2 * most // 10**9)}GB"
    )


# ---- in the process of its own


def copy_sheet(most: str, wanted: str | None = None) -> int:
    """Copy the cells of a sheet from the standard input to the standard output; return the exit code."""
    import pyarrow as pa
    import python_calamine as calamine

    _limit_memory(int(most))
    data = sys.stdin.buffer.read()
    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheet = _first_table(book) if wanted is None else _named(book, wanted)
        # rows begin with the first that there may be, columns with the first that is filled
        _, across = sheet.start or (0, 0)
        said = {
            "name": sheet.name,
            "others": [name for name in book.sheet_names if name != sheet.name],
            "merged": [(a, b - across, c, d - across) for (a, b), (c, d) in sheet.merged_cell_ranges or ()],
        }
        schema = pa.schema([(str(i), pa.uint8() if i % 2 else pa.string()) for i in range(2 * sheet.width)])
        schema = schema.with_metadata({"sheet": json.dumps(said)})
        with pa.ipc.new_stream(sys.stdout.buffer, schema) as out:
            for columns in _columns(sheet.iter_rows()):
                out.write_batch(pa.record_batch(columns, schema=schema))
    except MemoryError:
        return LARGE
    except LookupError as error:
        sys.stderr.write(error.args[0])
        return LOCKED if _is_locked(data) else NO_SHEET
    except BaseException as error:  # what is written in another language ends in exceptions of its own
        sys.stderr.write(one_line(error))
        return LOCKED if isinstance(error, calamine.PasswordError) or _is_locked(data) else DAMAGED
    return 0


def _is_locked(data: bytes) -> bool:
    """Whether a file without readable sheets is a workbook that has a password."""
    if data.startswith(b"PK"):
        with suppress(*UNREADABLE), zipfile.ZipFile(io.BytesIO(data)) as book, book.open(MANIFEST) as manifest:
            return b"encryption-data" in manifest.read(1 << 20)
    # of .xlsx, by the name of its content; of .xls, by the record that follows the first
    inside = "EncryptedPackage".encode("utf-16-le") in data or re.search(rb"(?s)\x09\x08\x10\0.{16}\x2f\0", data)
    return data.startswith(b"\xd0\xcf\x11\xe0") and bool(inside)


def _limit_memory(most: int) -> None:
    """Let this process take so many bytes more, where the system can say so; beyond them it ends."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + most, resource.RLIM_INFINITY))


def _named(book: Any, wanted: str) -> Any:
    """The sheet of that name; LookupError without one."""
    if wanted not in book.sheet_names:
        raise LookupError(f"no sheet {wanted!r}; its sheets: {', '.join(map(repr, book.sheet_names))}")
    return book.get_sheet_by_name(wanted)


def _first_table(book: Any) -> Any:
    """The first sheet with two rows of two cells, hidden ones last; without one the first with two rows, or with any.

    LookupError if all are empty.
    """
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    cells = [each for each in book.sheets_metadata if each.typ == SheetTypeEnum.WorkSheet]
    best, merit = None, 0
    for each in sorted(cells, key=lambda each: each.visible != SheetVisibleEnum.Visible):
        sheet = book.get_sheet_by_name(each.name)
        counts = [sum(value != "" for value in row) for _, row in zip(range(ROWS), sheet.iter_rows(), strict=False)]
        found = 3 if sum(n > 1 for n in counts) > 1 else 2 if sum(n > 0 for n in counts) > 1 else sheet.height > 0
        if found > merit:
            best, merit = sheet, found
        if merit == 3:
            break
    if best is None:
        raise LookupError("no sheet holds a cell; give a workbook with a table")
    return best


def _columns(rows: Iterator[Sequence[Any]]) -> Iterator[list[Any]]:
    """Text and kinds of some thousand rows at a time, column by column."""
    while part := list(islice(rows, ROWS)):
        columns: list[Any] = []
        for cells in zip(*part, strict=True):
            written = [WRITTEN[type(value)](value) for value in cells]
            columns += [[text for _, text in written], [kind for kind, _ in written]]
        yield columns


def _number(value: float) -> tuple[Cell, str]:
    return Cell.NUMBER, str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)


def _clock(value: timedelta) -> tuple[Cell, str]:
    hours, rest = divmod(value.seconds, 3600)
    clock = time(hours, rest // 60, rest % 60, value.microseconds).isoformat()
    return Cell.DURATION, f"{value.days} days {clock}"


MANIFEST = "META-INF/manifest.xml"  # of .ods
UNREADABLE = (KeyError, OSError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
WRITTEN: dict[type, Callable[[Any], tuple[Cell, str | None]]] = {
    str: lambda value: (Cell.TEXT, value) if value else (Cell.EMPTY, None),
    float: _number,
    int: lambda value: (Cell.NUMBER, str(value)),
    bool: lambda value: (Cell.BOOLEAN, str(value).lower()),
    date: lambda value: (Cell.DATE, value.isoformat()),
    datetime: lambda value: (Cell.DATETIME, value.isoformat(" ")),
    time: lambda value: (Cell.TIME, value.isoformat()),
    timedelta: _clock,
}
