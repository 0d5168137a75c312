"""Reports: how good the samples of a run are, each figure beside its floor, as JSON and as one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pushforward.data import DataSource
from pushforward.distributed import SINGLE, Processes
from pushforward.evaluation.measure import measure
from pushforward.progress import Progress
from pushforward.report.page import Report

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = ["Report", "evaluate"]


def evaluate(
    models: Sequence[Model],
    against: DataSource | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
    steps: int | None = None,
    quick: bool = False,
    progress: Progress | Callable[[float, str], None] | None = None,
    processes: Processes = SINGLE,
) -> Report:
    """Measure how good the samples of loaded models are, each figure beside its floor; see `measure`."""
    return Report(
        measure(
            models,
            against,
            n=n,
            seed=seed,
            steps=steps,
            quick=quick,
            progress=progress,
            processes=processes,
        )
    )
