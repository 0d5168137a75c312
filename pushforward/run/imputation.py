"""Rows of a table of which some columns are known: the others drawn by a model, so that its rules hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from pushforward.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.data import Transform
    from pushforward.data import UserRows as Rows
    from pushforward.data.files.rows import Array
    from pushforward.data.rules.observed import ObservedRows

__all__ = ["Draw", "draw_where", "fill_gaps"]

Draw: TypeAlias = "Callable[[Tensor, int | None, int], Tensor]"  # (condition [n, d], seed, first) -> x [n, d]
ATTEMPTS = 20
DRAWS = 16  # of a row whose known columns say more than a condition holds


def draw_where(
    transform: Transform, given: ObservedRows, condition: Tensor, draw: Draw, n: int, seed: int, first: int
) -> Rows:
    """Draw ``n`` rows of which the one row of ``given`` is known, encoded as ``condition`` [1, d]."""
    import numpy as np
    import pyarrow as pa

    from pushforward.data.partial import overwrite_observed

    given.require("where")
    times = DRAWS if given.open.any() else 1
    many = condition.expand(n * times, -1)
    x = many.where(~many.isnan(), draw(many, None, first * times))
    made = transform.inverse(x, seed, first * times)
    if times > 1:
        made = made.take(pa.array(_chosen(given, made, np.zeros(n * times, np.int64), seed, first)))
    written = overwrite_observed(made, given.rows)
    known = replace(given, rows=given.rows.take(pa.array(np.zeros(n, np.int64))))
    return known.settled(made, written) if transform.rules.kept else written


def fill_gaps(transform: Transform, given: ObservedRows, condition: Tensor, draw: Draw, seed: int, origin: str) -> Rows:
    """Draw what ``given`` rows, encoded as ``condition`` [n, d], do not hold; no gap is filled by a missing value.

    InputError where the model has nothing but missing values for one.
    """
    import numpy as np
    import pyarrow as pa
    import torch

    from pushforward.data.partial import overwrite_observed
    from pushforward.tensor import generator

    x, todo = condition.clone(), torch.arange(len(condition))
    for attempt in range(ATTEMPTS):
        # gaps that were filled by a missing value are drawn again
        again = None if attempt == 0 else int(torch.randint(2**31, (), generator=generator(seed, "fill", attempt)))
        part = condition[todo]
        x[todo] = part.where(~part.isnan(), draw(part, again, 0))
        table = transform.inverse(x, seed)
        todo = torch.from_numpy(np.flatnonzero(_gaps(table, given)))
        if not len(todo):
            break
    else:
        raise InputError(
            f"{origin}: {len(todo)} rows were not filled after {ATTEMPTS} attempts: the model has learned that these "
            "values are missing whenever the rest is as it is here"
        )

    # rows in which a known column says something of others that the condition does not hold
    if given.open.any():
        rows = np.flatnonzero(given.open)
        row = np.repeat(rows, DRAWS)
        part = condition[torch.from_numpy(row)]
        drawn = transform.inverse(part.where(~part.isnan(), draw(part, None, len(condition))), seed)
        place = np.arange(len(table))
        place[rows] = len(table) + _chosen(given, drawn, row, seed, 0)
        table = pa.concat_tables([table, drawn]).take(pa.array(place))
    written = overwrite_observed(table, given.rows)
    return given.settled(table, written) if transform.rules.kept else written


def _gaps(table: Rows, given: ObservedRows) -> Array:
    """Mark rows with a missing value that no rule asks for; bool [n]."""
    import numpy as np

    free = [name for name in table.column_names if name not in given.gapped]
    return np.asarray(np.any([np.asarray(table.column(name).is_null()) for name in free], axis=0))


def _chosen(given: ObservedRows, made: Rows, row: Array, seed: int, first: int) -> Array:
    """Choose one of each `DRAWS` rows by its weight, that of row i by (seed, first + i) alone; their numbers [n]."""
    import numpy as np
    import torch

    from pushforward.tensor import per_sample

    weights = given.log_weights(made, row) - (0 if given.nulls_known else 1e9) * _gaps(made, given)
    n = len(row) // DRAWS
    u = per_sample(lambda k, g: torch.rand(k, DRAWS, generator=g, dtype=torch.float64), first, n, seed, "where")
    noise = -np.log(-np.log(u.numpy().clip(1e-300, 1 - 1e-16)))
    return np.asarray(np.arange(n) * DRAWS + np.argmax(weights.reshape(n, DRAWS) + noise, axis=1))
