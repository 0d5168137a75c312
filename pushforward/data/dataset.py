"""Load files, arrays and built-in names as a data set in model units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pushforward.data.axes import read_layout
from pushforward.data.files.builtin import BUILTIN
from pushforward.data.files.formats import endings
from pushforward.data.files.images import read_size
from pushforward.data.files.read import DataSource, Raw, read_raw, read_source
from pushforward.data.fitting import fit
from pushforward.data.schema import read_schema
from pushforward.data.stored import DiskRows
from pushforward.data.transform import Transform
from pushforward.errors import InputError, writable
from pushforward.progress import Watch

__all__ = ["Dataset", "load", "numbered_classes", "read_like"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in model units ``x`` [n, *shape], class indices ``y`` [n] or None, and the transform that made them."""

    name: str
    x: Float[Tensor, "n *shape"] | DiskRows
    y: Int64[Tensor, " n"] | None
    transform: Transform
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what of the source was left out, fetched or guessed, a line each

    def __len__(self) -> int:
        return len(self.x)

    def split(self, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
        """Split into training rows and a held-out ``fraction`` drawn by ``seed``; at least one row in each."""
        train, held_out = self.parts(fraction, seed)
        return self.take(train), self.take(held_out)

    def parts(self, fraction: float, seed: int) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " held_out"]]:
        """Return the numbers of the rows of ``split``, without a copy of them."""
        n = len(self)
        if n < 2 or not 0 < fraction < 1:
            raise InputError(f"cannot hold out a fraction {fraction} of {n} rows; give 0 < fraction < 1 and 2 rows")
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        held_out, train = order.tensor_split([min(max(round(n * fraction), 1), n - 1)])
        return train, held_out

    def mirrored(self) -> Dataset:
        """Append the mirror image of each picture, left and right exchanged; for training rows only."""
        if self.transform.kind != "image":
            raise InputError(
                f"{self.name}: only pictures have a mirror image, these rows are of shape {self.x[0].shape}"
            )
        y = None if self.y is None else torch.cat([self.y, self.y])
        return replace(self, x=torch.cat([self.x[:], self.x[:].flip(-1)]), y=y)

    def take(self, index: Int64[Tensor, " k"]) -> Dataset:
        """Select rows by their numbers."""
        return replace(self, x=self.x[index], y=None if self.y is None else self.y[index])


def load(
    source: DataSource,
    schema: str | Path | Mapping[str, Any] | None = None,
    size: str | int | Sequence[int] | None = None,
    scratch: Path | None = None,
    progress: Watch = None,
    *,
    header: bool | None = None,
    layout: str | None = None,
) -> Dataset:
    """Load a file (by its ending) or URL, a folder of pictures or tables, a built-in name, an array or a table.

    ``schema``, a dict or a JSON file, declares what of a table's columns is not to be inferred (see `read_schema`).
    ``size`` (32, "32x48", (32, 48): height, width) scales pictures to cover it and cuts them to it at the centre.
    The transform is fitted to all rows; files of tables are read a part at a time, so that only the float32 rows need
    memory, and with a folder ``scratch`` not even they: many are in a file there (see `DiskRows`). A file behind a URL
    is fetched into a temporary copy first, once in a process; ``progress`` is called with (share done, words) where
    that takes long. ``header`` says whether the first line of a text file names the columns; otherwise that is found
    out. ``layout`` says what the axes of an array are: "sequence" [n, length] or [n, length, channels], "image",
    "volume", or "vector", whose entries are columns each; where nothing is said, arrays of three axes and more are
    images. InputError names the file, the column and the row at fault; see ``read_raw`` and ``fit``.
    """
    declared = read_schema(schema)
    axes = read_layout(layout)
    raw = read_source(source, declared, read_size(size), progress, header, axes)
    transform = replace(fit(raw.rows, raw.origin, declared, axes), text=raw.text)
    x = transform.forward(raw.rows, raw.origin, scratch)
    y, classes = numbered_classes(raw)
    guessed = transform.axes.note if axes is None and not raw.pictures else ""
    notes = (*raw.notes, *([guessed] if guessed else []), *transform.notes)
    return Dataset(raw.name, x, y, transform, classes, notes)


def read_like(source: DataSource, transform: Transform, progress: Watch = None) -> Raw:
    """Read rows as those that a transform was fitted to were read: columns of their types, pictures in their size."""
    pictures = transform.kind == "image" and isinstance(source, str | Path) and str(source) not in BUILTIN
    if pictures and Path(str(source)).suffix.lower() not in endings("array", written=True):
        return read_raw(source, size=transform.row_shape[:2], progress=progress)
    return read_raw(source, transform.schema, progress=progress, header=None if transform.text.header else False)


def numbered_classes(raw: Raw) -> tuple[Int64[Tensor, " n"] | None, tuple[str, ...]]:
    """Number the classes of the rows' labels; return the numbers and the names of the classes, None without labels."""
    if raw.labels is None:
        return None, ()
    if raw.classes:
        return torch.from_numpy(raw.labels.astype(np.int64)), tuple(map(writable, raw.classes))
    values, index = np.unique(raw.labels, return_inverse=True)
    return torch.from_numpy(index.astype(np.int64)), tuple(writable(str(value)) for value in values.astype(np.str_))
