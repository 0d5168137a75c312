"""A diffusion transformer: patches of a signal, image or volume of any size as tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.errors import InputError
from pushforward.nn.attention import Attention
from pushforward.nn.embed import Condition, ConditionInput, Conditions, FourierTime
from pushforward.nn.grid import crop, grid_of, halvings, pad, positions, require
from pushforward.nn.sizes import NetSize, NetSpec, inverse_width
from pushforward.tensor import NetTimes

if TYPE_CHECKING:
    from pushforward.nn.tabular import ColumnPriors

__all__ = ["NETS", "DiT"]


class DiTBlock(nn.Module):
    """``h + gate_1 attention(a_1(h))``, then ``h + gate_2 W_2 silu(W_1 a_2(h))``, with ``a(h) = norm(h) (1 + s) + b``.

    Gates, scales and shifts are linear in the embedding and 0 at initialisation: the block begins as the identity.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.modulate = nn.Linear(embedding, 6 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = self.modulate(c)[:, None].chunk(6, 2)
        h = torch.addcmul(h, gate_1, self.attention(torch.addcmul(shift_1, self.norm(h), 1 + scale_1)))
        return torch.addcmul(h, gate_2, self.mlp(torch.addcmul(shift_2, self.norm(h), 1 + scale_2)))


class DiT(nn.Module):
    """``net(x, t, y) -> p`` of the shape of ``x`` ``[n, channels, *space]``; the output is exactly 0 at initialisation.

    Cubes of side ``patch`` become tokens of ``width`` features, told their place by sines and cosines, and pass
    ``depth`` blocks of self-attention with adaptive layer normalisation that begin as the identity. Space has one to
    three axes of any sizes: they are padded inside to a multiple of ``patch`` and cropped back.

    Conditioned on time and ``conditions`` (`Condition`); pictures join the channels of ``x``. Raises InputError for
    points, times or conditions of another shape. Reference: Peebles & Xie 2023.
    """

    places: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 256,
        depth: int = 6,
        patch: int = 2,
        conditions: Conditions | None = None,
    ) -> None:
        super().__init__()
        space = grid_of(shape, "a transformer")
        if patch < 1 or depth < 1:
            raise InputError(f"a transformer needs a patch and a depth of at least 1, not {patch} and {depth}")
        self.shape, self.patch = tuple(shape), patch
        self.grid = tuple(math.ceil(s / patch) for s in space)
        self.time = FourierTime(width)
        self.condition = Condition(conditions, width)
        self.register_buffer("places", positions(self.grid, width), persistent=False)
        self.proj_in = nn.Linear((shape[0] + self.condition.channels) * patch ** len(space), width)
        self.blocks = nn.ModuleList(DiTBlock(width, width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate, self.proj_out = nn.Linear(width, 2 * width), nn.Linear(width, shape[0] * patch ** len(space))
        for p in (*self.modulate.parameters(), *self.proj_out.parameters()):
            nn.init.zeros_(p)

    def forward(
        self, x: Float[Tensor, "n c *space"], t: NetTimes, y: ConditionInput = None
    ) -> Float[Tensor, "n c *space"]:
        require(x, t, self.shape)
        c, z = self.condition(self.time(t), x, y)
        c, h = nn.functional.silu(c), self.proj_in(self.tokens(pad(z, self.patch))) + self.places
        for block in self.blocks:
            h = block(h, c)
        scale, shift = self.modulate(c)[:, None].chunk(2, 2)
        p = self.proj_out(torch.addcmul(shift, self.norm(h), 1 + scale))
        return crop(self.points(p), self.shape[1:])

    def tokens(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n count features"]:
        """Patches in row-major order of the grid, each ``[channels, patch, ..., patch]`` in one row."""
        rank = len(self.grid)
        cut = x.reshape(*x.shape[:2], *[size for g in self.grid for size in (g, self.patch)])
        places, inside = range(2, 2 + 2 * rank, 2), range(3, 3 + 2 * rank, 2)
        return cut.permute(0, *places, 1, *inside).flatten(1 + rank).flatten(1, rank)

    def points(self, tokens: Float[Tensor, "n count features"]) -> Float[Tensor, "n c *space"]:
        """The inverse of `tokens`."""
        rank = len(self.grid)
        cut = tokens.reshape(tokens.shape[0], *self.grid, self.shape[0], *[self.patch] * rank)
        pairs = [axis for i in range(rank) for axis in (1 + i, 2 + rank + i)]
        whole = cut.permute(0, 1 + rank, *pairs)
        return whole.reshape(*whole.shape[:2], *[g * self.patch for g in self.grid])


def _make(
    shape: tuple[int, ...], size: NetSize, conditions: Conditions | None, marginals: ColumnPriors | None
) -> nn.Module:
    """A transformer whose patches double until few enough tokens are left."""
    patch = 2 ** halvings(grid_of(shape, "a transformer"), size.tokens)
    return DiT(shape, size.width, size.depth, patch, conditions)


NETS: dict[str, NetSpec] = {
    "dit": NetSpec(
        make=_make,
        sizes={
            "tiny": NetSize(128, 4, tokens=64),
            "small": NetSize(256, 5, tokens=64),
            "base": NetSize(384, 10, tokens=64),
            "large": NetSize(768, 12, tokens=256),
        },
        size="tiny",  # what learns most in the first hour of a CPU
        batch=64,
        learning_rate=inverse_width(0.256),
        suits="pictures",
    )
}
