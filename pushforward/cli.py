"""The command line: ``pushforward train | sample | info | inspect | verify``.

Flags are made from the classes in `config`. Errors of the user's are one line on standard error and exit code 2.
Nothing here imports torch before a command needs it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg

from pushforward.config import Config, choices, make
from pushforward.errors import InputError, nearest

if TYPE_CHECKING:
    from pushforward.train import Progress

DEFAULT_STEPS = 20_000
STEPPERS = ", ".join(choices("sample/ode.py", "STEPPERS"))


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float, str], None]]:
    """``show(share done, words)``: a bar with time left on a terminal, a plain line now and then elsewhere."""
    if not sys.stderr.isatty():
        last = time.monotonic()

        def line(share: float, words: str) -> None:
            nonlocal last
            if share >= 1 or time.monotonic() - last > 5:
                print(f"{what} {100 * share:3.0f}%  {words}", file=sys.stderr, flush=True)
                last = time.monotonic()

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), TextColumn("{task.percentage:3.0f}%"), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[words]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=1.0, words="")
        yield lambda share, words: bar.update(task, completed=share, words=words)


def train(
    data: Annotated[
        Positional[str], arg(metavar="DATA", help="a file or folder of tables, arrays or pictures, or a built-in set")
    ],
    out: Annotated[Path, arg(metavar="RUN", help="folder of the run; the same command again goes on with it")],
    steps: Annotated[int | None, arg(metavar="INT", help=f"optimiser steps ({DEFAULT_STEPS:,} if no budget)")] = None,
    minutes: Annotated[float | None, arg(metavar="FLOAT", help="minutes of training")] = None,
    checkpoint_every: Annotated[int, arg(help="steps between checkpoints")] = 5000,
    schema: Annotated[Path | None, arg(metavar="FILE", help='columns as you want them: {"id": "drop", ...}')] = None,
    size: Annotated[
        str | None, arg(metavar="HxW", help="pictures scaled to cover this and cut to it: 64, 48x64")
    ] = None,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
    config: Config = Config(),  # noqa: B008  (frozen)
) -> None:
    """Learn the law of a data set: pushforward train flights.csv --out runs/flights"""
    if steps is not None and steps < 1:
        raise InputError(f"--steps {steps}: at least 1")
    if minutes is not None and not minutes > 0:
        raise InputError(f"--minutes {minutes}: must be positive")
    if checkpoint_every < 1:
        raise InputError(f"--checkpoint-every {checkpoint_every}: at least 1")
    from pushforward import run
    from pushforward.train import Budget

    budget = Budget(DEFAULT_STEPS if steps is None and minutes is None else steps, minutes)
    with progress_bar("train") as show:

        def report(p: Progress) -> None:
            held = "" if p.held_out is None else f"  held-out {p.held_out:.4f}"
            show(p.spent, f"step {p.step:,}  loss {p.loss:.4f}{held}  {p.steps_per_second:,.0f} steps/s")

        def warn(words: str) -> None:
            print(f"warning: {words}", file=sys.stderr)

        finished = run.train(
            data,
            out,
            config,
            budget,
            schema=schema,
            size=size,
            report=report,
            warn=warn,
            checkpoint_every=checkpoint_every,
            device=pick_device(device),
        )
    if finished:
        print(f"done: {out}   next: pushforward sample {out} -n 1000 -o samples.csv")
    else:
        print(f"stopped; {out} is usable as it is, and the same command goes on from here")


def pick_device(name: str) -> str:
    """``auto`` is CUDA or MPS where there is one; InputError for a device that this torch does not have."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not available here ({str(error).splitlines()[0]})") from None
    return name


