"""The invertible map between a user's rows and the standardised float32 rows that a model sees."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.data import arrays, tables
from pushforward.data.arrays import Array, Rows
from pushforward.errors import InputError

__all__ = ["Column", "Transform", "fit"]

Kind = Literal["array", "image", "table"]
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
TYPES = ["bool", *INTEGERS, "float16", "float32", "float64"]
CHUNK = 1 << 20  # entries converted to float64 at a time, so that a large image set is never held twice
EXACT = 2**53  # integers up to here are exact in float64


@dataclass(frozen=True)
class Column:
    """One column in user units: value v ↦ ((v − low) − mean) / scale. An image set is one column of all its entries.

    ``low`` and ``high`` are the range of the training rows (exact, of the column's own type); ``mean`` and ``scale``
    are the mean and population standard deviation of v − low. A constant column has low = high and scale 0.
    """

    name: str
    type: str  # numpy dtype name
    low: int | float
    high: int | float
    mean: float
    scale: float

    @property
    def constant(self) -> bool:
        """Whether every training row holds the same value."""
        return self.low == self.high

    @property
    def integer(self) -> bool:
        """Whether the values are integers or booleans."""
        return np.dtype(self.type).kind in "biu"

    def forward(self, values: Array) -> Array:
        """Standardise; float32 of the same shape, infinite beyond 1e38 standard deviations."""
        with np.errstate(over="ignore"):
            parts = [((above - self.mean) / self.scale).astype(np.float32) for above in _above(values, self.low)]
        return np.concatenate(parts).reshape(values.shape)

    def inverse(self, x: Array, clip: bool) -> Array:
        """User units in the column's type, within that type's range (``clip``: within the training range)."""
        dtype = np.dtype(self.type)
        low, high = (self.low, self.high) if clip else _limits(dtype)
        with np.errstate(over="ignore"):  # what overflows is clipped
            above = x.astype(np.float64) * self.scale + self.mean
            if not self.integer:
                return np.clip(above + self.low, low, high).astype(dtype)
        above = np.clip(np.rint(above), float(low - self.low), float(high - self.low))
        if np.abs(above).max(initial=0) + abs(self.low) < EXACT:
            return (above + self.low).astype(dtype)
        exact = [min(max(int(step) + int(self.low), int(low)), int(high)) for step in above.flat]
        return np.array(exact, dtype).reshape(above.shape)


@dataclass(frozen=True)
class Transform:
    """User rows ↦ standardised float32 rows, x = (v − mean) / scale for each entry; made by ``fit``.

    Columns of arrays [n], [n, d] and of tables are standardised one by one and constant ones are left out of the
    model; an array of rank 3 or more is a set of images with one mean and one scale for all entries.
    """

    kind: Kind
    row_shape: tuple[int, ...]  # of one row in user units: () for an array of rank 1
    columns: tuple[Column, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model row: (columns kept,), or an image with channels first."""
        if self.kind != "image":
            return (len(self._kept()),)
        if self._channels_last():
            return (self.row_shape[-1], *self.row_shape[:-1])
        return (1, *self.row_shape) if len(self.row_shape) == 2 else self.row_shape

    @property
    def log_det(self) -> float:
        """log |det d forward / d raw| of one row, −Σ log scale over the modelled entries, in nats."""
        entries = math.prod(self.row_shape) if self.kind == "image" else 1
        return -entries * math.fsum(math.log(column.scale) for column in self._kept())

    def forward(self, raw: Rows, where: str = "the rows") -> Float[Tensor, "n *shape"]:
        """User rows to model units: float32 [n, *shape], contiguous.

        ``raw`` is an array [n, *row_shape], or a pyarrow.Table whose columns are matched by name in any order; what
        it holds in a column that was constant in training is not looked at.
        InputError, which ``where`` opens: other shape or columns, missing values, text.
        """
        found = _columns(raw, where)
        self._require(raw, found, where)
        parts = [column.forward(found[column.name]) for column in self._kept()]
        x = np.stack(parts, axis=1) if self.kind != "image" else parts[0]
        if self._channels_last():
            x = np.moveaxis(x, -1, 1)
        if not np.isfinite(x).all():
            raise InputError(f"{where}: a value lies 1e38 standard deviations from the training mean; drop that row")
        return torch.from_numpy(np.ascontiguousarray(x).reshape(len(x), *self.shape))

    def inverse(self, x: Float[Tensor, "n *shape"]) -> Rows:
        """Model rows [n, *shape] to user units, dtype, columns and order: array [n, *row_shape] or pyarrow.Table.

        Integers are rounded; images are clipped to the range of the training rows. InputError: other shape, NaN, inf.
        """
        rows = x.detach().cpu().double().numpy()
        if rows.shape[1:] != self.shape:
            raise InputError(f"model rows have shape {rows.shape[1:]}; this transform takes {self.shape}")
        bad = ~np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
        if bad.any():
            first = arrays.numbered(int(np.argmax(bad)))
            raise InputError(f"{int(bad.sum())} model rows hold NaN or inf, the first is {first}; the model diverged")
        if self.kind == "image":
            rows = np.moveaxis(rows, 1, -1) if self._channels_last() else rows
            return self.columns[0].inverse(rows.reshape(len(rows), *self.row_shape), clip=True)
        modelled = iter(rows.T)
        out = [
            np.full(len(rows), c.low, c.type) if c.constant else c.inverse(next(modelled), clip=False)
            for c in self.columns
        ]
        if self.kind == "array":
            return np.stack(out, axis=1).reshape(len(rows), *self.row_shape)
        import pyarrow as pa

        return pa.table(out, names=[column.name for column in self.columns])

    def jitter(self) -> Float[Tensor, " ..."] | None:
        """Width, in model units, of the noise that makes integers continuous: 1/scale, and 0 for floats.

        Add (u − 1/2) · jitter with u uniform on [0, 1). Broadcasts to ``shape``; None if nothing is an integer.
        """
        width = [1 / column.scale if column.integer else 0.0 for column in self._kept()]
        if not any(width):
            return None
        return torch.tensor(width[0] if self.kind == "image" else width, dtype=torch.float32)

    def describe(self) -> list[tuple[str, str, str]]:
        """Name, type and summary (mean, standard deviation and range in user units) of each column."""
        return [
            (c.name, c.type, f"{c.low + c.mean:.6g} ± {c.scale:.6g} in [{c.low:.6g}, {c.high:.6g}]")
            for c in self.columns
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON from which ``from_json`` restores every number exactly."""
        columns = [asdict(column) for column in self.columns]
        return {"kind": self.kind, "row_shape": list(self.row_shape), "columns": columns}

    @staticmethod
    def from_json(data: Any) -> Transform:
        """The inverse of ``to_json``; InputError if ``data`` is not a well-formed transform."""
        if not isinstance(data, dict) or set(data) != {"kind", "row_shape", "columns"}:
            raise InputError("transform: expected an object with the keys kind, row_shape and columns")
        kind, shape, entries = data["kind"], data["row_shape"], data["columns"]
        if not isinstance(entries, list) or kind not in get_args(Kind):
            raise InputError(f"transform: expected a list of columns and a kind among {', '.join(get_args(Kind))}")
        columns = tuple(_column_from_json(entry, i) for i, entry in enumerate(entries))
        if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
            raise InputError("transform: row_shape must be a list of positive integers")
        image, rank = kind == "image", len(shape)
        count = 1 if image else math.prod(shape)
        if len(columns) != count or image != (rank > 1) or (kind == "table" and rank != 1):
            raise InputError(f"transform: row_shape {shape} does not fit {len(columns)} columns of kind {kind}")
        if len({c.name for c in columns}) < count or all(c.constant for c in columns):
            raise InputError("transform: columns must have different names and may not all be constant")
        if kind == "array" and len({c.type for c in columns}) > 1:
            raise InputError("transform: the columns of an array must have one type")
        return Transform(kind, tuple(shape), columns)

    def _kept(self) -> list[Column]:
        return [column for column in self.columns if not column.constant]

    def _channels_last(self) -> bool:
        """Of the two layouts of [n, ·, ·, ·], channels last needs 1, 3 or 4 entries there and not in second place."""
        shape = self.row_shape
        return self.kind == "image" and len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)

    def _require(self, raw: Rows, found: dict[str, Array], where: str) -> None:
        """The rows are of the fitted kind, shape and columns."""
        is_array = isinstance(raw, np.ndarray)
        if self.kind == "table" and not is_array:
            names = [column.name for column in self.columns]
            for what, odd in (
                ("is missing", [n for n in names if n not in found]),
                ("was not there in training", list(set(found) - set(names))),
            ):
                if odd:
                    listed = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
                    raise InputError(f"{where}: column {odd[0]!r} {what}; give exactly the columns {listed}")
        elif self.kind == "table" or not is_array or raw.shape[1:] != self.row_shape:
            sizes = ", ".join(["n", *map(str, self.row_shape)])
            wanted = f"a table of {len(self.columns)} columns" if self.kind == "table" else f"an array [{sizes}]"
            given = f"an array of shape {raw.shape}" if is_array else f"a table of {len(found)} columns"
            raise InputError(f"{where}: expected {wanted}, as in training, found {given}")


def fit(raw: Rows, where: str = "the data") -> Transform:
    """The transform that standardises ``raw``: an array [n], [n, d], [n, h, w], ... or a pyarrow.Table, n ≥ 2.

    InputError, which ``where`` opens: fewer than 2 rows, every column constant, missing values, text.
    """
    found = _columns(raw, where)
    if len(raw) < 2:
        raise InputError(f"{where}: found 1 row; a fit needs at least 2 rows")
    columns = tuple(_fit_column(name, values, where) for name, values in found.items())
    if all(column.constant for column in columns):
        raise InputError(f"{where}: every row is the same, so there is nothing to learn; give rows that differ")
    if not isinstance(raw, np.ndarray):
        return Transform("table", (len(columns),), columns)
    return Transform("image" if raw.ndim > 2 else "array", raw.shape[1:], columns)


def _columns(raw: Rows, where: str) -> dict[str, Array]:
    """Checked columns by name: x0, x1, ... for an array, and one column x of every entry for images."""
    if not isinstance(raw, np.ndarray):
        return tables.columns(raw, where)
    arrays.check(raw, where)
    return {"x": raw} if raw.ndim > 2 else arrays.columns(raw)


def _fit_column(name: str, values: Array, where: str) -> Column:
    kind = np.dtype(values.dtype.name)  # in native byte order
    number = int if kind.kind in "biu" else float
    low, high = number(values.min()), number(values.max())
    if low == high:
        return Column(name, kind.name, low, high, 0.0, 0.0)
    spread = float(high - low)
    if not 1e-300 < spread < math.inf:
        raise InputError(f"{where}: column {name!r} reaches from {low} to {high}; rescale it into the float64 range")
    # moments of (v − low)/spread, which lies in [0, 1], cannot overflow or lose a small column
    mean = math.fsum(float((above / spread).sum()) for above in _above(values, low)) / values.size
    square = math.fsum(float(((above / spread - mean) ** 2).sum()) for above in _above(values, low)) / values.size
    return Column(name, kind.name, low, high, mean * spread, math.sqrt(square) * spread)


def _above(values: Array, low: int | float) -> Iterator[Array]:
    """Chunks of v − low in float64, exact for integers of any size."""
    flat = values.reshape(-1)
    for start in range(0, len(flat), CHUNK):
        chunk = flat[start : start + CHUNK]
        if chunk.dtype.kind in "iu" and max(int(chunk.max()), -int(chunk.min())) > EXACT:
            yield (chunk.astype(object) - int(low)).astype(np.float64)
        else:
            yield chunk.astype(np.float64) - low


def _limits(dtype: np.dtype[Any]) -> tuple[int, int] | tuple[float, float]:
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return float(np.finfo(dtype).min), float(np.finfo(dtype).max)


def _column_from_json(entry: Any, index: int) -> Column:
    keys = [field.name for field in fields(Column)]
    if not isinstance(entry, dict) or set(entry) != set(keys) or not isinstance(entry["name"], str):
        raise InputError(f"transform: column {index} must be an object with the keys {', '.join(keys)}")
    if entry["type"] not in TYPES:
        raise InputError(f"transform: column {index} has an unknown type")
    number = float if entry["type"].startswith("float") else int
    low, high, mean, scale = entry["low"], entry["high"], entry["mean"], entry["scale"]
    least, most = _limits(np.dtype(entry["type"]))
    if (
        not all(type(value) in (int, number) for value in (low, high))
        or not all(type(value) in (int, float) and 0 <= value <= sys.float_info.max for value in (mean, scale))
        or not least <= low <= high <= most
        or (scale > 0) != (low < high)
    ):
        raise InputError(f"transform: column {index} has numbers that no fit gives; restore the file")
    return Column(entry["name"], entry["type"], number(low), number(high), float(mean), float(scale))
