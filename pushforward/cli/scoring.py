"""``pushforward score`` and ``pushforward encode``: densities of rows, and the source points behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from pushforward.cli.terminal import fetch_bar, pick_device, progress_bar, say
from pushforward.errors import InputError
from pushforward.registry import names

if TYPE_CHECKING:
    from pushforward.likelihood import Likelihood

__all__ = ["encode", "score"]

Run = Annotated[Positional[Path], arg(metavar="RUN", help="folder of a trained run")]
Data = Annotated[Positional[str], arg(metavar="DATA", help="rows like those of the training data: a file or built-in")]
ENDINGS = names("data/files", "FORMATS")
Out = Annotated[Path, arg(aliases=["-o"], metavar="FILE", help=f"by ending: {' '.join(ENDINGS)}")]
Class = Annotated[str | None, arg(metavar="CLASS", help="class of all rows, by its label: the density given it")]


def check_out(out: Path) -> None:
    """InputError for a file that cannot be written, before anything is computed."""
    if out.suffix.lower() not in ENDINGS:
        raise InputError(f"{out}: unknown ending {out.suffix!r}; use one of {' '.join(ENDINGS)}")
    if not out.parent.is_dir() or out.is_dir():
        raise InputError(f"{out}: the folder {out.parent} does not exist, or this is one; give a file")


@dataclass(frozen=True)
class DensityFlags:
    """How densities are computed, and how exactly."""

    method: Annotated[Literal["auto", "exact", "hutchinson", "hutch++"], arg(help="of the divergence")] = "auto"
    tol: Annotated[float | None, arg(metavar="FLOAT", help="tolerance in nats (0.01)")] = None
    steps: Annotated[int | None, arg(metavar="INT", help="so many steps instead of a tolerance")] = None
    draws: Annotated[int, arg(help="points per row over which integers are averaged")] = 1
    seed: Annotated[int, arg(help="of random directions and of the draws")] = 0

    def check(self) -> None:
        """InputError for numbers out of range, and a tolerance beside a number of steps."""
        if self.tol is not None and (not self.tol > 0 or self.steps is not None):
            raise InputError(f"--tol {self.tol}: a positive number of nats, without --steps")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"--steps {self.steps}: at least 1")


def score(
    run: Run,
    data: Data,
    out: Out,
    y: Class = None,
    density: DensityFlags = DensityFlags(),
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
) -> None:
    """How likely rows are under a model: pushforward score runs/flights new.csv -o scores.csv"""
    # flags and file are judged before a model is loaded
    density.check()
    check_out(out)
    import numpy as np
    import pyarrow as pa

    from pushforward.data import read_like
    from pushforward.data.files.formats import endings
    from pushforward.run import load
    from pushforward.training import process_group

    # several processes share the rows, and one of them speaks
    with process_group(pick_device(device)) as processes:
        model = load(run, processes.device or pick_device(device), processes=processes)
        with fetch_bar() as show:
            source = read_like(data, model.transform, show if processes.main else None)
        try:
            with progress_bar("score") as show:
                found = model.log_likelihood(
                    source.rows,
                    method=density.method,
                    y=y,
                    steps=density.steps,
                    tol=density.tol,
                    draws=density.draws,
                    seed=density.seed,
                    origin=source.origin,
                    progress=show,
                )
        except ValueError as error:
            raise InputError(f"{data}: {error}") from error
    if not processes.main:
        return
    # a row for each row, in their order
    columns = {"log_prob": found.log_prob, "std_error": found.std_error, "step_error": found.step_error}
    table = {"row": range(len(found.log_prob)), **{name: c.double().cpu().numpy() for name, c in columns.items()}}
    if out.suffix.lower() in endings("array", written=True):  # a matrix takes what is not a number, too
        write_rows(np.stack([np.asarray(values, np.float64) for values in table.values()], axis=1), out)
    else:
        write_rows(pa.table({name: pa.array(values) for name, values in table.items()}), out)
    say(f"{len(found.log_prob):,} rows: {out}")
    summarize(found, math.prod(model.transform.shape))


def summarize(found: Likelihood, dimensions: int) -> None:
    """Print the total, the mean with its standard error, and bits per dimension, of rows with a known error."""
    lost = found.step_error.isinf()
    if bool(lost.any()):
        rows, first = int(lost.sum()), int(lost.nonzero()[0])
        what = "1 row is" if rows == 1 else f"{rows:,} rows are"
        say(f"note: {what} so far out that the density is a guess (step_error inf; the first: row {first});")
        say("      left out of these sums")
    broken = found.log_prob.isneginf() & ~lost
    if bool(broken.any()):
        rows, first = int(broken.sum()), int(broken.nonzero()[0])
        what = "1 row breaks" if rows == 1 else f"{rows:,} rows break"
        say(f"note: {what} what holds in every row of the training data (log_prob -inf; the first: row {first});")
        say("      left out of these sums")
    lost |= broken
    values = found.log_prob[~lost].double()
    n, mean = len(values), float(values.mean())
    error = float(values.std()) / math.sqrt(n) if n > 1 else math.nan
    say(f"total log-likelihood  {float(values.sum()):,.3f} nats")
    say(f"mean per row          {mean:.4f} +- {error:.4f} nats (standard error over rows)")
    bits = -mean / (dimensions * math.log(2))
    say(f"bits per dimension    {bits:.4f} ({dimensions} dimensions, in the units of the data)")
    if n and (noise := float(found.std_error[~lost].mean())):
        say(f"random directions     standard error {noise:.3g} nats a row")


def write_rows(rows: Any, out: Path) -> None:
    """Save an array or a table; InputError where the disk refuses."""
    from pushforward.data import save

    try:
        save(rows, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error


def encode(
    run: Run,
    data: Data,
    out: Out,
    y: Class = None,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
) -> None:
    """The source points behind rows: pushforward encode runs/flights new.csv -o codes.npy"""
    check_out(out)
    import pyarrow as pa

    from pushforward.data import read_like
    from pushforward.data.files.formats import endings
    from pushforward.run import load

    model = load(run, pick_device(device))
    with fetch_bar() as show:
        source = read_like(data, model.transform, show)
    codes = model.encode(source.rows, y=y, origin=source.origin).numpy()
    if out.suffix.lower() in endings("array", written=True):
        write_rows(codes, out)
    else:
        flat = codes.reshape(len(codes), -1)
        write_rows(pa.table({f"z{i}": flat[:, i] for i in range(flat.shape[1])}), out)
    say(f"{len(codes):,} codes of shape {codes.shape[1:]}: {out}")
