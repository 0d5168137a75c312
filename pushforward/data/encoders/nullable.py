"""Columns with gaps, and columns left out."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from pushforward.data.encoders.base import EDGE, ROOT, ColumnEncoder, Unmodelled, mixture
from pushforward.data.encoders.categorical import UNIFORM, Categorical
from pushforward.data.encoders.identifier import Identifier
from pushforward.data.encoders.numeric import NumericEncoder
from pushforward.data.encoders.quantile import QuantileNormal
from pushforward.data.encoders.typed import TypedNumeric
from pushforward.data.files.cells import ArrowColumn, present
from pushforward.data.files.rows import Array, RowNamer
from pushforward.tensor import GaussianMixture

__all__ = ["Gapped", "Ignored", "Nullable"]

RANGE = (1e-7, 1 - 1e-7)  # of a uniform number whose normal quantile is finite in float32


@dataclass(frozen=True)
class Gapped(ColumnEncoder):
    """Numbers that are not in every row: their entries, 0 where there is none, and after them what says so.

    In training the entry of a number that is not there is noise: standard normal, beside numbers that are standard
    normal too.
    """

    inner: NumericEncoder | TypedNumeric | QuantileNormal | Identifier

    @property
    @abstractmethod
    def indicator(self) -> Indicator | Categorical:
        """What says whether a number is there."""

    @abstractmethod
    def _missing(self, x: Array) -> Array:
        """Mark the rows of x [n, width] without a number; bool [n]."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the numbers."""
        return self.inner.name

    @property
    def width(self) -> int:
        """Number of entries: those of the numbers, and those of the indicator."""
        return self.inner.width + self.indicator.width

    @property
    def feature_groups(self) -> tuple[int, ...]:
        """The number, and whether it is there."""
        return (*self.inner.feature_groups, self.indicator.width)

    @property
    def bin_width(self) -> list[float]:
        """Widths of the numbers, and of the indicator."""
        return [*self.inner.bin_width, *self.indicator.bin_width]

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """Approximate the numbers' marginal, with what is in the place of those not there, and the indicator's."""
        indicator = self.indicator.marginals(most)
        inner = self.inner.marginals(most)
        if not inner:
            return indicator
        means, stds, weights = (part.numpy() for part in inner[0])
        gap = 1.0 if self.inner.normal else self.inner.bin_width[0] * ROOT
        means, stds = np.append(means, 0.0), np.append(stds, gap)
        return (mixture(means, stds, np.append(weights * (1 - self._share()), self._share())), *indicator)

    @abstractmethod
    def _share(self) -> float:
        """Share of the training rows without a number."""

    @property
    def log_scale(self) -> float:
        """Σ log (user units per model unit) over the numbers and the indicator."""
        return self.inner.log_scale + self.indicator.log_scale

    def log_scales(self, x: Array) -> Array:
        """Evaluate ``log_scale`` at each row of x.

        Of the noise in the place of a number that is not there it is its own log-density, so that the two make a
        probability.
        """
        numbers, indicator = self._parts(x)
        inner = self.inner.log_scales(numbers)
        if self.inner.normal:
            noise = -0.5 * x[:, 0].astype(np.float64) ** 2 - 0.5 * math.log(2 * math.pi)
            inner = np.where(self._missing(x), noise, inner)
        return np.asarray(inner + self.indicator.log_scales(indicator))

    def dequantize(self, x: Array, u: Array) -> Array:
        """Replace model units by points of their cells, and entries without a number by normal noise."""
        from scipy.special import ndtri

        (numbers, indicator), (first, last) = self._parts(x), self._parts(u)
        inner = self.inner.dequantize(numbers, first)
        if self.inner.normal:
            inner = np.where(self._missing(x)[:, None], ndtri(np.clip(first, *RANGE)), inner)
        return np.concatenate([inner, self.indicator.dequantize(indicator, last)], axis=1).astype(np.float32)

    def _parts(self, x: Array) -> tuple[Array, Array]:
        """Entries of the numbers, and of the indicator."""
        return x[:, : self.inner.width], x[:, self.inner.width :]


