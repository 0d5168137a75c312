"""One way in which the cells of a column are written in text, and all that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pushforward.data.files.cells import ArrowColumn, arrow_type
from pushforward.data.files.clocks import DURATION, read_durations
from pushforward.data.schema import ColumnKind, TextForm

__all__ = ["Form", "choices"]

INFINITE = r"(?i)^[+-]?inf(inity)?$"  # a word among numbers, of what has no end
# marks between thousands and before decimals, in the order in which they are tried
MARKS = (("", ","), (",", "."), (".", ","), (" ", "."), (" ", ","), ("\u00a0", ","), ("\u202f", ","), ("'", "."))
DAYS = (
    *("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%m.%d.%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y"),
    *("%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%y"),
)
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


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