def sample(
    run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a trained run")],
    n: Annotated[int, arg(aliases=["-n"], help="how many rows or images")],
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE", help="by ending: .csv .tsv .parquet .npy .npz .png")],
    stepper: Annotated[str, arg(help=f"sampling method: {STEPPERS}")] = "heun",
    steps: Annotated[int | None, arg(metavar="INT", help="steps of the method")] = None,
    seed: Annotated[int, arg(help="row i depends on the seed and i alone")] = 0,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
) -> None:
    """Make new rows: pushforward sample runs/flights -n 1000 -o new.csv"""
    if n < 1:
        raise InputError(f"-n {n}: at least 1")
    if steps is not None and steps < 1:
        raise InputError(f"--steps {steps}: at least 1")
    from pushforward import run as runs
    from pushforward.data import ENDINGS, save
    from pushforward.sample import STEPPERS

    endings = [*ENDINGS, ".png"]
    if out.suffix.lower() not in endings:
        raise InputError(f"{out}: unknown ending {out.suffix!r}; use one of {' '.join(endings)}")
    if not out.parent.is_dir():
        raise InputError(f"{out}: the folder {out.parent} does not exist")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give a file")
    method = make(STEPPERS, stepper, "stepper")
    model = runs.load(run, pick_device(device))
    if model.transform.kind == "image" and out.suffix.lower() in (".csv", ".tsv", ".parquet"):
        raise InputError(f"{out}: images do not fit a table; save them as .npy, .npz or .png")
    if not model.transform.numeric and out.suffix.lower() in (".npy", ".npz"):
        raise InputError(f"{out}: the columns are not all numbers without gaps; save them as .csv, .tsv or .parquet")
    with progress_bar("sample") as show:
        rows = model.sample(
            n, steps=steps, stepper=method, seed=seed, on_batch=lambda done, total: show(done / total, f"{done:,}")
        )
    try:
        if out.suffix.lower() == ".png":
            runs.picture(rows, model.transform, out)
        else:
            save(rows, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    print(f"{n:,} samples: {out}")


def info(run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run")]) -> None:
    """What a run is: configuration, data, training so far, conventions."""
    from pushforward.run import history, read

    file, lines = read(run), [row for row in history(run) if "loss" in row]
    data, config = file.data, file.config
    print(f"{run}: {file.parameters:,} parameters, made by pushforward {file.pushforward} with torch {file.torch}")
    print(f"data        {data.source}: {data.rows:,} rows of shape {data.shape}")
    for name, section in config:
        print(f"{name:11s} " + ", ".join(f"{key} {value}" for key, value in section))
    if lines:
        last = lines[-1]
        print(
            f"training    {last['step']:,} steps in {last['seconds']:,.0f} s; loss {last['loss']:.4f}, "
            f"held-out {last['held_out']:.4f}"
        )
    weights = "model.safetensors (averaged weights)" if (run / "model.safetensors").is_file() else "not saved yet"
    print(f"weights     {weights}")
    print(f"convention  {file.convention}")


def inspect(
    data: Annotated[
        Positional[str], arg(metavar="DATA", help="a file or folder of tables, arrays or pictures, or a built-in set")
    ],
    schema: Annotated[Path | None, arg(metavar="FILE", help='columns as you want them: {"id": "drop", ...}')] = None,
    size: Annotated[
        str | None, arg(metavar="HxW", help="pictures scaled to cover this and cut to it: 64, 48x64")
    ] = None,
) -> None:
    """What a data set holds, before anything is learned: columns, types, ranges, gaps, duplicates."""
    from pushforward.data import inspect as look

    report = look(data, schema, size)
    print(f"{report.name}: {report.kind}, {report.shape[0]:,} rows, shape {tuple(report.shape)}")
    print(f"duplicated rows: {report.duplicated:,}")
    if report.classes:
        print(f"{len(report.classes)} classes: {', '.join(report.classes[:20])}{', ...' * (len(report.classes) > 20)}")
    for note in report.notes:
        print(f"note: {note}")
    head = ("name", "type", "min", "max", "mean", "std", "distinct", "missing", "infinite", "model")

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}"

    table = [
        (
            c.name,
            c.type,
            *(number(v) for v in (c.min, c.max, c.mean, c.std)),
            number(c.distinct),
            number(c.missing),
            number(c.infinite),
            "constant" if c.constant else c.model,
        )
        for c in report.columns
    ]
    print_table([head, *table])


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of cells in columns as wide as they need."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def verify(
    run: Annotated[Positional[Path | None], arg(metavar="RUN", help="a trained run; without it, the theory")] = None,
    data: Annotated[str | None, arg(metavar="DATA", help="the run's training data, if it has moved")] = None,
    json: Annotated[tyro.conf.FlagCreatePairsOff[bool], arg(help="print JSON instead of a table")] = False,
) -> None:
    """Check the theorems on problems with known answers, or what can be asked of a trained run."""
    from dataclasses import asdict

    from pushforward import equations

    if run is None:
        checks = equations.verify()
    else:
        from pushforward.data import read_raw
        from pushforward.run import load

        model = load(run)
        source = read_raw(model.run.data.source if data is None else data)
        checks = equations.verify_learned(model.field, model.transform.forward(source.rows, source.where))
    failed = [check for check in checks if check.verdict == "FAIL"]
    if json:
        print(dumps([{**asdict(check), "verdict": check.verdict} for check in checks], indent=1))
    else:
        head = ("statement", "computed two ways", "difference", "at most", "")
        rows = [
            (c.statement, c.ways, f"{c.difference:.1e}", "" if c.tolerance is None else f"{c.tolerance:.0e}", c.verdict)
            for c in checks
        ]
        print_table([head, *rows])
    if failed:
        raise SystemExit(1)


