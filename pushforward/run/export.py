"""A trained model as one file that runs without this package: ``torch.export`` of a sampler, or of its network alone.

The file is read by ``torch.export.load(file).module()``. A sampler's steps are unrolled: noise in, samples out.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.data.encoders.numeric import NumericEncoder, type_limits
from pushforward.errors import InputError, one_line
from pushforward.field import Learned
from pushforward.files.writing import written_whole
from pushforward.run.conditions import guided
from pushforward.sample import Sampler, Unrolled
from pushforward.version import __version__

if TYPE_CHECKING:
    from pushforward.data import Transform
    from pushforward.run.model import Model
    from pushforward.sample import Stepper

__all__ = ["ABOUT", "EXPORT_STEPS", "SamplerProgram", "Units", "export_model"]

ABOUT = "pushforward.json"  # inside the file: what it is
EXPORT_STEPS = 20
EXACT = 2**53  # integers that float64 holds
TYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")  # that are torch's too


class Units(nn.Module):
    """`Transform.inverse` of arrays of every layout: ``x scale + mean + low``, rounded for integers, in its range.

    ``[n, *shape] -> [n, *row_shape]``, computed in float64, in the type of the data (int64 where torch has it not).
    """

    scale: Tensor
    mean: Tensor
    low: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        columns = [column for column in transform.columns if isinstance(column, NumericEncoder)]
        varying = [column for column in columns if not column.constant]
        self.row_shape, self.image = transform.row_shape, transform.kind == "image"
        self.integer = columns[0].integer
        self.channels_last = transform.axes.channel_axis == -1  # in the user's rows; a model has them first
        self.dtype = getattr(torch, columns[0].type) if columns[0].type in TYPES else torch.int64
        self.constant = len(varying) < len(columns)
        numbers = torch.int64 if self.integer else torch.float64
        ends = [(c.low, c.high) if self.image else type_limits(np.dtype(c.type)) for c in columns]
        if self.integer:  # counted from the lowest value, as the model does
            ends = [(max(a - c.low, -EXACT), min(b - c.low, EXACT)) for (a, b), c in zip(ends, columns, strict=True)]
        for name, values, dtype in (
            ("scale", [c.scale for c in varying], torch.float64),
            ("mean", [c.mean for c in varying], torch.float64),
            ("low", [c.low for c in columns], numbers),
            ("least", [a for a, _ in ends], torch.float64),
            ("most", [b for _, b in ends], torch.float64),
        ):
            # of sequences and volumes a column is a channel, before the axes of space
            space = () if self.image else transform.axes.space
            self.register_buffer(name, torch.tensor(values, dtype=dtype).reshape(-1, *(1 for _ in space)))
        place = [i for i, c in enumerate(columns) if not c.constant]
        self.register_buffer("place", torch.tensor(place, dtype=torch.int64))

    @staticmethod
    def fits(transform: Transform) -> bool:
        """Whether the map is this plain: arrays and pictures, no integers beyond those of float64."""
        return transform.kind != "table" and all(
            isinstance(c, NumericEncoder) and c.decimals is None and (not c.integer or max(-c.low, c.high) < EXACT)
            for c in transform.columns
        )

    def forward(self, x: Tensor) -> Tensor:
        values = x.double() * self.scale + self.mean
        if self.constant:
            whole = values.new_zeros(x.shape[0], len(self.low), *x.shape[2:])
            values = whole.index_copy(1, self.get_buffer("place"), values)
        if self.integer:
            values = values.round().clamp(self.least, self.most).long() + self.low
        else:
            values = (values + self.low).clamp(self.least, self.most)
        values = values.movedim(1, -1) if self.channels_last else values
        return values.to(self.dtype).reshape(x.shape[0], *self.row_shape)


class SamplerProgram(nn.Module):
    """Source draws ``x0 [n, *shape]`` to samples in the user's units; ``y [n]`` are classes by number, -1 for none."""

    def __init__(self, steps: Unrolled, units: nn.Module) -> None:
        super().__init__()
        self.steps, self.units = steps, units

    def forward(self, x0: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.units(self.steps(self.steps.field.path.initial_state(x0), y))
        return out


class Net(nn.Module):
    """The network alone, ``net(x, t)`` or ``net(x, t, y)``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.net(x, t, y)
        return out


def export_model(
    model: Model,
    file: Path,
    sampler: Sampler,
    guidance: float | None = None,
    batch: int | None = None,
    only_net: bool = False,
) -> dict[str, Any]:
    """Write a model to one ``.pt2`` file that runs where there is torch and nothing else; what the file says of itself.

    ``torch.export.load(file).module()(x0)`` are samples, ``(x0, y)`` where classes were learned (numbers, -1 for none):
    ``x0`` a draw of the source, ``[n, *shape]`` float32. Arrays and pictures come out in the user's units, rows of
    tables in model units, which `Transform.inverse` takes. With ``only_net`` it is the network, ``(x, t)`` or
    ``(x, t, y)`` with ``t`` ``[n]``, in model units.

    The ``sampler`` is that of `Model.sample`, but of 20 steps where nothing is said or tuned; a tuned sampler that
    draws numbers is passed over. ``batch`` fixes n, which is free otherwise. The file holds ``pushforward.json``:
    inputs, source, classes, units.

    Raises InputError for another ending, and for samplers that draw numbers or adapt their steps.
    Reference: https://docs.pytorch.org/docs/stable/export.html
    """
    _check(model, file, sampler, guidance, batch, only_net)
    program = _net_program(model, batch) if only_net else _sampler_program(model, sampler, guidance, batch)
    # the program says of itself what a user needs to call it
    labels = model.run.config.condition.condition == "labels"
    about = {
        "pushforward": __version__,
        "torch": torch.__version__,
        "what": "net" if only_net else "sampler",
        "shape": list(model.transform.shape),
        "batch": batch,
        "classes": list(model.run.data.classes) if labels else [],
        "convention": model.run.convention,
        **program.about,
    }
    # written whole or not at all; by way of memory, as torch's own writer aborts the process on a full disk
    packed = io.BytesIO()
    torch.export.save(program.graph(free=batch is None), packed, extra_files={ABOUT: json.dumps(about, indent=1)})
    try:
        with written_whole(file) as scratch:
            scratch.write_bytes(packed.getbuffer())
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({one_line(error)})") from error
    return about


@dataclass(frozen=True, eq=False)
class _Program:
    """A module, an example of its inputs, and what a file of it says beside what all files say."""

    module: nn.Module
    example: tuple[Tensor, ...]
    about: dict[str, Any]

    def graph(self, free: bool) -> torch.export.ExportedProgram:
        """The module as a graph, whose number of rows is ``free`` or that of the example."""
        rows = tuple({0: torch.export.Dim("n", min=1)} for _ in self.example) if free else None
        with torch.no_grad():
            graph = torch.export.export(self.module.eval(), self.example, dynamic_shapes=rows, strict=False)
        for node in graph.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of this machine
        return graph


def _check(
    model: Model, file: Path, sampler: Sampler, guidance: float | None, batch: int | None, only_net: bool
) -> None:
    """InputError for a file that cannot be written, and for what does not go together."""
    if file.suffix != ".pt2":
        raise InputError(f"{file}: give a file that ends in .pt2")
    if not file.parent.is_dir() or file.is_dir():
        raise InputError(f"{file}: is a folder, or in one that does not exist")
    if batch is not None and batch < 1:
        raise InputError(f"batch {batch}: at least 1")
    if only_net and any(part is not None for part in (sampler.steps, sampler.stepper, sampler.grid, guidance)):
        raise InputError("the network alone has no steps, stepper, grid or guidance: leave them out")
    if guidance is not None and model.run.config.condition.condition == "columns":
        raise InputError("guidance: this model is told columns, and a file holds it as it is told none")
    if not isinstance(model.field, Learned):
        kind = model.run.config.objective.field
        raise InputError(f"{model.folder}: only runs with --field learned can be one file, and this one has {kind}")


def _inputs(model: Model, batch: int | None) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Example rows, and their classes where classes were learned."""
    # two rows, as a batch of one is taken for a constant
    x = torch.zeros(batch or 2, *model.transform.shape, device=model.device, dtype=torch.float32)
    y = torch.zeros(len(x), dtype=torch.int64, device=model.device)
    return x, (y,) if model.run.config.condition.condition == "labels" else ()


def _net_program(model: Model, batch: int | None) -> _Program:
    """The network alone."""
    assert isinstance(model.field, Learned)
    x, y = _inputs(model, batch)
    about = {"inputs": ["x", "t", *["y"] * len(y)], "predicts": model.field.predicts}
    about |= {"path": repr(model.field.path), "output": "model units"}
    return _Program(Net(model.net), (x, torch.zeros(len(x), device=model.device, dtype=torch.float32), *y), about)


def _sampler_program(model: Model, sampler: Sampler, guidance: float | None, batch: int | None) -> _Program:
    """The steps of a sampler, and the way back to the user's units where it is a plain map."""
    x, y = _inputs(model, batch)
    stepper, grid = _plan(model, sampler)
    field = guided(model.field, model.run, guidance)
    field = model.field if guidance == 1 else field  # the same, at half the cost
    units = Units(model.transform) if Units.fits(model.transform) else nn.Identity()
    steps = Unrolled(field, x.shape[1:], stepper=stepper, grid=grid, device=model.device)
    module = SamplerProgram(steps, units.to(model.device))
    about: dict[str, Any] = {"inputs": ["x0", *["y"] * len(y)]}
    about |= {"source": repr(model.field.path.source), "stepper": repr(stepper)}
    about |= {"grid": grid.tolist(), "guidance": guidance}
    about |= {"output": "model units" if isinstance(units, nn.Identity) else "the units of the data"}
    return _Program(module, (x, *y), about)


def _plan(model: Model, sampler: Sampler) -> tuple[Stepper, Tensor]:
    """The method and the times, as in `Model.sample`; InputError for what cannot be unrolled."""
    if not model.tuned and all(part is None for part in (sampler.stepper, sampler.grid, sampler.steps, sampler.tol)):
        sampler = Sampler(steps=EXPORT_STEPS)
    tuned = model.resolve_sampler(sampler)
    if tuned.stepper is not None and _fixed(tuned.stepper):
        sampler = tuned
    if sampler.steps is None and sampler.grid is None:
        sampler = replace(sampler, steps=EXPORT_STEPS)
    try:
        grid, stepper = sampler.plan(model.field)
    except ValueError as error:
        raise InputError(str(error)) from error
    if not _fixed(stepper):
        raise InputError(
            f"stepper {stepper}: draws random numbers or adapts its steps, which a file of fixed steps cannot; take a "
            "Runge-Kutta or a multistep method, such as adams_moulton or heun"
        )
    return stepper, grid


def _fixed(stepper: Stepper) -> bool:
    """Whether its steps are the same whatever the points are, and draw nothing."""
    return not stepper.stochastic and not stepper.adaptive
