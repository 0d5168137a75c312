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
        """That of the inner column."""
        return self.inner.name

    @property
    def scale(self) -> float:
        """Standard deviation of the indicator, noise included."""
        return math.sqrt(self.share * (1 - self.share) + UNIFORM)

    @property
    def width(self) -> int:
        """One more than without gaps."""
        return self.inner.width + 1

    @property
    def feature_groups(self) -> tuple[int, ...]:
        """The value, and whether it is missing."""
        return (*self.inner.feature_groups, 1)

    @property
    def bin_width(self) -> list[float]:
        """As inside, and that of a category for the indicator."""
        return [*self.inner.bin_width, EDGE / self.scale]

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """The inner law beside that of what stands in the place of missing values; two points for the indicator."""
        told = (np.arange(2) - self.share) / self.scale
        flag = mixture(told, np.full(2, self.bin_width[-1] * ROOT), np.array([1 - self.share, self.share]))
        inner = self.inner.marginals(most)
        if not inner:
            return (flag,)
        means, stds, weights = (part.numpy() for part in inner[0])
        gap = 1.0 if self.inner.normal else self.inner.bin_width[0] * ROOT
        return (
            mixture(np.append(means, 0.0), np.append(stds, gap), np.append(weights * (1 - self.share), self.share)),
            flag,
        )

    @property
    def log_scale(self) -> float:
        """Of both."""
        return self.inner.log_scale + math.log(self.scale / EDGE)

    def log_scales(self, x: Array) -> Array:
        """Of both; of noise in the place of a missing value its own density, so that the two make a probability."""
        inner = self.inner.log_scales(x[:, :-1])
        if self.inner.normal:
            noise = -0.5 * x[:, 0].astype(np.float64) ** 2 - 0.5 * math.log(2 * math.pi)
            inner = np.where(self._missing(x), noise, inner)
        return np.asarray(inner + math.log(self.scale / EDGE))

    def dequantize(self, x: Array, u: Array) -> Array:
        """Of both; see above for missing values."""
        from scipy.special import ndtri

        inner = self.inner.dequantize(x[:, :-1], u[:, :-1])
        if self.inner.normal:
            inner = np.where(self._missing(x)[:, None], ndtri(np.clip(u[:, :-1], *RANGE)), inner)
        told = x[:, -1:] + (u[:, -1:] - 0.5) * (EDGE / self.scale)
        return np.concatenate([inner, told], axis=1).astype(np.float32)

    def _missing(self, x: Array) -> Array:
        return np.asarray(x[:, -1] * self.scale + self.share > 0.5)

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Model units [n, width]."""
        import pyarrow as pa

        there = present(cells)
        index = np.flatnonzero(there)
        x = np.zeros((len(cells), self.width), np.float32)
        if len(index):
            x[there, :-1] = self.inner.encode(
                cells.filter(pa.array(there)), origin, lambda row: name_row(int(index[row]))
            )
        x[:, -1] = (~there - self.share) / self.scale
        return x

    def partial(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """A gap is a value that is there but unknown."""
        x = super().partial(cells, origin, name_row)
        x[:, -1] = -self.share / self.scale
        return x

    def decode(self, x: Array) -> ArrowColumn:
        """The inner values, null where the indicator says so."""
        import pyarrow as pa

        return self.inner.decode(x[:, :-1]).take(pa.array(np.arange(len(x)), mask=self._missing(x)))

    def describe(self) -> tuple[str, str, str]:
        """As inside, and how many are missing."""
        name, kind, words = self.inner.describe()
        return name, kind, f"{words}; {self.share:.2%} missing"

    def to_json(self) -> dict[str, Any]:
        """Both parts, as ``kind`` nullable."""
        return {"kind": "nullable", "inner": self.inner.to_json(), "share": self.share}


@dataclass(frozen=True)
class Ignored(ColumnEncoder):
    """A column that the schema leaves out: neither looked at nor part of the output."""

    name: str
    width = 0
    log_scale = 0.0

    @property
    def bin_width(self) -> list[float]:
        """Nothing."""
        return []

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Nothing, for each row."""
        return np.zeros((len(cells), 0), np.float32)

    def decode(self, x: Array) -> None:
        """Not part of the output."""

    def describe(self) -> tuple[str, str, str]:
        """That it is left out."""
        return self.name, "", "dropped"

    def to_json(self) -> dict[str, Any]:
        """The name, as ``kind`` dropped."""
        return {"kind": "dropped", "name": self.name}
