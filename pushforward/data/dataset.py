"""The way in and out: files, arrays and built-in names to a Dataset in model units, and rows back to files."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pushforward.data import arrays, tables
from pushforward.data.arrays import Array, Place, Rows, numbered
from pushforward.data.builtin import BUILTIN
from pushforward.data.transform import Transform, fit
from pushforward.errors import InputError

__all__ = ["ENDINGS", "Dataset", "Raw", "Report", "Summary", "inspect", "load", "read_raw", "save"]


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows in user units as they were read: an array or a pyarrow.Table, with labels [n] if the source has them."""

    name: str
    where: str  # opens every message about these rows
    rows: Rows
    labels: Array | None = None
    place: Place = numbered


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in model units ``x`` [n, *shape], class indices ``y`` [n] or None, and the transform that made them."""

    name: str
    x: Float[Tensor, "n *shape"]
    y: Int64[Tensor, " n"] | None
    transform: Transform
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def split(self, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
        """Training rows, and a held-out ``fraction`` of all rows drawn by ``seed``; at least one row in each."""
        n = len(self)
        if n < 2 or not 0 < fraction < 1:
            raise InputError(f"cannot hold out a fraction {fraction} of {n} rows; give 0 < fraction < 1 and 2 rows")
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        held_out, train = order.tensor_split([min(max(round(n * fraction), 1), n - 1)])
        return self._take(train), self._take(held_out)

    def _take(self, index: Tensor) -> Dataset:
        return replace(self, x=self.x[index], y=None if self.y is None else self.y[index])


@dataclass(frozen=True)
class Summary:
    """One column, or all entries of an image set; the numbers are of its finite values, None for text and the like."""

    name: str
    type: str
    missing: int  # empty or NaN
    infinite: int
    distinct: int | None = None
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None

    @property
    def constant(self) -> bool:
        """Whether all values present are the same."""
        return self.distinct == 1


@dataclass(frozen=True)
class Report:
    """What ``inspect`` found; ``duplicated`` counts rows equal to an earlier one."""

    name: str
    kind: str  # array, image or table
    shape: tuple[int, ...]  # [n, ...]
    columns: tuple[Summary, ...]
    duplicated: int


def load(source: str | Path | Array | Tensor | tables.Table) -> Dataset:
    """A data set from a file (by its ending), a built-in name, an array, a tensor or a pyarrow.Table.

    The transform is fitted to all rows. InputError names the file, the column and the row at fault; see ``read_raw``
    and ``fit``.
    """
    raw = read_raw(source)
    transform = fit(raw.rows, raw.where)
    x = transform.forward(raw.rows, raw.where)
    if raw.labels is None:
        return Dataset(raw.name, x, None, transform)
    values, index = np.unique(raw.labels, return_inverse=True)
    y = torch.from_numpy(index.astype(np.int64))
    return Dataset(raw.name, x, y, transform, tuple(str(value) for value in values.astype(np.str_)))


def read_raw(source: str | Path | Array | Tensor | tables.Table) -> Raw:
    """Checked rows in user units, to be fitted or to be put through the transform of an earlier run.

    InputError: no such file or ending, damaged file, text or missing values (with line or row), no rows.
    """
    raw = _read(source)
    if isinstance(raw.rows, np.ndarray):
        arrays.check(raw.rows, raw.where, raw.place)
    else:
        tables.columns(raw.rows, raw.where, raw.place)
    return raw


def inspect(source: str | Path | Array | Tensor | tables.Table) -> Report:
    """Describe a source without loading it; text, NaN and infinite values are reported, not refused."""
    raw = _read(source)
    rows = raw.rows
    if not isinstance(rows, np.ndarray):
        found = [_summarise_column(name, rows.column(i)) for i, name in enumerate(rows.column_names)]
        codes = np.stack([code for _, code in found], axis=1) if found else np.zeros((0, 0))
        return Report(raw.name, "table", rows.shape, tuple(s for s, _ in found), _duplicated(codes))
    if rows.dtype.kind not in "biuf" or rows.size == 0:
        arrays.check(rows, raw.where)
    columns = {"x": rows} if rows.ndim > 2 else arrays.columns(rows)
    summaries = tuple(_summarise(name, rows.dtype.name, values) for name, values in columns.items())
    return Report(raw.name, "image" if rows.ndim > 2 else "array", rows.shape, summaries, _duplicated(rows))


def save(rows: Rows, path: Path) -> None:
    """Write rows in user units to .csv, .tsv, .parquet, .npy or .npz (key ``x``), all or nothing.

    An array [n, d] gets the column names x0, x1, ...; a table becomes a float64 matrix in .npy and .npz.
    InputError: unknown ending, images to a table, a place that cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path}: cannot write the ending {ending!r}; use one of {', '.join(ENDINGS)}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if ending == ".npy":
                np.save(file, _matrix(rows), allow_pickle=False)
            elif ending == ".npz":
                np.savez(file, x=_matrix(rows))
            else:
                _write_table(_table(rows, path), file, ending)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror or error}; choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _read(source: str | Path | Array | Tensor | tables.Table) -> Raw:
    """Rows as they stand in the source; only what makes reading itself impossible is an error."""
    if isinstance(source, Tensor):
        tensor = source.detach().cpu()
        return Raw("tensor", "the tensor", (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
    if isinstance(source, np.ndarray):
        return Raw("array", "the array", source)
    if hasattr(source, "column_names"):
        return Raw("table", "the table", source)
    if not isinstance(source, str | Path):
        raise InputError(f"cannot read rows from a {type(source).__name__}; give a path, a built-in name or an array")
    path, name = Path(source), str(source)
    try:
        if not path.is_file() and name in BUILTIN:
            return Raw(name, name, *BUILTIN[name]())
        rows, labels = _reader(path)(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot read: {error.strerror or error}; check the file and its permissions"
        ) from error
    place = partial(tables.line_of, path) if path.suffix.lower() in (".csv", ".tsv") else numbered
    return Raw(path.stem, name, rows, labels, place)


def _reader(path: Path) -> Callable[[Path], tuple[Rows, Array | None]]:
    known = f"endings: {', '.join(ENDINGS)}; built-in data sets: {', '.join(BUILTIN)}"
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give one file ({known})")
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, [*siblings, *BUILTIN], n=1)
        hint = f"did you mean {close[0]!r}? " if close else "check the path "
        raise InputError(f"{path}: no such file; {hint}({known})")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: unknown ending {path.suffix!r}; save the rows in a format that is known ({known})")
    return ENDINGS[path.suffix.lower()]


def _summarise(name: str, kind: str, values: Array) -> Summary:
    flat = values.reshape(-1)
    finite = flat[np.isfinite(flat)].astype(np.float64)
    missing = int(np.isnan(flat).sum())
    infinite = flat.size - missing - finite.size
    if not finite.size:
        return Summary(name, kind, missing, infinite, 0)
    distinct = len(np.unique(flat)) - len(np.unique(flat[~np.isfinite(flat)]))
    with np.errstate(over="ignore"):  # the standard deviation of numbers near 1e200 is shown as inf
        low, high, mean, std = (float(f(finite)) for f in (np.min, np.max, np.mean, np.std))
    return Summary(name, kind, missing, infinite, distinct, low, high, mean, std)


def _summarise_column(name: str, column: tables.Table) -> tuple[Summary, Array]:
    """Summary of a pyarrow column, and per row an integer that equal values share."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_decimal(kind) or pa.types.is_null(kind):
        column = column.cast(pa.float64())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        values = column.to_numpy()
        return _summarise(name, str(kind), values), np.unique(values, return_inverse=True)[1]
    index: dict[str, int] = {}
    codes = np.array([index.setdefault(str(value), len(index)) for value in column.to_pylist()])
    missing = column.null_count
    return Summary(
        name, "text" if pa.types.is_string(kind) else str(kind), missing, 0, len(index) - bool(missing)
    ), codes


def _duplicated(rows: Array) -> int:
    return len(rows) - len({hash(row.tobytes()) for row in rows})


def _table(rows: Rows, path: Path) -> tables.Table:
    import pyarrow as pa

    if not isinstance(rows, np.ndarray):
        return rows
    if rows.ndim > 2:
        raise InputError(f"{path}: rows of shape {rows.shape[1:]} do not fit a table; save them as .npy or .npz")
    return pa.table(arrays.columns(rows))


def _matrix(rows: Rows) -> Array:
    if isinstance(rows, np.ndarray):
        return rows
    return np.stack([values.astype(np.float64) for values in tables.columns(rows, "the rows").values()], axis=1)


def _write_table(table: tables.Table, file: IO[bytes], ending: str) -> None:
    from pyarrow import csv as pacsv
    from pyarrow import parquet

    if ending == ".parquet":
        parquet.write_table(table, file)
        return
    delimiter = "," if ending == ".csv" else "\t"
    header = io.StringIO()  # pyarrow would put every name in quotes
    csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(table.column_names)
    file.write(header.getvalue().encode())
    pacsv.write_csv(table, file, pacsv.WriteOptions(include_header=False, delimiter=delimiter))


ENDINGS: dict[str, Callable[[Path], tuple[Rows, Array | None]]] = {
    ".npy": arrays.read_npy,
    ".npz": arrays.read_npz,
    ".csv": tables.read_csv,
    ".tsv": tables.read_tsv,
    ".parquet": tables.read_parquet,
}
