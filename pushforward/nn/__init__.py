"""Networks ``net(x, t, y)``: any ``nn.Module`` called so will do; these are ours, conditioned by `Condition`."""

from __future__ import annotations

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
    "sized",
    "two_times",
]


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
    if kind not in NETS:
        raise InputError(nearest(kind, NETS, "network"))
    spec = NETS[kind]
    if size not in spec.sizes:
        raise InputError(nearest(size, spec.sizes, "size"))
    named = spec.sizes[size]
    return spec.make(shape, NetSize(width or named.width, depth or named.depth, named.tokens), conditions, marginals)


NETS: dict[str, NetSpec] = merged("nn", "NETS")
