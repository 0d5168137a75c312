"""Durations as text, and times without a zone among times with one."""

from __future__ import annotations

import re
from datetime import time
from fractions import Fraction
from typing import Any

import numpy as np

from pushforward.data.files.cells import ArrowColumn, counts, is_text

__all__ = [
    "DURATION",
    "UNITS",
    "in_zone",
    "local_midnights",
    "read_durations",
    "read_times",
    "typed",
    "wall_clock",
    "write_durations",
]

# 1 days 02:03:04.5; 02:03:04; of ISO 8601, P1DT2H3M4.5S
CLOCK = r"(?:(?P<days>[+-]?\d+) days? ?)?(?:(?P<sign>[+-]?)(?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d(?:\.\d+)?))?"
DURATION = r"^[+-]?\d+ days?(?: [+-]?\d+:\d\d:\d\d(?:\.\d+)?)?$"
ISO = r"^-?P(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?$"
DAY = 86400


def write_durations(cells: ArrowColumn) -> ArrowColumn:
    """Write durations as days, hours, minutes and seconds, ``1 days 02:03:04.5``, as pandas does.

    An hour before zero is ``-1 days 23:00:00``.
    """
    import pyarrow as pa

    per = UNITS[cells.type.unit]
    out: list[str | None] = []
    for value in cells.cast(pa.int64()).to_pylist():
        if value is None:
            out.append(None)
            continue
        seconds, part = divmod(value, per)
        days, rest = divmod(seconds, DAY)
        digits = len(str(per)) - 1
        fraction = f".{part:0{digits}d}".rstrip("0") if part else ""
        out.append(f"{days} days {rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}{fraction}")
    return pa.array(out, pa.string())


def read_durations(text: ArrowColumn, unit: str = "us") -> ArrowColumn:
    """Read durations written as days and a clock, or as ISO 8601 has them; ArrowInvalid for anything else."""
    import pyarrow as pa

    counted = [None if value is None else _count(value, UNITS[unit]) for value in text.to_pylist()]
    try:
        return pa.array(counted, pa.int64()).cast(pa.duration(unit))
    except OverflowError as error:
        raise pa.ArrowInvalid(f"a duration has more {unit} than 64 bits hold") from error


def read_times(text: ArrowColumn, unit: str = "us") -> ArrowColumn:
    """Read times of a day, ``12:30:00`` or ``12:30``, in an arrow type of that unit; ArrowInvalid for anything else."""
    import pyarrow as pa

    try:
        times = [None if value is None else time.fromisoformat(value.strip()) for value in text.to_pylist()]
    except ValueError as error:
        raise pa.ArrowInvalid(f"no time of a day: {error}") from error
    return pa.array(times, pa.time64("us")).cast(pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit))


def _count(text: str, per: int) -> int:
    """Units in one duration."""
    import pyarrow as pa

    plain = text.strip()
    if re.match(ISO, plain) and plain.strip("-") not in ("P", "PT"):
        numbers = {letter: Fraction(n) for n, letter in re.findall(r"([\d.]+)([DHMS])", plain)}
        seconds = sum(numbers.get(letter, 0) * size for letter, size in (("D", DAY), ("H", 3600), ("M", 60), ("S", 1)))
        return int(seconds * per) * (-1 if plain.startswith("-") else 1)
    match = re.fullmatch(CLOCK, plain)
    if not plain or match is None:
        raise pa.ArrowInvalid(f"{text[:40]!r} is no duration, such as 0 days 00:10:00 or PT10M")
    days, sign, h, m, s = match.groups()
    clock = Fraction(h or 0) * 3600 + Fraction(m or 0) * 60 + Fraction(s or 0)
    return int((int(days or 0) * DAY + (-clock if sign == "-" else clock)) * per)


# ---- zones


def wall_clock(cells: ArrowColumn) -> ArrowColumn:
    """Times with a zone as its clocks show them, without the zone."""
    import pyarrow.compute as pc

    return pc.local_timestamp(cells)


def in_zone(naive: ArrowColumn, kind: Any) -> ArrowColumn:
    """Times without a zone as those that clocks show in the zone of an arrow type; the earlier of two."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = naive.cast(pa.timestamp(kind.unit))
    return pc.assume_timezone(plain, kind.tz, ambiguous="earliest", nonexistent="latest").cast(kind)


def typed(cells: ArrowColumn, kind: Any) -> ArrowColumn:
    """Cast cells to a type, text of durations and times of a day too; times without a zone are local where it has one.

    ArrowInvalid, or ArrowNotImplementedError, as ``cast`` raises.
    """
    import pyarrow as pa

    if pa.types.is_duration(kind) and is_text(cells.type):
        return read_durations(cells, kind.unit)
    if pa.types.is_time(kind) and is_text(cells.type):
        return read_times(cells, kind.unit)
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    naive = pa.types.is_date(cells.type) or (pa.types.is_timestamp(cells.type) and cells.type.tz is None)
    return in_zone(cells, kind) if zoned and naive else cells.cast(kind)


def local_midnights(cells: ArrowColumn) -> bool:
    """Whether times of a zone are midnights there, none in UTC, and come back from what the clocks there show."""
    import pyarrow as pa

    if not pa.types.is_timestamp(cells.type) or cells.type.tz is None or not len(plain := cells.drop_null()):
        return False
    day, local = DAY * UNITS[cells.type.unit], wall_clock(plain)
    if not (counts(plain) % day).any() or (counts(local) % day).any():
        return False
    return bool(np.array_equal(counts(in_zone(local, cells.type)), counts(plain)))


UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