@dataclass(frozen=True)
class Indicator:
    """One entry that says whether a value is missing, as in a ``share`` of the training rows."""

    share: float
    width = 1

    @property
    def scale(self) -> float:
        """Standard deviation, noise included."""
        return math.sqrt(self.share * (1 - self.share) + UNIFORM)

    @property
    def bin_width(self) -> list[float]:
        """That of a category."""
        return [EDGE / self.scale]

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """Two points."""
        points = (np.arange(2) - self.share) / self.scale
        return (mixture(points, np.full(2, self.bin_width[0] * ROOT), np.array([1 - self.share, self.share])),)

    @property
    def log_scale(self) -> float:
        """log (scale / edge)."""
        return math.log(self.scale / EDGE)

    def log_scales(self, x: Array) -> Array:
        """The same for each row."""
        return np.full(len(x), self.log_scale)

    def dequantize(self, x: Array, u: Array) -> Array:
        """Points of the cells of the two values."""
        return np.asarray(x + (u - 0.5) * (EDGE / self.scale))

    def missing(self, x: Array) -> Array:
        """Mark the rows that are missing; bool [n]."""
        return np.asarray(x[:, 0] * self.scale + self.share > 0.5)

    def values(self, missing: Array) -> Array:
        """Model units of what is missing, and what is not; float64 [n, 1]."""
        return np.asarray((missing - self.share) / self.scale)[:, None]


@dataclass(frozen=True)
class Nullable(Gapped):
    """A column with gaps: its entries, 0 where the value is missing, and one more that says whether it is.

    ``share`` of the training rows was missing. A missing value is null on the way back, whatever it was before.
    """

    share: float

    @property
    def indicator(self) -> Indicator:
        """One entry: whether the value is missing."""
        return Indicator(self.share)

    def _share(self) -> float:
        return self.share

    def _missing(self, x: Array) -> Array:
        return self.indicator.missing(x[:, -1:])

    @property
    def note(self) -> str:
        """What was guessed of the values."""
        return self.inner.note

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Encode the values present, 0 for gaps, and the indicator of gaps beside them."""
        inner, missing = self.inner.encode_observed(cells, origin, name_row), ~present(cells)
        inner[missing] = 0
        return self._with_indicator(inner, missing)

    def encode_observed(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Encode the values present, NaN for gaps, which stand for values that exist but are unknown."""
        inner = self.inner.encode_observed(cells, origin, name_row)
        return self._with_indicator(inner, np.zeros(len(inner)))

    def _with_indicator(self, inner: Array, missing: Array) -> Array:
        return np.concatenate([inner, self.indicator.values(missing).astype(np.float32)], axis=1)

    def decode(self, x: Array) -> ArrowColumn:
        """Decode the inner values; null where the indicator says so."""
        return self._masked(self.inner.decode(x[:, :-1]), x)

    def draw(self, x: Array, index: Array, seed: int) -> ArrowColumn:
        """Decode, or draw, the inner values; null where the indicator says so."""
        return self._masked(self.inner.draw(x[:, :-1], index, seed), x)

    def decode_filled(self, x: Array) -> ArrowColumn | None:
        """Decode the inner values, which are noise in the place of gaps: of columns by rank, a draw of the column."""
        return self.inner.decode(x[:, :-1])

    def _masked(self, cells: ArrowColumn, x: Array) -> ArrowColumn:
        import pyarrow as pa

        return cells.take(pa.array(np.arange(len(x)), mask=self._missing(x)))

    def describe(self) -> tuple[str, str, str]:
        """Summarize the inner column, and say how many cells are missing."""
        name, kind, summary = self.inner.describe()
        return name, kind, f"{summary}; {self.share:.2%} missing"

    def form(self) -> str:
        """The inner column, or missing."""
        return f"{self.inner.form()}, or missing"

    def to_json(self) -> dict[str, Any]:
        """The inner column and the share of gaps, as ``kind`` nullable."""
        return {"kind": "nullable", "inner": self.inner.to_json(), "share": self.share}


@dataclass(frozen=True)
class Ignored(Unmodelled):
    """A column that the schema leaves out: neither looked at nor part of the output."""

    name: str
    ignored = True
    numeric = True

    def decode(self, x: Array) -> None:
        """Leave the column out of the output."""

    def describe(self) -> tuple[str, str, str]:
        """Say that it is left out."""
        return self.name, "", "dropped"

    def form(self) -> str:
        """Say that it is left out."""
        return "dropped"

    def to_json(self) -> dict[str, Any]:
        """The name, as ``kind`` dropped."""
        return {"kind": "dropped", "name": self.name}
