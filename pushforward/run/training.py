"""Train into a run folder, or go on with the run there."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward.batches import BatchRecipe, feed_for
from pushforward.config import Config, Section, build, fingerprint, resolve
from pushforward.errors import InputError
from pushforward.evaluation.losses import losses, no_floor
from pushforward.run.folder import DataRecord, RunFile, history, read
from pushforward.run.model import Model
from pushforward.run.picture import PREVIEW, preview
from pushforward.run.plan import plan
from pushforward.run.reflow import PAIRS, Reflow, paired, pairs
from pushforward.run.tracking import tracking
from pushforward.version import __version__

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pushforward.data import Dataset
    from pushforward.path import Draw
    from pushforward.training import Budget, Feed, Processes, TrainingStatus

__all__ = ["train"]

HELD_OUT_ROWS = 2048
FLOOR_DRAWS, FLOOR_WORK = 512, 2**33  # about a second of an exact field, at each checkpoint


def differences(old: Section, new: Section) -> list[str]:
    """``--flag was a, is b`` for every field in which two configurations differ."""
    out: list[str] = []
    for name in type(old).model_fields:
        a, b = getattr(old, name), getattr(new, name)
        if isinstance(a, Section):
            out += differences(a, b)
        elif a != b:
            out.append(f"--{name.replace('_', '-')} was {a}, is {b}")
    return out


def _not_sharded(config: Config) -> str:
    """What of a configuration asks for derivatives that do not see a network being gathered; empty if nothing does."""
    if config.objective.field == "energy":
        return "--field energy"
    return "--objective maximum_likelihood" if config.objective.objective == "maximum_likelihood" else ""


def _described(source: str, config: Config, data: Dataset, net: nn.Module) -> RunFile:
    """What is written down of a run when it begins."""
    import torch

    from pushforward.nn import count_parameters, flops

    record = DataRecord(
        source=source,
        name=data.name,
        rows=len(data),
        shape=data.transform.shape,
        fingerprint=fingerprint(data),
        transform=data.transform.to_json(),
        classes=data.classes,
        shares=() if data.y is None else tuple((data.y.bincount(minlength=len(data.classes)) / len(data)).tolist()),
    )
    return RunFile(
        pushforward=__version__,
        torch=torch.__version__,
        parameters=count_parameters(net),
        flops=flops(net, data.transform.shape),
        config=config,
        data=record,
    )


def _claim(folder: Path, run: RunFile) -> None:
    """Start a run in ``folder``, or check that the one there is this very run."""
    from pushforward.files import no_links, written_whole

    no_links(folder)
    if (folder / "config.json").exists():
        there = read(folder)
        changed = differences(there.config, run.config)
        if there.data.fingerprint != run.data.fingerprint:
            then, now = there.data, run.data
            changed.insert(0, f"the data differ ({then.source}: {then.rows} rows, now {now.source}: {now.rows})")
        if changed:
            raise InputError(
                f"{folder} holds a run of another configuration: {'; '.join(changed)}. Choose another --out, or give "
                "the same settings to go on with this one"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(file.name != PAIRS for file in folder.iterdir())):
        raise InputError(f"{folder} exists and holds no run; choose another --out, or empty it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / "config.json") as scratch:
            scratch.write_text(run.model_dump_json(indent=1))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error


def train(
    source: Any | None,
    folder: Path,
    config: Config,
    budget: Budget,
    *,
    schema: Path | None = None,
    resize: str | None = None,
    reflow: Path | None = None,
    report: Callable[[TrainingStatus], None] | None = None,
    warn: Callable[[str], None] | None = None,
    checkpoint_every: int = 5000,
    report_every: int = 250,
    keep: int = 2,
    device: str = "cpu",
    accumulate: int = 1,
    processes: Processes | None = None,
    tracker: str | None = None,
    preparing: Callable[[float, str], None] | None = None,
    shard: bool = False,
    compiled: bool = False,
) -> bool:
    """Train on ``source`` (a file, a built-in name, an array) into ``folder``, or go on with the run there.

    ``schema`` is a file that says of the columns of a table what is not to be inferred, ``resize`` the size of
    pictures. With ``reflow``, a run, and no source, rows and source points are pairs that its model makes (`pairs`). A
    batch is shared out among ``processes`` (`process_group`), and there among ``accumulate`` parts one after the other.
    With ``shard`` each of them holds a part of the weights and of all that goes with them (FSDP2). ``compiled`` trains
    through torch.compile: the first step takes half a minute, and those after it a tenth less (a transformer on a CPU).
    ``tracker`` is tensorboard, wandb or mlflow, which then gets the lines of ``metrics.jsonl`` too. ``preparing`` is
    told (share done, words) while pairs or a plan are made, whose time counts among the minutes of the budget.

    Returns whether the budget was spent (False: it was stopped before, and the same call goes on from there). Raises
    InputError for bad data, an impossible configuration, or a folder that holds something else.
    """
    import torch

    from pushforward.coupling import Semidiscrete
    from pushforward.data import load as load_data
    from pushforward.files import save_weights, written_whole
    from pushforward.training import SINGLE, Hooks, OptimizerConfig, TrainingOptions, fit

    processes, begun_at = processes or SINGLE, time.monotonic()

    def told_of(what: str) -> Callable[[int, int], None]:
        return lambda done, total: None if preparing is None else preparing(done / total, what)

    made: Reflow | None = None
    if reflow is None:
        if source is None:
            raise InputError("nothing to train on: give DATA, or --reflow RUN")
        data = load_data(source, schema, resize, folder)
        laws, name = data.transform.marginals, str(source) if isinstance(source, (str, Path)) else data.name
    else:
        if source is not None or config.path.coupling != "independent" or config.objective.objective != "flow":
            raise InputError("--reflow: takes its own pairs, without DATA, --coupling and --objective")
        run, seed = reflow, config.train.seed
        told = told_of("pairs of the model")
        made = processes.on_main(lambda: pairs(run, folder, seed, device, told)) or pairs(run, folder, seed, device)
        data, laws, name = made.data, (), read(reflow).data.source
    shape, classes = data.transform.shape, len(data.classes)
    config = resolve(config, shape, classes, tuple(law.width for law in laws))
    parts = build(config, shape, classes, laws)
    c, on = config.train, torch.device(device)
    assert c.batch is not None and c.lr is not None  # resolved
    if c.batch < accumulate * processes.count:
        raise InputError(f"--batch {c.batch}: less than one row for each of {accumulate * processes.count} parts")
    if c.mirror and (made is not None or data.transform.kind != "image"):
        raise InputError("--mirror: only pictures have a mirror image, and pairs of --reflow have none")
    if shard and processes.count == 1:
        raise InputError(
            "--shard: shares the network out among processes, and here is one; start several with torchrun"
        )
    if shard and (odd := _not_sharded(config)):
        raise InputError(f"--shard: does not go with {odd}, which takes derivatives inside the network; leave out one")
    if compiled and (shard or (on.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))))):
        raise InputError("--compile: does not go with --shard, and needs a C++ compiler on a CPU; leave it out")
    described = _described(name, config, data, parts.net)
    processes.on_main(lambda: _claim(folder, described))
    train_rows, held_out_rows = data.parts(c.held_out, c.seed)
    spread = None if made is not None or data.transform.continuous else data.transform.dequantize

    def batches(name: str, rows: Tensor, size: int, seed: int, pool: int, ahead: int | None) -> Feed[Any]:
        some, only = (data.take(rows).mirrored(), None) if c.mirror and rows is train_rows else (data, rows)
        y = {"none": None, "labels": some.y, "columns": some.x}[config.condition.condition]
        couple = parts.coupling
        if made is not None:
            couple, y = paired, made.partners

        recipe = BatchRecipe(parts.path, couple, parts.times, size, pool, parts.draw_condition, spread)
        if isinstance(couple, Semidiscrete):
            index = slice(None) if only is None else only
            problem = some.x[index], None if y is None else y[index], parts.path.source, seed, spread
            planned = partial(plan, folder / "plan" / name, told_of(f"{name} plan"), couple, *problem)
            coupling = processes.on_main(planned) or planned()
            recipe = replace(recipe, coupling=coupling, dequantize=None)
        return feed_for(some.x, y, recipe, seed, ahead, only)

    feed = batches("training", train_rows, c.batch, c.seed, config.path.pool, None)
    # the held-out loss is always of the same points, times and noise, so that its changes are the network's
    fixed = batches("held-out", held_out_rows, min(len(held_out_rows), HELD_OUT_ROWS), c.seed + 1, 1, 1)(0)
    if budget.minutes is not None and (made is not None or isinstance(parts.coupling, Semidiscrete)):
        left = budget.minutes - (time.monotonic() - begun_at) / 60
        if processes.any(left <= 0):
            raise InputError(
                f"--minutes {budget.minutes:g}: were over before the first step, but what they made is kept in "
                f"{folder}: give the same command again, or more minutes"
            )
        budget = replace(budget, minutes=left)
    net = parts.net if shard else parts.net.to(on)
    if compiled:
        net.compile()  # in place: names and state stay, and the copy that holds the average is not compiled

    def loss(net: nn.Module, batch: tuple[Draw, Tensor | None], generator: torch.Generator) -> Tensor:
        draw, y = batch
        return parts.objective(parts.field_of(net), draw.to(on), None if y is None else y.to(on), generator)

    @torch.no_grad()
    def held_out(ema: nn.Module) -> float:
        return float(loss(ema, fixed, torch.Generator().manual_seed(c.seed)).mean())

    def draw_condition(words: str) -> None:
        if warn is not None:
            warn(words)

    for note in data.notes:
        draw_condition(note)

    def kept(weights: dict[str, Tensor], step: int) -> None:
        save_weights(weights, folder / "model.safetensors")

    floors: set[int] = set()

    def rows_of(index: Tensor) -> tuple[Tensor, Tensor | None]:
        return data.x[index].to(on), None if data.y is None else data.y[index].to(on)

    def measured(ema: nn.Module, step: int) -> str:
        """The loss beside its floor, as a line of JSON; empty where there is none."""
        if made is not None or len(train_rows) * data.x[0].numel() * FLOOR_DRAWS > 4 * FLOOR_WORK:
            return ""  # `info` says that there is none
        if processes.any(step in floors):
            return ""
        floors.add(step)
        if note := no_floor(config):
            return json.dumps({"step": step, "floor_note": note}) + "\n"
        try:
            rows = rows_of(train_rows), rows_of(held_out_rows)
            found = losses(parts.field_of(ema), parts, config, *rows, c.seed, FLOOR_DRAWS, FLOOR_WORK)
        except (InputError, ValueError) as error:
            draw_condition(f"no floor at step {step}: {error}")
            return ""
        return json.dumps({"step": step} | found.to_json()) + "\n"

    def shown(ema: nn.Module, step: int) -> None:
        """By all processes up to where the disk may refuse: each may hold but a part of the network."""
        model = Model(parts.field_of(ema), data.transform, described, folder, device)
        line = measured(ema, step)
        if processes.main:
            with suppress(OSError):  # which the picture will meet again, after its samples are made
                (folder / "previews").mkdir(exist_ok=True)
        try:
            preview(model, folder / "previews" / f"step-{step}.png" if processes.main else None)
        except InputError as error:  # samples that are not finite may become so: no reason to stop
            draw_condition(f"no preview of step {step}: {error}")
        finally:
            if processes.main and line:
                with (folder / "floor.jsonl").open("a") as file:
                    file.write(line)

    def begun(step: int) -> None:
        for name in ("metrics.jsonl", "floor.jsonl"):  # what a crash lost will be measured again
            lines = [row for row in history(folder, name) if row["step"] <= step]
            floors.update(int(row["step"]) for row in lines if name == "floor.jsonl")
            with written_whole(folder / name) as scratch:
                scratch.write_text("".join(json.dumps(row) + "\n" for row in lines))

    def log(progress: TrainingStatus) -> None:
        try:
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(asdict(progress)) + "\n")
        except OSError as error:
            draw_condition(f"step {progress.step} could not be written to metrics.jsonl ({error})")
        track(asdict(progress))
        if report is not None:
            report(progress)

    looked_at = len(fixed[0].t) + 2 * FLOOR_DRAWS + PREVIEW  # evaluations at the end; a step is three for each row
    optimizer = OptimizerConfig(c.lr, c.warmup, c.weight_decay, c.clip, c.ema)
    with (
        closing(feed),
        tracking(tracker if processes.main else None, folder, config.model_dump(), draw_condition) as track,
    ):
        _, finished = fit(
            net,
            loss,
            feed,
            budget,
            optimizer,
            Hooks(held_out, begun, log, kept, shown, draw_condition, looked_at / (3 * c.batch)),
            TrainingOptions(
                seed=c.seed,
                folder=folder / "checkpoints",
                snapshots=folder / "averages",
                report_every=report_every,
                checkpoint_every=checkpoint_every,
                keep=keep,
                accumulate=accumulate,
                precision=c.precision,
                processes=processes,
                shard=shard,
            ),
        )
    return finished
