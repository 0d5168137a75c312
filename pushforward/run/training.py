"""Train into a run folder, or go on with the run there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pushforward.batches import fingerprint
from pushforward.config import Config, OwnParts, components, current_parts, network, replaced, resolve
from pushforward.errors import InputError, writable
from pushforward.progress import Progress
from pushforward.run.callbacks import RunCallbacks
from pushforward.run.checks import check, check_counts, check_request, claimed
from pushforward.run.folder import DataRecord, RunFile
from pushforward.run.forewarn import forewarning
from pushforward.run.loading import load
from pushforward.run.model import Model
from pushforward.run.request import Execution, RowRequest, Watcher
from pushforward.run.rows import RunBatches, RunRows, read_rows
from pushforward.run.sampling import check_sampler
from pushforward.run.selection import keep_best
from pushforward.run.tracking import tracking
from pushforward.version import __version__

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pushforward.coupling import Coupling
    from pushforward.distributed import Processes
    from pushforward.objective import Objective
    from pushforward.path import Path as TrajectoryPath
    from pushforward.schedule import Schedule
    from pushforward.source import Source
    from pushforward.training import Budget, TrainingOptions, TrainingStatus

__all__ = ["DEFAULT_STEPS", "train", "train_run", "training_budget"]

DEFAULT_STEPS = 20_000


def train(
    data: Any | None,
    out: str | Path,
    *,
    net: nn.Module | str | None = None,
    path: TrajectoryPath | str | None = None,
    schedule: Schedule | str | None = None,
    source: Source | str | None = None,
    coupling: Coupling | str | None = None,
    objective: Objective | str | None = None,
    times: Callable[..., Tensor] | str | None = None,
    config: Config | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    schema: str | Path | Mapping[str, Any] | None = None,
    header: bool | None = None,
    resize: str | int | Sequence[int] | None = None,
    layout: Literal["sequence", "image", "volume", "vector"] | None = None,
    reflow: str | Path | None = None,
    device: str = "cpu",
    processes: Processes | None = None,
    accumulate: int = 1,
    shard: bool = False,
    compiled: bool = False,
    checkpoint_every: int = 5000,
    report_every: int = 250,
    keep: int = 2,
    progress: Progress | Callable[[float, str], None] | None = None,
    on_report: Callable[[TrainingStatus], None] | None = None,
    warn: Callable[[str], None] | None = None,
    tracker: Literal["tensorboard", "wandb", "mlflow"] | None = None,
) -> Model:
    """Train a model of ``data`` into the folder ``out``, or go on with the run there, and load it.

    ``pf.train("flights.csv", "runs/flights", minutes=10).sample(8)``: what ``pushforward train`` does.

    Args:
        data: a file, folder or URL, a built-in name, an array, a tensor or a table; None with ``reflow``.
        out: the folder of the run. The same call again goes on with it.
        net, path, schedule, source, coupling, objective, times: parts of your own, or names as in ``config``, which
            they go before (see `OwnParts`). Such a run is loaded by ``pf.load(out, parts={"net": net, ...})``.
        config: network, path, objective, optimizer and seed; what it leaves open is decided by the data.
        steps, minutes: the budget, whichever ends first; 20,000 steps where neither is given.
        schema: what is not to be inferred of the columns of a table, a dict or a JSON file (see `read_schema`).
        header: whether the first line of a text file names the columns; found out otherwise.
        resize: pictures are scaled to cover this size and cut to it: 64, "48x64".
        layout: what the axes of an array are, see `data.load`; more than two are an image otherwise.
        reflow: the folder of a run, of whose pairs (source point, sample) the new model is trained, in place of data.
        device, processes, accumulate, shard, compiled: where and how a step is computed, see `Execution`. The first
            step of a ``compiled`` training takes half a minute, those after it a tenth less (a transformer on a CPU).
        checkpoint_every, report_every, keep: steps between checkpoints and between reports; checkpoints kept.
        progress: called with (share of the budget, words); ``on_report`` with every `TrainingStatus`.
        warn: called with a sentence where something went wrong and training goes on, or is good to know.
        tracker: an experiment tracker, which gets the lines of ``metrics.jsonl``.

    Ctrl-C ends training at a whole step, and the model is what was learned so far. InputError for bad data, an
    impossible configuration, or a folder that holds something else.
    """
    from pushforward.distributed import SINGLE
    from pushforward.training import TrainingOptions

    check_counts(steps, minutes, checkpoint_every, accumulate)
    # the arguments, sorted by whom they are for
    execution = Execution(device, processes or SINGLE, accumulate, shard, compiled)
    chosen = {
        "net": net,
        "path": path,
        "schedule": schedule,
        "source": source,
        "coupling": coupling,
        "objective": objective,
        "times": times,
    }
    config, own = replaced(config or Config(), chosen)
    train_run(
        RowRequest(data, schema, resize, None if reflow is None else Path(reflow), header, layout),
        Path(out),
        config,
        training_budget(steps, minutes),
        execution,
        Watcher(Progress.of(progress), on_report, warn, tracker, warn),
        TrainingOptions(report_every=report_every, checkpoint_every=checkpoint_every, keep=keep),
        own,
    )
    return load(Path(out), device, processes=processes, parts=own.given() or None)


def training_budget(steps: int | None, minutes: float | None) -> Budget:
    """The budget of a training: 20,000 steps where nothing is said."""
    from pushforward.training import Budget

    return Budget(DEFAULT_STEPS if steps is None and minutes is None else steps, minutes)


def train_run(
    request: RowRequest,
    folder: Path,
    config: Config,
    budget: Budget,
    execution: Execution,
    watcher: Watcher,
    options: TrainingOptions,
    own: OwnParts | None = None,
) -> bool:
    """Train on the rows of a request into ``folder``, or go on with the run there; returns whether the budget is spent.

    If not, training was stopped, and the same call goes on from there. Of ``options`` those that say how often are
    taken. Minutes of the budget include those in which pairs or a plan are made. ``own`` are the parts that the
    configuration calls so, by default those of `providing`. InputError for bad data, an impossible
    configuration, or a folder that holds something else.
    """
    started, processes = time.monotonic(), execution.processes
    watcher = watcher if processes.main else Watcher()  # one of several processes speaks

    # what can be refused is refused before the folder is claimed
    check_request(request, config)
    rows = read_rows(request, folder, config.train.seed, execution, watcher)
    data = describe_rows(rows)
    spec = data.spec(rows.data.transform)
    config = resolve(config, spec)
    own = (current_parts() if own is None else own).fitting(config)
    parts, net = components(config, spec, own), network(config, spec, own)
    check_sampler(parts.field_of(net), config.sample)
    check(config, execution, rows.data.transform.kind, data.pairs)
    record = describe(config, data, net, own.places(config))
    if watcher.warn is not None and (warning := forewarning(config, parts, spec.shape)):
        watcher.warn(warning)
    with ExitStack() as held:
        # one trainer for a folder: whoever is killed lets go of it
        record = processes.on_main(lambda: held.enter_context(claimed(folder, record))) or record
        batches = RunBatches(rows, parts, record, folder, execution, watcher)
        return _fit(net, record, batches, budget, options, started)


def _fit(
    net: nn.Module, record: RunFile, batches: RunBatches, budget: Budget, options: TrainingOptions, started: float
) -> bool:
    """Train a network on the batches of a run that is claimed; returns whether the budget is spent."""
    from pushforward.training import OptimizerConfig, fit

    execution, folder, config = batches.execution, batches.folder, batches.config
    processes, watcher, rows = execution.processes, batches.watcher, batches.rows

    # of a plan or pairs, which took a while, the minutes are counted
    feed, held_out = batches.training(), batches.held_out_feed()
    if record.data.pairs or batches.planned:
        budget = _left(budget, started, folder, processes)

    # the network: shared out it may be anywhere, and is then on the device
    net = net if execution.shard else net.to(execution.device)
    if execution.compiled:
        net.compile()  # in place: names and state stay, and the copy that holds the average is not compiled
    callbacks = RunCallbacks(folder, record, batches, held_out(0), execution, watcher)
    for note in rows.data.notes:
        callbacks.note(note)

    c = config.train
    assert c.lr is not None  # resolved
    optimizer = OptimizerConfig(c.lr, c.warmup, c.weight_decay, c.clip, c.ema)
    options = replace(
        options,
        seed=c.seed,
        folder=folder / "checkpoints",
        snapshots=folder / "averages",
        run=record.checksum,
        accumulate=execution.accumulate,
        precision=c.precision,
        processes=processes,
        shard=execution.shard,
    )
    with closing(feed), tracking(watcher.tracker, folder, config.model_dump(), callbacks.warn) as callbacks.track:
        state, finished = fit(net, callbacks.loss, feed, budget, optimizer, callbacks.hooks(), options)
    if finished and not execution.shard:
        with closing(held_out):
            selection = processes.on_main(lambda: keep_best(net, callbacks, held_out, state.step))
        if selection is not None:
            callbacks.note(selection.describe())
    return finished


def describe_rows(rows: RunRows) -> DataRecord:
    """Write down the data of a run: what they are known by again, their units, their classes."""
    data = rows.data
    record = DataRecord(
        source=rows.source,
        name=data.name,
        rows=len(data),
        shape=data.transform.shape,
        fingerprint=fingerprint(data),
        transform=data.transform.to_json(),
        classes=data.classes,
        shares=() if data.y is None else tuple((data.y.bincount(minlength=len(data.classes)) / len(data)).tolist()),
        pairs=rows.partners is not None,
        notes=tuple(writable(note) for note in data.notes if not note.startswith("fetched ")),  # which is of this time
    )
    return record.signed() if rows.named else record


def describe(config: Config, data: DataRecord, net: nn.Module, places: Mapping[str, str]) -> RunFile:
    """Write down what a run is when it begins: its configuration, its data, its network, whose the parts are."""
    import torch

    from pushforward.nn import count_parameters, flops

    try:
        cost = flops(net, data.shape)
    except Exception:  # of a network of the user's own, that cannot be called on shapes alone: not known
        cost = 0

    return RunFile(
        pushforward=__version__,
        torch=torch.__version__,
        parameters=count_parameters(net),
        flops=cost,
        config=config,
        data=data,
        parts=dict(places),
    )


def _left(budget: Budget, started: float, folder: Path, processes: Processes) -> Budget:
    """What is left of the minutes of a budget; InputError where nothing is."""
    if budget.minutes is None:
        return budget
    minutes = budget.minutes - (time.monotonic() - started) / 60
    if processes.any(minutes <= 0):
        raise InputError(
            f"--minutes {budget.minutes:g}: were over before the first step, but what they made is kept in "
            f"{folder}: give the same command again, or more minutes"
        )
    return replace(budget, minutes=minutes)
