"""Reports: how good the samples of a run are, each figure beside its floor, as JSON and as one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pushforward.data import DataSource as Source
from pushforward.evaluation.measure import measure
from pushforward.report.page import Report
from pushforward.run import Model
from pushforward.training import SINGLE, Processes

__all__ = ["Report", "evaluate"]


def evaluate(
    runs: Model | str | Path | Sequence[Model | str | Path],
    against: Source | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
    steps: int | None = None,
    quick: bool = False,
    device: str = "cpu",
    on_step: Callable[[float, str], None] | None = None,
    processes: Processes = SINGLE,
) -> Report:
    """Measure how good the samples of one or several runs are, each figure beside its floor; see `measure`.

    ``pf.evaluate("runs/demo").save("runs/demo")`` writes ``report.json`` and ``report.html``.
    """
    return Report(
        measure(
            runs,
            against,
            n=n,
            seed=seed,
            steps=steps,
            quick=quick,
            device=device,
            on_step=on_step,
            processes=processes,
        )
    )
