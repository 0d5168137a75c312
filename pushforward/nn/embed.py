"""Embeddings of time."""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["FourierTime"]


class FourierTime(nn.Module):
    """Time as ``[cos(2 pi f t), sin(2 pi f t)]`` through a two-layer network, ``[n] -> [n, width]``.

    Frequencies run from 1/8 to 16 turns over the unit interval, spaced geometrically: enough to tell times a hundredth
    apart, smooth enough not to invent structure between them (Tancik et al. 2020).
    """

    frequencies: Tensor

    def __init__(self, width: int, features: int = 32) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 ** torch.linspace(-3, 4, features // 2), persistent=False)
        self.net = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Float[Tensor, "n"]) -> Float[Tensor, "n width"]:
        # angles in the dtype of t (float32 or wider): in bfloat16 neighbouring times would be the same time
        angle = 2 * math.pi * t[:, None] * self.frequencies.to(t)
        weight = next(self.net.parameters())
        return cast(Tensor, self.net(torch.cat([angle.cos(), angle.sin()], 1).to(weight.dtype)))
