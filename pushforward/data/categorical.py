"""Categories as corners of the unit cube, and back.

A value becomes its code word, a corner of the unit cube, and any point becomes the category whose word is nearest: no
category can appear that was not in the training rows. Uniform noise around a word (``jitter``) fills a small cube in
its cell, whose volume is part of ``log_det``: a density of model rows, carried over by it, is a probability in every
categorical and rounded column and a density in every continuous one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from pushforward.data.arrays import Array, Place
from pushforward.data.cells import Cells, arrow_type, present
from pushforward.data.columns import EDGE, Coder
from pushforward.errors import InputError

__all__ = ["UNIFORM", "Categorical", "Value", "categorical_from_json"]

ONE_HOT = 64  # categories at most; more are written in binary
ENTRIES = 1 << 22  # distances held at a time
UNIFORM = EDGE**2 / 12  # variance of the noise
Value: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Categorical(Coder):
    """Values without order; None, the last of the ``categories``, is a missing value.

    Up to 64 categories one entry each (one-hot), more as the binary digits of their number; entries share one scale,
    with which the words and their noise have variance 1 on average. ``shares`` are those of the training rows.
    """

    name: str
    type: str  # arrow type
    categories: tuple[Value, ...]
    shares: tuple[float, ...]
    dictionary: tuple[Value, ...] | None = None  # of a dictionary type, in its order, categories never seen included

    @cached_property
    def words(self) -> Array:
        """The code word of each category, float64 [k, width] of zeros and ones."""
        k = len(self.categories)
        if k <= ONE_HOT:
            return np.eye(k)[:, : k if k > 1 else 0]
        return ((np.arange(k)[:, None] >> np.arange((k - 1).bit_length())) & 1).astype(np.float64)

    @property
    def mean(self) -> Array:
        """Of the words [width]."""
        return np.asarray(np.array(self.shares) @ self.words)

    @property
    def scale(self) -> float:
        """Root mean square of the entries' standard deviations, noise included."""
        return math.sqrt(float((self.mean * (1 - self.mean)).mean()) + UNIFORM) if self.width else 0.0

    @property
    def width(self) -> int:
        """One per category or per binary digit; 0 if there is but one category."""
        return int(self.words.shape[1])

    @property
    def jitter(self) -> list[float]:
        """The edge of the cube around a word."""
        return [EDGE / self.scale] * self.width

    @property
    def log_scale(self) -> float:
        """width · log (scale / edge)."""
        return self.width * math.log(self.scale / EDGE) if self.width else 0.0

    def encode(self, cells: Cells, where: str, place: Place) -> Array:
        """Model units [n, width]. InputError names the first value that was not there in training."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.width == 0:
            return np.zeros((len(cells), 0), np.float32)
        kind = self._value_type()
        try:
            plain = cells.cast(cells.type.value_type) if pa.types.is_dictionary(cells.type) else cells
            if pa.types.is_floating(plain.type):
                plain = plain.take(pa.array(np.arange(len(plain)), mask=~present(plain)))  # NaN is a gap
            plain = plain.cast(kind)
        except pa.ArrowInvalid as error:
            raise InputError(f"{where} has type {cells.type}, in training {self.type}; give that type") from error
        known = self._known()
        codes = pc.fill_null(pc.index_in(plain, value_set=pa.array(known, kind)), -1).to_numpy(zero_copy_only=False)
        empty = ~present(plain)
        codes = np.where(empty, len(known) if len(known) < len(self.categories) else -1, codes)
        if (codes < 0).any():
            first = int(np.argmax(codes < 0))
            value = "an empty cell" if empty[first] else repr(plain[first].as_py())[:42]
            listed = ", ".join(map(repr, known[:8])) + (", ..." if len(known) > 8 else "")
            raise InputError(f"{where}, {place(first)}: {value} was not there in training; known are {listed}")
        return np.asarray(((self.words - self.mean) / self.scale).astype(np.float32)[codes])

    def decode(self, x: Array) -> Cells:
        """The category of the nearest word."""
        import pyarrow as pa

        codes = np.zeros(len(x), np.int64)
        step = max(1, ENTRIES // len(self.categories))
        length = (self.words**2).sum(1)
        for start in range(0, len(x) if self.width else 0, step):
            point = x[start : start + step] * self.scale + self.mean
            codes[start : start + step] = np.argmax(2 * point @ self.words.T - length, axis=1)
        kind = arrow_type(self.type)
        if self.dictionary is None:
            return pa.array(list(self.categories), kind).take(pa.array(codes))
        position = {value: i for i, value in enumerate(self.dictionary)}
        indices = pa.array([position.get(value) for value in self.categories], kind.index_type).take(pa.array(codes))
        return pa.DictionaryArray.from_arrays(indices, pa.array(self.dictionary, kind.value_type), ordered=kind.ordered)

    def describe(self) -> tuple[str, str, str]:
        """How many categories, and the most frequent ones."""
        often = sorted(zip(self.shares, self.categories, strict=True), key=lambda pair: -pair[0])[:3]
        shown = ", ".join(f"{'missing' if value is None else value} {share:.1%}" for share, value in often)
        return self.name, self.type, f"{len(self.categories)} categories: {shown}{', ...' * (len(self.categories) > 3)}"

    def to_json(self) -> dict[str, Any]:
        """The fields, as ``kind`` categorical."""
        held = None if self.dictionary is None else list(self.dictionary)
        lists = {"categories": list(self.categories), "shares": list(self.shares), "dictionary": held}
        return {"kind": "categorical", "name": self.name, "type": self.type, **lists}

    def _known(self) -> list[Value]:
        return [value for value in self.categories if value is not None]

    def _value_type(self) -> Any:
        kind = arrow_type(self.type)
        return getattr(kind, "value_type", kind)


def categorical_from_json(entry: dict[str, Any], where: str) -> Categorical:
    """The inverse of ``Categorical.to_json``; InputError, which ``where`` opens, for what no fit gives."""
    name, kind = entry["name"], entry["type"]
    categories, shares, dictionary = entry["categories"], entry["shares"], entry["dictionary"]
    if (
        not (isinstance(name, str) and isinstance(kind, str))
        or not (isinstance(categories, list) and categories and isinstance(shares, list))
        or not isinstance(dictionary, list | None)
        or not all(type(value) in (str, int, float, bool, type(None)) for value in [*categories, *(dictionary or [])])
        or len(set(categories)) < len(categories)
        or None in categories[:-1]
        or len(shares) != len(categories)
        or not all(type(share) in (int, float) and 0 < share <= 1 for share in shares)
        or not math.isclose(math.fsum(shares), 1, rel_tol=1e-6)
        or (dictionary is not None) != kind.startswith("dictionary")
        or not (dictionary is None or set(categories) - {None} <= set(dictionary))
    ):
        raise InputError(f"{where} has categories that no fit gives; restore the file")
    held = None if dictionary is None else tuple(dictionary)
    return Categorical(name, kind, tuple(categories), tuple(map(float, shares)), held)
