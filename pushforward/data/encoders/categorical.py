"""Categories as corners of the unit cube, or many of them as cells of the normal law, and back.

A value becomes its code word, a corner of the unit cube, and any point becomes the category whose word is nearest: no
category can appear that was not in the training rows. Uniform noise around a word (``bin_width``) fills a small cube in
its cell, whose volume is part of ``log_det``: a density of model rows, carried over by it, is a probability in every
categorical and rounded column and a density in every continuous one.

More than `ONE_HOT` categories are one entry: cells of the standard normal law, as wide as the category is frequent, in
an order in which neighbours are alike (see `order_categories`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from pushforward.data.encoders.base import EDGE, ROOT, ColumnEncoder, mixture
from pushforward.data.encoders.histogram import LEAST, Cells
from pushforward.data.encoders.numeric import NumericEncoder
from pushforward.data.encoders.quantile import QuantileNormal
from pushforward.data.files.cells import ArrowColumn, arrow_type, present
from pushforward.data.files.rows import Array, RowNamer
from pushforward.errors import InputError
from pushforward.tensor import GaussianMixture

__all__ = ["ONE_HOT", "UNIFORM", "Categorical", "Value", "categorical_from_json"]

ONE_HOT = 64  # categories at most; more are cells
UNIFORM = EDGE**2 / 12  # variance of the noise
Value: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Categorical(ColumnEncoder):
    """Values without order; None, the last of the ``categories``, is a missing value.

    Up to 64 categories one entry each (one-hot), which share one scale, with which the words and their noise have
    variance 1 on average; more are one entry, by ``ranks``. ``shares`` are those of the training rows.
    """

    name: str
    type: str  # arrow type
    categories: tuple[Value, ...]
    shares: tuple[float, ...]
    dictionary: tuple[Value, ...] | None = None  # of a dictionary type, in its order, categories never seen included

    @cached_property
    def codebook(self) -> Array:
        """The code word of each of a few categories, float64 [k, k] of zeros and ones; [1, 0] for one only."""
        k = len(self.categories)
        return np.eye(k)[:, : k if k > 1 else 0]

    @cached_property
    def ranks(self) -> QuantileNormal | None:
        """The codes of many categories, 0 to k - 1, by rank; None for a few."""
        k = len(self.categories)
        if k <= ONE_HOT:
            return None
        code = tuple(map(float, range(k)))
        weight = tuple(max(share, LEAST) / LEAST**2 for share in self.shares)  # of rows so many that no others count
        return QuantileNormal(
            NumericEncoder(self.name, "int64", 0, k - 1, k / 2, k / 4, None, (0, k - 1)), Cells(code, code, weight)
        )

    @property
    def mean(self) -> Array:
        """Mean of the code words over the training rows, [width]."""
        return np.asarray(np.array(self.shares) @ self.codebook)

    @property
    def scale(self) -> float:
        """Root mean square of the entries' standard deviations, noise included; 0 without entries."""
        return math.sqrt(float((self.mean * (1 - self.mean)).mean()) + UNIFORM) if self.width else 0.0

    @property
    def width(self) -> int:
        """Number of entries: one per category, or 1 for many; 0 if there is but one."""
        return 1 if self.ranks else int(self.codebook.shape[1])

    @property
    def normal(self) -> bool:
        """Whether there are so many categories that they enter by rank."""
        return self.ranks is not None

    @property
    def bin_width(self) -> list[float]:
        """Edge of the cube around a word, in each entry; 0 for many categories."""
        return [0.0] if self.ranks else [EDGE / self.scale] * self.width if self.width else []

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """Approximate the marginal: one component for each word, or those of the ranks."""
        if self.ranks or not self.width:
            return self.ranks.marginals(most) if self.ranks else ()
        edges = np.full(self.width, self.bin_width[0] * ROOT)
        return (mixture((self.codebook - self.mean) / self.scale, edges, np.array(self.shares)),)

    @property
    def log_scale(self) -> float:
        """width · log (scale / edge); InputError for many categories, whose cells differ: use ``log_scales``."""
        return self.ranks.log_scale if self.ranks else self.width * math.log(self.scale / EDGE) if self.width else 0.0

    def log_scales(self, x: Array) -> Array:
        """Evaluate ``log_scale`` at each row; of many categories, log (density / probability of the cell)."""
        return self.ranks.log_scales(x) if self.ranks else super().log_scales(x)

    def dequantize(self, x: Array, u: Array) -> Array:
        """Replace words by points of the cubes around them, or ranks by points of their cells."""
        return self.ranks.dequantize(x, u) if self.ranks else super().dequantize(x, u)

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Encode categories as words or ranks. InputError names the first value that was not there in training."""
        codes = self.codes(cells, origin, name_row)
        if self.width == 0:
            return np.zeros((len(cells), 0), np.float32)
        if self.ranks:
            return self.ranks.to_normal(codes.astype(np.float64))[:, None]
        return np.asarray(((self.codebook - self.mean) / self.scale).astype(np.float32)[codes])

    def codes(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Number the categories of cells, int64 [n]; InputError as in ``encode``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = self._value_type()
        try:
            plain = cells.cast(cells.type.value_type) if pa.types.is_dictionary(cells.type) else cells
            if pa.types.is_floating(plain.type):
                plain = plain.take(pa.array(np.arange(len(plain)), mask=~present(plain)))  # NaN is a gap
            plain = plain.cast(kind)
        except pa.ArrowException as error:
            raise InputError(f"{origin} has type {cells.type}, in training {self.type}; give that type") from error
        values = self._values()
        codes = pc.fill_null(pc.index_in(plain, value_set=pa.array(values, kind)), -1).to_numpy(zero_copy_only=False)
        empty = ~present(plain)
        codes = np.where(empty, len(values) if len(values) < len(self.categories) else -1, codes)
        if (codes < 0).any():
            first = int(np.argmax(codes < 0))
            value = "an empty cell" if empty[first] else repr(plain[first].as_py())[:42]
            listed = ", ".join(map(repr, values[:8])) + (", ..." if len(values) > 8 else "")
            raise InputError(f"{origin}, {name_row(first)}: {value} was not there in training; known are {listed}")
        return np.asarray(codes)

    def decode(self, x: Array) -> ArrowColumn:
        """Find the category of the nearest word, or of the cell."""
        import pyarrow as pa

        if self.ranks:
            codes = self.ranks.decode(x).to_numpy(zero_copy_only=False)
        else:  # of corners with one entry 1 the nearest is that of the largest entry
            codes = np.argmax(x * self.scale + self.mean, axis=1) if self.width else np.zeros(len(x), np.int64)
        kind = arrow_type(self.type)
        if self.dictionary is None:
            return pa.array(list(self.categories), kind).take(pa.array(codes))
        position = {value: i for i, value in enumerate(self.dictionary)}
        indices = pa.array([position.get(value) for value in self.categories], kind.index_type).take(pa.array(codes))
        return pa.DictionaryArray.from_arrays(indices, pa.array(self.dictionary, kind.value_type), ordered=kind.ordered)

    def decode_filled(self, x: Array) -> ArrowColumn:
        """Decode, with the most frequent category in the place of a gap."""
        import pyarrow.compute as pc

        cells, kind = self.decode(x), arrow_type(self.type)
        plain = cells.cast(self._value_type())
        share = {value: part for value, part in zip(self.categories, self.shares, strict=True) if value is not None}
        return pc.fill_null(plain, max(share, key=share.__getitem__)).cast(kind) if share else cells

    def describe(self) -> tuple[str, str, str]:
        """Summarize by the number of categories, and the most frequent ones."""
        often = sorted(zip(self.shares, self.categories, strict=True), key=lambda pair: -pair[0])[:3]
        top = ", ".join(f"{'missing' if value is None else value} {share:.1%}" for share, value in often)
        return (
            self.name,
            self.type,
            f"{len(self.categories)} categories: {top}{', ...' * (len(self.categories) > 3)}",
        )

    def form(self) -> str:
        """One of so many categories, one-hot or by rank."""
        if not self.width:
            return "constant"
        return f"one of {len(self.categories)} categories, {'by rank' if self.normal else 'one-hot'}"

    def to_json(self) -> dict[str, Any]:
        """The fields, as ``kind`` categorical."""
        dictionary = None if self.dictionary is None else list(self.dictionary)
        lists = {"categories": list(self.categories), "shares": list(self.shares), "dictionary": dictionary}
        return {"kind": "categorical", "name": self.name, "type": self.type, **lists}

    def _values(self) -> list[Value]:
        return [value for value in self.categories if value is not None]

    def _value_type(self) -> Any:
        kind = arrow_type(self.type)
        return getattr(kind, "value_type", kind)


def categorical_from_json(entry: dict[str, Any], origin: str) -> Categorical:
    """Restore a column from ``Categorical.to_json``; InputError, which ``origin`` opens, for what no fit gives."""
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
        raise InputError(f"{origin} has categories that no fit gives; restore the file")
    dictionary = None if dictionary is None else tuple(dictionary)
    return Categorical(name, kind, tuple(categories), tuple(map(float, shares)), dictionary)
