"""The configuration of a run: one frozen class per room, checked by pydantic; `build` is the crossroads of all rooms.

The command line's flags are made from these classes. Importing this module does not import torch: the choices of a
registry are read from the source of the file that holds it, so that ``--help`` and ``info`` start at once.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pushforward.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pushforward.coupling import Coupling
    from pushforward.data import Dataset
    from pushforward.field import Learned
    from pushforward.objective import Objective
    from pushforward.path import Draw
    from pushforward.path import Path as TrajectoryPath
    from pushforward.tensor import Time
    from pushforward.times import TimeLaw
    from pushforward.train import Feed

__all__ = ["Config", "Parts", "build", "choices", "feed_for", "fingerprint", "make"]


@functools.cache
def choices(room: str, registry: str) -> list[str]:
    """The names in a registry, read from the dict literal at the foot of its file without importing it."""
    tree = ast.parse((Path(__file__).parent / room).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", None) == registry:
            assert isinstance(node.value, ast.Dict)
            return [str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)]
    raise KeyError(f"{room} has no registry {registry}")


def _known(spec: str, room: str, registry: str, what: str, takes_numbers: bool = True) -> str:
    """Check the name in ``name`` or ``name:number,number``."""
    name, colon, arguments = spec.partition(":")
    names = choices(room, registry)
    if name not in names:
        raise InputError(nearest(name, set(names) - NOT_BY_NAME, what))
    if name in NOT_BY_NAME:
        raise InputError(f"{what} {name!r} needs tensors or functions: use it from Python")
    if colon and not takes_numbers:
        raise InputError(f"{what} {spec!r}: takes no arguments, write {name}")
    try:
        finite = all(math.isfinite(float(a)) for a in arguments.split(",") if arguments)
    except ValueError:
        finite = False
    if not finite:
        raise InputError(f"{what} {spec!r}: write arguments as numbers, for instance {name}:0.1,20")
    return spec


def make(registry: dict[str, Any], spec: str, what: str) -> Any:
    """The registry's entry for ``name`` or ``name:number,number``, with those arguments."""
    name, _, arguments = spec.partition(":")
    if name not in registry:
        raise InputError(nearest(name, registry, what))
    try:
        return registry[name](*[float(a) for a in arguments.split(",") if arguments])
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} {spec!r}: {error}") from error


# what needs tensors or functions, and so Python, to be built
NOT_BY_NAME = {"mixture", "empirical", "warped", "custom"}


class Section(BaseModel):
    """Frozen, and closed: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _named(cls, value: Any, info: Any) -> Any:  # pydantic.ValidationInfo, which no run-time check can test
        extra = cls.model_fields[info.field_name].json_schema_extra
        return _known(value, *cast("Any", extra["named"])) if isinstance(extra, dict) else value


Positive = Annotated[int, Field(ge=1)]


def chosen(default: str, help: str, room: str, registry: str, what: str, takes_numbers: bool = True) -> Any:
    """A field that names a registry's entry: the names stand in its help, and `Section` checks the word given."""
    names = [name for name in choices(room, registry) if name not in NOT_BY_NAME]
    named: list[Any] = [room, registry, what, takes_numbers]
    return Field(default, description=f"{help}: {', '.join(names)}", json_schema_extra={"named": named})


class PathConfig(Section):
    """Which trajectories carry the source to the data."""

    schedule: str = chosen(
        "condot", "how data and noise are mixed over time", "schedule/__init__.py", "SCHEDULES", "schedule"
    )
    source: str = chosen("normal", "the law in which trajectories begin", "source.py", "SOURCES", "source")
    coupling: str = chosen(
        "independent", "which source point travels where", "coupling/__init__.py", "COUPLINGS", "coupling"
    )
    pool: Positive = 1
    """batches coupled together: optimal transport of pool x batch points is nearer to that of the whole data"""


