"""Skewed columns: numbers by their rank, as quantiles of the standard normal law."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pushforward.data.arrays import Array, Place
from pushforward.data.cells import Cells, numbers
from pushforward.data.columns import Coder, Column, above, column_from_json
from pushforward.errors import InputError

__all__ = ["Warped", "warped", "warped_from_json"]

KNOTS = 1000


@dataclass(frozen=True)
class Warped(Coder):
    """v ↦ the level of v − low on the straight lines between knots; beyond the ends, on the first and last line.

    ``knots`` are values of the training rows less ``low``, ``levels`` the normal quantiles of their mid-ranks, so that
    the column becomes about standard normal, whatever its shape. The map is increasing and exactly invertible; its
    slope differs from row to row, and with it the width of a rounded value, so that there is no jitter.
    """

    column: Column
    knots: tuple[float, ...]
    levels: tuple[float, ...]

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the numbers."""
        return self.column.name

    @property
    def width(self) -> int:
        """1."""
        return 1

    @property
    def jitter(self) -> list[float]:
        """None."""
        return [0.0]

    @property
    def log_scale(self) -> float:
        """InputError: there is not one number for all rows."""
        raise InputError(
            f"column {self.name!r} has scaling quantile, whose log-determinant differs by row: use log_dets"
        )

    def log_scales(self, x: Array) -> Array:
        """log (user units per model unit) at each point x [n, 1]; float64 [n]."""
        knots, levels = np.array(self.knots), np.array(self.levels)
        line = np.clip(np.searchsorted(levels, x[:, 0], side="right") - 1, 0, len(levels) - 2)
        return np.asarray(np.log(np.diff(knots) / np.diff(levels))[line])

    def encode(self, cells: Cells, where: str, place: Place) -> Array:
        """Model units [n, 1]. InputError: text, gaps, infinities."""
        values = numbers(cells, where, place)
        steps = [np.zeros(0), *above(values, self.column.low)]
        return _lines(np.concatenate(steps), self.knots, self.levels).astype(np.float32)[:, None]

    def decode(self, x: Array) -> Cells:
        """Numbers in the column's own type, rounded and bounded as it is."""
        import pyarrow as pa

        return pa.array(self.column.finish(_lines(x[:, 0].astype(np.float64), self.levels, self.knots)))

    def describe(self) -> tuple[str, str, str]:
        """As the numbers."""
        name, kind, words = self.column.describe()
        return name, kind, f"{words}, by quantiles"

    def to_json(self) -> dict[str, Any]:
        """All three, as ``kind`` warped."""
        lines = {"knots": list(self.knots), "levels": list(self.levels)}
        return {"kind": "warped", "column": self.column.to_json(), **lines}


def warped(column: Column, sample: Array) -> Warped:
    """The map for a column that is not constant, from some or all of its training values."""
    from scipy.special import ndtri

    most = float(column.high - column.low)
    values, count = np.unique(np.concatenate([*above(sample, column.low)]), return_counts=True)
    if len(values) < 2:  # a sample that missed all but one value
        values, count = np.array([0.0, most]), np.array([1, 1])
    rank = (np.cumsum(count) - count / 2) / count.sum()
    if len(values) > KNOTS:
        at = np.unique(np.searchsorted(rank, np.linspace(rank[0], rank[-1], KNOTS)))
        values, rank = values[at], rank[at]
    values[0], values[-1] = 0.0, most
    return Warped(column, tuple(values.tolist()), tuple(ndtri(rank).tolist()))


def warped_from_json(entry: dict[str, Any], where: str) -> Warped:
    """The inverse of ``Warped.to_json``; InputError, which ``where`` opens, for what no fit gives."""
    column = column_from_json(entry["column"], where)
    lines = [entry["knots"], entry["levels"]]
    for line in lines:
        numbers = isinstance(line, list) and all(type(v) in (int, float) and math.isfinite(v) for v in line)
        if not numbers or len(line) < 2 or any(a >= b for a, b in pairwise(line)):
            raise InputError(f"{where} has knots that no fit gives; restore the file")
    if len(lines[0]) != len(lines[1]) or column.constant:
        raise InputError(f"{where} has knots that no fit gives; restore the file")
    return Warped(column, tuple(map(float, lines[0])), tuple(map(float, lines[1])))


def _lines(x: Array, xs: tuple[float, ...], ys: tuple[float, ...]) -> Array:
    """Straight lines through the points, the first and the last one going on."""
    a, b = np.array(xs), np.array(ys)
    line = np.clip(np.searchsorted(a, x, side="right") - 1, 0, len(a) - 2)
    with np.errstate(over="ignore"):
        return np.asarray(b[line] + (x - a[line]) * ((b[line + 1] - b[line]) / (a[line + 1] - a[line])))
