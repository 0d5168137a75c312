"""Errors that a user can act on: one line that names the file, column, shape or flag, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "nearest", "one_line", "printable", "writable"]


class InputError(ValueError):
    """Bad input from outside; the command line prints it as one line and exits with code 2."""

    is_spokesman = False  # whether this process is to print it though it is not the main one of its job


def nearest(word: str, choices: Iterable[str], kind: str) -> str:
    """Compose the message for an unknown name, with the choice nearest to it.

    >>> nearest("cosin", ["cosine", "linear"], "schedule")
    "unknown schedule 'cosin'; did you mean 'cosine'? (choices: cosine, linear)"
    """
    names = sorted(choices)
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {word!r}{hint} (choices: {', '.join(names)})"


def one_line(error: BaseException) -> str:
    """Put the message of an error on one line; its type where it has none."""
    return " ".join(f"{error}".split())[:200] or type(error).__name__


def printable(text: str) -> str:
    """Write a text on one line that no terminal obeys: names and paths may come from a stranger.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return text.translate(UNSEEN)


def writable(text: str) -> str:
    """Write what no file can hold, halves of characters in the name of a file say, as what it is.

    >>> writable("a" + chr(0xDCFF))
    'a\\\\udcff'
    """
    return text.encode("utf-8", "backslashreplace").decode()


UNSEEN = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (
        *(*range(32), *range(127, 160), 0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F)),
        *(*range(0x2066, 0x206A), *range(0xD800, 0xE000)),
    )
}  # control characters, line breaks, those that turn the direction of the text, and halves of characters
