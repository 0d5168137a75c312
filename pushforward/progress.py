"""Progress of a long computation: a share between 0 and 1 and a few words, handed to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

__all__ = ["SILENT", "Progress", "Watch"]


@final
@dataclass(frozen=True)
class Progress:
    """Report how far a computation is: ``callback(share, words)`` with a share of the whole in [0, 1].

    `part` is the progress of a section of it, so that a function reports from 0 to 1 wherever it is called from.
    Without a callback nothing is reported.
    """

    callback: Callable[[float, str], None] | None = None
    start: float = 0.0
    end: float = 1.0
    prefix: str = ""

    @staticmethod
    def of(progress: Watch) -> Progress:
        """What a public function was given, a callback or nothing included, as a `Progress`."""
        return progress if isinstance(progress, Progress) else Progress(progress)

    def __call__(self, share: float, words: str = "") -> None:
        """Report a share of this section."""
        if self.callback is not None:
            self.callback(self.start + (self.end - self.start) * share, self.prefix + words)

    def steps(self, done: int, total: int, words: str = "") -> None:
        """Report ``done`` of ``total`` steps, samples or rows; in words their number where there are no others."""
        self(done / total, words or f"{done:,}")

    def part(self, start: float, end: float, prefix: str = "") -> Progress:
        """The progress of the section from share ``start`` to share ``end``, its words after ``prefix``."""
        width = self.end - self.start
        return Progress(self.callback, self.start + width * start, self.start + width * end, self.prefix + prefix)


SILENT = Progress()
Watch: TypeAlias = Progress | Callable[[float, str], None] | None  # what public functions are given
