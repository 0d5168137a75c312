"""The invertible map between a user's rows and the standardized float32 rows that a model sees."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args, overload

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pushforward.data.axes import Axes, DataKind, Layout
from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.codec import encoder_from_json
from pushforward.data.encoders.mixed import Mixed
from pushforward.data.encoders.numeric import NumericEncoder
from pushforward.data.files.cells import arrow_type
from pushforward.data.files.formats import TextSource, text_from_json
from pushforward.data.files.rows import Array, UserRows, check_array, row_name
from pushforward.data.files.stream import Stream
from pushforward.data.rules.keep import Rules
from pushforward.data.rules.stored import rules_from_json
from pushforward.data.schema import MISSING, ColumnKind, ColumnSchema, Schema, TextForm, kind_of
from pushforward.data.spec import DataSpec
from pushforward.data.stored import DiskRows, materialize
from pushforward.errors import InputError
from pushforward.tensor import GaussianMixture

__all__ = ["DataKind", "Transform"]

COMPONENTS = 1024  # of the marginals of all columns of numbers, about
FEWEST, MOST = 8, 64  # of one column


@dataclass(frozen=True)
class Transform:
    """User rows ↦ standardized float32 rows, x = (v − mean) / scale for each entry; made by `fit`.

    Columns of arrays [n], [n, d] and of tables are standardized one by one and constant ones are left out of the
    model; an array of rank 3 or more is a set of images with one mean and one scale for all entries, unless a
    ``layout`` says what its axes are (see `Axes`). Columns of tables may also hold categories, dates and gaps, which
    take one or more entries of a model row each (see `ColumnEncoder`).
    """

    kind: DataKind
    row_shape: tuple[int, ...]  # of one row in user units: () for an array of rank 1
    columns: tuple[ColumnEncoder, ...]
    text: TextSource = field(default_factory=TextSource)  # how the table was written, if it was text
    rules: Rules = field(default_factory=Rules)  # what holds in every row of a table
    layout: Layout | None = None  # what the user said of the axes of an array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model row: (entries of all columns,), or channels before the axes of space."""
        return self.axes.model_shape(sum(column.width for column in self.columns))

    @property
    def axes(self) -> Axes:
        """What the axes of a row are."""
        return Axes(self.kind, self.row_shape, self.layout)

    @property
    def columnar(self) -> bool:
        """Whether each entry of a row is a column of its own: not in pictures, sequences and volumes."""
        return self.kind in ("array", "table")

    @property
    def feature_groups(self) -> tuple[int, ...]:
        """Widths of the parts of a table's model row that may be known without the rest; () for arrays and images.

        Columns, and whether a value is missing.
        """
        if self.kind != "table":
            return ()
        return tuple(width for column in self.columns for width in column.feature_groups)

    @property
    def types(self) -> dict[str, Any]:
        """The arrow type of each column of a table, by its name; of those that are not left out."""
        if self.kind != "table":
            return {}
        cells = ((column.name, column.decode(np.zeros((1, column.width)))) for column in self.columns)
        said = {rule.target: arrow_type(rule.type) for rule in self.rules.kept}
        return {name: cell.type for name, cell in cells if cell is not None} | said

    @property
    def schema(self) -> Schema:
        """What is known of the columns of a table whose rows are read again: their kinds, and how they were written."""
        kinds: dict[str, ColumnKind | None] = {name: kind_of(kind) for name, kind in self.types.items()}
        kinds |= {column.name: "drop" for column in self.columns if column.ignored}
        kinds |= {column.name: None for column in self.columns if isinstance(column, Mixed)}  # words, or none
        usual = TextForm(missing=MISSING)  # in columns of text too, as in training
        forms = {name: self.text.forms.get(name, usual) for name in kinds}
        return Schema(
            (name, ColumnSchema(kind, form=form if form.missing is not None else replace(form, missing=MISSING)))
            for (name, kind), form in zip(kinds.items(), forms.values(), strict=True)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was guessed of the columns of a table, or said of the axes of an array, a sentence each."""
        axes = (self.axes.note,) if self.layout is not None and self.axes.note else ()
        return (*axes, *(column.note for column in self.columns if column.note), *self.rules.notes)

    @property
    def marginals(self) -> tuple[GaussianMixture, ...]:
        """Of each of the ``feature_groups``, a Gaussian mixture near its marginal over the training rows.

        A column of numbers has 64 components at most; of wide tables, whose networks would do little else, fewer.
        """
        if self.kind != "table":
            return ()
        most = min(max(COMPONENTS // len(self.feature_groups), FEWEST), MOST)
        return tuple(marginal for column in self.columns for marginal in column.marginals(most))

    def spec(self, classes: int = 0) -> DataSpec:
        """What the network of a run on such rows, with so many classes, is built from."""
        return DataSpec(self.shape, classes, self.marginals)

    @property
    def numeric(self) -> bool:
        """Whether rows in user units are numbers without gaps, so that they fit an array."""
        return all(column.numeric for column in self.columns)

    @property
    def continuous(self) -> bool:
        """Whether nothing is rounded, so that ``dequantize`` leaves every row as it is."""
        return all(not any(c.bin_width) and not c.normal for c in self.columns)

    @property
    def log_det(self) -> float:
        """log |det d forward / d raw| of one row, −Σ log scale over the modelled entries, in nats.

        Added to the log-density of a model row it is that of the user's row: a density per unit of every continuous
        column, a probability in every column of integers, rounded numbers (per unit of the last decimal: add
        decimals · log 10), dates (per step), categories and gaps, if the model was trained with ``bin_width``. The
        entry of a missing number is noise about 0, with a density of its own that a number would have there.
        InputError: a column that enters by its ranks, for which ask ``log_dets``.
        """
        return -self.axes.entries * math.fsum(column.log_scale for column in self.columns)

    def log_dets(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n"]:
        """Evaluate ``log_det`` at each model row x [n, *shape], float64: the same for all without columns by rank."""
        if self.kind != "table":
            return torch.full((len(x),), self.log_det, dtype=torch.float64)
        parts = zip(self.columns, self._split(x.detach().cpu().double().numpy()), strict=True)
        return -torch.from_numpy(np.sum([column.log_scales(part) for column, part in parts], axis=0))

    @overload
    def forward(self, raw: UserRows | Stream, origin: str = ...) -> Float[Tensor, "n *shape"]: ...
    @overload
    def forward(
        self, raw: UserRows | Stream, origin: str = ..., scratch: Path | None = ...
    ) -> Float[Tensor, "n *shape"] | DiskRows: ...
    def forward(
        self, raw: UserRows | Stream, origin: str = "the rows", scratch: Path | None = None
    ) -> Float[Tensor, "n *shape"] | DiskRows:
        """Convert user rows to model units: float32 [n, *shape], contiguous.

        ``raw`` is an array [n, *row_shape], or a pyarrow.Table (or a Stream of its parts) whose columns are matched by
        name in any order; columns that were left out in training may be there or not. With a folder ``scratch`` rows of
        a table that are too many for memory are in a file there (see `DiskRows`).
        InputError, which ``origin`` opens: other shape or columns, values and gaps that were not there in training.
        """
        if not isinstance(raw, np.ndarray):
            stream = raw if isinstance(raw, Stream) else Stream.of(raw, origin)
            if self.kind == "table":
                return materialize(self._encode_parts(stream), scratch)
            if self.row_shape != (len(stream.names),):
                raise self._mismatch(f"a table of {len(stream.names)} columns", stream.origin)
            raw, origin = stream.numbers(self._array_columns()[0].type), stream.origin
        if self.kind == "table" or raw.shape[1:] != self.row_shape:
            raise self._mismatch(f"an array of shape {raw.shape}", origin)
        check_array(raw, origin)
        values = self.axes.columns(raw).values()
        modelled = [(c, v) for c, v in zip(self._array_columns(), values, strict=True) if not c.constant]
        parts = [column.forward(value) for column, value in modelled]
        x = self.axes.model_rows(parts)
        _require_finite(x, origin)
        return torch.from_numpy(np.ascontiguousarray(x).reshape(len(x), *self.shape))

    def _encode_parts(self, stream: Stream) -> Iterator[Array]:
        """Model rows of a table, part by part; at least one part."""
        origin, names = stream.origin, set(stream.names)

        # the columns must be those of training, but for what was left out there
        columns, optional_columns = (
            [column for column in self.columns if not column.optional],
            self.rules.optional_columns,
        )
        expected = [column.name for column in columns if column.name not in optional_columns]
        trained = {column.name for column in self.columns}
        for problem, odd in (
            ("is missing", [name for name in expected if name not in names]),
            ("was not there in training", [name for name in stream.names if name not in trained]),
        ):
            if odd:
                listed = ", ".join(map(repr, expected[:8])) + (", ..." if len(expected) > 8 else "")
                raise InputError(f"{origin}: column {odd[0]!r} {problem}; give exactly the columns {listed}")

        empty = True
        for first, part in stream.parts():
            name_row, part = stream.name_rows_from(first), self.rules.reduce(part, origin)
            entries = [c.encode(part.column(c.name), f"{origin}: column {c.name!r}", name_row) for c in columns]
            block = np.concatenate(entries, axis=1)
            _require_finite(block, origin)
            empty = False
            yield block
        if empty:
            raise InputError(f"{origin}: no rows after the header; give a table with rows")

    def inverse(self, x: Float[Tensor, "n *shape"], seed: int = 0, first: int = 0) -> UserRows:
        """Convert model rows [n, *shape] to user units, dtype and order: array [n, *row_shape] or pyarrow.Table.

        Integers are rounded; images are clipped to the range of the training rows. Identifiers, which model rows do
        not hold, are drawn: that of row i by (seed, first + i) alone. InputError: other shape, NaN, inf.
        """
        rows = x.detach().cpu().double().numpy()
        if rows.shape[1:] != self.shape:
            raise InputError(f"model rows have shape {rows.shape[1:]}; this transform takes {self.shape}")
        bad = ~np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
        if bad.any():
            worst = row_name(int(np.argmax(bad)))
            raise InputError(f"{int(bad.sum())} model rows hold NaN or inf, the first is {worst}; the model diverged")
        if self.kind != "table":
            image, size = self.kind == "image", (len(rows), *self.axes.space)
            modelled = iter([rows] if image else np.moveaxis(rows, 1, 0))
            columns = self._array_columns()
            return self.axes.rows(
                [np.full(size, c.low, c.type) if c.constant else c.inverse(next(modelled), clip=image) for c in columns]
            )
        import pyarrow as pa

        index = np.arange(first, first + len(rows))
        parts = list(zip(self.columns, self._split(rows), strict=True))
        drawn = {column.name: column.draw(part, index, seed) for column, part in parts}
        cells = {name: column for name, column in drawn.items() if column is not None}
        filled = {column.name: partial(column.decode_filled, part) for column, part in parts}
        return pa.table(self.rules.restore(cells, lambda name: filled[name]()))

    def possible(self, raw: UserRows | Stream, origin: str = "the rows") -> Bool[Tensor, "n"]:
        """Mark the rows that break no rule but bounds, beyond which a model has a density, too."""
        if isinstance(raw, np.ndarray):
            return torch.ones(len(raw), dtype=torch.bool)
        stream = raw if isinstance(raw, Stream) else Stream.of(raw, origin)
        return torch.cat([torch.from_numpy(self.rules.possible(part, origin)) for _, part in stream.parts()])

    def bin_width(self) -> Float[Tensor, " ..."] | None:
        """Compute the width, in model units, of the noise that dequantizes what was rounded: 1/scale, and 0 for floats.

        Of integers, rounded floats of a table, dates, categories and gaps. Broadcasts to ``shape``; None if nothing is
        rounded. Columns by rank and missing values have cells instead: see ``dequantize``.
        """
        width = [each for column in self.columns for each in column.bin_width]
        if not any(width):
            return None
        if self.kind == "image":
            return torch.tensor(width[0], dtype=torch.float32)
        return torch.tensor(width, dtype=torch.float32).reshape(-1, *(1 for _ in self.axes.space))

    def dequantize(self, x: Float[Tensor, "n *shape"], u: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Replace rows x by points of the cells of their values, by ``u`` uniform on [0, 1): what is trained on.

        ``x + (u - 1/2) bin_width``, and for columns by rank and missing values whatever their cells are (see
        `QuantileNormal`, `Nullable`). ``inverse`` takes them back to the same rows.
        """
        if self.kind != "table":
            bin_width = self.bin_width()
            return x if bin_width is None else x + (u - 0.5) * bin_width.to(x)
        parts = (self._split(v.detach().cpu().numpy()) for v in (x, u))
        moved = [c.dequantize(*pair) for c, *pair in zip(self.columns, *parts, strict=True)]
        return torch.from_numpy(np.concatenate(moved, axis=1)).to(x)

    def describe(self) -> list[tuple[str, str, str]]:
        """List name, type and summary of each column: mean, standard deviation and range in user units; categories."""
        rules = self.rules.by_target
        return [rules[c.name].describe(c) if c.name in rules else c.describe() for c in self.columns]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON from which ``from_json`` restores every number exactly."""
        columns = [column.to_json() for column in self.columns]
        text = {"text": self.text.to_json()} if self.text != TextSource() else {}
        rules = {"rules": self.rules.to_json()} if self.rules != Rules() else {}
        layout = {"layout": self.layout} if self.layout is not None else {}
        return {"kind": self.kind, "row_shape": list(self.row_shape), "columns": columns} | text | rules | layout

    @staticmethod
    def from_json(data: Any) -> Transform:
        """Restore a transform from ``to_json``; InputError if ``data`` is not a well-formed transform."""
        if not isinstance(data, dict) or set(data) - {"text", "rules", "layout"} != {"kind", "row_shape", "columns"}:
            raise InputError("transform: expected an object with the keys kind, row_shape and columns")
        kind, shape, entries = data["kind"], data["row_shape"], data["columns"]
        if not isinstance(entries, list) or kind not in get_args(DataKind):
            raise InputError(f"transform: expected a list of columns and a kind among {', '.join(get_args(DataKind))}")
        columns = tuple(encoder_from_json(entry, f"transform: column {i}") for i, entry in enumerate(entries))
        if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
            raise InputError("transform: row_shape must be a list of positive integers")
        layout = data.get("layout")
        if layout not in (None, *get_args(Layout)):
            raise InputError(f"transform: expected a layout among {', '.join(get_args(Layout))}")
        axes = Axes(kind, tuple(shape), layout)
        if not axes.valid or len(columns) != axes.count or (kind == "table" and len(shape) != 1):
            raise InputError(f"transform: row_shape {shape} does not fit {len(columns)} columns of kind {kind}")
        if len({c.name for c in columns}) < len(columns) or not any(c.width for c in columns):
            raise InputError("transform: columns must have different names and may not all be constant")
        if kind != "table" and len({c.type if isinstance(c, NumericEncoder) else c for c in columns}) > 1:
            raise InputError("transform: the columns of an array must have one type")
        if kind != "table" and not isinstance(columns[0], NumericEncoder):
            raise InputError("transform: the columns of an array must be numbers")
        text = text_from_json(data.get("text", {}), "transform: text")
        names = [column.name for column in columns if not column.ignored] if kind == "table" else []
        rules = rules_from_json(data.get("rules", []), names)
        out = Transform(kind, tuple(shape), columns, text, rules, layout)
        return out._with_rules_tried() if out.rules.kept else out

    def _with_rules_tried(self) -> Transform:
        """Itself, if its rules can be kept of some rows; InputError for a file with others."""
        import pyarrow as pa

        try:
            with np.errstate(all="ignore"):
                self.inverse(torch.linspace(-9, 9, 19)[:, None].expand(-1, *self.shape))
        except (pa.ArrowException, LookupError, OverflowError, TypeError, AttributeError, ValueError) as error:
            raise InputError("transform: the rules do not fit the columns; restore the file") from error
        return self

    def _split(self, rows: Array) -> list[Array]:
        """The entries [n, width] of each column of a table."""
        ends = np.cumsum([column.width for column in self.columns])[:-1]
        return np.split(rows, ends, axis=1)

    def _array_columns(self) -> list[NumericEncoder]:
        """The columns of an array, which are numbers all."""
        return [column for column in self.columns if isinstance(column, NumericEncoder)]

    def _mismatch(self, given: str, origin: str) -> InputError:
        sizes = ", ".join(["n", *map(str, self.row_shape)])
        expected = f"a table of {len(self.columns)} columns" if self.kind == "table" else f"an array [{sizes}]"
        return InputError(f"{origin}: expected {expected}, as in training, found {given}")


def _require_finite(x: Array, origin: str) -> None:
    if not np.isfinite(x).all():
        raise InputError(f"{origin}: a value lies 1e38 standard deviations from the training mean; drop that row")
