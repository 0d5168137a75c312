"""Statistics of a text column of numbers, or dates, with words among them, taken in part by part."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pushforward.data.encoders.categorical import Categorical, Value
from pushforward.data.encoders.identifier import Identifier
from pushforward.data.encoders.mixed import NUMBER, Mixed
from pushforward.data.encoders.nullable import Nullable
from pushforward.data.encoders.written import decimals_of, marked, read_written
from pushforward.data.files.cells import ArrowColumn
from pushforward.data.files.rows import RowNamer

__all__ = ["WordStats"]

MOST = 1 << 12  # different words among numbers
FEW = 10  # different words that need not repeat


@dataclass(eq=False)
class WordStats:
    """The words among cells that are mostly numbers, or dates, of the arrow type ``kind``.

    ``numbers`` takes in the numbers: the statistics of a column of that type.
    """

    kind: str
    numbers: Any  # ColumnStats, which is made of this
    words: Counter[Value] = field(default_factory=Counter)
    digits: set[int | None] = field(default_factory=set)
    first: str = ""  # the line or row of the first word

    def update(self, text: ArrowColumn, name_row: RowNamer) -> None:
        """Take in the next cells, null where there is nothing."""
        import pyarrow as pa

        # numbers, by the names of their own rows
        number = marked(text, self.kind)
        index = np.flatnonzero(number)
        if len(index):
            cells = text.filter(pa.array(number))
            self.numbers.update(read_written(cells, self.kind), lambda row: name_row(int(index[row])))
            self.digits |= decimals_of(cells) if self.kind == "double" else set()

        # words, as long as they are few
        word = ~number & np.asarray(text.is_valid())
        if word.any() and not self.first:
            self.first = name_row(int(np.argmax(word)))
        if len(self.words) <= MOST:
            for pair in text.filter(pa.array(word)).value_counts().to_pylist():
                self.words[pair["values"]] += pair["counts"]

    @property
    def apply(self) -> bool:
        """Whether most cells are numbers, and among them words that repeat."""
        total = sum(self.words.values())
        return (
            0 < total <= self.numbers.present
            and NUMBER not in self.words
            and len(self.words) <= min(MOST, max(FEW, total / 2))
        )

    def encoder(self, name: str, rows: int) -> Mixed:
        """Build the column of ``rows`` cells, of which those that are neither are gaps."""
        numbers = self.numbers.encoder(self.numbers.present)
        assert not isinstance(numbers, Nullable | Identifier)
        present = self.numbers.present + sum(self.words.values())
        words: list[Value] = [NUMBER, *sorted(self.words, key=str)]
        shares = [self.numbers.present / rows, *(self.words[word] / rows for word in words[1:])]
        if present < rows:
            words, shares = [*words, None], [*shares, 1 - present / rows]
        digits = next(iter(self.digits)) if len(self.digits) == 1 else None
        return Mixed(numbers, Categorical(name, "string", tuple(words), tuple(shares)), digits, self.first)
