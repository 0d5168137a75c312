"""Units of dates, times and durations: the step that all values of a column share, and the range of a type."""

from __future__ import annotations

from typing import Any

from pushforward.data.files.clocks import UNITS

__all__ = ["common_step", "type_range"]

STEPS = (86400, 3600, 60, 1)  # in seconds: days, hours, minutes
YEARS = (-62135596800, 253402300799)  # the seconds from year 1 to 9999


def common_step(kind: Any, divisor: int) -> int:
    """Find how many units of an arrow type make a whole day, hour, minute, second or part of one, if all counts do.

    ``divisor`` is the greatest that all counts share.
    """
    import pyarrow as pa

    if pa.types.is_date32(kind):
        return 1
    second = UNITS["ms" if pa.types.is_date64(kind) else kind.unit]
    steps = [step * second for step in STEPS]
    steps += [second // part for part in (10**3, 10**6) if second >= part]
    return next((step for step in steps if divisor % step == 0), 1)


def type_range(kind: Any) -> tuple[int, int]:
    """Return the least and the greatest count that is a date, a time or a duration in an arrow type."""
    import pyarrow as pa

    if pa.types.is_date32(kind):
        return YEARS[0] // 86400, YEARS[1] // 86400
    second = UNITS["ms" if pa.types.is_date64(kind) else kind.unit]
    if pa.types.is_time(kind):
        return 0, 86400 * second - 1
    if pa.types.is_duration(kind):
        return -(2**63) + 1, 2**63 - 1
    day = 86400 * second  # left free at both ends, for time zones
    return max(YEARS[0] * second, -(2**63)) + day, min(YEARS[1] * second, 2**63 - 1) - day
