"""From a configuration to the parts of a run: the crossroads of all rooms."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pushforward.config.sections import ConditionConfig, Config, make
from pushforward.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from pushforward.condition import ConditionDraw
    from pushforward.coupling import Coupling
    from pushforward.field import Field
    from pushforward.nn import Conditions
    from pushforward.objective import Objective
    from pushforward.path import Affine, Path
    from pushforward.tensor import GaussianMixture, Time
    from pushforward.times import TimeLaw

__all__ = ["Components", "build", "resolve"]

SMALL = 256  # entries of a picture that a plain perceptron serves best
MAX_LR = 1e-2  # learning rate of the narrowest
# of tables, where what is decided last, to a hundredth of a column's spread, counts
TABLE_TIMES = "logit_normal:1.5,2.2"


@dataclass(frozen=True, eq=False)
class Components:
    """What a configuration builds: the network, and the rooms it is trained with."""

    net: nn.Module
    path: Path
    kind: str
    predicts: str
    objective: Objective
    coupling: Coupling
    times: TimeLaw
    draw_condition: ConditionDraw

    def field_of(self, net: nn.Module) -> Field:
        """The field of a network of this make: the one in training, or its average."""
        from pushforward.field import Energy, Joint, Learned, Preconditioned

        if self.kind == "preconditioned":
            return Preconditioned(net, self.path)
        if self.kind == "energy":
            return Energy(net, self.path, self.predicts)
        if self.kind == "joint":
            return Joint(net, self.path, (self.predicts, "score"))
        return Learned(net, self.path, self.predicts)


def _coupling(spec: str) -> Coupling:
    """The registry's coupling, or another of its kind with the numbers of ``name:number,number``."""
    from pushforward.coupling import COUPLINGS

    name, colon, arguments = spec.partition(":")
    if not colon:
        return COUPLINGS[name]()
    kind: Any = COUPLINGS[name]
    if not hasattr(kind, "__dataclass_fields__"):
        raise InputError(f"coupling {spec!r}: takes no arguments, write {name}")
    try:
        return cast("Coupling", kind(*[int(a) if a.isdecimal() else float(a) for a in arguments.split(",") if a]))
    except (TypeError, ValueError) as error:
        raise InputError(f"coupling {spec!r}: {error}") from error


def _objective(config: Config, path: Path) -> Objective:
    """The registry's objective with the weighting asked for; InputError where path or coupling do not allow it."""
    import torch

    from pushforward.objective import OBJECTIVES, WEIGHTS, StableTarget

    objective: Any = OBJECTIVES[config.objective.objective]()
    if isinstance(objective, StableTarget) and config.path.coupling != "independent":
        raise InputError(
            f"objective {config.objective.objective!r} averages over independent pairs: leave out --coupling "
            f"{config.path.coupling}, or take --objective flow"
        )
    name, _, arguments = config.objective.weighting.partition(":")
    numbers = [float(a) for a in arguments.split(",") if arguments]

    def weighting(t: Time, path: Path, quantity: str, like: Tensor) -> Tensor:
        return WEIGHTS[name](*numbers)(t, path, quantity, like)

    try:
        for quantity in objective.quantities:  # asked once, so that what the path does not have is refused now
            weighting(0.5, path, quantity, torch.zeros(1, 1))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"--objective {config.objective.objective} with --weighting {config.objective.weighting}: {error}"
        ) from error
    return cast("Objective", dataclasses.replace(objective, weighting=weighting))


def resolve(config: Config, shape: tuple[int, ...], classes: int = 0, feature_groups: tuple[int, ...] = ()) -> Config:
    """The configuration with everything written out that it leaves to the data: nothing depends on a default any more.

    For rows of ``shape`` with ``classes`` classes (0: no labels), cut into ``feature_groups`` if they are those of a
    table. InputError for conditions that the data do not have.
    """
    from pushforward.nn import SIZES

    net, told, paired = config.net.net, config.condition.condition, config.path.coupling != "independent"
    times = config.objective.times
    if net == "auto":
        net = "dit" if len(shape) > 1 and math.prod(shape) > SMALL else "tabular" if feature_groups else "mlp"
    if times == "auto":
        times = TABLE_TIMES if feature_groups else "uniform"
    if told == "auto":
        free = not paired and config.objective.objective != "marginal"
        told = "labels" if classes > 1 else "columns" if len(feature_groups) > 1 and free else "none"
    if told == "labels" and classes < 2:
        raise InputError("--condition labels: these data have no classes; leave it out, or give labelled data")
    if told == "columns" and len(feature_groups) < 2:
        raise InputError("--condition columns: for tables of two columns and more; leave it out")
    if told == "columns" and paired:
        raise InputError(
            f"--condition columns: --coupling {config.path.coupling} pairs rows without a look at their columns, so "
            "that the source would not be the same for all; leave out one of them"
        )
    size = config.net.size
    if size == "auto":  # of pictures, what learns most in the first hour of a CPU
        size = "tiny" if net in ("unet", "dit") else "small"
    dial, drop = SIZES[size][net], config.condition.drop
    width, depth = config.net.width or dial.width, config.net.depth or dial.depth
    batch, lr = 256, 1e-3
    if net in BATCH_AND_RATE:
        batch, rate = BATCH_AND_RATE[net]
        lr = min(MAX_LR, rate / width)
    return config.model_copy(
        update={
            "objective": config.objective.model_copy(update={"times": times}),
            "net": config.net.model_copy(update={"net": net, "size": size, "width": width, "depth": depth}),
            "train": config.train.model_copy(
                update={"batch": config.train.batch or batch, "lr": config.train.lr or lr},
            ),
            "condition": ConditionConfig(condition=told, drop=DEFAULT_DROP[told] if drop is None else drop),
        }
    )


