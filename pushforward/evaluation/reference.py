"""Load the rows that samples are compared with: held-out rows of the run's own data, or the rows of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from pushforward.batches import fingerprint
from pushforward.data import Dataset, DataSource, Transform, numbered_classes, read_like
from pushforward.errors import InputError
from pushforward.evaluation.result import ReferenceInfo
from pushforward.metrics.base import subsample
from pushforward.progress import SILENT, Progress

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = ["LEAST", "Reference", "load_reference", "own_parts"]

LEAST = 20  # rows on either side: nearest neighbours and cross-validation need as many, in halves too


@dataclass(frozen=True, eq=False)
class Reference:
    """Rows in the model units of the first run.

    ``held_out``: what samples are measured against; ``train``: what stands in their place for the floor; ``trained``:
    what the runs were trained on, where it is known; ``labels``: the classes of trained and of held-out rows.
    """

    info: ReferenceInfo
    held_out: Tensor
    train: Tensor
    trained: Tensor | None
    labels: tuple[Tensor, Tensor] | None
    notes: tuple[str, ...]


def split_settings(model: Model) -> tuple[float, int]:
    """The share and the seed that decide which rows are held out."""
    return model.run.config.train.held_out, model.run.config.train.seed


def load_dataset(source: DataSource, transform: Transform, progress: Progress = SILENT) -> Dataset:
    """Load all rows of a source, in model units."""
    raw = read_like(source, transform, progress)
    y, classes = numbered_classes(raw)
    return Dataset(raw.name, transform.forward(raw.rows, raw.origin), y, transform, classes)


def own_parts(model: Model, source: DataSource | None = None) -> tuple[Dataset, Dataset] | None:
    """The rows that a run was trained on, and those that it held out, as it names them or from ``source``.

    None for other data. Without a source, None too where the data are gone or not to be opened.
    """
    try:
        data = load_dataset(model.run.data.readable_source() if source is None else source, model.transform)
    except (InputError, OSError):
        if source is not None:
            raise
        return None
    return data.split(*split_settings(model)) if fingerprint(data) == model.run.data.fingerprint else None


def load_reference(
    models: Sequence[Model], source: DataSource | None, n: int, seed: int, progress: Progress = SILENT
) -> Reference:
    """Load at most ``n`` rows to compare with: of ``source``, or held-out ones of the data of all runs.

    Raises InputError where there is no such source, its rows are too few or of another shape, or no ``source`` is given
    for runs that were trained on different data. See `measure`.
    """
    # runs of one data set, split alike, are compared on what they held out; others need a common reference
    first, notes = models[0], []
    record = first.run.data
    same_data = all(
        m.run.data.fingerprint == record.fingerprint and split_settings(m) == split_settings(first) for m in models
    )
    if source is None and not same_data:
        raise InputError(
            "the runs were trained on different data, or hold out different rows: say what all are compared with, "
            "as in --against test.csv"
        )
    name = record.source if source is None else source
    try:
        data = load_dataset(record.readable_source() if source is None else source, first.transform, progress)
    except InputError as error:
        if source is not None:
            raise
        raise InputError(
            f"{first.folder}: its training data cannot be read ({error}); say what to compare with: --against DATA"
        ) from error

    # a file with the fingerprint of the training data is those, wherever it lies
    mark = fingerprint(data)
    own = same_data and mark == record.fingerprint
    labels: tuple[Tensor, Tensor] | None = None
    trained: Tensor | None
    if own:
        train_part, held_out_part = data.split(*split_settings(first))
        train, held_out = train_part.x[:], held_out_part.x[:]
        trained = train
        if train_part.y is not None and held_out_part.y is not None and data.classes == record.classes:
            labels = train_part.y, held_out_part.y
    else:
        if source is None:
            notes.append(
                f"{name} has changed since training (fingerprint {mark}, then {record.fingerprint}): which rows were "
                "held out is no longer known, and two halves of what is there now are compared"
            )
        for model in models:
            if mark == model.run.data.fingerprint:
                notes.append(f"{model.folder} was trained on rows of {name}: it may look better than it is")
        train, held_out = (part.x[:] for part in (data.split(0.5, seed) if len(data) > 1 else (data, data)))
        parts = own_parts(first) if same_data else None
        trained = None if parts is None else parts[0].x[:]
        if same_data and trained is None:
            notes.append("the training data are gone, changed or not to be opened: copies of them cannot be found")
    # too few rows on either side would measure nothing but themselves
    if min(len(train), len(held_out)) < LEAST:
        raise InputError(
            f"{name}: {len(train)} and {len(held_out)} rows are too few to measure with, {LEAST} of each are needed; "
            "give more with --against DATA"
        )

    # as many reference rows as samples: more would cost time and narrow one side of the comparison only
    if len(held_out) > n:
        notes.append(f"{n:,} of {len(held_out):,} rows, drawn at random, are compared with")
        held_out = subsample(held_out, n, seed, "report")
        labels = None if labels is None else (labels[0], subsample(labels[1], n, seed, "report"))
    info = ReferenceInfo(
        source=str(name) if isinstance(name, str | Path) else data.name,
        own=own,
        rows=len(data),
        compared=len(held_out),
        floor=len(train),
        fingerprint=mark,
    )
    return Reference(info, held_out, train, trained, labels, tuple(notes))
