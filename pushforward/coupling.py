"""Couplings: which source point travels to which data point.

A coupling is a plain function ``(x0, x1, y, generator) -> (x0, x1, y)`` on a batch; conditions travel with their data.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.tensor import Points

__all__ = ["COUPLINGS", "Coupling", "independent"]

Coupling = Callable[
    [Tensor, Tensor, "Tensor | None", torch.Generator],
    "tuple[Tensor, Tensor, Tensor | None]",
]


def independent(
    x0: Points, x1: Points, y: Tensor | None, generator: torch.Generator
) -> tuple[Points, Points, Tensor | None]:
    """``q(x_0) q(x_1)``: the pairs as they were drawn."""
    return x0, x1, y


COUPLINGS: dict[str, Coupling] = {
    "independent": independent,
}
