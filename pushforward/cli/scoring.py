"""``pushforward score`` and ``pushforward encode``: densities of rows, and the source points behind them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from pushforward.cli.terminal import pick_device, progress_bar
from pushforward.errors import InputError

__all__ = ["encode", "score"]

Run = Annotated[Positional[Path], arg(metavar="RUN", help="folder of a trained run")]
Data = Annotated[Positional[str], arg(metavar="DATA", help="rows like those of the training data: a file or built-in")]
Out = Annotated[Path, arg(aliases=["-o"], metavar="FILE", help="by ending: .csv .tsv .parquet .npy .npz")]


def check_out(out: Path) -> None:
    """InputError for a file that cannot be written, before anything is computed."""
    from pushforward.data import ENDINGS

    if out.suffix.lower() not in ENDINGS:
        raise InputError(f"{out}: unknown ending {out.suffix!r}; use one of {' '.join(ENDINGS)}")
    if not out.parent.is_dir() or out.is_dir():
        raise InputError(f"{out}: the folder {out.parent} does not exist, or this is one; give a file")


def score(
    run: Run,
    data: Data,
    out: Out,
    method: Annotated[Literal["auto", "exact", "hutchinson", "hutch++"], arg(help="of the divergence")] = "auto",
    tol: Annotated[float | None, arg(metavar="FLOAT", help="tolerance in nats (0.01)")] = None,
    steps: Annotated[int | None, arg(metavar="INT", help="so many steps instead of a tolerance")] = None,
    draws: Annotated[int, arg(help="points per row over which integers are averaged")] = 1,
    seed: Annotated[int, arg(help="of random directions and of the draws")] = 0,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
) -> None:
    """How likely rows are under a model: pushforward score runs/flights new.csv -o scores.csv"""
    if tol is not None and (not tol > 0 or steps is not None):
        raise InputError(f"--tol {tol}: a positive number of nats, without --steps")
    if steps is not None and steps < 1:
        raise InputError(f"--steps {steps}: at least 1")
    check_out(out)
    import pyarrow as pa

    from pushforward.data import read_raw, save
    from pushforward.run import load
    from pushforward.training import process_group

    with process_group(pick_device(device)) as processes:
        model = load(run, processes.device or pick_device(device), processes=processes)
        source = read_raw(data)
        try:
            with progress_bar("score") as show:
                found = model.log_likelihood(
                    source.rows,
                    method=method,
                    steps=steps,
                    tol=tol,
                    draws=draws,
                    seed=seed,
                    origin=source.where,
                    progress=show,
                )
        except ValueError as error:
            raise InputError(f"{data}: {error}") from error
    if not processes.main:
        return
    columns = {"log_prob": found.log_prob, "std_error": found.std_error, "step_error": found.step_error}
    table = {"row": range(len(found.log_prob)), **{name: c.double().cpu().numpy() for name, c in columns.items()}}
    try:
        save(pa.table({name: pa.array(values) for name, values in table.items()}), out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    values = found.log_prob.double()
    n, d = len(values), math.prod(model.transform.shape)
    mean, spread = float(values.mean()), float(values.std()) / math.sqrt(n) if n > 1 else math.nan
    print(f"{n:,} rows: {out}")
    print(f"total log-likelihood  {float(values.sum()):,.3f} nats")
    print(f"mean per row          {mean:.4f} +- {spread:.4f} nats (standard error over rows)")
    print(f"bits per dimension    {-mean / (d * math.log(2)):.4f} ({d} dimensions, in the units of the data)")
    noise = float(found.std_error.mean())
    if noise:
        print(f"random directions     standard error {noise:.3g} nats a row")


def encode(
    run: Run,
    data: Data,
    out: Out,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
) -> None:
    """The source points behind rows: pushforward encode runs/flights new.csv -o codes.npy"""
    check_out(out)
    import pyarrow as pa

    from pushforward.data import read_raw, save
    from pushforward.run import load

    model = load(run, pick_device(device))
    source = read_raw(data)
    codes = model.encode(source.rows, origin=source.where).numpy()
    try:
        if out.suffix.lower() in (".npy", ".npz"):
            save(codes, out)
        else:
            flat = codes.reshape(len(codes), -1)
            save(pa.table({f"z{i}": flat[:, i] for i in range(flat.shape[1])}), out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    print(f"{len(codes):,} codes of shape {codes.shape[1:]}: {out}")
