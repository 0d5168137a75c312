"""The way in: files, arrays and built-in names to a Dataset in model units."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pushforward.data import arrays, tables
from pushforward.data.arrays import Array, Place, Rows, numbered
from pushforward.data.builtin import BUILTIN
from pushforward.data.schema import Schema, read_schema
from pushforward.data.tables import Stream
from pushforward.data.transform import Transform, fit
from pushforward.errors import InputError

__all__ = ["ENDINGS", "Dataset", "Raw", "Source", "load", "read_raw", "read_source"]

Source: TypeAlias = str | Path | Array | Tensor | tables.Table


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows in user units as they were read: an array or a table, with labels [n] if the source has them."""

    name: str
    where: str  # opens every message about these rows
    rows: Rows  # `read_source` leaves a table from files as a Stream
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


def load(source: Source, schema: str | Path | Mapping[str, Any] | None = None) -> Dataset:
    """A data set from a file (by its ending), a folder or a pattern of tables, a built-in name, an array or a table.

    ``schema``, a dict or a JSON file, says of the columns of a table what is not to be inferred (see `read_schema`).
    The transform is fitted to all rows; files of tables are read a part at a time, so that only the float32 rows need
    memory. InputError names the file, the column and the row at fault; see ``read_raw`` and ``fit``.
    """
    said = read_schema(schema)
    raw = read_source(source, said)
    transform = fit(raw.rows, raw.where, said)
    x = transform.forward(raw.rows, raw.where)
    if raw.labels is None:
        return Dataset(raw.name, x, None, transform)
    values, index = np.unique(raw.labels, return_inverse=True)
    y = torch.from_numpy(index.astype(np.int64))
    return Dataset(raw.name, x, y, transform, tuple(str(value) for value in values.astype(np.str_)))


def read_raw(source: Source, schema: str | Path | Mapping[str, Any] | None = None) -> Raw:
    """Rows in user units, to be fitted or to be put through the transform of an earlier run; tables in memory.

    InputError: no such file or ending, damaged file, missing values in an array, no rows.
    """
    raw = read_source(source, read_schema(schema))
    if isinstance(raw.rows, np.ndarray):
        arrays.check(raw.rows, raw.where, raw.place)
        return raw
    table = raw.rows.table()
    if not len(table):
        raise InputError(f"{raw.where}: no rows after the header; give a table with rows")
    return replace(raw, rows=table)


def read_source(source: Source, schema: Schema) -> Raw:
    """Rows as they stand in the source; only what makes reading itself impossible is an error."""
    if isinstance(source, Tensor):
        tensor = source.detach().cpu()
        return Raw("tensor", "the tensor", (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
    if isinstance(source, np.ndarray):
        return Raw("array", "the array", source)
    if hasattr(source, "column_names"):
        return Raw("table", "the table", Stream.of(source, "the table"))
    if not isinstance(source, str | Path):
        raise InputError(f"cannot read rows from a {type(source).__name__}; give a path, a built-in name or an array")
    path, name = Path(source), str(source)
    try:
        if not path.is_file() and name in BUILTIN:
            return Raw(name, name, *BUILTIN[name]())
        files = _files(path)
        if files[0].suffix.lower() in tables.ENDINGS:
            stream = tables.open_files(files, name, schema)
            return Raw(path.stem, name, stream, None, stream.place)
        rows, labels = ENDINGS[path.suffix.lower()](path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot read: {error.strerror or error}; check the file and its permissions"
        ) from error
    return Raw(path.stem, name, rows, labels)


def _files(path: Path) -> list[Path]:
    """One file; or those of a folder or a pattern, tables of one ending in the order of their names."""
    known = f"endings: {', '.join(ENDINGS)}; built-in data sets: {', '.join(BUILTIN)}"
    if path.is_file():
        if path.suffix.lower() in ENDINGS:
            return [path]
        raise InputError(f"{path}: unknown ending {path.suffix!r}; save the rows in a format that is known ({known})")
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in tables.ENDINGS and p.is_file())
        what = "is a folder without tables"
    elif any(mark in str(path) for mark in "*?["):
        found = [p for p in map(Path, sorted(glob.glob(str(path), recursive=True))) if p.is_file()]
        what = "no file has a name like this"
    else:
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, [*siblings, *BUILTIN], n=1)
        hint = f"did you mean {close[0]!r}? " if close else "check the path "
        raise InputError(f"{path}: no such file; {hint}({known})")
    if not found:
        raise InputError(f"{path}: {what} ({known})")
    endings = sorted({p.suffix.lower() for p in found})
    if len(endings) > 1 or endings[0] not in tables.ENDINGS:
        only = ", ".join(tables.ENDINGS)
        raise InputError(
            f"{path}: files read together must be tables of one ending ({only}), found {', '.join(endings)}"
        )
    return found


ENDINGS: dict[str, Callable[[Path], tuple[Rows, Array | None]]] = {
    ".npy": arrays.read_npy,
    ".npz": arrays.read_npz,
    ".csv": tables.read_csv,
    ".tsv": tables.read_tsv,
    ".parquet": tables.read_parquet,
}
