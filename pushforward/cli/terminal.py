"""What commands share: the progress bar, tables, the choice of a device."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TextIO

from pushforward.errors import InputError, printable

__all__ = ["discard", "fetch_bar", "flag_values", "pick_device", "print_table", "progress_bar", "say", "tell"]


def say(line: str, *, error: bool = False) -> None:
    """Print one line, on standard error or standard output: what commands say goes through here (`printable`)."""
    print(printable(line), file=sys.stderr if error else sys.stdout, flush=error)


def tell(line: str) -> None:
    """Print a line on standard error while a command goes on; where nobody reads it, stop as Ctrl-C does: saved."""
    try:
        say(line, error=True)
    except BrokenPipeError:
        discard(sys.stderr)  # no line more is refused
        signal.raise_signal(signal.SIGINT)


def discard(stream: TextIO) -> None:
    """Let what is written to a stream from now on be lost: nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def flag_values(args: Sequence[str], flag: str) -> list[str]:
    """What stands behind a flag, wherever it is, for what must be known before the parser has its word on the rest."""
    behind = [value for word, value in pairwise(args) if word == flag]
    return [*behind, *(word.partition("=")[2] for word in args if word.startswith(f"{flag}="))]


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float, str], None]]:
    """Show progress by ``show(share, message)``: a bar with time left on a terminal, elsewhere a line now and then."""
    if not sys.stderr.isatty():
        last = time.monotonic()

        def line(share: float, message: str) -> None:
            nonlocal last
            if share >= 1 or time.monotonic() - last > 5:
                tell(f"{title} {100 * share:3.0f}%  {message}")
                last = time.monotonic()

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title), BarColumn(), TextColumn("{task.percentage:3.0f}%"), TimeRemainingColumn())
    words = TextColumn("{task.fields[message]}", markup=False)
    with Progress(*columns, words, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=1.0, message="")
        yield lambda share, message: bar.update(task, completed=share, message=printable(message))


@contextlib.contextmanager
def fetch_bar() -> Iterator[Callable[[float, str], None]]:
    """Show a `progress_bar` from the first report on: data that are here, or soon are, report nothing."""
    with contextlib.ExitStack() as stack:
        bar: list[Callable[[float, str], None]] = []

        def show(share: float, message: str) -> None:
            if not bar:
                bar.append(stack.enter_context(progress_bar("data")))
            bar[0](share, message)

        yield show


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells in columns as wide as they need."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def pick_device(name: str) -> str:
    """Pick a device, for ``auto`` CUDA or MPS where there is one; InputError for one that this torch does not have."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not available here ({str(error).splitlines()[0]})") from None
    return name
