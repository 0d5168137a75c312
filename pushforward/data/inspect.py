"""Describe a source, before anything is learned from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.axes import Axes, read_layout
from pushforward.data.encoders.infer import infer_columns
from pushforward.data.files.cells import ArrowColumn
from pushforward.data.files.images import read_size
from pushforward.data.files.read import DataSource, Raw, read_source
from pushforward.data.files.rows import Array, check_array
from pushforward.data.files.stream import ArrowTable, Stream
from pushforward.data.rules.keep import Rules, fit_rules
from pushforward.data.schema import Schema, read_schema
from pushforward.errors import InputError
from pushforward.progress import Watch

__all__ = ["DataSummary", "ColumnSummary", "inspect"]


@dataclass(frozen=True)
class ColumnSummary:
    """One column, one channel, or all of an image set; the numbers are of its finite values, None for text."""

    name: str
    type: str
    missing: int  # empty or NaN
    infinite: int
    distinct: int | None = None
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    model: str = ""  # of a column of a table: how it enters the model, or why it does not

    @property
    def constant(self) -> bool:
        """Whether all values present are the same."""
        return self.distinct == 1


@dataclass(frozen=True)
class DataSummary:
    """A source described by ``inspect``; ``duplicated`` counts rows equal to an earlier one."""

    name: str
    kind: str  # array, image, sequence, volume or table
    shape: tuple[int, ...]  # [n, ...]
    columns: tuple[ColumnSummary, ...]
    duplicated: int
    classes: tuple[str, ...] = ()  # of the labels, if there are any
    notes: tuple[str, ...] = ()  # what of the source was left out, fetched or guessed, a line each


def inspect(
    source: DataSource,
    schema: str | Path | Mapping[str, Any] | None = None,
    size: str | int | Sequence[int] | None = None,
    progress: Watch = None,
    *,
    header: bool | None = None,
    layout: str | None = None,
) -> DataSummary:
    """Describe a source without learning from it; text, NaN and infinite values are reported, not refused.

    The numbers are those of the whole source, which is read into memory. ``schema``, ``size``,
    ``progress``, ``header`` and ``layout`` as in ``load``.
    """
    declared = read_schema(schema)
    raw = read_source(source, declared, read_size(size), progress, header, read_layout(layout))
    rows = raw.rows.table() if isinstance(raw.rows, Stream) else raw.rows
    if not isinstance(rows, np.ndarray):
        described = [_summarize_column(name, rows.column(i)) for i, name in enumerate(rows.column_names)]
        codes = np.stack([code for _, code in described], axis=1) if described else np.zeros((0, 0))
        models = [_model(rows.select([i]), declared) for i in range(len(described))]
        summaries = tuple(replace(s, model=form) for (s, _), (form, _) in zip(described, models, strict=True))
        rules = _rules(rows, raw, declared)
        forms = {rule.target: f"by rule: {rule.name}" for rule in rules.kept if rule.reduces}
        summaries = tuple(replace(s, model=forms.get(s.name, s.model)) for s in summaries)
        notes = (*raw.notes, *(note for _, note in models if note), *rules.notes)
        return DataSummary(raw.name, "table", rows.shape, summaries, _duplicated(codes), notes=notes)
    axes = Axes.of(rows.shape, read_layout(layout), raw.origin)
    if rows.dtype.kind not in "biuf" or rows.size == 0 or rows.ndim == 0:
        check_array(rows, raw.origin)
    classes = raw.classes or (() if raw.labels is None else tuple(map(str, np.unique(raw.labels))))
    summaries = tuple(_summarize(name, rows.dtype.name, values) for name, values in axes.columns(rows).items())
    notes = (*raw.notes, axes.note) if axes.note and not raw.pictures else raw.notes
    return DataSummary(raw.name, axes.kind, rows.shape, summaries, _duplicated(rows), classes, notes)


def _summarize(name: str, kind: str, values: Array) -> ColumnSummary:
    flat = values.reshape(-1)
    finite = flat[np.isfinite(flat)].astype(np.float64)
    missing = int(np.isnan(flat).sum())
    infinite = flat.size - missing - finite.size
    if not finite.size:
        return ColumnSummary(name, kind, missing, infinite, 0)
    distinct = len(np.unique(flat)) - len(np.unique(flat[~np.isfinite(flat)]))
    with np.errstate(over="ignore"):  # the standard deviation of numbers near 1e200 is shown as inf
        low, high, mean, std = (float(f(finite)) for f in (np.min, np.max, np.mean, np.std))
    return ColumnSummary(name, kind, missing, infinite, distinct, low, high, mean, std)


def _summarize_column(name: str, column: ArrowColumn) -> tuple[ColumnSummary, Array]:
    """ColumnSummary of a pyarrow column, and per row an integer that equal values share."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_decimal(kind) or pa.types.is_null(kind):
        column = column.cast(pa.float64())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        values = column.to_numpy()
        return _summarize(name, str(kind), values), np.unique(values, return_inverse=True)[1]
    summary = ColumnSummary(name, "text" if pa.types.is_string(kind) else str(kind), column.null_count, 0)
    try:  # without Python's own values, whose dates end at the year 9999
        whole = column.combine_chunks()
        cells = whole if pa.types.is_dictionary(kind) else whole.dictionary_encode()
        codes = cells.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return replace(summary, distinct=len(np.unique(codes[codes >= 0]))), codes
    except (pa.ArrowException, AttributeError):  # lists, structs and the like, which have no dictionary
        index: dict[str, int] = {}
        codes = np.array([index.setdefault(str(value), len(index)) for value in column.to_pylist()])
        return replace(summary, distinct=len(index) - bool(column.null_count)), codes


def _duplicated(rows: Array) -> int:
    return len(rows) - len({hash(row.tobytes()) for row in rows})


def _rules(rows: ArrowTable, raw: Raw, schema: Schema) -> Rules:
    """What holds in every row; nothing of a table that is refused, or InputError for a rule that was declared of it."""
    stream = Stream.of(rows, raw.origin)
    try:
        columns = infer_columns(stream, schema)
    except InputError:
        columns = ()
    return fit_rules(stream, columns, schema)[0] if columns or schema.rules else Rules()


def _model(column: ArrowTable, schema: Schema) -> tuple[str, str]:
    """How one column enters the model, in a few words, and what of that is guessed, in a sentence."""
    name = column.column_names[0]
    try:
        (encoder,) = infer_columns(
            Stream.of(column, "here"), Schema((key, schema[key]) for key in (name, "*") if key in schema), alone=False
        )
    except InputError as error:
        return "refused: " + str(error).removeprefix(f"here: column {name!r} "), ""
    return encoder.form(), encoder.note
