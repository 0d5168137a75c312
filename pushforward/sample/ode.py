"""Runge-Kutta steppers: a method is its tableau, the algorithm is written once.

``k_i = u(x + h sum_j a_ij k_j, t + c_i h)``, ``x' = x + h sum_i b_i k_i``. Reference: Hairer, Norsett & Wanner,
"Solving Ordinary Differential Equations I", chapter II.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from pushforward.field import Field
from pushforward.sample.stepper import ConditionedField, Noise, Stepper
from pushforward.space import Space
from pushforward.tensor import Points

__all__ = ["RK4", "Euler", "Heun", "Kutta3", "Midpoint", "Ralston", "RungeKutta", "advance", "slopes"]


@final
@dataclass(frozen=True)
class RungeKutta(Stepper):
    """An explicit Runge-Kutta method: rows ``a`` below the diagonal, weights ``b``, and its order.

    >>> RungeKutta("euler", a=((),), b=(1.0,), order=1).evaluations
    1
    """

    name: str
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    order: float

    def __post_init__(self) -> None:
        rows = [len(row) for row in self.a]
        if rows != list(range(len(self.b))):
            raise ValueError(
                f"RungeKutta {self.name!r}: a has rows of {rows} numbers for {len(self.b)} weights b; stage i, from 0, "
                "has i of them: a = ((), (1/2,)) and b = (0, 1) is the midpoint method"
            )
        if abs(math.fsum(self.b) - 1) > 1e-9 or not self.order >= 1:
            raise ValueError(
                f"RungeKutta {self.name!r}: the weights b have sum {math.fsum(self.b):g} and the order is "
                f"{self.order:g}; a method of order 1 and more has weights of sum 1"
            )

    def __repr__(self) -> str:
        return self.name

    @property
    def evaluations(self) -> int:
        """The stages."""
        return len(self.b)

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing for Euler's method, which moves along one vector; more stages add vectors at different points."""
        return ("euclidean",) if len(self.b) > 1 else ()

    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: Any, noise: Noise
    ) -> tuple[Points, Any]:
        return advance(field.path.space, x, s - t, self.b, slopes(field, x, t, s, self.a)), state


def slopes(
    field: Field, x: Points, t: Tensor, s: Tensor, a: tuple[tuple[float, ...], ...], known: tuple[Points, ...] = ()
) -> list[Points]:
    """The slopes k_i of a step from t to s, times ``()`` or ``[n]``; the first ones may be known already."""
    h, k = s - t, list(known)
    for row in a[len(known) :]:
        # c_i = 1 is the end of the step exactly, so that no rounding carries an evaluation past t = 1
        c = sum(row)
        k.append(field.velocity(advance(field.path.space, x, h, row, k), s if abs(c - 1) < 1e-12 else t + c * h))
    return k


def advance(space: Space, x: Points, h: Tensor, weights: tuple[float, ...], k: list[Points]) -> Points:
    """Move along the slopes one after the other: ``x + h sum_i weights_i k_i``, summed from the left."""
    for weight, slope in zip(weights, k, strict=True):
        if weight:
            x = space.move(x, slope, h * weight)
    return x


def Euler() -> RungeKutta:
    """Order 1, one evaluation a step: ``x + h u(x, t)``."""
    return RungeKutta("euler", a=((),), b=(1.0,), order=1)


def Midpoint() -> RungeKutta:
    """Order 2, two evaluations: the slope at the middle of the step."""
    return RungeKutta("midpoint", a=((), (0.5,)), b=(0.0, 1.0), order=2)


def Heun() -> RungeKutta:
    """Order 2, two evaluations: the mean of the slopes at both ends."""
    return RungeKutta("heun", a=((), (1.0,)), b=(0.5, 0.5), order=2)


def Ralston() -> RungeKutta:
    """Order 2, two evaluations: the least error bound of its kind (Ralston 1962)."""
    return RungeKutta("ralston", a=((), (2 / 3,)), b=(1 / 4, 3 / 4), order=2)


def Kutta3() -> RungeKutta:
    """Order 3, three evaluations: Kutta's third-order method."""
    return RungeKutta("kutta3", a=((), (0.5,), (-1.0, 2.0)), b=(1 / 6, 2 / 3, 1 / 6), order=3)


def RK4() -> RungeKutta:
    """Order 4, four evaluations: the classical method of Kutta."""
    return RungeKutta("rk4", a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), b=(1 / 6, 1 / 3, 1 / 3, 1 / 6), order=4)


STEPPERS: dict[str, Callable[..., Stepper]] = {
    "euler": Euler,
    "midpoint": Midpoint,
    "heun": Heun,
    "ralston": Ralston,
    "kutta3": Kutta3,
    "rk4": RK4,
}
