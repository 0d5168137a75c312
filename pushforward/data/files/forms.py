"""How the cells of a column are written in text: marks in numbers, the order in dates, names that look like numbers.

A column has one form, which takes all of its cells: the first that does, in the order of `choices`. Where two do, the
file decides as a whole, and a note says so (see `decide`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pushforward.data.files.cells import ArrowColumn
from pushforward.data.files.clocks import DURATION, read_durations
from pushforward.data.schema import MISSING, ColumnKind, TextForm

__all__ = ["ColumnForms", "Form", "decide", "trimmed"]

FIRST = 64  # cells tried before the whole column, because a cast does not stop at the first cell that it cannot take
SAMPLE = 1000  # cells of text, from which a form of most is guessed
FEW = 64  # different texts that may be names of versions
# numbers and dates as arrow reads them, numbers with any marks, and dates in any order
PLAIN = r"^[+-]?\d*\.?\d*(?:[eE][+-]?\d+)?$|^\d{4}-\d\d-\d\d(?:[ T][\d:]+)?$"
MARKED = r"^[+-]?[\d.,' \x{a0}\x{202f}]+(?:[eE][+-]?\d+)?$"
DATED = r"^\w{1,9}[ ./-]\w{1,9},?[ ./-]\d{2,4}"
INFINITE = r"(?i)^[+-]?inf(inity)?$"  # a word among numbers, of what has no end
NUMBERS = ("int64", "uint64", "double")
# marks between thousands and before decimals, in the order in which they are tried
MARKS = (("", ","), (",", "."), (".", ","), (" ", "."), (" ", ","), ("\u00a0", ","), ("\u202f", ","), ("'", "."))
DAYS = (
    *("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%m.%d.%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y"),
    *("%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%y"),
)
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
# 007; 0x1F; +49170...; 3E5; 20 digits
NAMES = r"^(?:[+-]?0\d+|[+-]?0[xX][0-9a-fA-F]+|\+\d+|[+-]?\d+E\d+|[+-]?\d{19,})$"


@dataclass(frozen=True)
class Form:
    """An arrow type, and how its values are written: marks in numbers, or the format of dates."""

    type: str
    thousands: str = ""
    decimal: str = "."
    dates: str = ""

    @property
    def arrow(self) -> Any:
        """The arrow type itself."""
        from pushforward.data.files.cells import arrow_type

        return arrow_type(self.type)

    @property
    def plain(self) -> bool:
        """Whether the cells are written as arrow itself reads them."""
        return not (self.thousands or self.dates) and self.decimal == "."

    def cast(self, cells: ArrowColumn) -> ArrowColumn:
        """Convert cells without white space around them; ArrowInvalid where one is written otherwise."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.type == "string":
            return cells if self.plain else self._most(cells)
        if self.type.startswith("duration"):
            if pc.any(pc.invert(pc.match_substring_regex(cells, DURATION))).as_py():
                raise pa.ArrowInvalid("no duration")
            return read_durations(cells)
        if not self.plain:
            if pc.any(pc.invert(self.fits(cells))).as_py():
                raise pa.ArrowInvalid("written otherwise")
            return self.canonical(cells).cast(self.arrow)
        values = cells.cast(self.arrow)
        infinite = self.type == "double" and pc.any(pc.is_inf(values)).as_py()
        if infinite and pc.any(pc.match_substring_regex(cells, INFINITE)).as_py():
            raise pa.ArrowInvalid("a word among numbers")
        return values

    def fits(self, cells: ArrowColumn) -> ArrowColumn:
        """Mark the cells that are written in this way, null where there is none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.dates:
            parsed = pc.strptime(cells, format=self.dates, unit="s", error_is_null=True)
            padded = pc.replace_substring_regex(cells, r"\b(\d)\b", r"0\1")
            same = pc.equal(pc.utf8_upper(pc.strftime(parsed, format=self.dates)), pc.utf8_upper(padded))
            return pc.if_else(pc.is_valid(cells), pc.fill_null(same, False), pa.scalar(None, pa.bool_()))
        thousands, decimal = (mark.replace(".", "\\.") for mark in (self.thousands, self.decimal))
        whole = rf"\d+|[1-9]\d{{0,2}}(?:{thousands}\d{{3}})+" if thousands else r"\d+"
        if self.type.endswith("int64"):
            return pc.match_substring_regex(cells, rf"^[+-]?(?:{whole})$")
        number = rf"(?:{whole})(?:{decimal}\d*)?|{decimal}\d+"
        return pc.match_substring_regex(cells, rf"^[+-]?(?:{number})(?:[eE][+-]?\d+)?$")

    def canonical(self, cells: ArrowColumn) -> ArrowColumn:
        """Write cells of this form as arrow reads them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.dates:
            parsed = pc.strptime(cells, format=self.dates, unit="s", error_is_null=True)
            kind = pa.timestamp("s") if "%H" in self.dates or "%I" in self.dates else pa.date32()
            return parsed.cast(kind).cast(pa.string())
        plain = pc.replace_substring(cells, self.thousands, "") if self.thousands else cells
        return pc.replace_substring(plain, self.decimal, ".")

    def _most(self, cells: ArrowColumn) -> ArrowColumn:
        """Text of which what is written in this way is written as arrow reads it, and the rest left."""
        import pyarrow.compute as pc

        return pc.if_else(pc.fill_null(self.fits(cells), False), self.canonical(cells), cells)


