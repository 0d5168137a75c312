"""Matching objectives: regress a field's prediction on its conditional target.

``L = E lambda(t) |p_theta(x_t, t) - p(x_t | x_0, x_1)|^2`` for p any of velocity, score, data, noise, v. Its minimiser
is the marginal prediction ``E[p | x_t]``, because the loss differs from the marginal one by a constant (Lipman et al.
2023, theorem 2; Vincent 2011). Losses are means over the data dimensions, so numbers compare across shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pushforward.field import Field, Learned
from pushforward.objective.weights import Weighting, default_weight
from pushforward.oracle import EmpiricalField
from pushforward.path import Draw
from pushforward.tensor import Points
from pushforward.times import Importance

__all__ = ["ComponentMatching", "ImportanceWeighted", "Matching", "MultiMatching", "Objective", "StableTarget"]

Objective = Callable[[Field, Draw, "Tensor | None", torch.Generator], Tensor]


def regress(
    field: Field, draw: Draw, y: Tensor | None, goals: dict[str, Points], weighting: Weighting
) -> Float[Tensor, "n"]:
    """``sum_p lambda_p(t) |p_theta(x_t, t) - goal_p|^2 / d`` per point, from one evaluation of the field."""
    predictions = field.evaluate(tuple(goals), draw.xt, draw.t, y)
    loss = draw.xt.new_zeros(len(draw.xt))
    for (name, goal), prediction in zip(goals.items(), predictions, strict=True):
        error = field.path.space.loss(prediction, goal, name)
        loss = loss + weighting(draw.t, field.path, name, draw.xt).to(error) * error
    return loss


@final
@dataclass(frozen=True)
class Matching:
    """``lambda(t) |p_theta(x_t, t) - p|^2 / d`` per point, for one of the predictions.

    The network may predict any other quantity: the field converts. ``weighting`` is one of `WEIGHTS`; by default
    lambda is 1, and ``beta_t^2`` for the score.
    """

    quantity: str
    weighting: Weighting = default_weight

    @property
    def quantities(self) -> tuple[str, ...]:
        """What the field is asked for."""
        return (self.quantity,)

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        return regress(field, draw, y, {self.quantity: field.path.target(draw, self.quantity)}, self.weighting)


@final
@dataclass(frozen=True)
class MultiMatching:
    """The sum of the matching losses of several predictions, from one evaluation: what trains a `Joint` field."""

    quantities: tuple[str, ...] = ("velocity", "score")
    weighting: Weighting = default_weight

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        return regress(
            field, draw, y, {name: field.path.target(draw, name) for name in self.quantities}, self.weighting
        )


@final
@dataclass(frozen=True)
class ComponentMatching:
    """Matching, and ``weight`` times the cross-entropy of the components of the data, in nats per group of entries.

    For networks that know the marginals of a table's columns as mixtures (``net.tells_components``, as `Tabular` does)
    and say how likely each component is: a category, a value that repeats, a stretch of numbers. The squared error of a
    prediction counts a mistake between neighbours, or of what is rare, by next to nothing; the cross-entropy counts all
    by their frequency. Both are least at the same field: where values are draws of one component, the posterior of the
    components determines the prediction. For other fields, oracles among them, it is the matching loss.

    Reference: Dieleman et al. 2022, "Continuous diffusion for categorical data", which trains by the second alone.
    """

    quantity: str = "velocity"
    weight: float = 0.3
    weighting: Weighting = default_weight

    @property
    def quantities(self) -> tuple[str, ...]:
        """What the field is asked for."""
        return (self.quantity,)

    @property
    def plain(self) -> Matching:
        """The part that every field has."""
        return Matching(self.quantity, self.weighting)

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        if not isinstance(field, Learned) or not getattr(field.net, "tells_components", False):
            return self.plain(field, draw, y, generator)
        entropies: list[Tensor] = []

        def net(x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
            p, entropy = cast("Any", field.net)(x, t, y, draw.x1)
            entropies.append(entropy)
            return cast(Tensor, p)

        loss = self.plain(replace(field, net=net), draw, y, generator)
        return loss + self.weight * entropies[0].to(loss)


@final
@dataclass(frozen=True, eq=False)
class StableTarget:
    """Matching with the target averaged over a ``reference`` batch ``[m, *d]``, by posterior weights.

    ``lambda(t) |p_theta(x_t, t) - sum_j w_j p(x_t | z_j)|^2 / d`` with ``w_j`` proportional to ``p_t(x_t | z_j)``: the
    exact prediction of the reference as a data set (`EmpiricalField`). Without a reference it is the batch itself,
    which holds the data point of each ``x_t`` and so keeps the target unbiased: given ``x_t`` its mean is the marginal
    prediction for batches of every size, as in plain matching, with less noise. A reference that is the whole data set
    gives the marginal loss; another one, its own optimum, the same as it grows.

    It holds where ``x_1`` given ``x_t`` is that of independent pairs: other couplings draw from another posterior.
    With a condition y, class numbers ``[n]``, the average stays in the class; a reference brings its ``labels [m]``.
    Raises ValueError for conditions that are not classes. Reference: Xu et al. 2023, "Stable target field".
    """

    independent_pairs: ClassVar[bool] = True  # what it needs of the coupling
    quantity: str = "velocity"
    reference: Float[Tensor, "m *d"] | None = None
    labels: Int[Tensor, "m"] | None = None
    weighting: Weighting = default_weight

    @property
    def quantities(self) -> tuple[str, ...]:
        """What the field is asked for."""
        return (self.quantity,)

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        if y is not None and (y.ndim != 1 or y.is_floating_point()):
            raise ValueError(f"StableTarget: conditions must be class numbers [n], not {y.dtype} {tuple(y.shape)}")
        points, labels = (draw.x1, y) if self.reference is None else (self.reference.to(draw.xt), self.labels)
        with torch.no_grad():
            oracle = EmpiricalField(field.path, points, labels=labels)
            (goal,) = oracle.evaluate((self.quantity,), draw.xt, draw.t, y)
        return regress(field, draw, y, {self.quantity: goal}, self.weighting)


@final
@dataclass(frozen=True, eq=False)
class ImportanceWeighted:
    """An objective whose times come from an `Importance` law: each row counts the inverse of the law's density."""

    objective: Objective
    law: Importance

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        return self.objective(field, draw, y, generator) * self.law.weight(draw.t).to(draw.xt)


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "flow": lambda: Matching("velocity"),
    "score": lambda: Matching("score"),
    "noise": lambda: Matching("noise"),
    "data": lambda: Matching("data"),
    "v": lambda: Matching("v"),
    "joint": lambda: MultiMatching(("velocity", "score")),
    "flow_components": lambda: ComponentMatching("velocity"),
    "marginal": lambda: StableTarget("velocity"),
}
