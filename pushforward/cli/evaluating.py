"""``pushforward evaluate``: how good the samples of a run are, as a table, a page and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from pushforward.cli.terminal import pick_device, progress_bar
from pushforward.errors import InputError

if TYPE_CHECKING:
    from pushforward.report import Report

__all__ = ["evaluate"]


def evaluate(
    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN", help="folders of trained runs, one or several")],
    against: Annotated[
        str | None, arg(metavar="DATA", help="what samples are compared with: a file or built-in (the run's own data)")
    ] = None,
    n: Annotated[int, arg(aliases=["-n"], help="how many samples")] = 2000,
    steps: Annotated[int | None, arg(metavar="INT", help="steps of the sampler (tuned or default)")] = None,
    seed: Annotated[int, arg(help="of samples and of everything drawn in measuring")] = 0,
    out: Annotated[
        Path | None, arg(aliases=["-o"], metavar="FOLDER", help="of report.html and report.json (the run's own)")
    ] = None,
    quick: Annotated[FlagCreatePairsOff[bool], arg(help="without curves, loss and likelihood")] = False,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
) -> None:
    """How good samples are, each figure beside its floor: pushforward evaluate runs/flights"""
    if not runs:
        raise InputError("no run to evaluate; give the folder of one: pushforward evaluate RUN")
    if steps is not None and steps < 1:
        raise InputError(f"--steps {steps}: at least 1")
    if out is None and len(runs) > 1:
        raise InputError("--out: say in which folder the report of several runs is written")
    folder = runs[0] if out is None else out
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: is a file; give a folder")
    from pushforward.distributed import process_group
    from pushforward.run.evaluating import evaluate as measure

    with process_group(pick_device(device)) as processes, progress_bar("evaluate") as show:
        report = measure(
            list(runs),
            against,
            n=n,
            seed=seed,
            steps=steps,
            quick=quick,
            device=processes.device or pick_device(device),
            on_step=show if processes.main else None,
            processes=processes,
        )
    if not processes.main:
        return
    files = report.save(folder)
    print_scores(report)
    for note in [*report.notes, *(note for run in report.runs for note in run.notes)]:
        print(f"note: {note}")
    print(f"report: {files[1]}   numbers: {files[0]}")


def print_scores(report: Report) -> None:
    """A table: the metrics of one run with their floors, or those of several side by side."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pushforward.report.page import labels
    from pushforward.report.sections import between, plain

    held, n = report.against, report.findings.n
    what = "held-out rows" if held.own else "rows"
    shown = Table(title=f"{n:,} samples against {held.compared:,} {what} of {held.source}", title_justify="left")
    first = report.runs[0]
    names = [first.name] if len(report.runs) == 1 else labels([Path(run.name).name for run in report.runs])
    shown.add_column("measure", no_wrap=True)
    for name in names if len(names) > 1 else ["samples"]:
        shown.add_column(name, justify="right")
    shown.add_column("floor", justify="right")
    if len(names) == 1:
        shown.add_column("together")
    for score in first.scores:
        if len(names) == 1:
            style = "green" if score.good else "yellow"
            last = [Text(score.verdict, style=style)]
            shown.add_row(score.title, *plain(score.measured), *last)
        else:
            found = [run.score(score.name) for run in report.runs]
            floor = between(found[0].floor, found[0].floor_error)
            shown.add_row(score.title, *[between(m.value, m.error) for m in found], floor)
    Console().print(shown)
    for run in report.runs:
        copied = (
            "unknown"
            if run.copies is None
            else f"{run.copies.suspects:,} (closer than held-out {run.copies.closer:.3f})"
        )
        print(
            f"{run.name}: suspected copies {copied}; {run.timing.evaluations:g} evaluations, "
            f"{run.timing.seconds_per_1000:.3g} s per 1,000 samples"
        )
