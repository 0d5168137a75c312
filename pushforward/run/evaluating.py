"""Evaluate runs: from their folders, or as models that were loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pushforward.run.loading import load
from pushforward.run.model import Model

if TYPE_CHECKING:
    from pushforward.data import DataSource
    from pushforward.distributed import Processes
    from pushforward.progress import Progress
    from pushforward.report import Report

__all__ = ["evaluate"]


def evaluate(
    runs: Model | str | Path | Sequence[Model | str | Path],
    against: DataSource | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
    steps: int | None = None,
    quick: bool = False,
    device: str = "cpu",
    progress: Progress | Callable[[float, str], None] | None = None,
    processes: Processes | None = None,
) -> Report:
    """Measure how good the samples of one or several runs are, each figure beside its floor; see `measure`.

    Each run is the folder of one, which is loaded onto ``device``, or a model. ``processes`` share the work out.
    ``pf.evaluate("runs/demo").save("runs/demo")`` writes ``report.json`` and ``report.html``.
    """
    from pushforward import report
    from pushforward.distributed import SINGLE

    several = [runs] if isinstance(runs, Model | str | Path) else runs
    models = [run if isinstance(run, Model) else load(run, device, processes=processes) for run in several]
    return report.evaluate(
        models, against, n=n, seed=seed, steps=steps, quick=quick, progress=progress, processes=processes or SINGLE
    )
