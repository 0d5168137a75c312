"""A U-Net with residual blocks and self-attention where it is coarse, for signals, images and volumes of any size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.errors import InputError
from pushforward.nn.attention import Attention
from pushforward.nn.embed import Condition, ConditionInput, Conditions, FourierTime
from pushforward.nn.grid import crop, grid_of, halvings, pad, require
from pushforward.nn.sizes import NetSize, NetSpec
from pushforward.tensor import NetTimes

if TYPE_CHECKING:
    from pushforward.nn.tabular import ColumnPriors

__all__ = ["NETS", "UNet"]

POSITIONS = 64  # at most, on the coarsest level: those of an image of 8 x 8


def _convolution(rank: int, inside: int, outside: int, size: int, stride: int = 1) -> nn.Module:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    return kind(inside, outside, size, stride, padding=size // 2)


def _norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """At most 32 groups, of at least four channels each: a group of one would lose the level of its channel."""
    return nn.GroupNorm(math.gcd(32, channels // 4), channels, affine=affine)


def _zeroed(layer: nn.Module) -> nn.Module:
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class SelfAttention(nn.Module):
    """``h + attention(norm(h))`` between all positions of the space; the identity at initialisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.attention = _norm(channels), Attention(channels)
        _zeroed(self.attention.proj_out)

    def forward(self, h: Tensor) -> Tensor:
        tokens = self.norm(h).flatten(2).transpose(1, 2)
        return h + cast(Tensor, self.attention(tokens)).transpose(1, 2).reshape(h.shape)


class UNetBlock(nn.Module):
    """``skip(h) + W_2 silu(norm(W_1 silu(norm(h))) (1 + scale) + shift)``, then attention if asked.

    Scale and shift are linear in the embedding of time and condition; ``W_2`` is 0 at initialisation.
    """

    def __init__(self, rank: int, inside: int, outside: int, embedding: int, attend: bool) -> None:
        super().__init__()
        self.norm_in, self.norm_out = _norm(inside), _norm(outside, affine=False)
        self.conv_in = _convolution(rank, inside, outside, 3)
        self.conv_out = _zeroed(_convolution(rank, outside, outside, 3))
        self.modulate = nn.Linear(embedding, 2 * outside)
        self.skip = nn.Identity() if inside == outside else _convolution(rank, inside, outside, 1)
        self.attend = SelfAttention(outside) if attend else nn.Identity()

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        scale, shift = self.modulate(c)[(...,) + (None,) * (h.ndim - 2)].chunk(2, 1)
        inner = self.norm_out(self.conv_in(nn.functional.silu(self.norm_in(h))))
        inner = self.conv_out(nn.functional.silu(torch.addcmul(shift, inner, 1 + scale)))
        return cast(Tensor, self.attend(self.skip(h) + inner))


class UNet(nn.Module):
    """``net(x, t, y) -> p`` of the shape of ``x`` ``[n, channels, *space]``; the output is exactly 0 at initialisation.

    Level i has ``width * multipliers[i]`` channels at ``1 / 2^i`` of the resolution, and ``depth`` residual blocks on
    the way down and as many on the way up, each of which sees the output of its opposite. Levels of at most
    ``attention`` positions have self-attention, whose cost is quadratic in them. Space has one to three axes of any
    sizes: they are padded inside to a multiple of ``2^(levels - 1)`` and cropped back.

    Conditioned on time and ``conditions`` (`Condition`) by scale and shift; pictures join the channels of ``x``. Raises
    InputError for points, times or conditions of another shape, and a width that is not a multiple of 4.
    Reference: Ronneberger et al. 2015; Ho et al. 2020; Dhariwal & Nichol 2021.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 64,
        depth: int = 2,
        multipliers: tuple[int, ...] = (1, 2, 2),
        attention: int = 256,
        conditions: Conditions | None = None,
    ) -> None:
        super().__init__()
        space = grid_of(shape, "a U-Net")
        if width < 4 or width % 4 or depth < 1 or not multipliers or min(multipliers) < 1:
            sizes = f"width {width}, depth {depth} and multipliers {multipliers}"
            raise InputError(f"a U-Net needs a width that is a multiple of 4 and at least one block, not {sizes}")
        self.shape, self.multiple, rank = tuple(shape), 2 ** (len(multipliers) - 1), len(space)
        widths, embedding = [width * m for m in multipliers], 4 * width
        attends = [
            math.prod(math.ceil(s / self.multiple) * self.multiple // 2**i for s in space) <= attention
            for i in range(len(widths))
        ]
        self.time = FourierTime(embedding)
        self.condition = Condition(conditions, embedding)
        self.proj_in = _convolution(rank, shape[0] + self.condition.channels, width, 3)
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))

        # the way down: each level halves the space first, the uppermost excepted
        channels = width
        for level, (wide, attend) in enumerate(zip(widths, attends, strict=True)):
            self.shrink.append(_convolution(rank, channels, channels, 3, stride=2) if level else nn.Identity())
            inside = [channels] + [wide] * (depth - 1)
            self.down.append(nn.ModuleList(UNetBlock(rank, i, wide, embedding, attend) for i in inside))
            channels = wide
        self.middle = nn.ModuleList(
            UNetBlock(rank, channels, channels, embedding, attends[-1] and not i) for i in range(2)
        )
        # the way up: every block sees the output of the one opposite, so that its input is wider by as much
        for level, (wide, attend) in reversed(list(enumerate(zip(widths, attends, strict=True)))):
            inside = [channels] + [wide] * (depth - 1)
            self.up.append(nn.ModuleList(UNetBlock(rank, i + wide, wide, embedding, attend) for i in inside))
            channels = widths[max(level - 1, 0)]
            larger = nn.Sequential(nn.Upsample(scale_factor=2), _convolution(rank, wide, channels, 3))
            self.grow.append(larger if level else nn.Identity())
        self.proj_out = nn.Sequential(_norm(channels), nn.SiLU(), _zeroed(_convolution(rank, channels, shape[0], 3)))

    def forward(
        self, x: Float[Tensor, "n c *space"], t: NetTimes, y: ConditionInput = None
    ) -> Float[Tensor, "n c *space"]:
        require(x, t, self.shape)
        c, z = self.condition(self.time(t), x, y)
        c, h = nn.functional.silu(c), self.proj_in(pad(z, self.multiple))
        skips: list[Tensor] = []
        for shrink, blocks in zip(self.shrink, self.down, strict=True):
            h = shrink(h)
            for block in cast(nn.ModuleList, blocks):
                h = block(h, c)
                skips.append(h)
        for block in self.middle:
            h = block(h, c)
        for blocks, grow in zip(self.up, self.grow, strict=True):
            for block in cast(nn.ModuleList, blocks):
                h = block(torch.cat([h, skips.pop()], 1), c)
            h = grow(h)
        return crop(self.proj_out(h), self.shape[1:])


def _make(
    shape: tuple[int, ...], size: NetSize, conditions: Conditions | None, marginals: ColumnPriors | None
) -> nn.Module:
    """A U-Net with as many levels as leave 64 positions on the coarsest."""
    levels = max(2, 1 + halvings(grid_of(shape, "a U-Net"), POSITIONS))
    return UNet(shape, size.width, size.depth, (1, *[2] * (levels - 1)), conditions=conditions)


NETS: dict[str, NetSpec] = {
    "unet": NetSpec(
        make=_make,
        sizes={"tiny": NetSize(16, 1), "small": NetSize(32, 1), "base": NetSize(64, 2), "large": NetSize(128, 2)},
        size="tiny",
    )
}
