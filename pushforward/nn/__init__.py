"""Networks ``net(x, t, y)``: any ``nn.Module`` called so will do; these are ours, conditioned by `Condition`."""

from __future__ import annotations

from typing import Any

from torch import nn

from pushforward.errors import InputError, nearest
from pushforward.nn.dit import DiT
from pushforward.nn.embed import (
    Classes,
    Condition,
    ConditionInput,
    Conditions,
    FourierTime,
    SpatialCondition,
    Vector,
    two_times,
)
from pushforward.nn.foreign import FromDiffusers
from pushforward.nn.heads import Scalar, TwoHeads
from pushforward.nn.logits import Logits
from pushforward.nn.mlp import MLP
from pushforward.nn.sizes import SIZES, NetSize, NetSpec, count_parameters, flops
from pushforward.nn.tabular import ColumnPriors, Tabular
from pushforward.nn.unet import UNet
from pushforward.registry import merged

__all__ = [
    "MLP",
    "NETS",
    "SIZES",
    "Classes",
    "ColumnPriors",
    "Condition",
    "ConditionInput",
    "Conditions",
    "DiT",
    "FourierTime",
    "FromDiffusers",
    "Logits",
    "NetSize",
    "NetSpec",
    "Scalar",
    "SpatialCondition",
    "Tabular",
    "TwoHeads",
    "UNet",
    "Vector",
    "count_parameters",
    "flops",
    "net_spec",
    "sized",
    "two_times",
]


def net_spec(kind: str) -> NetSpec:
    """What is said of a network of `NETS`; InputError for an unknown name.

    A user's entry may be a class or function ``(shape, width, depth, conditions) -> module`` alone: it comes in the
    sizes of `MLP`.
    """
    if kind not in NETS:
        raise InputError(nearest(kind, NETS, "network"))
    entry: Any = NETS[kind]
    if isinstance(entry, NetSpec):
        return entry
    return NetSpec(
        lambda shape, size, conditions, _: entry(shape, size.width, size.depth, conditions), NETS["mlp"].sizes
    )


def sized(
    kind: str,
    shape: tuple[int, ...],
    size: str = "small",
    conditions: Conditions | None = None,
    width: int | None = None,
    depth: int | None = None,
    marginals: ColumnPriors | None = None,
) -> nn.Module:
    """Build a network of `NETS` for points of ``shape`` in one of the `SIZES`, each several times that before it.

    ``width`` and ``depth`` are those of the size, if not given. A U-Net halves the space until 64 positions are left, a
    transformer's patches double until it has few enough tokens; ``marginals`` are those of the columns for a tabular
    network. InputError for an unknown name, and for a U-Net or a transformer of vectors.
    """
    spec = net_spec(kind)
    if size not in spec.sizes:
        raise InputError(nearest(size, spec.sizes, "size"))
    named = spec.sizes[size]
    return spec.make(shape, NetSize(width or named.width, depth or named.depth, named.tokens), conditions, marginals)


NETS: dict[str, NetSpec] = merged("nn", "NETS")