def _network(
    config: Config, path: Affine, shape: tuple[int, ...], classes: int, marginals: Sequence[GaussianMixture]
) -> nn.Module:
    """The network with weights from the seed; InputError for one that does not fit into memory."""
    import torch

    from pushforward.nn import Classes, ColumnPriors, Scalar, SpatialCondition, TwoHeads, sized
    from pushforward.path import prediction_coefficients
    from pushforward.tensor import generator

    kinds: dict[str, Conditions] = {
        "none": {},
        "labels": {"label": Classes(classes)},
        "columns": {"columns": SpatialCondition(math.prod(shape))},
    }
    net, width, depth = config.net.net, config.net.width, config.net.depth
    assert width is not None and depth is not None  # resolved
    # other fields do not read the network's answer as a prediction at x and t
    field, predicts = config.objective.field, config.objective.predicts
    known = (
        ColumnPriors(marginals, lambda t: prediction_coefficients(path, t, predicts))
        if marginals and field == "learned"
        else None
    )
    # weights come from torch's global stream, which is put back as it was
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator(config.train.seed, "weights").get_state())
        try:
            # less than the network holds: refused at once, where layer after layer would fill the memory first
            torch.empty(depth, width, width)
            told = kinds[config.condition.condition]
            wide = (2 * shape[0], *shape[1:]) if field == "joint" else shape
            body = sized(net, wide, config.net.size, told, width, depth, known)
            return Scalar(body) if field == "energy" else TwoHeads(body) if field == "joint" else body
        except (MemoryError, RuntimeError) as error:
            size = f"width {width} and depth {depth}"
            raise InputError(f"a network of {size} for rows of shape {shape} does not fit into memory") from error


def build(
    config: Config, shape: tuple[int, ...], classes: int = 0, marginals: Sequence[GaussianMixture] = ()
) -> Components:
    """The parts of a run for rows of ``shape`` and ``classes`` (see `resolve`), and ``marginals`` of the pieces of a
    table.

    Weights are a function of the seed. InputError for what cannot be combined.
    """
    from pushforward.condition import LabelDropout, RandomMask, unconditional
    from pushforward.path import Affine
    from pushforward.schedule import SCHEDULES
    from pushforward.source import SOURCES
    from pushforward.tensor import generator
    from pushforward.times import TIMES

    feature_groups = tuple(law.width for law in marginals)
    config = resolve(config, shape, classes, feature_groups)
    path = Affine(
        make(SCHEDULES, config.path.schedule, "schedule"),
        make(SOURCES, config.path.source, "source"),
    )
    net = _network(config, path, shape, classes, marginals)
    objective = _objective(config, path)
    name, _, arguments = config.objective.times.partition(":")
    try:
        law = TIMES[name](*[float(a) for a in arguments.split(",") if arguments])
        law(1, generator(0), path.schedule)
    except (TypeError, ValueError) as error:
        raise InputError(f"time law {config.objective.times!r}: {error}") from error
    told, drop = config.condition.condition, config.condition.drop
    assert drop is not None  # resolved
    parts = Components(
        net,
        path,
        config.objective.field,
        config.objective.predicts,
        objective,
        _coupling(config.path.coupling),
        lambda n, generator: law(n, generator, path.schedule),
        LabelDropout(drop)
        if told == "labels"
        else RandomMask(drop, feature_groups)
        if told == "columns"
        else unconditional,
    )
    try:
        parts.field_of(net)
    except ValueError as error:
        raise InputError(f"--field {config.objective.field} --predicts {config.objective.predicts}: {error}") from error
    return parts


DEFAULT_DROP = {"none": 1.0, "labels": 0.1, "columns": 0.8}  # share of rows that are told nothing
BATCH_AND_RATE = {"tabular": (512, 1.28), "dit": (64, 0.256)}  # rows of a batch, and peak learning rate times width
