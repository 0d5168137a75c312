"""Build the parts of a run from its configuration and its `DataSpec`: the crossroads of all rooms."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pushforward.config.sections import ConditionConfig, Config, PathConfig
from pushforward.config.spec import Spec, make
from pushforward.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from pushforward.condition import ConditionDraw
    from pushforward.coupling import Coupling
    from pushforward.data import DataSpec
    from pushforward.field import Field
    from pushforward.nn import Conditions
    from pushforward.objective import Objective
    from pushforward.path import Path
    from pushforward.schedule import Schedule
    from pushforward.times import TimeLaw

__all__ = ["Components", "components", "network", "resolve"]

MLP_ENTRIES = 256  # entries of a picture that a plain perceptron serves best
# of tables, where what is decided last, to a hundredth of a column's spread, counts
TABLE_TIMES = "logit_normal:1.5,2.2"


@dataclass(frozen=True, eq=False)
class Components:
    """What a configuration builds beside the network (`network`): the path, and how a field is trained on it."""

    path: Path
    field_kind: str
    predicts: str
    objective: Objective
    coupling: Coupling
    times: TimeLaw
    draw_condition: ConditionDraw

    def field_of(self, net: nn.Module) -> Field:
        """Make the field of a network of this run: the one in training, or its average."""
        from pushforward.field import Energy, Joint, Learned, Preconditioned

        if self.field_kind == "preconditioned":
            return Preconditioned(net, self.path)
        if self.field_kind == "energy":
            return Energy(net, self.path, self.predicts)
        if self.field_kind == "joint":
            return Joint(net, self.path, (self.predicts, "score"))
        return Learned(net, self.path, self.predicts)


def _times(text: str, schedule: Schedule) -> TimeLaw:
    """Build the training law of the time ``(n, generator) -> t`` that a text names, on a schedule; drawn from once."""
    from pushforward.tensor import generator
    from pushforward.times import TIMES

    law = make(TIMES, text, "time law")
    try:
        law(1, generator(0), schedule)
    except (ValueError, OverflowError) as error:
        raise InputError(f"time law {text!r}: {error}") from error
    return lambda n, generator: law(n, generator, schedule)


def _objective(config: Config, path: Path) -> Objective:
    """Build the objective with the weighting asked for; InputError where path or coupling do not allow it."""
    import torch

    from pushforward.objective import OBJECTIVES, WEIGHTS

    objective: Any = OBJECTIVES[config.objective.objective]()
    if getattr(objective, "independent_pairs", False) and config.path.coupling != "independent":
        raise InputError(
            f"objective {config.objective.objective!r} averages over independent pairs: leave out --coupling "
            f"{config.path.coupling}, or take --objective flow"
        )
    weighting = make(WEIGHTS, config.objective.weighting, "weighting")
    try:
        for quantity in objective.quantities:  # asked once, so that what the path does not have is refused now
            if quantity != "velocity":  # which every path has
                path.affine_schedule(quantity)
            weighting(0.5, path, quantity, torch.zeros(1, 1))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"--objective {config.objective.objective} with --weighting {config.objective.weighting}: {error}"
        ) from error
    return cast("Objective", dataclasses.replace(objective, weighting=weighting))


def resolve(config: Config, data: DataSpec) -> Config:
    """Write out everything that a configuration leaves to the data: nothing depends on a default any more.

    A resolved configuration stays as it is. InputError for conditions that the data do not have.
    """
    from pushforward.nn import NETS

    net, times = config.net.net, config.objective.times
    if net == "auto":
        large = len(data.shape) > 1 and math.prod(data.shape) > MLP_ENTRIES
        kind = "pictures" if large else "tables" if data.feature_groups else "vectors"
        net = next(name for name, spec in NETS.items() if spec.suits == kind)
    if times == "auto":
        times = TABLE_TIMES if data.feature_groups else "uniform"
    spec = NETS[net]
    size = spec.size if config.net.size == "auto" else config.net.size
    if size not in spec.sizes:
        raise InputError(f"--size {size}: --net {net} comes in {', '.join(spec.sizes)}")
    width, depth = config.net.width or spec.sizes[size].width, config.net.depth or spec.sizes[size].depth
    batch, lr = config.train.batch or spec.batch, config.train.lr or spec.learning_rate(width)
    return config.model_copy(
        update={
            "objective": config.objective.model_copy(update={"times": times}),
            "net": config.net.model_copy(update={"net": net, "size": size, "width": width, "depth": depth}),
            "train": config.train.model_copy(update={"batch": batch, "lr": lr}),
            "condition": _condition(config, data),
        }
    )


def _condition(config: Config, data: DataSpec) -> ConditionConfig:
    """Decide on the condition of a network and its dropout; InputError where data or coupling do not allow it."""
    condition, drop = config.condition.condition, config.condition.cond_drop
    columns, paired = len(data.feature_groups), config.path.coupling != "independent"
    if condition == "auto":
        free = not paired and config.objective.objective != "marginal"
        condition = "labels" if data.classes > 1 else "columns" if columns > 1 and free else "none"
    if condition == "labels" and data.classes < 2:
        raise InputError("--condition labels: these data have no classes; leave it out, or give labelled data")
    if condition == "columns" and columns < 2:
        raise InputError("--condition columns: for tables of two columns and more; leave it out")
    if condition == "columns" and paired:
        raise InputError(
            f"--condition columns: --coupling {config.path.coupling} pairs rows without a look at their columns, so "
            "that the source would not be the same for all; leave out one of them"
        )
    return ConditionConfig(condition=condition, cond_drop=DEFAULT_DROP[condition] if drop is None else drop)


def _path(config: Config) -> tuple[Path, Schedule]:
    """Build the path of a configuration, and its schedule: that of the time law where a path has none of its own."""
    from pushforward.path import PATHS
    from pushforward.schedule import SCHEDULES
    from pushforward.source import SOURCES

    section = config.path
    schedule, source = make(SCHEDULES, section.schedule, "schedule"), make(SOURCES, section.source, "source")
    path = cast("Path", Spec.parse(section.path, "path").build(PATHS, "path", {"schedule": schedule, "source": source}))
    if not path.predictions and section.schedule != PathConfig().schedule:
        raise InputError(f"--path {section.path}: has no schedule; leave out --schedule {section.schedule}")
    return path, schedule


def components(config: Config, data: DataSpec) -> Components:
    """Build what a network is trained with: path, objective, coupling, time law and the draw of conditions.

    InputError for what cannot be combined, or is not for such data (see `resolve`).
    """
    import torch

    from pushforward.condition import LabelDropout, RandomMask, unconditional
    from pushforward.coupling import COUPLINGS

    config = resolve(config, data)
    (path, schedule), drop = _path(config), config.condition.cond_drop
    assert drop is not None  # resolved
    draws: dict[str, ConditionDraw] = {
        "none": unconditional,
        "labels": LabelDropout(drop),
        "columns": RandomMask(drop, data.feature_groups),
    }
    parts = Components(
        path,
        config.objective.field,
        config.objective.predicts,
        _objective(config, path),
        make(COUPLINGS, config.path.coupling, "coupling", {"space": path.space}),
        _times(config.objective.times, schedule),
        draws[config.condition.condition],
    )
    try:
        parts.field_of(torch.nn.Identity())  # refused on this path whatever the network
    except ValueError as error:
        raise InputError(f"--field {config.objective.field} --predicts {config.objective.predicts}: {error}") from error
    return parts


def network(config: Config, data: DataSpec) -> nn.Module:
    """Build the network of a run, with weights that are a function of the seed alone.

    The data and the configuration decide its every layer, so that training, loading and evaluation cannot disagree.
    InputError for one that is not for such data, or does not fit into memory.
    """
    import torch

    from pushforward.nn import Classes, ColumnPriors, Scalar, SpatialCondition, TwoHeads, sized
    from pushforward.path import prediction_coefficients
    from pushforward.tensor import initialized

    config = resolve(config, data)
    kinds: dict[str, Conditions] = {
        "none": {},
        "labels": {"label": Classes(data.classes)},
        "columns": {"columns": SpatialCondition(math.prod(data.shape))},
    }
    width, depth = config.net.width, config.net.depth
    assert width is not None and depth is not None  # resolved
    field, predicts, path = config.objective.field, config.objective.predicts, _path(config)[0]
    # other fields do not read the network's answer as a prediction at x and t, other paths have no such rows
    priors = None
    if data.marginals and field == "learned" and path.predictions:
        priors = ColumnPriors(data.marginals, lambda t: prediction_coefficients(path, t, predicts))
    # a network of two heads is a plain one of twice the entries
    shape = (2 * data.shape[0], *data.shape[1:]) if field == "joint" else data.shape
    with initialized(config.train.seed, "weights"):
        try:
            # less than the network holds: refused at once, where layer after layer would fill the memory first
            torch.empty(depth, width, width)
            condition = kinds[config.condition.condition]
            body = sized(config.net.net, shape, config.net.size, condition, width, depth, priors)
            return Scalar(body) if field == "energy" else TwoHeads(body) if field == "joint" else body
        except (MemoryError, RuntimeError) as error:
            size = f"width {width} and depth {depth}"
            raise InputError(f"a network of {size} for rows of shape {data.shape} does not fit into memory") from error


DEFAULT_DROP = {"none": 1.0, "labels": 0.1, "columns": 0.8}  # share of rows that are told nothing
