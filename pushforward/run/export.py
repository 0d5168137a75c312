"""A trained model as one file that runs without this package: ``torch.export`` of a sampler, or of its network alone.

The file is read by ``torch.export.load(file).module()``. A sampler's steps are unrolled: noise in, samples out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.config import make
from pushforward.data.encoders.numeric import NumericEncoder, limits
from pushforward.errors import InputError, one_line
from pushforward.field import Learned
from pushforward.files import written_whole
from pushforward.run.conditions import guided
from pushforward.run.model import Model
from pushforward.sample import STEPPERS, Sampler
from pushforward.sample.noise import Brownian, NoiseStreams, StepNoise
from pushforward.sample.stepper import ConditionedField
from pushforward.version import __version__

if TYPE_CHECKING:
    from pushforward.data import Transform
    from pushforward.field import Field
    from pushforward.sample import Stepper

__all__ = ["ABOUT", "EXPORT_STEPS", "Sampler", "Units", "export"]

ABOUT = "pushforward.json"  # inside the file: what it is
EXPORT_STEPS = 20
EXACT = 2**53  # integers that float64 holds
TYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")  # that are torch's too


class Units(nn.Module):
    """`Transform.inverse` of arrays and pictures: ``x scale + mean + low``, rounded for integers, kept in its range.

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
        kept = [column for column in columns if not column.constant]
        self.row_shape, self.image = transform.row_shape, transform.kind == "image"
        self.integer = columns[0].integer
        # of the two layouts of a colour picture a model has channels first
        self.channels_last = self.image and len(self.row_shape) == 3 and transform.shape != self.row_shape
        self.dtype = getattr(torch, columns[0].type) if columns[0].type in TYPES else torch.int64
        self.constant = len(kept) < len(columns)
        numbers = torch.int64 if self.integer else torch.float64
        ends = [(c.low, c.high) if self.image else limits(np.dtype(c.type)) for c in columns]
        if self.integer:  # counted from the lowest value, as the model does
            ends = [(max(a - c.low, -EXACT), min(b - c.low, EXACT)) for (a, b), c in zip(ends, columns, strict=True)]
        for name, values, dtype in (
            ("scale", [c.scale for c in kept], torch.float64),
            ("mean", [c.mean for c in kept], torch.float64),
            ("low", [c.low for c in columns], numbers),
            ("least", [a for a, _ in ends], torch.float64),
            ("most", [b for _, b in ends], torch.float64),
            ("place", [i for i, c in enumerate(columns) if not c.constant], torch.int64),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=dtype))

    @staticmethod
    def fits(transform: Transform) -> bool:
        """Whether the map is this plain: arrays and pictures, no integers beyond those of float64."""
        return transform.kind != "table" and all(
            isinstance(c, NumericEncoder) and c.decimals is None and (not c.integer or max(-c.low, c.high) < EXACT)
            for c in transform.columns
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1) if self.channels_last else x
        values = x.double() * self.scale + self.mean
        if self.constant:
            values = values.new_zeros(x.shape[0], len(self.low)).index_copy(1, self.get_buffer("place"), values)
        if self.integer:
            values = values.round().clamp(self.least, self.most).long() + self.low
        else:
            values = (values + self.low).clamp(self.least, self.most)
        return values.to(self.dtype).reshape(x.shape[0], *self.row_shape)


class UnrolledSampler(nn.Module):
    """`integrate` with its grid, stepper and guidance filled in: source draws ``x0 [n, *shape]`` to samples.

    ``y [n]`` are classes by number, -1 for none. The coefficients of the steps are computed once, here.
    """

    def __init__(
        self, net: nn.Module, field: Field, stepper: Stepper, grid: Tensor, like: Tensor, units: nn.Module
    ) -> None:
        super().__init__()
        self.net, self.field, self.stepper, self.units = net, field, stepper, units
        self.times = [t.clone() for t in grid]
        self.state = stepper.init(ConditionedField(field, None), like, grid)

    def forward(self, x0: Tensor, y: Tensor | None = None) -> Tensor:
        field, x, state = ConditionedField(self.field, y), self.field.path.initial_state(x0), self.state
        none = StepNoise(Brownian(NoiseStreams(x0, 0, 0)), 0, 0.0, 1.0)  # drawn by no stepper that is let in
        for t, s in zip(self.times, self.times[1:], strict=False):
            x, state = self.stepper.step(field, x, t, s, state, none)
        out: Tensor = self.units(x)
        return out


