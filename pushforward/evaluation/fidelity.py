"""Rows in the user's columns as numbers, and what is asked of tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.data import Transform
from pushforward.evaluation.quality import RESAMPLES, reported
from pushforward.evaluation.result import ColumnScore, Score, TableScores
from pushforward.evaluation.table import Table, table
from pushforward.metrics import (
    Metric,
    closest_record,
    column_distances,
    pair_distances,
    train_on_synthetic,
    with_floor,
)
from pushforward.metrics.base import some

__all__ = ["full", "tables"]

CATEGORIES = 200  # of a column that is compared with others
COLUMNS = 40  # at most, whose pairs are compared
TARGETS = 6  # columns that are predicted from the others
CLASSES = 50  # of a column that is predicted
RECORDS = 20_000  # training rows among which the closest is looked for
WORST = 5  # pairs of columns named


@dataclass(frozen=True, eq=False)
class Full:
    """Tables without gaps, for metrics: ``names``, which columns are ``categorical``, and how many were left out."""

    names: tuple[str, ...]
    categorical: tuple[int, ...]
    values: tuple[Tensor, ...]  # [n, d] each
    left_out: int


def full(tables: tuple[Table, ...]) -> Full:
    """A missing number becomes the median of the last table, and whether it is missing a column of its own.

    Columns of more than 200 categories, and all beyond the first 40, are left out.
    """
    names: list[str] = []
    categorical: list[int] = []
    parts: list[list[Tensor]] = [[] for _ in tables]
    last = tables[-1]
    left_out = 0
    for j, (name, kinds) in enumerate(zip(last.names, last.categories, strict=True)):
        if len(names) >= COLUMNS or (kinds is not None and len(kinds) > CATEGORIES):
            left_out += 1
            continue
        if kinds is not None:
            categorical.append(len(names))
        names.append(name)
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
    return Full(tuple(names), tuple(categorical), tuple(torch.stack(part, 1) for part in parts), left_out)


def tables(
    samples: Tensor,
    held_out: Tensor,
    train: Tensor,
    trained: Tensor | None,
    transform: Transform,
    seed: int,
    say: Callable[[float, str], None],
) -> tuple[list[Score], TableScores | None, list[str]]:
    """Fidelity of columns and pairs, closest records, and training on samples; and notes on what was left out.

    Points are model rows; None where every column has more than 200 categories.
    """
    n = min(len(samples), len(train))
    known = some(train if trained is None else trained, RECORDS, seed, "records")
    views = tuple(table(x, transform) for x in (samples, held_out, some(train, n, seed, "tables"), known))
    rows = full(views)
    notes = []
    if rows.left_out:
        notes.append(
            f"{rows.left_out} columns (of more than {CATEGORIES} categories, or beyond the first {COLUMNS}) are left "
            "out where columns are compared"
        )
    if not rows.names:
        return [], None, notes
    ours, theirs, fair, record = rows.values
    found, categorical = [], list(rows.categorical)
    metrics = {name: metric for name, metric in reported(table=True).items() if metric.columns <= len(rows.names)}
    for i, (name, metric) in enumerate(metrics.items()):
        say(0.5 * i / len(metrics), metric.title)

        def number(x: Tensor, y: Tensor, metric: Metric = metric) -> float:
            return metric.number(metric.function(x, y, categorical))

        found.append(Score(name, with_floor(number, ours, theirs, fair, RESAMPLES, seed=seed)))
    each = zip(
        rows.names,
        column_distances(ours, theirs, categorical).each,
        column_distances(fair, theirs, categorical).each,
        strict=True,
    )
    singles = tuple(ColumnScore(name, j in categorical, *pair) for j, (name, *pair) in enumerate(each))
    if len(rows.names) == 1:
        return found, TableScores(singles, (), None, ()), notes
    gaps = pair_distances(ours, theirs, categorical).each.triu(1)
    worst = gaps.flatten().argsort(descending=True)[:WORST].tolist()
    d = len(rows.names)
    named = tuple(
        (rows.names[k // d], rows.names[k % d], float(gaps[k // d, k % d])) for k in worst if gaps.flatten()[k] > 0
    )
    say(0.5, "closest records")
    closest = None if trained is None else closest_record(ours, record, theirs, categorical)
    say(0.7, "training on samples")
    utility = []
    for j in _targets(rows):
        score = train_on_synthetic(ours, fair, theirs, j, categorical, seed)
        utility.append((rows.names[j], j in categorical, score))
    return found, TableScores(singles, named, closest, tuple(utility)), notes


def _targets(rows: Full) -> list[int]:
    """Columns to predict: those that vary and have few classes, at most six, evenly chosen."""
    fair, theirs = rows.values[2], rows.values[1]
    fit = [
        j
        for j, name in enumerate(rows.names)
        if not name.endswith(" missing")
        and (j not in rows.categorical or len(fair[:, j].unique()) <= CLASSES)
        and len(theirs[:, j].unique()) > 1
    ]
    return (
        [fit[i] for i in sorted({round(k * (len(fit) - 1) / max(1, TARGETS - 1)) for k in range(TARGETS)})]
        if fit
        else []
    )
