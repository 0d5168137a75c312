"""What every kind of column can do: a column of a table to entries of a model row, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from pushforward.data.files import cells as _cells
from pushforward.data.files.cells import ArrowColumn
from pushforward.data.files.rows import Array, RowNamer
from pushforward.tensor import GaussianMixture

__all__ = ["ColumnEncoder", "mixture"]

EDGE = 0.2  # of the noise around a value that is far from the next: a gap between them is learned sooner than a wall


ROOT = 12**-0.5  # standard deviation of noise over a width of 1


SHARP = 1e-3  # the least standard deviation of a component, in model units


def mixture(means: Array, stds: Array, weights: Array) -> GaussianMixture:
    """Components with means [k] or [k, w]; none is narrower than `SHARP`, which no noise would tell from a point."""
    means = means.reshape(len(means), -1)
    return GaussianMixture(*map(torch.from_numpy, (means, stds.clip(SHARP), weights / weights.sum())))


class ColumnEncoder(ABC):
    """One column of a table ↦ ``width`` entries of a model row, and back."""

    name: str

    @property
    @abstractmethod
    def width(self) -> int:
        """How many entries of a model row it takes; 0 for a column in which nothing is to be learned."""

    @property
    @abstractmethod
    def bin_width(self) -> list[float]:
        """Per entry, the width in model units of the uniform noise that makes rounded values continuous; 0: none."""

    @property
    @abstractmethod
    def log_scale(self) -> float:
        """Σ log (user units per model unit) over the entries."""

    def log_scales(self, x: Array) -> Array:
        """log_scale at each row of model units x [n, width]; float64 [n]."""
        return np.full(len(x), self.log_scale)

    @property
    def normal(self) -> bool:
        """Whether its one entry is standard normal over the training rows, whatever the column's shape."""
        return False

    def dequantize(self, x: Array, u: Array) -> Array:
        """What is trained on in the place of model units x [n, width]: points of their cells, by u in [0, 1)."""
        return np.asarray(x + (u - np.float32(0.5)) * np.array(self.bin_width, np.float32))

    @property
    def feature_groups(self) -> tuple[int, ...]:
        """Its entries in parts that may be known without the others."""
        return (self.width,) if self.width else ()

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """Of each of its ``feature_groups``: a Gaussian mixture near its law, of ``most`` components if it may choose.

        Where nothing is known, a standard normal.
        """
        return tuple(mixture(np.zeros((1, width)), np.ones(1), np.ones(1)) for width in self.feature_groups)

    @abstractmethod
    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Model units, float32 [n, width]; InputError, which ``origin`` opens, for what was not there in training."""

    def partial(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """``encode`` with NaN for the entries of gaps, which are not known."""
        import pyarrow as pa

        there = _cells.present(cells)
        index, x = np.flatnonzero(there), np.full((len(cells), self.width), np.nan, np.float32)
        if len(index):
            x[there] = self.encode(cells.filter(pa.array(there)), origin, lambda row: name_row(int(index[row])))
        return x

    @abstractmethod
    def decode(self, x: Array) -> ArrowColumn | None:
        """A pyarrow array [n] in the column's own type from model units [n, width]; None: not part of the output."""

    @abstractmethod
    def describe(self) -> tuple[str, str, str]:
        """Name, type and a summary for people."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain JSON, exact."""
