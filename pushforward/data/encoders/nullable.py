"""Columns with gaps, and columns left out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pushforward.data.encoders.base import EDGE, ROOT, ColumnEncoder, mixture
from pushforward.data.encoders.categorical import UNIFORM
from pushforward.data.encoders.numeric import NumericEncoder
from pushforward.data.encoders.quantile import QuantileNormal
from pushforward.data.encoders.typed import TypedNumeric
from pushforward.data.files.cells import ArrowColumn, present
from pushforward.data.files.rows import Array, RowNamer
from pushforward.tensor import GaussianMixture

__all__ = ["Ignored", "Nullable"]

RANGE = (1e-7, 1 - 1e-7)  # of a uniform number whose normal quantile is finite in float32


@dataclass(frozen=True)
class Nullable(ColumnEncoder):
    """A column with gaps: its entries, 0 where the value is missing, and one more that says whether it is.

    ``share`` of the training rows was missing. A missing value is null on the way back, whatever it was before. In
    training the entry of a missing value is noise: standard normal, beside values that are standard normal too.
    """

    inner: NumericEncoder | TypedNumeric | QuantileNormal
    share: float

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the inner column."""
        return self.inner.name

    @property
    def scale(self) -> float:
        """Standard deviation of the indicator, noise included."""
        return math.sqrt(self.share * (1 - self.share) + UNIFORM)

    @property
    def width(self) -> int:
        """Number of entries: one more than without gaps."""
        return self.inner.width + 1

    @property
    def feature_groups(self) -> tuple[int, ...]:
        """The value, and whether it is missing."""
        return (*self.inner.feature_groups, 1)

    @property
    def bin_width(self) -> list[float]:
        """Widths of the inner column, and that of a category for the indicator."""
        return [*self.inner.bin_width, EDGE / self.scale]

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """Approximate the value's marginal, what fills gaps included, and the indicator's two points."""
        points = (np.arange(2) - self.share) / self.scale
        indicator = mixture(points, np.full(2, self.bin_width[-1] * ROOT), np.array([1 - self.share, self.share]))
        inner = self.inner.marginals(most)
        if not inner:
            return (indicator,)
        means, stds, weights = (part.numpy() for part in inner[0])
        gap = 1.0 if self.inner.normal else self.inner.bin_width[0] * ROOT
        means, stds = np.append(means, 0.0), np.append(stds, gap)
        return (mixture(means, stds, np.append(weights * (1 - self.share), self.share)), indicator)

    @property
    def log_scale(self) -> float:
        """Σ log (user units per model unit) over the inner column and the indicator."""
        return self.inner.log_scale + math.log(self.scale / EDGE)

    def log_scales(self, x: Array) -> Array:
        """Evaluate ``log_scale`` at each row of x.

        Of the noise in the place of a missing value that is its own log-density, so that the two make a probability.
        """
        inner = self.inner.log_scales(x[:, :-1])
        if self.inner.normal:
            noise = -0.5 * x[:, 0].astype(np.float64) ** 2 - 0.5 * math.log(2 * math.pi)
            inner = np.where(self._missing(x), noise, inner)
        return np.asarray(inner + math.log(self.scale / EDGE))

    def dequantize(self, x: Array, u: Array) -> Array:
        """Replace model units by points of their cells, and the entries of missing normal values by normal noise."""
        from scipy.special import ndtri

        inner = self.inner.dequantize(x[:, :-1], u[:, :-1])
        if self.inner.normal:
            inner = np.where(self._missing(x)[:, None], ndtri(np.clip(u[:, :-1], *RANGE)), inner)
        indicator = x[:, -1:] + (u[:, -1:] - 0.5) * (EDGE / self.scale)
        return np.concatenate([inner, indicator], axis=1).astype(np.float32)

    def _missing(self, x: Array) -> Array:
        return np.asarray(x[:, -1] * self.scale + self.share > 0.5)

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Encode the values present, 0 for gaps, and the indicator of gaps beside them."""
        inner, missing = self.inner.encode_observed(cells, origin, name_row), ~present(cells)
        inner[missing] = 0
        return self._with_indicator(inner, (missing - self.share) / self.scale)

    def encode_observed(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Encode the values present, NaN for gaps, which stand for values that exist but are unknown."""
        inner = self.inner.encode_observed(cells, origin, name_row)
        return self._with_indicator(inner, np.full(len(inner), -self.share / self.scale))

    def _with_indicator(self, inner: Array, indicator: Array) -> Array:
        return np.concatenate([inner, indicator[:, None].astype(np.float32)], axis=1)

    def decode(self, x: Array) -> ArrowColumn:
        """Decode the inner values; null where the indicator says so."""
        import pyarrow as pa

        return self.inner.decode(x[:, :-1]).take(pa.array(np.arange(len(x)), mask=self._missing(x)))

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
class Ignored(ColumnEncoder):
    """A column that the schema leaves out: neither looked at nor part of the output."""

    name: str
    ignored = True
    numeric = True
    width = 0
    log_scale = 0.0

    @property
    def bin_width(self) -> list[float]:
        """No widths, for there are no entries."""
        return []

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Encode each cell to no entries, [n, 0]."""
        return np.zeros((len(cells), 0), np.float32)

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
