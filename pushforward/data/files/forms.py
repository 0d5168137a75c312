"""How the cells of a column are written in text: marks in numbers, the order in dates, names that look like numbers.

A column has one form, which takes all of its cells: the first that does, in the order of `choices`. Where two do, the
file decides as a whole, and a note says so (see `decide`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pushforward.data.files.cells import ArrowColumn
from pushforward.data.files.form import Form, choices
from pushforward.data.schema import MISSING, ColumnKind, TextForm

__all__ = ["ColumnForms", "decide", "trimmed"]

FIRST = 64  # cells tried before the whole column, because a cast does not stop at the first cell that it cannot take
SAMPLE = 1000  # cells of text, from which a form of most is guessed
FEW = 64  # different texts that may be names of versions
# numbers and dates as arrow reads them, numbers with any marks, and dates in any order
PLAIN = r"^[+-]?\d*\.?\d*(?:[eE][+-]?\d+)?$|^\d{4}-\d\d-\d\d(?:[ T][\d:]+)?$"
MARKED = r"^[+-]?[\d.,' \x{a0}\x{202f}]+(?:[eE][+-]?\d+)?$"
DATED = r"^\w{1,9}[ ./-]\w{1,9},?[ ./-]\d{2,4}"
NUMBERS = ("int64", "uint64", "double")
# 007; 0x1F; +49170...; 3E5; 20 digits
NAMES = r"^(?:[+-]?0\d+|[+-]?0[xX][0-9a-fA-F]+|\+\d+|[+-]?\d+E\d+|[+-]?\d{19,})$"


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
