"""A classifier of noisy points, for classifier guidance."""

from __future__ import annotations

import math
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Logits"]


class Logits(nn.Module):
    """``(x, t) -> logits [n, classes]``: any network of points of ``shape``, and a linear layer on what it answers."""

    def __init__(self, body: nn.Module, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(math.prod(shape), classes)

    def forward(self, x: Float[Tensor, "n *d"], t: Float[Tensor, "n"]) -> Float[Tensor, "n classes"]:
        return cast(Tensor, self.head(self.body(x, t).flatten(1)))
