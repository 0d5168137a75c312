"""A residual multilayer perceptron with adaptive normalisation, for vectors and small images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.nn.embed import Condition, Conditions, FourierTime, Given
from pushforward.nn.grid import require

__all__ = ["MLP"]

WAVES = 8  # frequencies of an entry


class Block(nn.Module):
    """``h + gate * W_2 silu(W_1 (norm(h) (1 + scale) + shift))``, all three linear in the embedding of time."""

    def __init__(self, width: int, conditions: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(conditions, 3 * width)
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        scale, shift, gate = self.modulate(c).chunk(3, 1)
        inner = self.up(torch.addcmul(shift, self.norm(h), 1 + scale))
        return torch.addcmul(h, gate + 1, self.down(nn.functional.silu(inner)))


class MLP(nn.Module):
    """``net(x, t, y) -> p`` of the shape of ``x`` ``[n, *shape]``; the output is exactly 0 at initialisation.

    Residual blocks of ``width`` hidden units, conditioned on time and ``conditions`` (`Condition`) by adaptive layer
    normalisation (Peebles & Xie 2023). Of entries that are ``waved``, by their number, it also sees
    ``cos(2 pi f x_i)`` and ``sin(2 pi f x_i)`` for `WAVES` frequencies f of each, learned from N(0, 1): what changes
    within a fraction of a unit, as the columns of a table do, is then learned early (Gorishniy et al. 2022). Raises
    InputError for points, times or conditions of another shape.
    """

    waved: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 256,
        depth: int = 4,
        conditions: Conditions | None = None,
        waved: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        embedding = max(32, width // 2)  # every row has its own time, so this width is paid per row
        self.time = FourierTime(embedding)
        self.condition = Condition(conditions, embedding)
        d = math.prod(shape)
        self.register_buffer("waved", torch.tensor(list(waved), dtype=torch.int64), persistent=False)
        self.frequencies = nn.Parameter(torch.randn(len(waved), WAVES)) if waved else None
        self.enter = nn.Linear(d + self.condition.channels * math.prod(shape[1:]), width)
        # a layer of its own, so that straight lines do not begin the weaker the more waves there are
        self.waves = nn.Linear(2 * WAVES * len(waved), width, bias=False) if waved else None
        self.blocks = nn.ModuleList(Block(width, embedding) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, d)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Float[Tensor, "n *d"], t: Float[Tensor, "n"], y: Given = None) -> Float[Tensor, "n *d"]:
        require(x, t, self.shape)
        c, z = self.condition(self.time(t), x, y)
        c, h = nn.functional.silu(c), self.enter(z.flatten(1))
        if self.waves is not None and self.frequencies is not None:
            angle = 2 * math.pi * x.flatten(1).index_select(1, self.waved)[:, :, None] * self.frequencies
            h = h + self.waves(torch.cat([angle.cos(), angle.sin()], 2).flatten(1))
        for block in self.blocks:
            h = block(h, c)
        return cast(Tensor, self.leave(nn.functional.silu(self.norm(h)))).reshape(x.shape)
