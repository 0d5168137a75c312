"""Networks: any ``nn.Module`` called as ``net(x, t, y)`` will do; these are ours, told what to make by `Condition`."""

from pushforward.nn.dit import DiT
from pushforward.nn.embed import Classes, Condition, ConditionInput, Conditions, FourierTime, SpatialCondition, Vector
from pushforward.nn.foreign import FromDiffusers
from pushforward.nn.heads import Scalar, TwoHeads
from pushforward.nn.logits import Logits
from pushforward.nn.mlp import MLP
from pushforward.nn.sizes import NETS, SIZES, count_parameters, flops, sized
from pushforward.nn.tabular import ColumnPriors, Tabular
from pushforward.nn.unet import UNet

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
    "Scalar",
    "SpatialCondition",
    "Tabular",
    "TwoHeads",
    "UNet",
    "Vector",
    "count_parameters",
    "flops",
    "sized",
]
