"""``pushforward train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from pushforward.cli.terminal import pick_device, progress_bar
from pushforward.config import Config
from pushforward.errors import InputError

if TYPE_CHECKING:
    from pushforward.training import TrainingStatus

__all__ = ["train"]

DEFAULT_STEPS = 20_000


def train(
    out: Annotated[Path, arg(metavar="RUN", help="folder of the run; the same command again goes on with it")],
    data: Annotated[
        Positional[str | None],
        arg(metavar="DATA", help="a file, URL or folder of tables, arrays or pictures, or a built-in set"),
    ] = None,
    reflow: Annotated[
        Path | None, arg(metavar="RUN", help="instead of DATA: straighten the ways of this run by its own pairs")
    ] = None,
    steps: Annotated[int | None, arg(metavar="INT", help=f"optimiser steps ({DEFAULT_STEPS:,} if no budget)")] = None,
    minutes: Annotated[float | None, arg(metavar="FLOAT", help="minutes of training")] = None,
    checkpoint_every: Annotated[int, arg(help="steps between checkpoints")] = 5000,
    schema: Annotated[Path | None, arg(metavar="FILE", help='columns as you want them: {"id": "drop", ...}')] = None,
    resize: Annotated[
        str | None, arg(metavar="HxW", help="pictures scaled to cover this and cut to it: 64, 48x64")
    ] = None,
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
    if steps is not None and steps < 1:
        raise InputError(f"--steps {steps}: at least 1")
    if minutes is not None and not minutes > 0:
        raise InputError(f"--minutes {minutes}: must be positive")
    if checkpoint_every < 1:
        raise InputError(f"--checkpoint-every {checkpoint_every}: at least 1")
    if accumulate < 1:
        raise InputError(f"--accumulate {accumulate}: at least 1")
    from pushforward import run
    from pushforward.training import Budget, process_group

    budget = Budget(DEFAULT_STEPS if steps is None and minutes is None else steps, minutes)
    with process_group(pick_device(device)) as processes, progress_bar("train") as show:

        def report(status: TrainingStatus) -> None:
            show(status.spent, status.describe())

        def warn(words: str) -> None:
            print(f"warning: {words}", file=sys.stderr)

        finished = run.train(
            data,
            out,
            config,
            budget,
            schema=schema,
            resize=resize,
            reflow=reflow,
            report=report,
            warn=warn if processes.main else None,
            checkpoint_every=checkpoint_every,
            device=processes.device or pick_device(device),
            accumulate=accumulate,
            processes=processes,
            tracker=tracker,
            preparing=lambda share, words: show(0.0, f"{words}: {share:.0%}") if processes.main else None,
            shard=shard,
            compiled=compile,
        )
    if not processes.main:
        return
    if finished:
        some = "-n 64 -o samples.png" if len(run.read(out).data.shape) > 1 else "-n 1000 -o samples.csv"
        print(f"done: {out}   next: pushforward sample {out} {some}")
    else:
        print(f"stopped; {out} is usable as it is, and the same command goes on from here")
