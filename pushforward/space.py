"""Spaces: where points live, and the only functions that depend on it.

Flow matching is one idea on every space: a path interpolates, a stepper moves, an objective compares, a coupling
measures distances, and predictions lie in the tangent space. Paths carry their space; whatever else needs one asks the
path. Reference: Chen & Lipman 2024, "Flow matching on general geometries"; Holderrieth et al. 2025, "Generator
matching".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.tensor import Points, Times, bcast

__all__ = ["SPACES", "Euclidean", "Space"]


class Space(ABC):
    """The five functions of a space of points ``[n, *d]``.

    ``flat`` says that geodesics are straight lines of the coordinates, so that vectors at different points add and
    ``|x - y|^2`` splits into inner products.
    """

    flat: ClassVar[bool] = False

    @abstractmethod
    def interpolate(self, x0: Points, x1: Points, k: Times) -> Points:
        """The point at share ``k`` (``()`` or ``[n]``, 0 is ``x0``) of the geodesic from ``x0`` to ``x1``."""

    @abstractmethod
    def move(self, x: Points, v: Points, h: Times, noise: Tensor | None = None) -> Points:
        """Follow the vector ``v`` at ``x`` for a time ``h`` (``()`` or ``[n]``): ``exp_x(h v)``, ``exp_x(h v +
        noise)``.
        """

    @abstractmethod
    def loss(self, prediction: Points, target: Points, name: str) -> Float[Tensor, "n"]:
        """The squared error of a prediction of kind ``name`` per point, over the number of dimensions."""

    @abstractmethod
    def distance(self, x: Points, y: Float[Tensor, "m *d"]) -> Float[Tensor, "n m"]:
        """Geodesic distances of all pairs, ``x [n, *d]`` and ``y [m, *d]``, in units of the data."""

    @abstractmethod
    def project(self, x: Points, v: Points) -> Points:
        """The component of an ambient vector ``v`` in the tangent space at ``x``."""


@final
@dataclass(frozen=True)
class Euclidean(Space):
    """Vectors of any shape: geodesics are straight, every vector is tangent.

    >>> import torch
    >>> Euclidean().move(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor(0.5))
    tensor([[0.5000, 0.5000]])
    """

    flat: ClassVar[bool] = True

    def interpolate(self, x0: Points, x1: Points, k: Times) -> Points:
        return torch.lerp(x0, x1, bcast(k, x1))

    def move(self, x: Points, v: Points, h: Times, noise: Tensor | None = None) -> Points:
        moved = x + bcast(h, x) * v
        return moved if noise is None else moved + noise

    def loss(self, prediction: Points, target: Points, name: str) -> Float[Tensor, "n"]:
        return torch.nn.functional.mse_loss(prediction, target, reduction="none").flatten(1).mean(1)

    def distance(self, x: Points, y: Float[Tensor, "m *d"]) -> Float[Tensor, "n m"]:
        return torch.cdist(x.flatten(1), y.flatten(1))

    def project(self, x: Points, v: Points) -> Points:
        return v


EUCLIDEAN = Euclidean()  # the default of what is made without a path

SPACES: dict[str, Callable[..., Space]] = {"euclidean": Euclidean}
