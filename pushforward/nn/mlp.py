"""A residual multilayer perceptron with adaptive normalisation, for vectors and small images."""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.nn.embed import Condition, ConditionInput, Conditions, FourierTime
from pushforward.nn.grid import require
from pushforward.nn.sizes import NetSize, NetSpec
from pushforward.tensor import NetTimes

__all__ = ["MLP", "NETS"]


class MLPBlock(nn.Module):
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
    normalisation (Peebles & Xie 2023) in ``embedding`` features (default: half the width). Raises InputError for
    points, times or conditions of another shape.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 256,
        depth: int = 4,
        conditions: Conditions | None = None,
        embedding: int | None = None,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        embedding = embedding or max(32, width // 2)  # every row has its own time, so this width is paid per row
        self.time = FourierTime(embedding)
        self.condition = Condition(conditions, embedding)
        d = math.prod(shape)
        self.proj_in = nn.Linear(d + self.condition.channels * math.prod(shape[1:]), width)
        self.blocks = nn.ModuleList(MLPBlock(width, embedding) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.proj_out = nn.Linear(width, d)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Float[Tensor, "n *d"], t: NetTimes, y: ConditionInput = None) -> Float[Tensor, "n *d"]:
        require(x, t, self.shape)
        return cast(Tensor, self.proj_out(self.hidden(x, t, y))).reshape(x.shape)

    def hidden(self, x: Float[Tensor, "n *d"], t: NetTimes, y: ConditionInput, extra: Tensor | None = None) -> Tensor:
        """Compute the last hidden units ``[n, width]``; ``extra`` is added to the first."""
        c, z = self.condition(self.time(t), x, y)
        c, h = nn.functional.silu(c), self.proj_in(z.flatten(1))
        h = h if extra is None else h + extra
        for block in self.blocks:
            h = block(h, c)
        return nn.functional.silu(self.norm(h))


NETS: dict[str, NetSpec] = {
    "mlp": NetSpec(
        make=lambda shape, size, conditions, marginals: MLP(shape, size.width, size.depth, conditions),
        sizes={
            "tiny": NetSize(128, 3),
            "small": NetSize(256, 4),
            "base": NetSize(512, 6),
            "large": NetSize(1024, 8),
        },
        suits="vectors",
    )
}
