"""Workbooks, .xlsx .xls .ods: one sheet of each as a table, its columns typed by their cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pushforward.data.files.cells import NUMBER, ArrowColumn
from pushforward.data.files.clocks import read_durations, read_times
from pushforward.data.files.delimited import read_text
from pushforward.data.files.dialect import is_row
from pushforward.data.files.form import Form
from pushforward.data.files.formats import Contents, FileSet, Format, TextSource
from pushforward.data.files.forms import ColumnForms, decide, trimmed
from pushforward.data.files.layout import Layout, find_layout
from pushforward.data.files.remote import File, Packed
from pushforward.data.files.rows import Array, row_name
from pushforward.data.files.stream import Stream, number_file, require_distinct, require_same
from pushforward.data.schema import ColumnSchema
from pushforward.errors import InputError
from pushforward.files.workbook import EXACT, Cell, Sheet, read_sheet

__all__ = ["read_workbook"]


@dataclass(frozen=True, eq=False)
class _Table:
    """The cells of the table in one sheet: text and kinds of each column, and the numbers of its rows, from 0."""

    columns: dict[str, tuple[ArrowColumn, ArrowColumn]]
    rows: Array
    header: bool


def read_workbook(source: FileSet) -> Contents:
    """Read one sheet of each workbook, one below the other: the sheet that is named, or the first with a table.

    Titles above the names of the columns, notes below a gap, empty rows and columns are left out; merged cells have one
    value. A column of numbers, of booleans, dates, times or durations has that type, whole numbers are integers, and
    text stays text. A column of several kinds is read as in a text file (see `read_text`), and so is one of text that a
    schema calls something else. InputError: a workbook is damaged, has a password, no table or no such sheet, repeats
    the name of a column, or has other columns than the first.
    """
    import pyarrow as pa

    if texts := [file for file in source.files if _is_text(file)]:
        if len(texts) < len(source.files):
            raise InputError(f"{texts[0]}: text and no workbook, as others are; save it again as .xlsx")
        contents = read_text(source)
        return replace(contents, notes=(f"{texts[0]}: text and no workbook, read as .csv is", *contents.notes))
    tables: list[_Table] = []
    notes: list[str] = []
    for file in source.files:
        assert not isinstance(file, Packed)
        with file.open("rb") as opened:
            sheet = read_sheet(opened, str(file), source.sheet)
        header = tables[0].header if tables else source.header
        table, said = _table_of(sheet, file, header, source.sheet)
        require_same(list(table.columns), list((tables or [table])[0].columns), file, source.files[0])
        tables.append(table)
        notes += said

    names = list(tables[0].columns)
    everything = source.schema.get("*", ColumnSchema())
    declared = [source.schema.get(name, everything) for name in names]
    columns = [ColumnForms.of(name, each.kind, each.form) for name, each in zip(names, declared, strict=True)]
    joined = [[pa.chunked_array([t.columns[n][i] for t in tables]).combine_chunks() for i in (0, 1)] for n in names]
    cells = [_typed(column, *pair) for column, pair in zip(columns, joined, strict=True)]

    # what is written in several ways is decided for the file as a whole
    mixed = [i for i, column in enumerate(cells) if column is None]
    for i in mixed:
        columns[i].update(joined[i][0])
    chosen, guessed = decide([columns[i] for i in mixed], False)
    forms = {}
    for i, form in zip(mixed, chosen, strict=True):
        cells[i] = columns[i].cast(joined[i][0], form)
        guessed += _texts_as_numbers(columns[i], joined[i], form) if form.type != "string" else []
        forms[names[i]] = columns[i].form(form)
    whole, sizes = pa.table(cells, names=names), [len(table.rows) for table in tables]
    if source.numbered:
        starts = np.cumsum([0, *sizes])
        whole = pa.concat_tables([number_file(whole.slice(starts[i], n), i) for i, n in enumerate(sizes)])
    stream = Stream.of(whole, source.origin, partial(_name_row, source.files, [table.rows for table in tables]))
    named = {name: form for name, form in forms.items() if form is not None}
    return Contents(stream, notes=(*notes, *guessed), text=TextSource(named, tables[0].header))


def _name_row(files: Sequence[File], rows: Sequence[Array], row: int) -> str:
    """Name a row by its number in its sheet."""
    for file, numbers in zip(files, rows, strict=True):
        if row < len(numbers):
            return row_name(numbers[row]) if len(files) == 1 else f"{file.name}, {row_name(numbers[row])}"
        row -= len(numbers)
    return row_name(row)


def _is_text(file: File) -> bool:
    """Whether a file with the ending of a workbook is a table in text, as some programs write it; no page of HTML."""
    with file.open("rb") as opened:
        start = opened.read(4096)
    return bool(start) and not start.startswith((b"PK", b"<", b"\xef\xbb\xbf<")) and min(start) > 8


# ---- the table of a sheet


def _table_of(sheet: Sheet, file: File, header: bool | None, wanted: str | None) -> tuple[_Table, list[str]]:
    """Cut the table out of a sheet, and say what of the workbook is left out or guessed."""
    import pyarrow as pa

    notes: list[str] = []
    if sheet.others and wanted is None:
        others = ", ".join(map(repr, sheet.others[:8])) + ", ..." * (len(sheet.others) > 8)
        notes.append(f"{file}: sheet {sheet.name!r} is read, not {others} (name one: '{file}#{sheet.others[0]}')")
    if not sheet.kinds or not any(column.to_numpy().any() for column in sheet.kinds):
        raise InputError(f"{file}: sheet {sheet.name!r} is empty; give one with a table")
    kinds = np.stack([column.to_numpy() for column in sheet.kinds], axis=1)
    layout = find_layout(kinds != Cell.EMPTY, kinds == Cell.TEXT)
    for rows, place in ((layout.above, "above"), (layout.below, "below")):
        if len(rows):
            notes.append(f"{file}: {_rows_in_words(rows)} {place} the table not read ({_first_cell(sheet, rows)})")
    if layout.gaps:
        notes.append(f"{file}: {layout.gaps} empty {'row' if layout.gaps == 1 else 'rows'} left out")

    texts = {int(j): np.array(sheet.text[j].to_pylist(), object) for j in layout.columns}
    if filled := _fill_merged(texts, kinds, sheet.merged, layout):
        notes.append(f"{file}: {filled} merged {'cell' if filled == 1 else 'cells'} below the first, read as its value")
    line, lines = _names(texts, kinds, sheet.merged, layout)
    if lines == 2:
        notes.append(f"{file}: rows {layout.rows[0] + 1} and {layout.rows[1] + 1} together name the columns")
    if header is False and line == [f"x{i}" for i in range(len(line))]:
        header = True  # samples of a table without names
    if header is None:
        header = not is_row(line)
        if not header:
            words = "the first row is read as a row, and columns are named x0, x1, ... (--header: names)"
            notes.append(f"{file}: {words}")
        elif all(NUMBER.fullmatch(cell) for cell in line):
            notes.append(f"{file}: the first row, of numbers, is read as names of columns (--no-header: a row)")
    names = line if header else [f"x{i}" for i in range(len(line))]
    require_distinct(names, str(file))
    rows = layout.rows[lines if header else 0 :]
    cells = [(pa.array(text[rows], pa.string()), pa.array(kinds[rows, j])) for j, text in texts.items()]
    return _Table(dict(zip(names, cells, strict=True)), rows, header), notes


def _fill_merged(
    texts: dict[int, Array], kinds: Array, merged: Sequence[tuple[int, int, int, int]], layout: Layout
) -> int:
    """Give all cells that are merged into one, below the names of the columns, its value; return how many got it."""
    if sum((c - a + 1) * (d - b + 1) for a, b, c, d in merged) > kinds.size:  # none of them overlap
        return 0
    count, head = 0, layout.rows[0]
    for top, left, bottom, right in merged:
        if top <= head or left not in texts or not kinds[top, left]:
            continue
        for j in range(left, right + 1):
            place = slice(top, bottom + 1)
            if j in texts:
                count += int((kinds[place, j] == Cell.EMPTY).sum())
                texts[j][place], kinds[place, j] = texts[left][top], kinds[top, left]
    return count


def _names(
    texts: dict[int, Array], kinds: Array, merged: Sequence[tuple[int, int, int, int]], layout: Layout
) -> tuple[list[str], int]:
    """The names of the columns and the number of their rows: two, if a name above spans several names below."""
    upper = {j: text[layout.rows[0]] or "" for j, text in texts.items()}
    spans = [(left, right) for top, left, _, right in merged if top == layout.rows[0] and right > left]
    below = kinds[layout.rows[1], layout.columns] if len(layout.rows) > 1 else np.zeros(0)
    if (
        not any(kinds[layout.rows[1], left : right + 1].all() for left, right in spans if len(below))
        or not np.isin(below, (Cell.EMPTY, Cell.TEXT)).all()
    ):
        return list(upper.values()), 1
    for left, right in spans:
        upper |= {j: upper.get(left, "") for j in range(left, right + 1) if j in upper}
    lower = {j: text[layout.rows[1]] or "" for j, text in texts.items()}
    return [" ".join(filter(None, (upper[j], lower[j]))) for j in texts], 2


def _rows_in_words(rows: Array) -> str:
    return f"row {rows[0] + 1}" if len(rows) == 1 else f"rows {rows[0] + 1} to {rows[-1] + 1}"


def _first_cell(sheet: Sheet, rows: Array) -> str:
    cells = (column[int(rows[0])].as_py() for column in sheet.text)
    return repr(next(cell for cell in cells if cell is not None)[:40])


# ---- the type of a column


def _texts_as_numbers(column: ColumnForms, cells: Sequence[ArrowColumn], form: Form) -> list[str]:
    """A line on cells of text that are read as what the others of the column are; none where a schema says so."""
    text = cells[1].to_numpy() == Cell.TEXT
    many = int((text & trimmed(cells[0], column.missing)[0].is_valid().to_numpy(zero_copy_only=False)).sum())
    if not many or column.kind in ("number", "datetime") or column.named is not None:
        return []
    return [f"column {column.name!r}: {many} {'cell' if many == 1 else 'cells'} of text read as {form.type}"]


def _typed(column: ColumnForms, text: ArrowColumn, kinds: ArrowColumn) -> ArrowColumn | None:
    """Convert cells of one kind to its type; None for those of several kinds, and where a schema says more."""
    import pyarrow as pa
    import pyarrow.compute as pc

    bare, whole = trimmed(text, column.missing)
    found = set(pc.unique(kinds.filter(bare.is_valid())).to_pylist())
    if found == {Cell.TEXT} and column.kind not in ("number", "datetime") and column.named is None:
        return whole
    if not found or Cell.TEXT in found or column.named is not None:
        return None
    if found == {Cell.NUMBER}:
        values = bare.cast(pa.float64()).to_numpy(zero_copy_only=False)
        there = values[np.isfinite(values)]
        integers = len(there) + bare.null_count == len(values) and not (there % 1).any() and (abs(there) < EXACT).all()
        return bare.cast(pa.int64() if integers else pa.float64())
    if found <= {Cell.DATE, Cell.DATETIME}:
        if found == {Cell.DATE}:
            return bare.cast(pa.date32())
        parts = pc.any(pc.match_substring(bare, ".")).as_py()
        return bare.cast(pa.timestamp("us" if parts else "s"))
    if found == {Cell.BOOLEAN}:
        return bare.cast(pa.bool_())
    return {Cell.TIME: read_times, Cell.DURATION: read_durations}[found.pop()](bare) if len(found) == 1 else None


WORKBOOK = Format("table", read_workbook, sheets=True)
READ_ONLY = {
    ".xlsx": WORKBOOK,
    ".xls": WORKBOOK,
    ".xlsm": WORKBOOK,
    ".xlsb": WORKBOOK,
    ".ods": WORKBOOK,
}
