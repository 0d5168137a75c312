"""Networks: any ``nn.Module`` called as ``net(x, t, y)`` will do; these are ours."""

from pushforward.nn.embed import FourierTime
from pushforward.nn.mlp import MLP

__all__ = ["MLP", "FourierTime"]
