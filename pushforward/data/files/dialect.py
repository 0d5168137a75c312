"""How a text file holds its table: encoding, the mark between cells, quotation marks, and whether names come first."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pushforward.data.files.cells import NUMBER
from pushforward.data.files.remote import File
from pushforward.data.files.stream import require_distinct
from pushforward.errors import InputError

__all__ = ["Dialect", "even_quotes", "find_dialect", "is_row", "open_quote"]

SEPARATORS = ",;\t|"
COMMA = re.compile(r"\s*[+-]?[\d. ]*,\d+\s*", re.ASCII)  # a fraction with a decimal comma
LONGEST = 1 << 27  # characters of a cell
LINES = 20  # that tell the mark between cells
READ = 1 << 20  # bytes looked at together
FRACTION = re.compile(r"\s*[+-]?\d*[.,]\d+([eE][+-]?\d+)?\s*", re.ASCII)  # no name of a column
YEARS = range(1500, 2200)


@dataclass(frozen=True)
class Dialect:
    """How one text file is written; ``skip`` lines come before the first that counts, such as ``sep=;``."""

    encoding: str = "utf-8-sig"
    delimiter: str = ","
    quoted: bool = True  # whether cells may be in quotation marks
    bare: bool = False  # whether those that are not closed are characters like others
    skip: int = 0
    header: bool = True  # whether the first line names the columns

    def lines(self, path: File) -> Iterator[tuple[int, list[str]]]:
        """Line number in the file and cells of each row, the header first; blank lines are skipped, as pyarrow does."""
        csv.field_size_limit(LONGEST)  # a line of many columns is one cell by another mark
        try:
            with path.open(newline="", encoding=self.encoding) as file:
                marks = csv.reader(file, delimiter=self.delimiter)
                reader = csv.reader(file, delimiter=self.delimiter, quoting=csv.QUOTE_NONE) if self.bare else marks
                yield from ((reader.line_num, cells) for cells in reader if cells and reader.line_num > self.skip)
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not text in {self.encoding}; save it again with UTF-8 encoding") from error
        except csv.Error as error:
            raise InputError(f"{path}: not a readable table: {error}") from error

    def names(self, path: File) -> list[str]:
        """Names of the columns, x0, x1, ... where the file has none; InputError for one that appears twice."""
        first = next((cells for _, cells in self.lines(path)), None)
        if first is None:
            raise InputError(f"{path}: the file is empty; give a line of column names followed by rows")
        if not self.header:
            return [f"x{i}" for i in range(len(first))]
        require_distinct(first, str(path))
        return first


def find_dialect(path: File, header: bool | None) -> tuple[Dialect, list[str]]:
    """Find out how a file is written, and say what was guessed; ``header`` says whether its first line names columns.

    A tab in a .tsv file; in others, of a comma, ``;``, a tab and ``|`` the one that makes most columns, as many in most
    of the first lines; a first line ``sep=;`` decides. A first line of fractions, or of numbers that are neither years
    nor count from 0, is a row.
    """
    notes: list[str] = []
    encoding, quoted = _encoding(path)
    if encoding in ("cp1252", "latin-1", "utf-16-le", "utf-16-be"):
        notes.append(f"{path}: not UTF-8 text, read as {encoding}")
    named = _named_delimiter(path, encoding)
    dialect = Dialect(encoding, named or "\t", quoted, skip=int(named is not None))
    if named is None and path.suffix.lower() != ".tsv":
        merits = {mark: _merit(path, replace(dialect, delimiter=mark)) for mark in SEPARATORS}
        dialect = replace(dialect, delimiter=max(merits, key=lambda mark: merits[mark]))
    first = next((cells for _, cells in dialect.lines(path)), [])
    if header is False and first == [f"x{i}" for i in range(len(first))]:
        header = True  # samples of a table without names
    if header is None:
        header = not is_row(first)
        if not header:
            notes.append(
                f"{path}: the first line is read as a row, and columns are named x0, x1, ... (--header: names)"
            )
        elif first and all(NUMBER.fullmatch(cell) for cell in first):
            notes.append(f"{path}: the first line, of numbers, is read as names of columns (--no-header: a row)")
    return replace(dialect, header=header), notes


def _merit(path: File, dialect: Dialect) -> tuple[bool, float, int]:
    """Whether a mark makes several columns, how few cells hold others, but for fractions, and the number of columns.

    Those of the first line, if half of the lines after it have as many.
    """
    rows = [cells for _, (_, cells) in zip(range(LINES), dialect.lines(path), strict=False)]
    widths = [len(cells) for cells in rows]
    width = widths[0] if widths and 2 * widths.count(widths[0]) >= len(widths) else 1
    others = [cell for cells in rows for cell in cells if any(mark in cell for mark in SEPARATORS)]
    odd = sum(1 for cell in others if not COMMA.fullmatch(cell))
    return (True, -odd / sum(widths), width) if width > 1 else (False, 0.0, 1)


def is_row(first: list[str]) -> bool:
    """Whether a first line is a row and no names of columns."""
    if any(FRACTION.fullmatch(cell) for cell in first):
        return True
    if not first or not all(NUMBER.fullmatch(cell) for cell in first):
        return False
    try:
        numbers = [int(cell) for cell in first]
    except ValueError:
        return True
    counted = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return not (counted and len(numbers) > 1 and (numbers[0] == 0 or numbers[0] in YEARS))


def _encoding(path: File) -> tuple[str, bool]:
    """UTF-8 if the whole file is, UTF-16 by its bytes, otherwise the superset of latin-1 that Windows writes.

    Also whether the file holds quotation marks.
    """
    quoted = False
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        block = file.read(READ)
        for mark, encoding in MARKS.items():
            if block.startswith(mark):
                return encoding, True
        if block.count(0) > len(block) // 4:  # UTF-16 without its mark: of most letters, one of two bytes is 0
            return ("utf-16-be" if block[::2].count(0) > block[1::2].count(0) else "utf-16-le"), True
        try:
            while block:
                quoted = quoted or b'"' in block
                decoder.decode(block)
                block = file.read(READ)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return _single_bytes(path), True
    return "utf-8-sig", quoted


def _single_bytes(path: File) -> str:
    """Windows-1252, the superset of latin-1, unless the file has bytes that stand for nothing there."""
    with path.open("rb") as file:
        try:
            while block := file.read(READ):
                block.decode("cp1252")
        except UnicodeDecodeError:
            return "latin-1"
    return "cp1252"


def _named_delimiter(path: File, encoding: str) -> str | None:
    """The mark that a first line ``sep=;`` names, as Excel writes it and leaves out; None without such a line."""
    with path.open("rb") as file:
        text = file.read(64).decode(encoding, errors="ignore").splitlines()[:1]
    match = re.fullmatch(r'"?sep=([,;|\t ])"?', text[0]) if text else None
    return match[1] if match else None


def even_quotes(path: File, dialect: Dialect) -> bool:
    """Whether there are as many quotation marks that open as marks that close, as far as their number can tell."""
    with path.open("rb") as file:
        return (
            dialect.encoding.startswith("utf-16")
            or sum(block.count(b'"') for block in iter(lambda: file.read(READ), b"")) % 2 == 0
        )


def open_quote(path: File, dialect: Dialect) -> int:
    """Find the first line in which a quotation mark is opened and not closed; 0 if there is none."""
    with path.open(newline="", encoding=dialect.encoding) as file:
        return next((number for number, line in enumerate(file, 1) if line.count('"') % 2), 0)


MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
