"""Measure the fidelity of tables in the user's columns: single columns, pairs, closest records, use in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.data import Transform
from pushforward.evaluation.quality import RESAMPLES, reported
from pushforward.evaluation.result import ColumnScore, Score, TableScores
from pushforward.evaluation.table import NumericTable, numeric_table
from pushforward.metrics import (
    Metric,
    Utility,
    closest_record,
    column_distances,
    pair_distances,
    train_on_synthetic,
    with_floor,
)
from pushforward.metrics.base import subsample
from pushforward.progress import SILENT, Progress

__all__ = ["TableFindings", "complete_tables", "table_fidelity"]

CATEGORIES = 200  # of a column that is compared with others
COLUMNS = 40  # at most, whose pairs are compared
TARGETS = 6  # columns that are predicted from the others
CLASSES = 50  # of a column that is predicted
RECORDS = 20_000  # training rows among which the closest is looked for
WORST = 5  # pairs of columns named


class TableFindings(NamedTuple):
    """Metrics of tables, details of columns (None where every column is left out), and notes on what was left out."""

    scores: list[Score]
    table: TableScores | None
    notes: list[str]


@dataclass(frozen=True, eq=False)
class CompleteTables:
    """Tables without gaps, for metrics: ``names``, which columns are ``categorical``, and how many were left out."""

    names: tuple[str, ...]
    categorical: tuple[int, ...]
    values: tuple[Tensor, ...]  # [n, d] each
    left_out: int


def complete_tables(tables: tuple[NumericTable, ...]) -> CompleteTables:
    """Fill the gaps of tables: a missing number becomes the median of the last table, its gap a column of its own.

    Columns of more than 200 categories, and all beyond the first 40, are left out.
    """
    names: list[str] = []
    categorical: list[int] = []
    parts: list[list[Tensor]] = [[] for _ in tables]
    last = tables[-1]
    left_out = 0
    for j, (name, categories) in enumerate(zip(last.names, last.categories, strict=True)):
        if len(names) >= COLUMNS or (categories is not None and len(categories) > CATEGORIES):
            left_out += 1
            continue
        if categories is not None:
            categorical.append(len(names))
        names.append(name)

        # one table with gaps in a column gives all of them the column of gaps
        median = last.values[:, j].nanmedian().nan_to_num()
        gaps = any(bool(t.values[:, j].isnan().any()) for t in tables)
        if gaps:
            categorical.append(len(names))
            names.append(f"{name} missing")
        for part, t in zip(parts, tables, strict=True):
            missing = t.values[:, j].isnan()
            part.append(torch.where(missing, median, t.values[:, j]))
            if gaps:
                part.append(missing.double())
    return CompleteTables(tuple(names), tuple(categorical), tuple(torch.stack(part, 1) for part in parts), left_out)


def table_fidelity(
    samples: Tensor,
    held_out: Tensor,
    train: Tensor,
    trained: Tensor | None,
    transform: Transform,
    seed: int,
    progress: Progress = SILENT,
) -> TableFindings:
    """Measure columns and pairs, closest records, and training on samples; points are model rows of ``transform``."""
    # the floor is of as many training rows as there are samples; records are looked for among many more
    n = min(len(samples), len(train))
    records = subsample(train if trained is None else trained, RECORDS, seed, "records")
    views = (samples, held_out, subsample(train, n, seed, "tables"), records)
    tables = complete_tables(tuple(numeric_table(x, transform) for x in views))
    names, categorical, notes = tables.names, list(tables.categorical), list[str]()
    if tables.left_out:
        notes.append(
            f"{tables.left_out} columns (of more than {CATEGORIES} categories, or beyond the first {COLUMNS}) are left "
            "out where columns are compared"
        )
    if not names:
        return TableFindings([], None, notes)
    of_samples, of_held_out, of_train, of_records = tables.values

    # the metrics of tables, as many as these columns allow
    listed = []
    metrics = {name: metric for name, metric in reported(table=True).items() if metric.columns <= len(names)}
    for i, (name, metric) in enumerate(metrics.items()):
        progress(0.5 * i / len(metrics), metric.title)

        def number(x: Tensor, y: Tensor, metric: Metric = metric) -> float:
            return metric.number(metric.function(x, y, categorical))

        listed.append(Score(name, with_floor(number, of_samples, of_held_out, of_train, RESAMPLES, seed=seed)))

    # column by column
    distances = column_distances(of_samples, of_held_out, categorical).each
    floors = column_distances(of_train, of_held_out, categorical).each
    columns = tuple(ColumnScore(name, j in categorical, distances[j], floors[j]) for j, name in enumerate(tables.names))
    if len(names) == 1:
        return TableFindings(listed, TableScores(columns, (), None, ()), notes)

    # pairs of columns that are related most differently
    gaps = pair_distances(of_samples, of_held_out, categorical).each.triu(1).flatten()
    worst, d = gaps.argsort(descending=True)[:WORST].tolist(), len(names)
    pairs = tuple((names[k // d], names[k % d], float(gaps[k])) for k in worst if gaps[k] > 0)

    # what only samples of one data set can be asked: copies, and whether they can stand for the data
    progress(0.5, "closest records")
    closest = None if trained is None else closest_record(of_samples, of_records, of_held_out, categorical)
    progress(0.7, "training on samples")
    utility: list[tuple[str, bool, Utility]] = []
    for j in _targets(tables):
        score = train_on_synthetic(of_samples, of_train, of_held_out, j, categorical, seed)
        utility.append((names[j], j in categorical, score))
    return TableFindings(listed, TableScores(columns, pairs, closest, tuple(utility)), notes)


def _targets(tables: CompleteTables) -> list[int]:
    """Columns to predict: those that vary and have few classes, at most six, evenly chosen."""
    _, held_out, train, _ = tables.values
    candidates = [
        j
        for j, name in enumerate(tables.names)
        if not name.endswith(" missing")
        and (j not in tables.categorical or len(train[:, j].unique()) <= CLASSES)
        and len(held_out[:, j].unique()) > 1
    ]
    if not candidates:
        return []
    positions = {round(k * (len(candidates) - 1) / max(1, TARGETS - 1)) for k in range(TARGETS)}
    return [candidates[i] for i in sorted(positions)]
