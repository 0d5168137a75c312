"""What other fields than a plain prediction ask of a network: one number per point, or two answers at once."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.nn.embed import ConditionInput
from pushforward.tensor import NetTimes

__all__ = ["Scalar", "TwoHeads"]


class Scalar(nn.Module):
    """``net(x, t, y) -> <x, body(x, t, y)>``, ``[n]``: an energy from any network of points, 0 at initialisation."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Float[Tensor, "n *d"], t: NetTimes, y: ConditionInput = None) -> Float[Tensor, "n"]:
        return cast(Tensor, (x * self.body(x, t, y)).flatten(1).sum(1))


class TwoHeads(nn.Module):
    """``net(x, t, y) -> [n, 2 c, *space]``: two answers side by side, from a network of points twice as wide.

    ``body`` takes points ``[n, 2 c, *space]`` and sees ``x`` twice.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Float[Tensor, "n c *s"], t: NetTimes, y: ConditionInput = None) -> Float[Tensor, "n k *s"]:
        return cast(Tensor, self.body(torch.cat([x, x], 1), t, y))