class Net(nn.Module):
    """The network alone, ``net(x, t)`` or ``net(x, t, y)``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.net(x, t, y)
        return out


def export(
    model: Model,
    file: str | Path,
    *,
    steps: int | None = None,
    stepper: Stepper | None = None,
    grid: Tensor | None = None,
    guidance: float | None = None,
    batch: int | None = None,
    only_net: bool = False,
) -> dict[str, Any]:
    """Write a model to one ``.pt2`` file that runs where there is torch and nothing else; what the file says of itself.

    ``torch.export.load(file).module()(x0)`` are samples, ``(x0, y)`` where classes were learned (numbers, -1 for none):
    ``x0`` a draw of the source, ``[n, *shape]`` float32. Arrays and pictures come out in the user's units, rows of
    tables in model units, which `Transform.inverse` takes. With ``only_net`` it is the network, ``(x, t)`` or
    ``(x, t, y)`` with ``t`` ``[n]``, in model units.

    ``steps``, ``stepper`` and ``grid`` are those of `Model.sample`, but for 20 steps where nothing is said or tuned;
    a tuned sampler that draws numbers is passed over.
    ``batch`` fixes n, which is free otherwise. The file holds ``pushforward.json``: inputs, source, classes, units.

    Raises InputError for another ending, and for samplers that draw numbers or adapt their steps.
    Reference: https://docs.pytorch.org/docs/stable/export.html
    """
    file = Path(file)
    if file.suffix != ".pt2":
        raise InputError(f"{file}: give a file that ends in .pt2")
    if not file.parent.is_dir() or file.is_dir():
        raise InputError(f"{file}: is a folder, or in one that does not exist")
    if batch is not None and batch < 1:
        raise InputError(f"batch {batch}: at least 1")
    if only_net and any(word is not None for word in (steps, stepper, grid, guidance)):
        raise InputError("the network alone has no steps, stepper, grid or guidance: leave them out")
    labels = model.run.config.condition.condition == "labels"
    if guidance is not None and model.run.config.condition.condition == "columns":
        raise InputError("guidance: this model is told columns, and a file holds it as it is told none")
    # two rows, as a batch of one is taken for a constant
    x = torch.zeros(batch or 2, *model.transform.shape, device=model.device)
    y = torch.zeros(len(x), dtype=torch.int64, device=model.device)
    assert isinstance(model.field, Learned) and isinstance(model.field.net, nn.Module)
    net = model.field.net
    about: dict[str, Any] = {
        "pushforward": __version__,
        "torch": torch.__version__,
        "what": "net" if only_net else "sampler",
        "shape": list(model.transform.shape),
        "batch": batch,
        "classes": list(model.run.data.classes) if labels else [],
        "convention": model.run.convention,
    }
    if only_net:
        module: nn.Module = Net(net)
        given = (x, torch.zeros(len(x), device=model.device), *([y] if labels else []))
        about |= {"inputs": ["x", "t", *["y"] * labels], "predicts": model.field.predicts}
        about |= {"path": repr(model.field.path), "output": "model units"}
    else:
        stepper, grid = _plan(model, steps, stepper, grid)
        field = guided(model.field, model.run, guidance)
        field = model.field if guidance == 1 else field  # the same, at half the cost
        units = Units(model.transform) if Units.fits(model.transform) else nn.Identity()
        module = UnrolledSampler(net, field, stepper, grid, x[:1], units.to(model.device))
        given = (x, *([y] if labels else []))
        about |= {"inputs": ["x0", *["y"] * labels], "source": repr(model.field.path.source), "stepper": repr(stepper)}
        about |= {"grid": grid.tolist(), "guidance": guidance}
        about |= {"output": "model units" if isinstance(units, nn.Identity) else "the units of the data"}
    free = None if batch else tuple({0: torch.export.Dim("n", min=1)} for _ in given)
    with torch.no_grad():
        program = torch.export.export(module.eval(), given, dynamic_shapes=free, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    try:
        with written_whole(file) as scratch:
            torch.export.save(program, scratch, extra_files={ABOUT: json.dumps(about, indent=1)})
    except (OSError, RuntimeError) as error:
        raise InputError(f"{file}: cannot be written ({one_line(error)})") from error
    return about


def _plan(model: Model, steps: int | None, stepper: Stepper | None, grid: Tensor | None) -> tuple[Stepper, Tensor]:
    """The method and the times, as in `Model.sample`; InputError for what cannot be unrolled."""
    if stepper is None and grid is None and (tuned := model.tuned_for(steps)):
        method = make(STEPPERS, tuned.stepper, "stepper")
        if _fixed(method):
            stepper, grid, steps = method, tuned.times(), None
    try:
        steps = EXPORT_STEPS if steps is None and grid is None else steps
        grid, stepper = Sampler(stepper, grid, steps).plan(model.field)
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
