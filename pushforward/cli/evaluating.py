"""``pushforward evaluate``: how good the samples of a run are, as a table, a page and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from pushforward.cli.terminal import pick_device, progress_bar, say
from pushforward.errors import InputError, one_line, printable

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
    # what needs no model is refused first
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
    from pushforward.run.evaluating import evaluate as evaluate_runs

    # several processes share the work, and one of them speaks
    with process_group(pick_device(device)) as processes, progress_bar("evaluate") as bar:
        try:
            report = evaluate_runs(
                list(runs),
                against,
                n=n,
                seed=seed,
                steps=steps,
                quick=quick,
                device=processes.device or pick_device(device),
                progress=bar if processes.main else None,
                processes=processes,
            )
        except InputError:
            raise
        except (ValueError, OverflowError) as error:  # numbers of a run that lead beyond all numbers
            raise InputError(f"{runs[0]}: cannot be measured ({one_line(error)})") from error
    if not processes.main:
        return
    # the report on disk, its scores on the screen
    files = report.save(folder)
    print_scores(report)
    for note in [*report.notes, *(note for run in report.runs for note in run.notes)]:
        say(f"note: {note}")
    say(f"report: {files[1]}   numbers: {files[0]}")


def print_scores(report: Report) -> None:
    """Print a table: the metrics of one run with their floors, or those of several side by side."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pushforward.report.page import labels
    from pushforward.report.sections import value_and_floor, with_error

    # what was compared
    reference, n = report.against, report.findings.n
    rows = "held-out rows" if reference.own else "rows"
    title = f"{n:,} samples against {reference.compared:,} {rows} of {reference.source}"
    table = Table(title=Text(printable(title)), title_justify="left")
    first, alone = report.runs[0], len(report.runs) == 1

    # one run with what value and floor say together, several as columns beside one floor
    table.add_column("measure", no_wrap=True)
    for name in ["samples"] if alone else labels([Path(run.name).name for run in report.runs]):
        table.add_column(Text(printable(name)), justify="right")
    table.add_column("floor", justify="right")
    if alone:
        table.add_column("together")
    for score in first.scores:
        if alone:
            verdict = Text(score.verdict, style="green" if score.at_floor else "yellow")
            table.add_row(score.title, *value_and_floor(score.measured), verdict)
        else:
            measured = [run.score(score.name) for run in report.runs]
            floor = with_error(measured[0].floor, measured[0].floor_error)
            table.add_row(score.title, *[with_error(m.value, m.error) for m in measured], floor)
    Console().print(table)
    # copies and time have no floor: a line for each run
    for run in report.runs:
        copied = (
            "unknown"
            if run.copies is None
            else f"{run.copies.suspects:,} (closer than held-out {run.copies.closer:.3f})"
        )
        say(
            f"{run.name}: suspected copies {copied}; {run.timing.evaluations:g} evaluations, "
            f"{run.timing.seconds_per_1000:.3g} s per 1,000 samples"
        )
        if run.membership is not None:
            say(f"{run.name}: by the loss, {run.membership.describe()}")