def one_line(text: str) -> str:
    """The parser's boxed message as one line: what is wrong, and the nearest right word where it has one."""
    words = " ".join(re.sub("[╭╮╰╯│─]", " ", text).split())
    if match := re.search(r"Value error, (.*?) \[type=", words):
        return match[1]
    if match := re.search(r"(\w+) Input (should .*?) \[type=\w+, input_value=(\S+),", words):
        return f"--{match[1].replace('_', '-')} {match[3]}: {match[2]}"
    if match := re.search(r"Unrecognized options: ([^\s,]+)", words):
        near = re.search(r"Perhaps you meant: (--?[\w-]+)", words)
        if match[1].startswith("-"):
            hint = f"; did you mean {near[1]}?" if near else ""
            return f"unknown flag {match[1]}{hint} (see pushforward --help)"
        return (
            nearest(match[1], COMMANDS, "command") if "Available subcommands" in words else f"unexpected {match[1]!r}"
        )
    words = re.split(" For full helptext| Argument helptext", words)[0]
    return re.sub(r"^(Parsing error|Required options|Missing argument|Value error) ", "", words)


def main(args: list[str] | None = None) -> None:
    """The entry point of ``pushforward`` and ``python -m pushforward``."""
    args = sys.argv[1:] if args is None else args
    if args == ["--version"]:
        from pushforward import __version__

        print(__version__)
        return
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            command = tyro.extras.subcommand_cli_from_dict(
                {name: later(function) for name, function in COMMANDS.items()},
                prog="pushforward",
                description="Flow matching and diffusion models: give it data, get a generative model.",
                args=args,
                config=(OmitArgPrefixes, OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if stop.code:
            fail(one_line(message.getvalue()))
        raise
    try:
        command()
    except InputError as error:
        fail(str(error))
    except OSError as error:  # a disk or a permission, where nobody had better words for it
        fail(f"{error.filename or 'cannot go on'}: {error.strerror or error}")
    except KeyboardInterrupt:
        fail("interrupted")


def later(function: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The command with its arguments filled in but not yet run, so that parsing errors are told apart from its own."""

    @functools.wraps(function)
    def prepare(*args: Any, **options: Any) -> Callable[[], None]:
        return functools.partial(function, *args, **options)

    return prepare


def fail(message: str) -> NoReturn:
    """One line on standard error, exit code 2."""
    print(f"pushforward: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "sample": sample,
    "info": info,
    "inspect": inspect,
    "verify": verify,
}
