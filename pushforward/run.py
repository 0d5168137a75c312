"""A run: a folder that holds everything that rebuilds a model, its data's units and its history.

``config.json`` (configuration, data transform, conventions, versions), ``model.safetensors`` (averaged weights),
``checkpoints/step-N/``, ``metrics.jsonl``, ``previews/``. Nothing in it is ever executed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

import pushforward
from pushforward.config import Config, Section, build, feed_for, fingerprint
from pushforward.errors import InputError

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from pushforward.data import Dataset, Transform
    from pushforward.data.arrays import Rows
    from pushforward.field import Field
    from pushforward.path import Draw
    from pushforward.sample import Stepper
    from pushforward.train import Budget, Progress

__all__ = ["Model", "RunFile", "history", "load", "read", "train"]

CONVENTION = "t=0 source (noise), t=1 data; x_t = alpha_t data + beta_t noise; log-densities in nats"
HELD_OUT_ROWS = 2048


class DataRecord(Section):
    """What the run knows of its data."""

    source: str
    name: str
    rows: int
    shape: tuple[int, ...]
    fingerprint: str
    transform: dict[str, Any]


class RunFile(Section):
    """``config.json``."""

    format: Literal[1] = 1
    pushforward: str
    torch: str
    convention: str = CONVENTION
    parameters: int
    config: Config
    data: DataRecord


def read(folder: Path) -> RunFile:
    """The run in a folder; InputError with one line if there is none or its ``config.json`` is damaged."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: no run here (there is no config.json); make one with: pushforward train DATA --out RUN"
        )
    try:
        return RunFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path}: not a valid run file: {where}: {' '.join(first['msg'].split())}") from error
    except (OSError, InputError) as error:
        raise InputError(f"{path}: {error}") from error


def history(folder: Path) -> list[dict[str, float]]:
    """The lines of ``metrics.jsonl``; a last line cut short by a crash is left out."""
    path, rows = folder / "metrics.jsonl", []
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and "step" in row:
                rows.append(row)
    return rows


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


def _claim(folder: Path, source: str, config: Config, data: Dataset, parameters: int) -> None:
    """Start a run in ``folder``, or check that the one there is this very run."""
    import torch

    from pushforward.train.checkpoint import written_whole

    if (folder / "config.json").exists():
        there = read(folder)
        changed = differences(there.config, config)
        if there.data.fingerprint != fingerprint(data):
            changed.insert(
                0, f"the data differ ({there.data.source}: {there.data.rows} rows, now {source}: {len(data)})"
            )
        if changed:
            raise InputError(
                f"{folder} holds a run of another configuration: {'; '.join(changed)}. Choose another --out, or give "
                "the same settings to go on with this one"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and holds no run; choose another --out, or empty it")
    record = DataRecord(
        source=source,
        name=data.name,
        rows=len(data),
        shape=data.transform.shape,
        fingerprint=fingerprint(data),
        transform=data.transform.to_json(),
    )
    file = RunFile(
        pushforward=pushforward.__version__,
        torch=torch.__version__,
        parameters=parameters,
        config=config,
        data=record,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / "config.json") as scratch:
            scratch.write_text(file.model_dump_json(indent=1))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error


def train(
    source: Any,
    folder: Path,
    config: Config,
    budget: Budget,
    *,
    schema: Path | None = None,
    size: str | None = None,
    report: Callable[[Progress], None] | None = None,
    warn: Callable[[str], None] | None = None,
    checkpoint_every: int = 5000,
    report_every: int = 250,
    keep: int = 2,
    device: str = "cpu",
) -> bool:
    """Train on ``source`` (a file, a built-in name, an array) into ``folder``, or go on with the run there.

    ``schema`` is a file that says of the columns of a table what is not to be inferred, ``size`` that of pictures.
    Returns whether the budget was spent (False: it was stopped before, and the same call goes on from there). Raises
    InputError for bad data, an impossible configuration, or a folder that holds something else.
    """
    import torch

    from pushforward.data import load as load_data
    from pushforward.train import Optimiser, fit
    from pushforward.train.checkpoint import latest, save_weights, written_whole

    data = load_data(source, schema, size)
    parts = build(config, data.transform.shape)
    count = sum(p.numel() for p in parts.net.parameters())
    _claim(folder, str(source) if isinstance(source, (str, Path)) else data.name, config, data, count)
    c, on = config.train, torch.device(device)
    train_rows, held_out_rows = data.split(c.held_out, c.seed)
    jitter = data.transform.jitter()
    feed = feed_for(
        train_rows.x, None, parts.path, parts.couple, parts.times, c.batch, c.seed, jitter, pool=config.path.pool
    )
    # the held-out loss is always of the same points, times and noise, so that its changes are the network's
    rows = min(len(held_out_rows), HELD_OUT_ROWS)
    fixed = feed_for(held_out_rows.x, None, parts.path, parts.couple, parts.times, rows, c.seed + 1, jitter, ahead=1)(0)
    net = parts.net.to(on)

    def loss(net: nn.Module, batch: tuple[Draw, Tensor | None], generator: torch.Generator) -> Tensor:
        draw, y = batch
        return parts.objective(parts.field_of(net), draw.to(on), y, generator)

    @torch.no_grad()
    def held_out(ema: nn.Module) -> float:
        return float(loss(ema, fixed, torch.Generator().manual_seed(c.seed)).mean())

    def tell(words: str) -> None:
        if warn is not None:
            warn(words)

    for note in data.notes:
        tell(note)

    def kept(ema: nn.Module, step: int) -> None:
        save_weights(ema, folder / "model.safetensors")
        (folder / "previews").mkdir(exist_ok=True)
        model = Model(parts.field_of(ema), data.transform, read(folder), folder, device)
        try:
            preview(model, folder / "previews" / f"step-{step}.png")
        except InputError as error:  # samples that are not finite may become so: no reason to stop
            tell(f"no preview of step {step}: {error}")

    newest = latest(folder / "checkpoints")
    begun = 0 if newest is None else int(newest.name[5:])
    lines = [row for row in history(folder) if row["step"] <= begun]  # what a crash lost will be measured again
    with written_whole(folder / "metrics.jsonl") as scratch:
        scratch.write_text("".join(json.dumps(row) + "\n" for row in lines))

    def log(progress: Progress) -> None:
        try:
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(asdict(progress)) + "\n")
        except OSError as error:
            tell(f"step {progress.step} could not be written to metrics.jsonl ({error})")
        if report is not None:
            report(progress)

    optimiser = Optimiser(c.lr, c.warmup, c.weight_decay, c.clip, c.ema)
    _, finished = fit(
        net,
        loss,
        feed,
        budget,
        optimiser,
        seed=c.seed,
        folder=folder / "checkpoints",
        held_out=held_out,
        report=log,
        warn=tell,
        kept=kept,
        report_every=report_every,
        checkpoint_every=checkpoint_every,
        keep=keep,
    )
    return finished


