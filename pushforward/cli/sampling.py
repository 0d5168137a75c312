"""``pushforward sample`` and ``pushforward tune``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from pushforward.cli.flags import GuidanceFlags, MethodFlags, RowFlags
from pushforward.cli.terminal import pick_device, print_table, progress_bar, say
from pushforward.errors import InputError
from pushforward.registry import names

if TYPE_CHECKING:
    from pushforward.run import Model

__all__ = ["sample", "tune"]

OUTPUTS = [*names("data/files", "FORMATS"), ".png"]


def sample(
    run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a trained run")],
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE", help=f"by ending: {' '.join(OUTPUTS)}")],
    rows: RowFlags = RowFlags(),  # noqa: B008  (frozen)
    guidance: GuidanceFlags = GuidanceFlags(),  # noqa: B008
    method: MethodFlags = MethodFlags(),  # noqa: B008
    seed: Annotated[int, arg(help="row i depends on the seed and i alone")] = 0,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
) -> None:
    """Make new rows: pushforward sample runs/flights -n 1000 -o new.csv"""
    rows.check()
    method.check(fill=rows.fill is not None)
    check_file(out)
    from pushforward import run as runs
    from pushforward.data import save
    from pushforward.training import process_group

    with process_group(pick_device(device)) as processes, progress_bar("sample") as show:
        model = runs.load(run, processes.device or pick_device(device), processes=processes)
        check_ending(model, out)

        make_rows = filled if rows.fill is not None else drawn
        made, titles = make_rows(model, rows, guidance, method, seed, show)
    if not processes.main:
        return
    shown = ""
    try:
        if out.suffix.lower() == ".png":
            shown = runs.picture_note(model.transform)
            runs.picture(made, model.transform, out, titles, rows.per_class)
        else:
            save(made, out, titles)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    say(f"{len(made):,} {'rows' if rows.fill is not None else 'samples'}: {out}{f' ({shown})' if shown else ''}")


def drawn(
    model: Model,
    rows: RowFlags,
    guidance: GuidanceFlags,
    method: MethodFlags,
    seed: int,
    progress: Callable[[float, str], None],
) -> tuple[Any, list[str] | None]:
    """Draw new rows, with the names of their classes where they have some."""
    stepper, grid = method.build(model)
    guide, (n, classes) = guidance.build(model), rows.classes(model)
    labels = model.labels(n, classes, seed)
    titles = None if labels is None else [model.run.data.classes[k] for k in labels.tolist()]
    try:
        made = model.sample(
            n,
            y=classes,
            where=rows.columns,
            guidance=guide,
            steps=method.steps if grid is None else None,
            stepper=stepper,
            grid=grid,
            tol=method.tol,
            seed=seed,
            progress=progress,
        )
    except InputError:
        raise
    except (ValueError, OverflowError) as error:  # a sampler that this path does not allow
        raise InputError(f"--stepper {method.stepper or stepper}: {error}") from error
    return made, titles


def filled(
    model: Model,
    rows: RowFlags,
    guidance: GuidanceFlags,
    method: MethodFlags,
    seed: int,
    progress: Callable[[float, str], None],
) -> tuple[Any, None]:
    """Fill the gaps of the table that ``--fill`` names; it has no classes."""
    from pushforward.data import read_like

    assert rows.fill is not None
    made = model.fill(
        read_like(rows.fill, model.transform, progress).rows,
        guidance=guidance.build(model),
        steps=method.steps,
        seed=seed,
        origin=rows.fill,
        progress=progress,
    )
    return made, None


def check_file(out: Path) -> None:
    """InputError for a file that cannot be written, before anything is computed."""
    if out.suffix.lower() not in OUTPUTS:
        raise InputError(f"{out}: unknown ending {out.suffix!r}; use one of {' '.join(OUTPUTS)}")
    if not out.parent.is_dir():
        raise InputError(f"{out}: the folder {out.parent} does not exist")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give a file")


def check_ending(model: Model, out: Path) -> None:
    """InputError for a file that cannot hold what the model makes."""
    from pushforward.data.files.formats import endings

    arrays, tables = endings("array", written=True), endings("table", written=True)
    shape = model.transform.row_shape
    if len(shape) > 1 and out.suffix.lower() in tables:
        what = "images" if model.transform.kind == "image" else f"rows of shape {list(shape)}"
        raise InputError(f"{out}: {what} do not fit a table; save them as {', '.join(arrays)} or .png")
    if not model.transform.numeric and out.suffix.lower() in arrays:
        others = f"{', '.join(tables[:-1])} or {tables[-1]}"
        raise InputError(f"{out}: the columns are not all numbers without gaps; save them as {others}")


def tune(
    run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a trained run")],
    nfe: Annotated[int, arg(metavar="INT", help="evaluations of the network per sample")] = 8,
    against: Annotated[str | None, arg(metavar="DATA", help="the run's training data, if it has moved")] = None,
    seed: Annotated[int, arg(help="of the noise on which samplers are compared")] = 0,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
) -> None:
    """Find the best sampler for a budget and keep it: pushforward tune runs/flights --nfe 8"""
    if nfe < 1:
        raise InputError(f"--nfe {nfe}: at least 1")
    from pushforward import run as runs

    model = runs.load(run, pick_device(device))
    if against is None:
        try:
            model.run.data.readable_source()
        except InputError as error:
            say(f"note: {error}: flows alone are tried; name the data with --against", error=True)
    with progress_bar("tune") as show:
        found = model.tune(nfe, against=against, seed=seed, progress=show)
    rows = [(t.stepper, t.grid, f"{t.score:.4g}", t.measure) for t in found.tried]
    best = [
        row for measure in dict.fromkeys(row[3] for row in rows) for row in [r for r in rows if r[3] == measure][:8]
    ]
    print_table([("stepper", "grid", "score", "measured by"), *best])
    say(f"decided among {len(rows)}; at most 8 of each kind are shown")
    say(f"end-point error {found.error:.4g} of the standard deviation; best named choice {found.best_untuned:.4g}")
    say(f"sliced Wasserstein distance of samples {found.distance:.4g}, floor {found.floor:.4g}")
    times = " ".join(f"{t:.4g}" for t in found.grid.tolist())
    say(f"kept in {run}: {found.name} at t = {times}; sample uses it from now on")