class ObjectiveConfig(Section):
    """What training makes small."""

    objective: str = chosen("flow", "what is matched", "objective/__init__.py", "OBJECTIVES", "objective", False)
    weighting: str = chosen("own", "what an error counts at each time", "objective/weights.py", "WEIGHTS", "weighting")
    predicts: str = chosen(
        "velocity", "what the network outputs; the rest follows", "path/convert.py", "PREDICTIONS", "prediction", False
    )
    times: str = chosen("uniform", "the training law of the time", "times.py", "TIMES", "time law")


class NetConfig(Section):
    """The network."""

    width: Positive = 256
    """hidden units"""
    depth: Positive = 4
    """residual blocks"""


class TrainConfig(Section):
    """How it is trained."""

    batch: Positive = 256
    """rows per optimiser step"""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """peak learning rate"""
    warmup: Annotated[int, Field(ge=0)] = 500
    """steps over which the learning rate rises"""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay"""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """largest norm of a gradient"""
    ema: Annotated[float, Field(ge=0)] = 7.0
    """exponent of the power-function average of the weights; larger forgets faster"""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """share of the rows kept for measuring, never trained on"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """of everything random in training"""
    precision: Literal["float32", "bf16"] = "float32"
    """of the network's products; bf16 is mixed precision: weights and their averages stay in float32"""


class Config(Section):
    """Everything that decides what a run learns. Budgets and report intervals are not part of it."""

    path: PathConfig = PathConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    net: NetConfig = NetConfig()
    train: TrainConfig = TrainConfig()


@dataclass(frozen=True, eq=False)
class Parts:
    """What a configuration builds: the network, and the rooms it is trained with."""

    net: nn.Module
    path: TrajectoryPath
    predicts: str
    objective: Objective
    couple: Coupling
    times: TimeLaw

    def field_of(self, net: nn.Module) -> Learned:
        """The field of a network of this make: the one in training, or its average."""
        from pushforward.field import Learned

        return Learned(net, self.path, self.predicts)


def _coupling(spec: str) -> Coupling:
    """The registry's coupling, or another of its kind with the numbers of ``name:number,number``."""
    from pushforward.coupling import COUPLINGS

    name, colon, arguments = spec.partition(":")
    if not colon:
        return COUPLINGS[name]
    kind: Any = type(COUPLINGS[name])
    if not hasattr(kind, "__dataclass_fields__"):
        raise InputError(f"coupling {spec!r}: takes no arguments, write {name}")
    try:
        return cast("Coupling", kind(*[int(a) if a.isdecimal() else float(a) for a in arguments.split(",") if a]))
    except (TypeError, ValueError) as error:
        raise InputError(f"coupling {spec!r}: {error}") from error


def _objective(config: Config, path: TrajectoryPath) -> Objective:
    """The registry's objective with the weighting asked for; InputError where path or coupling do not allow it."""
    import torch

    from pushforward.objective import OBJECTIVES, WEIGHTS, Marginal

    objective: Any = OBJECTIVES[config.objective.objective]
    if isinstance(objective, Marginal) and config.path.coupling != "independent":
        raise InputError(
            f"objective {config.objective.objective!r} averages over independent pairs: leave out --coupling "
            f"{config.path.coupling}, or take --objective flow"
        )
    name, _, arguments = config.objective.weighting.partition(":")
    numbers = [float(a) for a in arguments.split(",") if arguments]

    def weighting(t: Time, path: TrajectoryPath, quantity: str, like: Tensor) -> Tensor:
        return WEIGHTS[name](t, path, quantity, like, *numbers)

    try:
        for quantity in objective.quantities:  # asked once, so that what the path does not have is refused now
            weighting(0.5, path, quantity, torch.zeros(1, 1))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"--objective {config.objective.objective} with --weighting {config.objective.weighting}: {error}"
        ) from error
    return cast("Objective", dataclasses.replace(objective, weighting=weighting))


