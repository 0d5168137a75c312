"""What samples are compared with: held-out rows of the run's own data, or the rows of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from pushforward.config import fingerprint
from pushforward.data import BUILTIN, Dataset, Raw, Transform, numbered_classes, read_raw
from pushforward.data.files.read import Source
from pushforward.errors import InputError
from pushforward.evaluation.result import ReferenceInfo
from pushforward.metrics.base import some

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = ["LEAST", "Rows", "read", "trained_rows"]

LEAST = 20  # rows on either side: nearest neighbours and cross-validation need as many, in halves too


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in the model units of the first run.

    ``held_out``: what samples are measured against; ``train``: what stands in their place for the floor; ``trained``:
    what the runs were trained on, where it is known.
    """

    held: ReferenceInfo
    held_out: Tensor
    train: Tensor
    trained: Tensor | None
    y: tuple[Tensor, Tensor] | None
    notes: tuple[str, ...]


def raw_rows(source: Source, transform: Transform) -> Raw:
    """The rows of a source as a run takes them: pictures in its size."""
    pictures = transform.kind == "image" and isinstance(source, str | Path) and str(source) not in BUILTIN
    if pictures and Path(str(source)).suffix.lower() not in (".npy", ".npz"):
        return read_raw(source, size=transform.row_shape[:2])
    return read_raw(source)


def split_of(model: Model) -> tuple[float, int]:
    """What decides which rows are held out."""
    return model.run.config.train.held_out, model.run.config.train.seed


def dataset(source: Source, transform: Transform) -> Dataset:
    """All rows of a source, in model units."""
    raw = raw_rows(source, transform)
    y, classes = numbered_classes(raw)
    return Dataset(raw.name, transform.forward(raw.rows, raw.where), y, transform, classes)


def trained_rows(model: Model) -> Tensor | None:
    """The rows that a run was trained on; None when its data are gone or have changed."""
    try:
        data = dataset(model.run.data.source, model.transform)
    except (InputError, OSError):
        return None
    return data.split(*split_of(model))[0].x[:] if fingerprint(data) == model.run.data.fingerprint else None


def read(models: Sequence[Model], source: Source | None, n: int, seed: int) -> Rows:
    """The rows to compare with: of ``source``, or of the data that all runs were trained on. See `evaluate`."""
    first, notes = models[0], []
    record = first.run.data
    alike = all(m.run.data.fingerprint == record.fingerprint and split_of(m) == split_of(first) for m in models)
    named = record.source if source is None else source
    if source is None and not alike:
        raise InputError(
            "the runs were trained on different data, or hold out different rows: say what all are compared with, "
            "as in --against test.csv"
        )
    try:
        data = dataset(named, first.transform)
    except InputError as error:
        if source is not None:
            raise
        raise InputError(
            f"{first.folder}: its training data cannot be read ({error}); say what to compare with: --against DATA"
        ) from error
    mark = fingerprint(data)
    own = alike and mark == record.fingerprint
    y: tuple[Tensor, Tensor] | None = None
    if own:
        ours, theirs = data.split(*split_of(first))
        train, held_out = ours.x[:], theirs.x[:]
        trained: Tensor | None = train
        if ours.y is not None and theirs.y is not None and data.classes == record.classes:
            y = ours.y, theirs.y
    else:
        if source is None:
            notes.append(
                f"{named} has changed since training (fingerprint {mark}, then {record.fingerprint}): which rows were "
                "held out is no longer known, and two halves of what is there now are compared"
            )
        for model in models:
            if mark == model.run.data.fingerprint:
                notes.append(f"{model.folder} was trained on rows of {named}: it may look better than it is")
        train, held_out = (part.x[:] for part in (data.split(0.5, seed) if len(data) > 1 else (data, data)))
        trained = trained_rows(first) if alike else None
        if alike and trained is None:
            notes.append("the training data are gone or have changed, so copies of them cannot be found")
    if min(len(train), len(held_out)) < LEAST:
        raise InputError(
            f"{named}: {len(train)} and {len(held_out)} rows are too few to measure with, {LEAST} of each are needed; "
            "give more with --against DATA"
        )
    if len(held_out) > n:
        notes.append(f"{n:,} of {len(held_out):,} rows, drawn at random, are compared with")
        held_out = some(held_out, n, seed, "report")
        y = None if y is None else (y[0], some(y[1], n, seed, "report"))
    where = str(named) if isinstance(named, str | Path) else data.name
    held = ReferenceInfo(where, own, len(data), len(held_out), len(train), mark)
    return Rows(held, held_out, train, trained, y, tuple(notes))
