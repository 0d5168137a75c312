"""Nearest of k noises: shorter ways at no cost, and a source that is no longer quite the source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.coupling.base import Coupling, check_rows
from pushforward.space import EUCLIDEAN, Space
from pushforward.tensor import Conditioning, Points, squared_norm

__all__ = ["Immiscible"]


@final
@dataclass(frozen=True)
class Immiscible:
    """Each data point takes the nearest of ``k`` source draws: its own, and those of k - 1 other rows at random.

    ``x_0 = argmin_{c in C} |c - x_1|^2``, the k points of C independent draws of the source, whichever it is. No
    assignment, O(k n d). What is kept: x1 and y, exactly and in order.

    **The source is not kept.** Training sees noise drawn towards the data, samplers start from the source itself: for
    data far out in a direction, the noise's component along it is the largest of k normals (k = 4: mean 1.03, variance
    0.49), the others are untouched. In d dimensions that is one direction of d, and often forgiven in images; in two it
    is not, nor with conditions, whose sources it moves apart. `OptimalTransport` and `Semidiscrete` have no such bias.

    Args: ``k``; ``space`` of the points, whose geodesic distance counts.

    Li et al. 2024, "Immiscible diffusion"; the nearest-of-k variant, 2025.
    """

    k: int = 4
    space: Space = field(default=EUCLIDEAN, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if self.k < 1 or self.k != int(self.k):
            raise ValueError(f"Immiscible(k={self.k}): write a whole number of noises per data point, from 1 up")

    def _distance(self, x0: Points, x1: Points) -> Float[Tensor, "n"]:
        """How far the points of each row are apart, in a measure that orders them as the distance does."""
        if self.space.flat:
            return squared_norm(x0 - x1)
        return torch.func.vmap(lambda a, b: self.space.distance(a[None], b[None])[0, 0])(x0, x1)

    def __call__(
        self, x0: Points, x1: Points, y: Conditioning, generator: torch.Generator
    ) -> tuple[Points, Points, Any]:
        """The batch with its source points chosen."""
        check_rows(x0, x1, y)
        nearest, best = x0, self._distance(x0, x1)
        others = torch.randperm(max(0, len(x0) - 1), generator=generator, device=generator.device)[: self.k - 1]
        for shift in (others + 1).tolist():
            candidate = x0.roll(shift, 0)
            distance = self._distance(candidate, x1)
            closer = distance < best
            nearest = torch.where(closer.reshape(-1, *[1] * (x0.ndim - 1)), candidate, nearest)
            best = torch.minimum(best, distance)
        return nearest, x1, y


COUPLINGS: dict[str, Callable[..., Coupling]] = {"immiscible": Immiscible}
