"""The laws that the pictures are about, all with closed-form answers."""

from __future__ import annotations

import math

import torch

from pushforward.oracle import MixtureField
from pushforward.path import Affine
from pushforward.source import Mixture

__all__ = ["BOX", "count", "five_modes", "oracle"]

BOX = (-3.2, 3.2, -3.2, 3.2)  # left, right, bottom, top of pictures in the plane


def count(scale: float, n: int, least: int = 2) -> int:
    """How many of something: n in the gallery, fewer in a quick look."""
    return max(least, round(scale * n))


def five_modes() -> Mixture:
    """The data: five round Gaussians on a circle in the plane, of unequal weights."""
    angle = math.pi / 2 + 2 * math.pi * torch.arange(5, dtype=torch.float64) / 5
    means = 1.9 * torch.stack([angle.cos(), angle.sin()], 1)
    weights = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15], dtype=torch.float64)
    return Mixture(means, torch.full((5,), 0.42, dtype=torch.float64), weights)


def oracle() -> MixtureField:
    """The exact marginal field of these data on the straight path from the standard normal source."""
    data = five_modes()
    return MixtureField(Affine(), data.means, data.stds, data.weights)
