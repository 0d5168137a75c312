"""Points on a grid: the check of a network's input, padding to a multiple and back, where positions stand."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.errors import InputError

__all__ = ["crop", "grid_of", "halvings", "pad", "positions", "require"]


def grid_of(shape: tuple[int, ...], network: str) -> tuple[int, ...]:
    """The space ``(s_1, ..., s_r)`` of points ``(channels, *space)``; InputError unless r is 1, 2 or 3."""
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise InputError(f"{network} takes points (channels, *space) with one to three axes of space, not {shape}")
    return shape[1:]


def require(x: Tensor, t: Tensor, shape: tuple[int, ...]) -> None:
    """InputError unless ``x`` is ``[n, *shape]`` and ``t`` is ``[n]``, or pairs ``[n, 2]``."""
    if x.shape[1:] != shape or t.shape not in (x.shape[:1], (x.shape[0], 2)):
        sizes = ", ".join(map(str, ["n", *shape]))
        shapes = f"x {list(x.shape)} and t {list(t.shape)}"
        raise InputError(f"this network takes points x [{sizes}] and times t [n], not {shapes}")


def halvings(space: tuple[int, ...], count: int) -> int:
    """How often all axes must be halved (rounding up) until at most ``count`` positions are left."""
    k = 0
    while math.prod(math.ceil(s / 2**k) for s in space) > max(count, 1):
        k += 1
    return k


def pad(x: Float[Tensor, "n c *space"], multiple: int) -> Float[Tensor, "n c *padded"]:
    """Repeat the border until every axis of space is a multiple, half of it on either side: `crop` undoes it.

    Repeated and not zero, because zero is a value like any other in standardised data and would draw a frame.
    """
    extra = [-s % multiple for s in reversed(x.shape[2:])]  # the last axis comes first in torch's order
    if not any(extra):
        return x
    return torch.nn.functional.pad(x, [side for e in extra for side in (e // 2, e - e // 2)], mode="replicate")


def crop(x: Float[Tensor, "n c *padded"], space: tuple[int, ...]) -> Float[Tensor, "n c *space"]:
    """The middle of ``x``, of the size that it had before `pad`."""
    for axis, size in enumerate(space, 2):
        x = x.narrow(axis, (x.shape[axis] - size) // 2, size)
    return x


def positions(grid: tuple[int, ...], width: int) -> Float[Tensor, "count width"]:
    """Sines and cosines of the place on each axis, ``[cos(f i), sin(f i)]``, in row-major order of the grid.

    The axes share the width. Frequencies run geometrically from a quarter turn over the whole axis, so that no two
    places look the same, to a quarter turn per step (Vaswani et al. 2017 with the range fitted to the axis).
    """
    waves = width // (2 * len(grid))
    if waves < 1:
        raise InputError(f"positions on {len(grid)} axes need a width of at least {2 * len(grid)}, not {width}")
    parts = []
    for axis, size in enumerate(grid):
        frequency = math.pi / 2 * torch.logspace(-math.log10(size), 0, waves) if size > 1 else torch.zeros(waves)
        angle = torch.arange(size)[:, None] * frequency
        along = torch.cat([angle.cos(), angle.sin()], 1)
        along = along.reshape(*[size if a == axis else 1 for a in range(len(grid))], 2 * waves)
        parts.append(along.expand(*grid, 2 * waves))
    table = torch.cat(parts, -1).flatten(0, -2)
    return torch.nn.functional.pad(table, (0, width - table.shape[1]))  # what three axes cannot share evenly
