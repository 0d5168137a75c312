"""How large a file may be, and unpack to: one from a stranger cannot ask for all memory or all of the disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pushforward.errors import InputError

__all__ = ["allow", "allowed", "allowing", "size_in_words"]

SIZE = 2**31  # bytes that any file may unpack to
RATIO = 100  # and how many times its own size, if that is more: what people pack seldom shrinks as much
_size: ContextVar[int | None] = ContextVar("size", default=None)


@contextmanager
def allowing(size: str | int) -> Iterator[None]:
    """Let files unpack to so many bytes, ``"16GB"`` say, while the block runs: ``with allowing("16GB"): ...``.

    InputError for a text that is no size.
    """
    match = re.fullmatch(r"(\d{1,15})([KMGT]B|)", str(size).upper().replace(" ", ""))
    if match is None:
        raise InputError(f"--largest {size}: write a size, such as 16GB or 500MB")
    before = _size.set(int(match[1]) * 1000 ** " KMGT".index(match[2][:1] or " "))
    try:
        yield
    finally:
        _size.reset(before)


def allowed(usual: int = SIZE) -> int:
    """The bytes that a file may have: those of `allowing`, or as ``usual``."""
    size = _size.get()
    return usual if size is None else size


def allow(size: int, packed: int, origin: object) -> None:
    """InputError where a file of ``packed`` bytes, which ``origin`` names, would unpack to more than is allowed.

    Allowed are 2 GiB, or another size of `allowing`, and always 100 times its own: 3 GB of rows in 30 MB.
    """
    if size > max(allowed(), RATIO * packed):
        raise InputError(
            f"{origin}: unpacks to {size_in_words(size)}, more than is taken unasked; where you trust it, allow so "
            f"much: --largest {-(-size // 10**9)}GB"
        )


def size_in_words(size: int) -> str:
    """Write a number of bytes in the largest unit of which there is one: ``2.1 MB``.

    >>> size_in_words(2044), size_in_words(2**34)
    ('2.0 kB', '17.2 GB')
    """
    power = min(max(len(str(size)) - 1, 0) // 3, 4)
    return f"{size / 1000**power:.1f} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}" if power else f"{size} bytes"
