"""Text of numbers, or dates, with words among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pushforward.data.encoders.categorical import Categorical
from pushforward.data.encoders.nullable import Gapped
from pushforward.data.encoders.typed import TypedNumeric
from pushforward.data.encoders.written import as_text, marked, read_written, written
from pushforward.data.files.cells import ArrowColumn, present
from pushforward.data.files.rows import Array, RowNamer

__all__ = ["NUMBER", "Mixed"]

NUMBER = "\x1fnumber"  # stands among the words of a column for all numbers


@dataclass(frozen=True)
class Mixed(Gapped):
    """Text of numbers, or dates, and of words beside them: T, <0.1, refused, and gaps, if there are any.

    The ``words`` are categories, among which `NUMBER` stands for all numbers. Numbers are written with so many
    ``digits`` after the point as all had in training, or None: as few as tell them apart.
    """

    words: Categorical
    digits: int | None
    first: str = ""  # the line or row of the first word, in training

    @property
    def indicator(self) -> Categorical:
        """The words."""
        return self.words

    def _share(self) -> float:
        return 1 - self.words.shares[self.words.categories.index(NUMBER)]

    def _missing(self, x: Array) -> Array:
        return np.asarray(self._said(x) != NUMBER)

    def _said(self, x: Array) -> Array:
        cells = self.words.decode(self._parts(x)[1])
        return np.array(cells.to_pylist(), object)

    def apart(self, cells: ArrowColumn) -> tuple[ArrowColumn, ArrowColumn]:
        """Take cells apart: numbers, null in the place of words, and words, `NUMBER` in the place of numbers."""
        import pyarrow as pa

        text = as_text(cells)
        number = marked(text, self.kind)
        words = pa.array(np.where(number, NUMBER, np.array(text.to_pylist(), object)), pa.string())
        return read_written(text.take(pa.array(np.arange(len(text)), mask=~number)), self.kind), words

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Encode the numbers, 0 for words, and the words beside them; InputError for a word that was never there."""
        import pyarrow as pa

        numbers, words = self.apart(cells)
        number = present(numbers)
        index, inner = np.flatnonzero(number), np.zeros((len(number), self.inner.width), np.float32)
        if len(index):
            plain = numbers.filter(pa.array(number))
            inner[number] = self.inner.encode(plain, origin, lambda row: name_row(int(index[row])))
        return np.concatenate([inner, self.words.encode(words, origin, name_row)], axis=1)

    def decode(self, x: Array) -> ArrowColumn:
        """Write the numbers, or the words."""
        import pyarrow as pa

        said, numbers = self._said(x), self.inner.decode(self._parts(x)[0])
        texts = np.array(written(numbers, self.digits), object)
        return pa.array(np.where(said == NUMBER, texts, said), pa.string())

    @property
    def kind(self) -> str:
        """The arrow type of the numbers."""
        return self.inner.type if isinstance(self.inner, TypedNumeric) else "double"

    @property
    def said(self) -> str:
        """The most frequent words and their shares."""
        pairs = zip(self.words.categories, self.words.shares, strict=True)
        words = sorted((pair for pair in pairs if pair[0] != NUMBER), key=lambda pair: -pair[1])
        listed = ", ".join(f"{'missing' if word is None else repr(word)[:42]} {share:.2%}" for word, share in words[:3])
        return listed + ", ..." * (len(words) > 3)

    def describe(self) -> tuple[str, str, str]:
        """Summarize the numbers, and the words."""
        name, _, summary = self.inner.describe()
        return name, "mixed", f"{summary}; {self.said}"

    def form(self) -> str:
        """The numbers, or one of so many words."""
        count = len(self.words.categories) - 1
        return f"{self.inner.form()}, or one of {count} words" if count > 1 else f"{self.inner.form()}, or {self.said}"

    @property
    def note(self) -> str:
        """What the words are, and where the first is."""
        what = "dates" if isinstance(self.inner, TypedNumeric) else "numbers"
        where = f", the first in {self.first}" if self.first else ""
        return f"column {self.name!r} holds {what} and words, which are learned beside them: {self.said}{where}"

    def to_json(self) -> dict[str, Any]:
        """The numbers, the words and how numbers are written, as ``kind`` mixed."""
        fields = {"words": self.words.to_json(), "digits": self.digits, "first": self.first}
        return {"kind": "mixed", "inner": self.inner.to_json(), **fields}