def choices(kind: ColumnKind | None, form: TextForm) -> list[Form]:
    """The forms that a column may have, in the order in which they are tried; those that a schema names first."""
    whole, times = ["int64", "uint64", "double"], ["date32[day]"]
    times += ["duration[us]"]
    times += [f"timestamp[{unit}{zone}]" for zone in ("", ", tz=UTC") for unit in ("s", "us", "ns")]
    numbers = [Form(name) for name in whole]
    marked = [Form(name, *marks) for marks in MARKS for name in ("int64", "double") if marks[0] or name == "double"]
    dated = [Form("timestamp[s]" if clock else "date32[day]", dates=day + clock) for clock in CLOCKS for day in DAYS]
    iso = [Form(name) for name in times]
    if form.format is not None:
        timed = any(mark in form.format for mark in ("%H", "%I"))
        iso = [Form("timestamp[s]" if timed else "date32[day]", dates=form.format), *iso]
        if kind in (None, "keep"):
            return [*iso, *numbers, Form("bool"), *marked, *dated]
    if form.decimal is not None or form.thousands is not None:
        decimal, thousands = form.decimal or ("," if form.thousands == "." else "."), form.thousands or ""
        named = [Form(name, thousands, decimal) for name in ("int64", "double")]
        numbers = [*(n for n in named if not n.plain), *numbers]
    if kind in (None, "keep"):
        return [*numbers, Form("bool"), *iso, *marked, *dated]
    return {"number": [*numbers, Form("bool"), *marked], "datetime": [*iso, *dated]}.get(kind, [])


