"""The configuration of a run: one frozen class per room, checked by pydantic.

The command line's flags are made from these classes. Importing this module does not import torch: the choices of a
registry are read from the text of the room that holds it, so that ``--help`` and ``info`` start at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

from pushforward.config.spec import NOT_BY_NAME, Spec
from pushforward.errors import InputError, nearest
from pushforward.registry import known, names

__all__ = ["Config", "Section"]


def _named(
    text: str, room: str, registry: str, part: str, arguments: bool, more: Sequence[str], *, foreign: bool
) -> str:
    """Check the name in the text of a part (`Spec`) and that its numbers are finite; what they mean, `build` knows.

    ``more`` are words besides the names of the registry, and take no arguments. In the file of a run, which is
    ``foreign``, a name may be that of a part which is not registered here: what it says can be read without.
    """
    spec, choices = Spec.parse(text, part), [*more, *known(room, registry)]
    if spec.name not in choices and not foreign:
        raise InputError(nearest(spec.name, set(choices) - NOT_BY_NAME - {"own"}, part))
    if spec.name in NOT_BY_NAME:
        raise InputError(f"{part} {spec.name!r} needs tensors or functions: use it from Python")
    if ":" in text and (not arguments or spec.name in more):
        raise InputError(f"{part} {text!r}: takes no arguments, write {spec.name}")
    if odd := [value for value in spec.values if value.lower().lstrip("+-") in ("inf", "infinity", "nan")]:
        raise InputError(f"{part} {text!r}: write finite numbers, for instance {spec.name}:0.1,20, not {odd[0]}")
    return text


class Section(BaseModel):
    """Frozen, and closed: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _checked(cls, value: Any, info: Any) -> Any:  # pydantic.ValidationInfo, which no run-time check can test
        extra = cls.model_fields[info.field_name].json_schema_extra
        foreign = bool((info.context or {}).get("foreign"))
        return _named(value, *cast("Any", extra["named"]), foreign=foreign) if isinstance(extra, dict) else value


Positive = Annotated[int, Field(ge=1, lt=2**31)]


def registered(default: str, help: str, room: str, registry: str, part: str, arguments: bool = True, *more: str) -> Any:
    """A field that names a registry's entry: the names stand in its help, and `Section` checks the word given.

    ``more`` are words besides those of the registry."""
    choices = [name for name in [*more, *names(room, registry)] if name not in NOT_BY_NAME | {"own"}]
    named: list[Any] = [room, registry, part, arguments, list(more)]
    return Field(default, description=f"{help}: {', '.join(choices)}", json_schema_extra={"named": named})


class PathConfig(Section):
    """Which trajectories carry the source to the data."""

    path: str = registered("affine", "the family of trajectories", "path", "PATHS", "path", True, "own")
    schedule: str = registered(
        "condot", "how data and noise are mixed over time", "schedule", "SCHEDULES", "schedule", True, "own"
    )
    source: str = registered(
        "normal", "the law in which trajectories begin", "source", "SOURCES", "source", True, "own"
    )
    coupling: str = registered(
        "independent", "which source point travels where", "coupling", "COUPLINGS", "coupling", True, "own"
    )
    pool: Positive = 1
    """batches coupled together: optimal transport of pool x batch points is nearer to that of the whole data"""


class ObjectiveConfig(Section):
    """What training makes small."""

    objective: str = registered(
        "auto", "what is matched (auto: by what a row is)", "objective", "OBJECTIVES", "objective", False, "auto", "own"
    )
    weighting: str = registered("default", "what an error counts at each time", "objective", "WEIGHTS", "weighting")
    predicts: str = registered(
        "velocity", "what the network outputs; the rest follows", "path", "PREDICTIONS", "prediction", False
    )
    field: Literal["learned", "preconditioned", "energy", "joint"] = "learned"
    """learned: the network predicts; preconditioned: as in EDM; energy: its slope predicts; joint: two answers"""
    times: str = registered(
        "auto",
        "the training law of the time (auto: by what a row is)",
        "times",
        "TIMES",
        "time law",
        True,
        "auto",
        "own",
    )


class NetConfig(Section):
    """The network."""

    net: str = registered(
        "auto", "kind of network (auto: by what a row is)", "nn", "NETS", "network", False, "auto", "own"
    )
    size: str = registered(
        "auto", "one dial for width and depth (auto: tiny for pictures)", "nn", "SIZES", "size", False, "auto"
    )
    width: Positive | None = None
    """hidden units, or channels; by the size, if not given"""
    depth: Positive | None = None
    """blocks, of a U-Net per level; by the size, if not given"""


class ConditionConfig(Section):
    """What the network is told of a row."""

    condition: Literal["auto", "none", "labels", "columns"] = "auto"
    """labels: its class; columns: some of its own, at random; auto: what the data have and the rest allows"""
    cond_drop: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None, Field(validation_alias=AliasChoices("cond_drop", "drop"))
    ] = None
    """share of the rows that are told nothing (0.1 for labels, 0.8 for columns)"""


class SampleConfig(Section):
    """How a run is sampled by those who say nothing: the defaults (the measured ones), or what a recipe asks for."""

    sample_stepper: str = registered(
        "default", "method of sampling this run where nothing is said", "sample", "STEPPERS", "stepper", True, "default"
    )
    sample_grid: str = registered("default", "its grid", "times", "GRIDS", "grid", True, "default")
    sample_steps: Positive | None = None
    """its steps"""


class TrainConfig(Section):
    """How it is trained."""

    batch: Positive | None = None
    """rows per optimiser step (256; of a table 512, of pictures 64)"""
    lr: Annotated[float, Field(gt=0, le=1e38)] | None = None
    """peak learning rate (0.001; of tables and pictures by the width of the network)"""
    warmup: Annotated[int, Field(ge=0, lt=2**53)] = 500
    """steps over which the learning rate rises"""
    weight_decay: Annotated[float, Field(ge=0, le=1e38)] = 0.0
    """AdamW's weight decay"""
    clip: Annotated[float, Field(gt=0, le=1e30)] = 1.0
    """largest norm of a gradient"""
    ema: Annotated[float, Field(ge=0, le=1e4)] = 7.0
    """exponent of the power-function average of the weights; larger forgets faster"""
    weights: Literal["best", "last"] = "best"
    """average that a run ends with: the best on held-out rows, or the last"""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """share of the rows kept for measuring, never trained on"""
    mirror: bool = False
    """train on every picture and on its mirror image"""
    precision: Literal["float32", "bf16"] = "float32"
    """of the network's products; bf16 is mixed precision: weights and their averages stay in float32"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """of everything random in training"""


class Config(Section):
    """Everything that decides what a run learns. Budgets and report intervals are not part of it."""

    path: PathConfig = PathConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    net: NetConfig = NetConfig()
    condition: ConditionConfig = ConditionConfig()
    train: TrainConfig = TrainConfig()
    sample: SampleConfig = SampleConfig()
