"""``pushforward info``, ``inspect`` and ``verify``: what there is, and whether it holds."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from pushforward.cli.flags import ColumnFlags, LayoutFlag
from pushforward.cli.terminal import fetch_bar, print_table, say
from pushforward.errors import InputError, printable

__all__ = ["info", "inspect", "verify"]


def info(run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run")]) -> None:
    """What a run is: configuration, data, training so far, conventions."""
    from pushforward.run import history, read, read_selection, read_tuned

    notes: list[str] = []
    file, lines = read(run), [row for row in history(run, warn=notes.append) if "loss" in row]
    data, config = file.data, file.config
    cost = f", {file.flops / 1e6:,.3g} MFLOP per evaluation" if file.flops else ""
    say(f"{run}: {file.parameters:,} parameters{cost}, made by pushforward {file.pushforward} with torch {file.torch}")
    say(f"data        {data.source}: {data.rows:,} rows of shape {data.shape}")
    if data.classes:
        classes = ", ".join(f"{name} {share:.1%}" for name, share in zip(data.classes[:12], data.shares, strict=False))
        say(f"classes     {len(data.classes)}: {classes}{', ...' * (len(data.classes) > 12)}")
    for name, place in file.parts.items():
        say(f"own part    {printable(name)}: {printable(place)}")
    for name, section in config:
        say(f"{name:11s} " + ", ".join(f"{key} {value}" for key, value in section))
    if lines:
        last = lines[-1]
        held_out = "not measured" if last["held_out"] is None else f"{last['held_out']:.4f}"
        say(
            f"training    {last['step']:,} steps in {last['seconds']:,.0f} s; loss {last['loss']:.4f}, "
            f"held-out {held_out}"
        )
    for line in floor_lines(history(run, "floor.jsonl", notes.append)):
        say(f"floor       {line}")
    weights = "model.safetensors (averaged weights)" if (run / "model.safetensors").is_file() else "not saved yet"
    if selection := read_selection(run):
        weights = f"model.safetensors: {selection.describe()}"
    say(f"weights     {weights}")
    for tuned in read_tuned(run):
        say(f"sampler     {tuned.nfe} evaluations: {tuned.stepper}, end-point error {tuned.error:.3g}")
    say(f"convention  {file.convention}")
    for note in (*data.notes, *notes):
        say(f"note        {note}")


def floor_lines(rows: list[dict[str, float]]) -> list[str]:
    """Write what is left to learn, as it was at the last checkpoint and at the best one."""
    if not rows:
        return ["not measured: pairs of a model, too many rows for their exact field, or no checkpoint yet"]
    last = rows[-1]
    if "floor" not in last:
        return [str(last["floor_note"])]
    best = min((row for row in rows if "floor" in row), key=lambda row: row["held_out_excess"])
    lines = [
        f"{last['floor']:.4f}; above it {last['excess']:.4f} on training rows and {last['held_out_excess']:.4f} on "
        "held-out rows (0: knows every row by heart)"
    ]
    if best["held_out_excess"] < 0.9 * last["held_out_excess"]:
        lines.append(
            f"held-out rows were nearest at step {best['step']:,} ({best['held_out_excess']:.4f}): since then the rows "
            "are learned by heart"
        )
    return lines


def inspect(
    data: Annotated[
        Positional[str], arg(metavar="DATA", help="a file or folder of tables, arrays or pictures, or a built-in set")
    ],
    columns: ColumnFlags = ColumnFlags(),  # noqa: B008  (frozen)
    resize: Annotated[
        str | None, arg(metavar="HxW", help="pictures scaled to cover this and cut to it: 64, 48x64")
    ] = None,
    layout: LayoutFlag = None,
) -> None:
    """What a data set holds, before anything is learned: columns, types, ranges, gaps, duplicates."""
    from pushforward.data import inspect as inspect_data

    with fetch_bar() as show:
        report = inspect_data(data, columns.columns(), resize, show, header=columns.first_line, layout=layout)
    say(f"{report.name}: {report.kind}, {report.shape[0]:,} rows, shape {tuple(report.shape)}")
    say(f"duplicated rows: {report.duplicated:,}")
    if report.classes:
        say(f"{len(report.classes)} classes: {', '.join(report.classes[:20])}{', ...' * (len(report.classes) > 20)}")
    for note in report.notes:
        say(f"note: {note}")
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


def verify(
    run: Annotated[Positional[Path | None], arg(metavar="RUN", help="a trained run; without it, the theory")] = None,
    data: Annotated[
        Positional[str | None], arg(metavar="DATA", help="the run's training data, if it has moved")
    ] = None,
    json: Annotated[tyro.conf.FlagCreatePairsOff[bool], arg(help="print JSON instead of a table")] = False,
) -> None:
    """Check the theorems on problems with known answers, or what can be asked of a trained run."""
    from dataclasses import asdict

    from pushforward import equations

    if run is None:
        checks = equations.verify()
    else:
        from pushforward.data import read_like
        from pushforward.run import load

        model = load(run)
        try:
            with fetch_bar() as show:
                named = model.run.data.readable_source() if data is None else data
                source = read_like(named, model.transform, show)
        except InputError as error:
            if data is not None:
                raise
            raise InputError(f"{run}: {error}; name the data: pushforward verify {run} DATA") from error
        checks = equations.verify_learned(model.field, model.transform.forward(source.rows, source.origin))
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
