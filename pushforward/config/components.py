"""Build the parts of a run from its configuration and its `DataSpec`: the crossroads of all rooms."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pushforward.config.own import OWN, OwnParts
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
COMPONENT_TIMES = "logit_normal:0,1.5"  # where components are matched, which are decided before


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

    @property
    def matching(self) -> Objective:
        """The objective as every field has it, an exact one, too: without what a network says of components."""
        plain: Objective = getattr(self.objective, "plain", self.objective)
        return plain

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


def _times(text: str, schedule: Schedule, own: TimeLaw | None) -> TimeLaw:
    """Build the training law of the time ``(n, generator) -> t`` that a text names, on a schedule; drawn from once."""
    from pushforward.tensor import generator
    from pushforward.times import TIMES

    law = make(TIMES, text, "time law") if own is None else own
    try:
        t = law(3, generator(0), schedule)
    except (ValueError, OverflowError) as error:
        raise InputError(f"time law {text!r}: {error}") from error
    if t.shape[:1] != (3,) or not bool(((t >= 0) & (t < 1)).all()):
        raise InputError(f"time law {text!r}: (n, generator, schedule) -> t [n] in [0, 1), but three draws are {t}")
    return lambda n, generator: law(n, generator, schedule)


def _objective(config: Config, path: Path, own: Objective | None) -> Objective:
    """Build the objective with the weighting asked for; InputError where path or coupling do not allow it."""
    import torch

    from pushforward.objective import OBJECTIVES, WEIGHTS

    objective: Any = make(OBJECTIVES, config.objective.objective, "objective") if own is None else own
    # one that somebody else wrote may know nothing of quantities and weights
    if not hasattr(objective, "quantities") or not hasattr(objective, "weighting"):
        if config.objective.weighting != "default":
            raise InputError(f"--weighting {config.objective.weighting}: this objective has none to replace")
        return cast("Objective", objective)
    if own is not None and config.objective.weighting == "default":
        return own
    if getattr(objective, "independent_pairs", False) and config.path.coupling != "independent":
        raise InputError(
            f"objective {config.objective.objective!r} averages over independent pairs: leave out --coupling "
            f"{config.path.coupling}, or take --objective flow"
        )
    weighting = make(WEIGHTS, config.objective.weighting, "weighting")
    try:
        for quantity in objective.quantities:  # asked once, so that what the path does not have is refused now
            path.check_quantities(quantity)
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
    from pushforward.nn import NETS, net_spec

    net, times = config.net.net, config.objective.times
    if net == OWN and (config.net.width or config.net.depth or config.net.size != "auto"):
        raise InputError("--size, --width and --depth: a network of your own has its size; leave them out")
    if net == "auto":
        large = len(data.shape) > 1 and math.prod(data.shape) > MLP_ENTRIES
        kind = "pictures" if large else "tables" if data.feature_groups else "vectors"
        net = next(name for name in NETS if net_spec(name).suits == kind)
    objective = config.objective.objective
    if objective == "auto":
        # what such a network knows of the columns, which a coupling would make less exact
        told = net == "tabular" and bool(data.marginals) and config.objective.field == "learned"
        both = "joint" if config.objective.field == "joint" else "flow"
        objective = "flow_components" if told and config.path.coupling == "independent" else both
    if times == "auto":
        tables = COMPONENT_TIMES if objective == "flow_components" else TABLE_TIMES
        times = tables if data.feature_groups else "uniform"
    size, width, depth = config.net.size, config.net.width, config.net.depth
    if net == OWN:
        batch, lr = config.train.batch or 256, config.train.lr or 1e-3
    else:
        spec = net_spec(net)
        size = spec.size if size == "auto" else size
        if size not in spec.sizes:
            raise InputError(f"--size {size}: --net {net} comes in {', '.join(spec.sizes)}")
        width, depth = width or spec.sizes[size].width, depth or spec.sizes[size].depth
        batch, lr = config.train.batch or spec.batch, config.train.lr or spec.learning_rate(width)
    return config.model_copy(
        update={
            "objective": config.objective.model_copy(update={"objective": objective, "times": times}),
            "net": config.net.model_copy(update={"net": net, "size": size, "width": width, "depth": depth}),
            "train": config.train.model_copy(update={"batch": batch, "lr": lr}),
            "condition": _condition(config, data),
        }
    )


def _condition(config: Config, data: DataSpec) -> ConditionConfig:
    """Decide on the condition of a network and its dropout; InputError where data or coupling do not allow it."""
    condition, drop = config.condition.condition, config.condition.cond_drop
    columns, paired = len(data.feature_groups), config.path.coupling != "independent"
    if condition == "auto" and config.net.net == OWN:
        condition = "none"  # which need not know what to do with one
    elif condition == "auto":
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


def _path(config: Config, own: OwnParts) -> tuple[Path, Schedule]:
    """Build the path of a configuration, and its schedule: that of the time law where a path has none of its own."""
    from pushforward.path import PATHS
    from pushforward.schedule import SCHEDULES
    from pushforward.source import SOURCES

    section = config.path
    schedule = own.schedule or make(SCHEDULES, section.schedule, "schedule")
    source = own.source or make(SOURCES, section.source, "source")
    if own.path is not None:
        return own.path, own.path.affine_schedule() if own.path.predictions else schedule
    path = cast("Path", Spec.parse(section.path, "path").build(PATHS, "path", {"schedule": schedule, "source": source}))
    if not path.predictions and section.schedule != PathConfig().schedule:
        raise InputError(f"--path {section.path}: has no schedule; leave out --schedule {section.schedule}")
    return path, schedule


def components(config: Config, data: DataSpec, own: OwnParts = OwnParts()) -> Components:  # noqa: B008  (frozen)
    """Build what a network is trained with: path, objective, coupling, time law and the draw of conditions.

    ``own`` has the parts that the configuration calls so. InputError for what cannot be combined, or is not for such
    data (see `resolve`).
    """
    import torch

    from pushforward.condition import LabelDropout, RandomMask, unconditional
    from pushforward.coupling import COUPLINGS

    config, own = resolve(config, data), own.fitting(config)
    (path, schedule), drop = _path(config, own), config.condition.cond_drop
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
        _objective(config, path, own.objective),
        own.coupling or make(COUPLINGS, config.path.coupling, "coupling", {"space": path.space}),
        _times(config.objective.times, schedule, own.times),
        draws[config.condition.condition],
    )
    # pairs of a Schrodinger bridge on another path have the flow of no bridge
    sigma = getattr(parts.coupling, "bridge", None)
    if sigma is not None and getattr(path, "sigma", None) != sigma:
        raise InputError(
            f"--coupling {config.path.coupling}: couples the ends of a Brownian bridge, which is the path then: give "
            f"--path bridge:{sigma:g}, too"
        )
    try:
        parts.field_of(torch.nn.Identity())  # refused on this path whatever the network
    except ValueError as error:
        raise InputError(f"--field {config.objective.field} --predicts {config.objective.predicts}: {error}") from error
    return parts


def network(config: Config, data: DataSpec, own: OwnParts = OwnParts()) -> nn.Module:  # noqa: B008  (frozen)
    """Build the network of a run, with weights that are a function of the seed alone; or a copy of its author's own.

    The data and the configuration decide its every layer, so that training, loading and evaluation cannot disagree.
    InputError for one that is not for such data, or does not fit into memory.
    """
    import torch

    from pushforward.nn import Classes, ColumnPriors, Scalar, SpatialCondition, TwoHeads, sized
    from pushforward.path import prediction_coefficients
    from pushforward.tensor import initialized

    config, own = resolve(config, data), own.fitting(config)
    if own.net is not None:
        return copy.deepcopy(own.net)
    kinds: dict[str, Conditions] = {
        "none": {},
        "labels": {"label": Classes(data.classes)},
        "columns": {"columns": SpatialCondition(math.prod(data.shape))},
    }
    width, depth = config.net.width, config.net.depth
    assert width is not None and depth is not None  # resolved
    field, predicts, path = config.objective.field, config.objective.predicts, _path(config, own)[0]
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
