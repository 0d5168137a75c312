"""The interface of a column: its cells in a table to entries of a model row, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from pushforward.data.files.cells import ArrowColumn, present
from pushforward.data.files.rows import Array, RowNamer
from pushforward.tensor import GaussianMixture

__all__ = ["EDGE", "ROOT", "ColumnEncoder", "Unmodelled", "mixture"]

EDGE = 0.2  # of the noise around a value that is far from the next: a gap between them is learned sooner than a wall
ROOT = 12**-0.5  # standard deviation of uniform noise over a width of 1
SHARP = 1e-3  # the least standard deviation of a component, in model units


class ColumnEncoder(ABC):
    """One column of a table ↦ ``width`` entries of a model row, and back."""

    name: str
    ignored = False  # whether the column is neither looked at nor part of the output
    optional = False  # whether it may be missing where rows are read again

    # ---- what it takes of a model row

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of entries of a model row; 0 for a column in which nothing is to be learned."""

    @property
    def feature_groups(self) -> tuple[int, ...]:
        """Widths of the parts of its entries that may be known without the others."""
        return (self.width,) if self.width else ()

    @property
    @abstractmethod
    def bin_width(self) -> list[float]:
        """Per entry, the width in model units of the uniform noise that dequantizes rounded values; 0: none."""

    @property
    def normal(self) -> bool:
        """Whether its one entry is standard normal over the training rows, whatever the column's shape."""
        return False

    @property
    def numeric(self) -> bool:
        """Whether its cells are numbers without gaps, which fit an array."""
        return False

    def marginals(self, most: int) -> tuple[GaussianMixture, ...]:
        """Approximate the marginal of each of its ``feature_groups`` by a Gaussian mixture.

        Of ``most`` components, where their number is free. Where nothing is known, a standard normal.
        """
        return tuple(mixture(np.zeros((1, width)), np.ones(1), np.ones(1)) for width in self.feature_groups)

    # ---- the change of variables

    @property
    @abstractmethod
    def log_scale(self) -> float:
        """Σ log (user units per model unit) over the entries."""

    def log_scales(self, x: Array) -> Array:
        """Evaluate ``log_scale`` at each row of model units x [n, width]; float64 [n]."""
        return np.full(len(x), self.log_scale)

    def dequantize(self, x: Array, u: Array) -> Array:
        """Replace model units x [n, width] by points of their cells, by u uniform in [0, 1).

        Where a cell is but some steps of float32 wide, its edges are left out, which could be another cell's.
        """
        width = np.array(self.bin_width, np.float32)
        edge = np.divide(4 * np.spacing(np.abs(x) + width), width, out=np.zeros_like(x), where=width > 0).clip(0, 0.5)
        return np.asarray(x + (u.clip(edge, 1 - edge) - np.float32(0.5)) * width)

    # ---- there and back

    @abstractmethod
    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Convert cells to model units, float32 [n, width].

        InputError, which ``origin`` opens, for what was not there in training.
        """

    def encode_observed(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Convert cells to model units as ``encode`` does, with NaN for the entries of gaps, which are unknown."""
        import pyarrow as pa

        observed = present(cells)
        index, x = np.flatnonzero(observed), np.full((len(cells), self.width), np.nan, np.float32)
        if len(index):
            plain = cells.filter(pa.array(observed))
            x[observed] = self.encode(plain, origin, lambda row: name_row(int(index[row])))
        return x

    @abstractmethod
    def decode(self, x: Array) -> ArrowColumn | None:
        """Convert model units [n, width] to a pyarrow array [n] of the column's own type; None: not in the output."""

    def draw(self, x: Array, index: Array, seed: int) -> ArrowColumn | None:
        """Decode the samples with numbers ``index`` [n]; what is not learned is drawn, by number and seed alone."""
        return self.decode(x)

    def decode_filled(self, x: Array) -> ArrowColumn | None:
        """Decode as if no value were missing: in the place of a gap stands a value of the column's own law."""
        return self.decode(x)

    # ---- in words and as JSON

    @abstractmethod
    def describe(self) -> tuple[str, str, str]:
        """Return name, type and a summary of the training rows, for people."""

    @abstractmethod
    def form(self) -> str:
        """Say in a few words how the column enters the model."""

    @property
    def note(self) -> str:
        """What of the column was guessed, a sentence for people; empty if nothing."""
        return ""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return plain JSON that restores every number exactly."""


class Unmodelled(ColumnEncoder):
    """A column without entries in a model row, which may be missing where rows are read again."""

    width = 0
    log_scale = 0.0
    optional = True

    @property
    def bin_width(self) -> list[float]:
        """No widths, for there are no entries."""
        return []

    def encode(self, cells: ArrowColumn, origin: str, name_row: RowNamer) -> Array:
        """Encode each cell to no entries, [n, 0]."""
        return np.zeros((len(cells), 0), np.float32)


def mixture(means: Array, stds: Array, weights: Array) -> GaussianMixture:
    """Build a mixture with means [k] or [k, w]; none is narrower than `SHARP`, which is as good as a point."""
    means = means.reshape(len(means), -1)
    return GaussianMixture(*map(torch.from_numpy, (means, stds.clip(SHARP), weights / weights.sum())))
