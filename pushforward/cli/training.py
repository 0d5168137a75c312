"""``pushforward train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from pushforward.cli.flags import ColumnFlags, LayoutFlag
from pushforward.cli.terminal import pick_device, progress_bar, say, tell
from pushforward.config import RECIPES, Config
from pushforward.progress import Progress

__all__ = ["train"]


def train(
    out: Annotated[Path, arg(metavar="RUN", help="folder of the run; the same command again goes on with it")],
    data: Annotated[
        Positional[str | None],
        arg(metavar="DATA", help="a file, URL or folder of tables, arrays or pictures, or a built-in set"),
    ] = None,
    reflow: Annotated[
        Path | None, arg(metavar="RUN", help="instead of DATA: straighten the ways of this run by its own pairs")
    ] = None,
    recipe: Annotated[
        str | None, arg(metavar="NAME", help=f"settings of a paper, which other flags change: {', '.join(RECIPES)}")
    ] = None,
    show: Annotated[FlagCreatePairsOff[bool], arg(help="print what the recipe sets, and do nothing")] = False,
    steps: Annotated[int | None, arg(metavar="INT", help="optimiser steps (20,000 if no budget)")] = None,
    minutes: Annotated[float | None, arg(metavar="FLOAT", help="minutes of training")] = None,
    checkpoint_every: Annotated[int, arg(help="steps between checkpoints")] = 5000,
    columns: ColumnFlags = ColumnFlags(),  # noqa: B008  (frozen)
    resize: Annotated[
        str | None, arg(metavar="HxW", help="pictures scaled to cover this and cut to it: 64, 48x64")
    ] = None,
    layout: LayoutFlag = None,
    device: Annotated[str, arg(help="cpu, cuda, mps, or auto")] = "auto",
    accumulate: Annotated[int, arg(metavar="INT", help="parts of a batch, one after the other, to save memory")] = 1,
    shard: Annotated[
        FlagCreatePairsOff[bool], arg(help="of several processes (torchrun), each holds a part of the network (FSDP2)")
    ] = False,
    compile: Annotated[
        FlagCreatePairsOff[bool], arg(help="through torch.compile: half a minute at first, then faster steps")
    ] = False,
    tracker: Annotated[
        Literal["tensorboard", "wandb", "mlflow"] | None, arg(help="where metrics go besides metrics.jsonl")
    ] = None,
    config: Config = Config(),  # noqa: B008  (frozen)
) -> None:
    """Learn the law of a data set: pushforward train flights.csv --out runs/flights"""
    from pushforward import run
    from pushforward.run.checks import check_counts

    # counts are refused before processes meet, who would all say so
    check_counts(steps, minutes, checkpoint_every, accumulate)
    from pushforward.distributed import process_group
    from pushforward.training import TrainingOptions

    def warn(message: str) -> None:
        tell(f"warning: {message}")

    # several processes train, and one of them speaks
    with process_group(pick_device(device)) as processes, progress_bar("train") as progress:
        finished = run.train_run(
            run.RowRequest(data, columns.columns(), resize, reflow, columns.first_line, layout),
            out,
            config,
            run.training_budget(steps, minutes),
            run.Execution(processes.device or pick_device(device), processes, accumulate, shard, compile),
            run.Watcher(Progress(progress), warn=warn, tracker=tracker, note=lambda message: tell(f"note: {message}")),
            TrainingOptions(report_every=250, checkpoint_every=checkpoint_every),
        )
    if not processes.main:
        return
    if finished:
        record = run.read(out).data
        example = "-n 64 -o samples.png" if len(record.shape) > 1 else "-n 1000 -o samples.csv"
        if len(record.transform["row_shape"]) > len(record.shape) == 1:  # vectors that were arrays of more axes
            example = "-n 1000 -o samples.npy"
        say(f"done: {out}   next: pushforward sample {out} {example}")
    else:
        say(f"stopped; {out} is usable as it is, and the same command goes on from here")
