"""Implicit score matching: the error against the score of the data, without knowing that score.

``E |s_theta - s|^2 = E [|s_theta|^2 + 2 div s_theta] + E |s|^2`` by partial integration, for any density that falls to
0 at infinity; so the data alone will do, and no noise need be added to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.field import Field
from pushforward.objective.weights import Weighting, default_weight
from pushforward.path import Draw
from pushforward.tensor import Points, dimension, divergence, jvp, squared_norm

__all__ = ["ImplicitScore", "SlicedScore"]

Score = Callable[[Tensor], Tensor]


def _asked(
    field: Field, draw: Draw, y: Tensor | None, static: bool, weighting: Weighting
) -> tuple[Score, Points, Tensor]:
    """The score as a function of the points, the points it is asked at, and the factor of each row."""
    x, t = (draw.x1, torch.ones_like(draw.t)) if static else (draw.xt, draw.t)
    scale = torch.ones_like(t) if static else weighting(t, field.path, "score", x)
    return lambda z: field.score(z, t, y=y), x, scale.to(x) / dimension(x)


@final
@dataclass(frozen=True)
class ImplicitScore:
    """``lambda(t) (|s_theta|^2 + 2 div s_theta) / d`` per point, the divergence exact: d derivatives.

    Along the path (at ``x_t``) it is the denoising loss `Matching` ``("score")`` less ``E lambda |s(x_t|x_1)|^2 / d``,
    which is exactly 1 for the default weighting ``beta_t^2``. With ``static`` it is asked of the data itself, at t = 1
    and without a weight: for a field whose network predicts the score.
    Reference: Hyvarinen 2005, "Estimation of non-normalized statistical models by score matching".
    """

    static: bool = False
    weighting: Weighting = default_weight

    @property
    def quantities(self) -> tuple[str, ...]:
        """What the field is asked for."""
        return ("score",)

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        score, x, scale = _asked(field, draw, y, self.static, self.weighting)
        return scale * (squared_norm(score(x)) + 2 * divergence(score, x))


@final
@dataclass(frozen=True)
class SlicedScore:
    """`ImplicitScore` with ``div s = E[v . (grad s) v]`` over random ``directions`` v of independent signs.

    One derivative for each direction, whatever the dimension. ``variance_reduced`` keeps ``|s|^2`` exact; without it
    that term is seen through the same slices, ``(v . s)^2``. Reference: Song et al. 2019, "Sliced score matching".
    """

    directions: int = 1
    variance_reduced: bool = True
    static: bool = False
    weighting: Weighting = default_weight

    def __post_init__(self) -> None:
        if self.directions < 1:
            raise ValueError(f"SlicedScore: directions = {self.directions}, at least one is needed")

    @property
    def quantities(self) -> tuple[str, ...]:
        """What the field is asked for."""
        return ("score",)

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        score, x, scale = _asked(field, draw, y, self.static, self.weighting)
        loss = x.new_zeros(len(x))
        for _ in range(self.directions):
            sign = torch.randint(2, x.shape, generator=generator, device=generator.device)
            v = (2 * sign - 1).to(x)
            s, along = jvp(score, x, v)
            size = squared_norm(s) if self.variance_reduced else (v * s).flatten(1).sum(1).square()
            loss = loss + size + 2 * (v * along).flatten(1).sum(1)
        return scale * loss / self.directions


OBJECTIVES: dict[str, Callable[..., object]] = {"implicit": ImplicitScore, "sliced": SlicedScore}
