"""Matching objectives: regress a field's prediction on its conditional target.

``L = E |p_theta(x_t, t) - p(x_t | x_0, x_1)|^2`` for p any of velocity, score, data, noise, v. Its minimiser is the
marginal prediction ``E[p | x_t]``, because the loss differs from the marginal one by a constant (Lipman et al. 2023,
theorem 2; Vincent 2011). Losses are means over the data dimensions, so numbers compare across shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.field import Field
from pushforward.path import PREDICTIONS, Affine, Draw, check_prediction
from pushforward.tensor import Points, bcast

__all__ = ["OBJECTIVES", "Matching", "Objective", "target"]

Objective = Callable[[Field, Draw, "Tensor | None", torch.Generator], Tensor]


def target(draw: Draw, field: Field, quantity: str) -> Points:
    """The conditional value ``a x_1 + b x_0`` of a prediction on each trajectory; the velocity for any path."""
    if quantity == "velocity":
        return draw.ut
    path = field.path
    check_prediction(path, quantity)
    assert isinstance(path, Affine)
    if quantity == "data":
        return draw.x1
    if quantity == "noise":
        return draw.x0
    m, a, b = PREDICTIONS[quantity](path.schedule.at(draw.t))
    return bcast(a / m, draw.xt) * draw.x1 + bcast(b / m, draw.xt) * draw.x0


@final
@dataclass(frozen=True)
class Matching:
    """``lambda(t) |p_theta(x_t, t) - p|^2 / d`` per point, for one of the predictions; ``lambda`` is 1 by default.

    The network may predict any other quantity: the field converts. ``beta_squared`` weighs by the noise variance, the
    usual weight of denoising score matching, without which its expectation is infinite at the data end.
    """

    quantity: str
    beta_squared: bool = False

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        (prediction,) = field.evaluate((self.quantity,), draw.xt, draw.t, y)
        goal = target(draw, field, self.quantity)
        loss = torch.nn.functional.mse_loss(prediction, goal, reduction="none").flatten(1).mean(1)
        if self.beta_squared:
            assert isinstance(field.path, Affine)
            loss = loss * field.path.schedule.variance(draw.t).to(loss)
        return loss


OBJECTIVES: dict[str, Objective] = {
    "flow": Matching("velocity"),
    "score": Matching("score", beta_squared=True),
    "noise": Matching("noise"),
    "data": Matching("data"),
    "v": Matching("v"),
}