def build(config: Config, shape: tuple[int, ...]) -> Parts:
    """The parts of a run for rows of ``shape``; weights are a function of the seed. InputError for impossible pairs."""
    import torch

    from pushforward.field import Learned
    from pushforward.nn import MLP
    from pushforward.path import Affine
    from pushforward.schedule import SCHEDULES
    from pushforward.source import SOURCES
    from pushforward.tensor import generator
    from pushforward.times import TIMES

    path = Affine(
        make(SCHEDULES, config.path.schedule, "schedule"),
        make(SOURCES, config.path.source, "source"),
    )
    # weights come from torch's global stream, which is put back as it was
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator(config.train.seed, "weights").get_state())
        try:
            # less than the network holds: refused at once, where layer after layer would fill the memory first
            torch.empty(config.net.depth, config.net.width, config.net.width)
            net = MLP(shape, config.net.width, config.net.depth)
        except (MemoryError, RuntimeError) as error:
            size = f"width {config.net.width} and depth {config.net.depth}"
            raise InputError(f"a network of {size} for rows of shape {shape} does not fit into memory") from error
    objective = _objective(config, path)
    try:
        Learned(net, path, config.objective.predicts)
    except ValueError as error:
        raise InputError(str(error)) from error
    name, _, arguments = config.objective.times.partition(":")
    law, numbers = TIMES[name], [float(a) for a in arguments.split(",") if arguments]
    try:
        law(1, generator(0), path.schedule, *numbers)
    except (TypeError, ValueError) as error:
        raise InputError(f"time law {config.objective.times!r}: {error}") from error
    return Parts(
        net,
        path,
        config.objective.predicts,
        objective,
        _coupling(config.path.coupling),
        lambda n, generator: law(n, generator, path.schedule, *numbers),
    )


def feed_for(
    x: Tensor,
    y: Tensor | None,
    path: TrajectoryPath,
    couple: Coupling,
    times: TimeLaw,
    batch: int,
    seed: int,
    jitter: Tensor | None = None,
    pool: int = 1,
    ahead: int | None = None,
) -> Feed[tuple[Draw, Tensor | None]]:
    """Batches ``(draw, y)`` of a data set on a path: rows, source points, coupling, times, trajectories.

    The coupling sees ``pool`` batches at once, which are then split; `Semidiscrete` is fitted to ``x, y``
    here. ``ahead`` batches are prepared together (default: by their size), rounded to whole pools.
    """
    import torch

    from pushforward.coupling import Semidiscrete, independent
    from pushforward.train import Feed
    from pushforward.train.feed import pool_size

    if isinstance(couple, Semidiscrete):
        couple, jitter = couple.fit(x, y, path.source, seed, jitter), None

    def prepare(x1: Tensor, y: Tensor | None, g: torch.Generator) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        x0 = path.source.sample(tuple(x1.shape), g, x1.dtype)
        size = pool * batch
        conditions = [None] * (len(x1) // size) if y is None else y.split(size)
        return [couple(*ends, g) for ends in zip(x0.split(size), x1.split(size), conditions, strict=True)]

    def finish(
        pairs: list[tuple[Tensor, Tensor, Tensor | None]], g: torch.Generator
    ) -> list[tuple[Draw, Tensor | None]]:
        x1 = torch.cat([p[1] for p in pairs])
        draw = path.draw(torch.cat([p[0] for p in pairs]), x1, times(len(x1), g), g)
        labels = [pair[2] for pair in pairs if pair[2] is not None]
        parts = torch.cat(labels).split(batch) if labels else [None] * (len(x1) // batch)
        return list(zip(draw.split(batch), parts, strict=True))

    whole = max(1, (ahead or pool_size(batch, x[0].numel())) // pool) * pool
    # a thread pays where a coupling is solved: drawing noise alone is less than its switching
    return Feed(x, y, batch, seed, prepare, jitter, whole, couple is not independent, finish)


def fingerprint(data: Dataset) -> str:
    """A digest of the rows in model units and of the way back, by which a run knows its data again."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(repr(tuple(data.x.shape)).encode())
    digest.update(json.dumps(data.transform.to_json()).encode())  # the same rows in metres and in feet differ here only
    digest.update(data.x.numpy().tobytes())
    return digest.hexdigest()
