"""Networks: any ``nn.Module`` called as ``net(x, t, y)`` will do; these are ours, told what to make by `Condition`."""

from pushforward.nn.dit import DiT
from pushforward.nn.embed import Classes, Condition, Conditions, FourierTime, Given, Picture, Vector
from pushforward.nn.foreign import FromDiffusers
from pushforward.nn.heads import Scalar, Twice
from pushforward.nn.logits import Logits
from pushforward.nn.mlp import MLP
from pushforward.nn.sizes import NETS, SIZES, count_parameters, flops, sized
from pushforward.nn.tabular import Laws, Tabular
from pushforward.nn.unet import UNet

__all__ = [
    "MLP",
    "NETS",
    "SIZES",
    "Classes",
    "Condition",
    "Conditions",
    "DiT",
    "FourierTime",
    "FromDiffusers",
    "Given",
    "Laws",
    "Logits",
    "Picture",
    "Scalar",
    "Tabular",
    "Twice",
    "UNet",
    "Vector",
    "count_parameters",
    "flops",
    "sized",
]