def trimmed(cells: ArrowColumn, missing: tuple[str, ...]) -> tuple[ArrowColumn, ArrowColumn]:
    """Null where a cell says that there is nothing: the cells without white space around them, and with it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    bare = pc.utf8_trim_whitespace(cells)
    empty = pc.is_in(bare, value_set=pa.array(missing))
    nothing = pa.scalar(None, pa.string())
    return pc.if_else(empty, nothing, bare), pc.if_else(empty, nothing, cells)


@dataclass(eq=False)
class ColumnForms:
    """The forms that take every cell of a column so far."""

    name: str
    kind: ColumnKind | None
    left: list[Form]
    missing: tuple[str, ...]
    named: Form | None = None  # what a schema says of how the cells are written
    odd: str = ""  # a cell that looks like a number and is a name
    plus: str = ""
    minus: bool = False
    texts: set[str] = field(default_factory=set)  # of fractions, as long as they are few
    rows: int = 0
    sample: ArrowColumn = None  # the first cells of a column of text

    @staticmethod
    def of(name: str, kind: ColumnKind | None, form: TextForm) -> ColumnForms:
        """Begin with all forms that a column may have."""
        missing = form.missing if form.missing is not None else ("",) if kind == "categorical" else MISSING
        marks = (form.thousands or "", form.decimal or ("," if form.thousands == "." else "."), form.format or "")
        named = None if marks == ("", ".", "") else Form("string", *marks)
        return ColumnForms(name, kind, choices(kind, form), missing, named)

    def update(self, column: ArrowColumn) -> None:
        """Take in the next cells."""
        import pyarrow.compute as pc

        cells, _ = trimmed(column, self.missing)
        cells = cells.combine_chunks() if hasattr(cells, "combine_chunks") else cells
        if self.sample is None or not len(self.sample):
            self.sample = cells.drop_null()[:SAMPLE]
        if not self.left:
            return
        # of the many forms with marks and orders none is tried where the first cells look like none
        for shape, dated in ((MARKED, False), (DATED, True)) if self.named is None else ():
            if pc.any(pc.invert(pc.match_substring_regex(cells[:FIRST], shape))).as_py():
                self.left = [form for form in self.left if form.plain or bool(form.dates) != dated]
        if not self.left:
            return

        # whole numbers as they are: all forms of numbers take them, and no other is asked
        for few in (cells[:FIRST], cells) if len(cells) > FIRST else (cells,):
            if self.left[:1] == [Form("int64")] and _takes(few, self.left[0]):
                only = NUMBERS if few.null_count < len(few) else (*NUMBERS, "bool", "date32[day]", "timestamp[s]")
                self.left = [form for form in self.left if form.type in only]
            else:
                self.left = [form for form in self.left if _takes(few, form)]
        if self.kind in (None, "keep") and self.left and self.left[0].type in NUMBERS:
            self._update_names(cells)

    def cast(self, column: ArrowColumn, form: Form) -> ArrowColumn:
        """Convert cells to the type of a form; text keeps the white space around it."""
        bare, whole = trimmed(column, self.missing)
        return form.cast(whole if form == Form("string") else bare)

    def form(self, form: Form) -> TextForm | None:
        """What a schema would say of the form, so that other files are read alike; None where nothing is special."""
        said = TextForm(
            None if self.missing == MISSING else self.missing,
            form.dates or None,
            form.decimal if form.decimal != "." or form.thousands else None,
            form.thousands or None,
        )
        return None if said == TextForm() else said

    def _update_names(self, cells: ArrowColumn) -> None:
        """Note cells that would not be written back as they are."""
        import pyarrow.compute as pc

        # the sign of a phone number, and not of a change
        names = cells.filter(pc.fill_null(pc.match_substring_regex(cells, NAMES), False))
        self.minus = self.minus or bool(pc.any(pc.starts_with(cells, "-")).as_py())
        for name in names[:SAMPLE].to_pylist():
            if name.startswith("+") and not name.startswith("+0"):
                self.plus = self.plus or name
            elif not name.lstrip("+-").isdigit() or name.lstrip("+-").startswith("0") or _too_long(name):
                self.odd = self.odd or name
        # fractions of which some end in zeros
        if len(self.texts) <= FEW and self.left[0].type == "double":
            self.texts |= set(pc.unique(cells.drop_null()).to_pylist())
        self.rows += len(cells) - cells.null_count

    @property
    def name_like(self) -> str:
        """A cell for which a column of numbers is one of names; empty if there is none."""
        if self.odd or (self.plus and not self.minus):
            return self.odd or self.plus
        fractions = [text.partition(".")[2] for text in self.texts if "." in text]
        zeros = [text for text in self.texts if "." in text and text[-1] == "0" and text.partition(".")[2] != "0"]
        few = len(self.texts) <= min(FEW, self.rows / 2)
        return min(zeros) if zeros and few and len({len(part) for part in fractions}) > 1 else ""


def decide(columns: list[ColumnForms], semicolons: bool) -> tuple[list[Form], list[str]]:
    """Choose the form of each column, and say what was guessed.

    1.234 beside 0,55 is a thousand: a file has one decimal mark. Where no column tells, it is a comma in a file whose
    cells are separated by semicolons, and a point elsewhere; of two orders of a date, the field that differs less is
    the day.
    """
    notes: list[str] = []
    sure = [_decimals(column) for column in columns]
    comma = "," in sure if {",", "."} & set(sure) else semicolons
    chosen: list[Form] = []
    alike: dict[str, list[str]] = {}
    for column in columns:
        form = (column.named or _of_most(column)) if not column.left else _pick(column, comma, semicolons, notes)
        if not form.plain and column.named is None:
            alike.setdefault(_in_words(form), []).append(column.name)
        chosen.append(form)
    for words, names in alike.items():
        listed = ", ".join(map(repr, names[:8])) + ", ..." * (len(names) > 8)
        notes.append(f"column{'s' * (len(names) > 1)} {listed}: read as {words}")
    return chosen, notes


def _pick(column: ColumnForms, comma: bool, semicolons: bool, notes: list[str]) -> Form:
    left = column.left
    if name := column.name_like if left[0].type in NUMBERS and left[0].plain else "":
        notes.append(f"column {column.name!r} is read as text: {name[:40]!r} would not come back as it is written")
        return Form("string")
    if column.named is not None:
        return left[0]
    thousands = [form for form in left if form.thousands in (".", ",") and form.type == "int64"]
    fractions = [form for form in left if form.type == "double" and not form.thousands]
    if thousands and fractions and not left[0].type.endswith("int64"):
        # 1.234 or 1,234, and nothing else
        mark = thousands[0].thousands
        if (mark == ".") == comma:
            return thousands[0]
        if comma or semicolons:
            notes.append(
                f"column {column.name!r}: {mark!r} is read as the decimal mark; where it stands between thousands, say "
                f'{{"{column.name}": {{"thousands": "{mark}"}}}} in the schema'
            )
        return fractions[0]
    if left[0].dates:
        return _day(column, [form for form in left if form.dates], notes)
    return left[0]


def _day(column: ColumnForms, forms: list[Form], notes: list[str]) -> Form:
    """Of two orders that take every date, that in which the day differs less: 01/02, 01/03, 01/04 are three months."""
    import pyarrow.compute as pc

    def days(form: Form) -> int:
        parsed = pc.strptime(column.sample, format=form.dates, unit="s", error_is_null=True)
        return len(pc.unique(pc.day(parsed)))

    best = min(forms, key=days)
    if len(forms) > 1:
        other = next(form for form in forms if form != best)
        notes.append(
            f"column {column.name!r}: its dates fit {best.dates} and {other.dates}; the other is taken with "
            f'{{"{column.name}": {{"format": "{other.dates}"}}}} in the schema'
        )
    return best


def _decimals(column: ColumnForms) -> str:
    """The decimal mark for which a column speaks, empty if it does not."""
    left = [form for form in column.left if form.type in NUMBERS]
    if not left or left[0].type.endswith("int64") or any(form.type == "int64" for form in left):
        return ""
    return left[0].decimal


def _of_most(column: ColumnForms) -> Form:
    """Of text, the form in which most of it is written, if arrow does not read it so."""
    import pyarrow.compute as pc

    if column.kind not in (None, "keep") or column.sample is None or not len(column.sample):
        return Form("string")

    def share_of(marked: ArrowColumn) -> float:
        return float(pc.mean(marked.cast("int8")).as_py())

    # most cells must look like it, before all forms are tried
    best, share = Form("string"), share_of(pc.match_substring_regex(column.sample, PLAIN))
    likely = [share_of(pc.match_substring_regex(column.sample, shape)) > 0.5 for shape in (MARKED, DATED)]
    for form in choices(None, TextForm()) if any(likely) else ():
        if not form.plain and likely[bool(form.dates)]:
            found = share_of(form.fits(column.sample))
            best, share = (form, found) if found > max(share, 0.5) else (best, share)
    return best if best.plain else Form("string", best.thousands, best.decimal, best.dates)


def _in_words(form: Form) -> str:
    most = ", among words" if form.type == "string" else ""
    if form.dates:
        return f"dates written {form.dates}{most}"
    thousands = f"{form.thousands!r} between thousands" if form.thousands else ""
    decimal = f"{form.decimal!r} before decimals" if form.type != "int64" else ""
    return f"numbers with {' and '.join(filter(None, (thousands, decimal)))}{most}"


def _too_long(digits: str) -> bool:
    return not -(2**63) <= int(digits) < 2**64


def _takes(cells: ArrowColumn, form: Form) -> bool:
    import pyarrow as pa

    try:
        form.cast(cells)
    except pa.ArrowInvalid:
        return False
    return True
