"""``pushforward sample`` and ``pushforward tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from pushforward.cli.terminal import pick_device, print_table, progress_bar
from pushforward.config import Spec, make
from pushforward.errors import InputError, nearest
from pushforward.registry import names

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.field import Field
    from pushforward.path import Path as TrajectoryPath
    from pushforward.run import Model
    from pushforward.run.conditions import Guidance
    from pushforward.sample import Stepper

__all__ = ["sample", "tune"]

STEPPERS = [name for name in names("sample", "STEPPERS") if name != "langevin"]  # which samples one law, no path
GRIDS = names("times", "GRIDS")


def sample(
    run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a trained run")],
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE", help="by ending: .csv .tsv .parquet .npy .npz .png")],
    n: Annotated[int | None, arg(aliases=["-n"], metavar="INT", help="how many rows or images")] = None,
    y: Annotated[str | None, arg(metavar="CLASS", help="class of all samples, by its label")] = None,
    per_class: Annotated[int | None, arg(metavar="INT", help="so many of each class, instead of -n")] = None,
    where: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="COLUMN=VALUE", help="a column of a table that is known (several times: several; empty: missing)"),
    ] = (),
    fill: Annotated[str | None, arg(metavar="DATA", help="fill the gaps of this table, instead of -n")] = None,
    guidance: Annotated[
        float | None, arg(metavar="FLOAT", help="lean towards the condition: 0 ignores it, 1 samples it as it is")
    ] = None,
    interval: Annotated[
        tuple[float, float] | None, arg(metavar="FROM TO", help="times within 0 and 1 in which guidance acts")
    ] = None,
    rescale: Annotated[float, arg(help="share in which guidance is kept from raising contrast, 0 to 1")] = 0.0,
    weak: Annotated[
        Path | None, arg(metavar="RUN", help="guide away from this worse run of the same data (autoguidance)")
    ] = None,
    stepper: Annotated[
        str | None, arg(metavar="NAME", help=f"method: {', '.join(STEPPERS)} (tuned or default)")
    ] = None,
    steps: Annotated[int | None, arg(metavar="INT", help="steps of the method")] = None,
    grid: Annotated[str | None, arg(metavar="NAME", help=f"where they lie: {', '.join(GRIDS)} (shifted)")] = None,
    sigma: Annotated[
        str | None, arg(metavar="FLOAT", help="diffusion: a number, or reverse for the reverse SDE")
    ] = None,
    tol: Annotated[float | None, arg(metavar="FLOAT", help="tolerance of an adaptive solver instead of steps")] = None,
    seed: Annotated[int, arg(help="row i depends on the seed and i alone")] = 0,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
) -> None:
    """Make new rows: pushforward sample runs/flights -n 1000 -o new.csv"""
    counts = [flag for flag, value in (("-n", n), ("--per-class", per_class), ("--fill", fill)) if value is not None]
    if len(counts) != 1:
        raise InputError(f"give one of -n, --per-class and --fill, not {' and '.join(counts) or 'none'}")
    if n is not None and n < 1:
        raise InputError(f"-n {n}: at least 1")
    if per_class is not None and (per_class < 1 or y is not None or where):
        raise InputError(f"--per-class {per_class}: at least 1, without --y and --where")
    if fill is not None and (y is not None or where):
        raise InputError("--fill: without --y and --where, the file says what is known")
    if steps is not None and steps < 1:
        raise InputError(f"--steps {steps}: at least 1")
    if tol is not None and (not tol > 0 or any(way is not None for way in (stepper, steps, grid, sigma))):
        raise InputError(f"--tol {tol}: a positive number, without --stepper, --steps, --grid or --sigma")
    if fill is not None and any(way is not None for way in (stepper, grid, sigma, tol)):
        raise InputError("--fill: takes --steps, not --stepper, --grid, --sigma or --tol")
    check_names(stepper, grid)
    columns = dict(pair.partition("=")[::2] for pair in where)
    if odd := [pair for pair in where if "=" not in pair]:
        raise InputError(f"--where {odd[0]}: write COLUMN=VALUE")
    from pushforward import run as runs
    from pushforward.data import ENDINGS, read_raw, save
    from pushforward.training import process_group

    endings = [*ENDINGS, ".png"]
    if out.suffix.lower() not in endings:
        raise InputError(f"{out}: unknown ending {out.suffix!r}; use one of {' '.join(endings)}")
    if not out.parent.is_dir():
        raise InputError(f"{out}: the folder {out.parent} does not exist")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give a file")
    with process_group(pick_device(device)) as processes, progress_bar("sample") as show:
        model = runs.load(run, processes.device or pick_device(device), processes=processes)
        method, times = sampler(model.field.path, stepper, steps, grid, sigma)
        check_ending(model, out)
        lean = guidance_from_flags(model, guidance, interval, rescale, weak)
        wanted: str | list[str] | None = y
        if per_class is not None:
            if model.run.config.condition.condition != "labels":
                raise InputError("--per-class: this model was trained without classes; give -n")
            wanted = [name for name in model.run.data.classes for _ in range(per_class)]
            n = len(wanted)

        titles = None
        if fill is not None:
            rows = model.fill(
                read_raw(fill).rows,
                guidance=lean,
                steps=steps,
                seed=seed,
                origin=fill,
                progress=show,
            )
        else:
            assert n is not None
            labels = model.labels(n, wanted, seed)
            titles = None if labels is None else [model.run.data.classes[k] for k in labels.tolist()]
            try:
                rows = model.sample(
                    n,
                    y=wanted,
                    where={name: value or None for name, value in columns.items()} or None,
                    guidance=lean,
                    steps=steps if times is None else None,
                    stepper=method,
                    grid=times,
                    tol=tol,
                    seed=seed,
                    progress=show,
                )
            except InputError:
                raise
            except ValueError as error:  # a sampler that this path does not allow
                raise InputError(f"--stepper {stepper or method}: {error}") from error
    if not processes.main:
        return
    try:
        if out.suffix.lower() == ".png":
            runs.picture(rows, model.transform, out, titles, per_class)
        else:
            save(rows, out, titles)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    print(f"{len(rows):,} {'rows' if fill is not None else 'samples'}: {out}")


def check_names(stepper: str | None, grid: str | None) -> None:
    """InputError for a stepper or a grid of an unknown name."""
    for text, known, what in ((stepper, STEPPERS, "stepper"), (grid, GRIDS, "grid")):
        if text is not None and (name := Spec.parse(text, what).name) not in known:
            raise InputError(nearest(name, known, what))


def check_ending(model: Model, out: Path) -> None:
    """InputError for a file that cannot hold what the model makes."""
    if model.transform.kind == "image" and out.suffix.lower() in (".csv", ".tsv", ".parquet"):
        raise InputError(f"{out}: images do not fit a table; save them as .npy, .npz or .png")
    if not model.transform.numeric and out.suffix.lower() in (".npy", ".npz"):
        raise InputError(f"{out}: the columns are not all numbers without gaps; save them as .csv, .tsv or .parquet")


def guidance_from_flags(
    model: Model, scale: float | None, interval: tuple[float, float] | None, rescale: float, weak: Path | None
) -> Guidance:
    """The guidance that the flags of ``sample`` mean; None where they ask for none."""
    from pushforward import run as runs
    from pushforward.guidance import AutoGuidance, ClassifierFreeGuidance

    if scale is None:
        if interval is not None or rescale or weak is not None:
            raise InputError("--interval, --rescale and --weak: give --guidance, the scale, too")
        return None
    within = (0.0, 1.0) if interval is None else interval
    worse = None if weak is None else runs.load(weak, model.device)
    if worse is not None and worse.run.data.fingerprint != model.run.data.fingerprint:
        raise InputError(f"--weak {weak}: was trained on other data than {model.folder}")
    if worse is None:
        runs.guided(model.field, model.run, scale)  # refused before anything is computed

    def lean(field: Field) -> Field:
        try:
            if worse is None:
                return ClassifierFreeGuidance(field, scale, within, rescale)
            return AutoGuidance(field, worse.field, scale, within, rescale)
        except ValueError as error:
            raise InputError(f"--guidance: {error}") from error

    lean(model.field)
    return lean


def sampler(
    path: TrajectoryPath, stepper: str | None, steps: int | None, grid: str | None, sigma: str | None
) -> tuple[Stepper | None, Tensor | None]:
    """The method and the times that the flags of ``sample`` mean; both None where they leave it to the model."""
    from pushforward import sample as samplers
    from pushforward.sample import DormandPrince, EulerMaruyama, StochasticHeun, reverse_sigma
    from pushforward.times import GRIDS as registry

    if stepper is None and grid is None and sigma is None:
        return None, None
    schedule = path.affine_schedule()
    kind = "stochastic_heun" if stepper is None and sigma is not None else stepper
    method = None if kind is None else make(samplers.STEPPERS, kind, "stepper")
    if sigma is not None:
        if not isinstance(method, (EulerMaruyama, StochasticHeun)):
            raise InputError(f"--sigma {sigma}: for euler_maruyama and stochastic_heun only, not for {kind}")
        try:
            method = type(method)(reverse_sigma(path) if sigma == "reverse" else float(sigma))
        except ValueError as error:
            raise InputError(f"--sigma {sigma}: a number from 0, or reverse on a Gaussian path ({error})") from error
    usual = 1 if isinstance(method, DormandPrince) else samplers.DEFAULT_STEPS
    given = {"steps": usual if steps is None else steps, "schedule": schedule}
    return method, Spec.parse("shifted" if grid is None else grid, "grid").build(registry, "grid", given)


def tune(
    run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a trained run")],
    nfe: Annotated[int, arg(metavar="INT", help="evaluations of the network per sample")] = 8,
    seed: Annotated[int, arg(help="of the noise on which samplers are compared")] = 0,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
) -> None:
    """Find the best sampler for a budget and keep it: pushforward tune runs/flights --nfe 8"""
    if nfe < 1:
        raise InputError(f"--nfe {nfe}: at least 1")
    from pushforward import run as runs

    with progress_bar("tune") as show:
        found = runs.tune(run, nfe, seed=seed, device=pick_device(device), progress=show)
    rows = [(t.stepper, t.grid, f"{t.score:.4g}", t.measure) for t in found.tried]
    best = [
        row for measure in dict.fromkeys(row[3] for row in rows) for row in [r for r in rows if r[3] == measure][:8]
    ]
    print_table([("stepper", "grid", "score", "measured by"), *best])
    print(f"decided among {len(rows)}; at most 8 of each kind are shown")
    print(f"end-point error {found.error:.4g} of the standard deviation; best named choice {found.best_untuned:.4g}")
    print(f"sliced Wasserstein distance of samples {found.distance:.4g}, floor {found.floor:.4g}")
    times = " ".join(f"{t:.4g}" for t in found.grid.tolist())
    print(f"kept in {run}: {found.name} at t = {times}; sample uses it from now on")