@dataclass(frozen=True, eq=False)
class Model:
    """A trained run: its field in model units, and samples in the user's own units."""

    field: Field
    transform: Transform
    run: RunFile
    folder: Path
    device: str = "cpu"

    def sample(
        self,
        n: int,
        *,
        steps: int | None = None,
        stepper: Stepper | None = None,
        seed: int = 0,
        first: int = 0,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> Rows:
        """``n`` new rows in the units, columns and types of the training data: an array, or a pyarrow.Table.

        Row i depends on (seed, first + i) alone.
        """
        from pushforward.sample import generate

        x = generate(
            self.field,
            n,
            self.transform.shape,
            stepper,
            steps,
            seed,
            first=first,
            device=self.device,
            on_batch=on_batch,
        )
        return self.transform.inverse(x)

    def __repr__(self) -> str:
        data = self.run.data
        size = f"{self.run.parameters:,} parameters"
        return f"Model({data.name!r}, rows of shape {data.shape}, {size}, {self.field.path})"


def load(folder: str | Path, device: str = "cpu") -> Model:
    """The model in a run folder. Reads JSON and safetensors only; InputError if the run is missing or damaged.

    ``pf.load("runs/demo").sample(8, seed=0)``
    """
    from pushforward.data import Transform
    from pushforward.train.checkpoint import load_weights

    folder = Path(folder)
    run = read(folder)
    try:
        transform = Transform.from_json(run.data.transform)
        if transform.shape != run.data.shape:
            raise InputError(f"data.shape {run.data.shape} is not the transform's {transform.shape}")
        parts = build(run.config, run.data.shape)
    except InputError as error:
        raise InputError(f"{folder / 'config.json'}: {error}") from error
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"{folder}: no weights yet (model.safetensors); go on training with: pushforward train")
    load_weights(parts.net, folder / "model.safetensors")
    net = parts.net.to(device).requires_grad_(False)
    return Model(parts.field_of(net), transform, run, folder, device)


def preview(model: Model, path: Path) -> None:
    """A look at a model in training: few samples, coarse steps."""
    picture(model.sample(64, steps=20), model.transform, path)


def picture(rows: Rows, transform: Transform, path: Path) -> None:
    """Samples as a picture: a grid of images, a scatter of two columns, or a histogram per column."""
    import numpy as np
    import torch

    import pushforward.plot as plot
    from pushforward.data import drawn

    names = None if isinstance(rows, np.ndarray) else list(rows.column_names)
    values = rows if isinstance(rows, np.ndarray) else drawn(rows)
    x = torch.as_tensor(np.asarray(values, dtype=np.float64))
    figure: Figure
    if transform.kind == "image":
        figure = (
            plot.images(transform.forward(rows)) if x.ndim in (3, 4) else plot.columns({"samples": x.flatten(1)}, None)
        )
    elif x.ndim == 2 and x.shape[1] == 2:
        figure = plot.scatter({"samples": x})
    else:
        figure = plot.columns({"samples": x.reshape(len(x), -1)}, names)
    plot.save(figure, path)
