"""Runge-Kutta steppers: a method is its tableau, the algorithm is written once.

``k_i = u(x + h sum_j a_ij k_j, t + c_i h)``, ``x' = x + h sum_i b_i k_i``. Reference: Hairer, Norsett & Wanner,
"Solving Ordinary Differential Equations I", chapter II.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from pushforward.field import Field
from pushforward.sample.loop import Noise, Stepper
from pushforward.tensor import Points

__all__ = ["RK4", "STEPPERS", "Euler", "Heun", "Midpoint", "RungeKutta"]


@final
@dataclass(frozen=True)
class RungeKutta(Stepper):
    """An explicit Runge-Kutta method: rows ``a`` below the diagonal, weights ``b``, and its order.

    >>> RungeKutta("euler", a=((),), b=(1.0,), order=1).stages
    1
    """

    name: str
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    order: float

    def __repr__(self) -> str:
        return self.name

    @property
    def stages(self) -> int:
        """Field evaluations per step."""
        return len(self.b)

    def step(self, field: Field, x: Points, t: Tensor, s: Tensor, state: Any, noise: Noise) -> tuple[Points, Any]:
        h = s - t
        k: list[Points] = []
        for row in self.a:
            point = x
            for weight, slope in zip(row, k, strict=True):
                if weight:
                    point = point + (h * weight) * slope
            # c_i = 1 is the end of the step exactly, so that no rounding carries an evaluation past t = 1
            c = sum(row)
            k.append(field.velocity(point, s if c == 1 else t + c * h))
        for weight, slope in zip(self.b, k, strict=True):
            if weight:
                x = x + (h * weight) * slope
        return x, state


def Euler() -> RungeKutta:
    """Order 1, one evaluation a step: ``x + h u(x, t)``."""
    return RungeKutta("euler", a=((),), b=(1.0,), order=1)


def Midpoint() -> RungeKutta:
    """Order 2, two evaluations: the slope at the middle of the step."""
    return RungeKutta("midpoint", a=((), (0.5,)), b=(0.0, 1.0), order=2)


def Heun() -> RungeKutta:
    """Order 2, two evaluations: the mean of the slopes at both ends."""
    return RungeKutta("heun", a=((), (1.0,)), b=(0.5, 0.5), order=2)


def RK4() -> RungeKutta:
    """Order 4, four evaluations: the classical method of Kutta."""
    return RungeKutta("rk4", a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), b=(1 / 6, 1 / 3, 1 / 3, 1 / 6), order=4)


STEPPERS: dict[str, Callable[[], Stepper]] = {
    "euler": Euler,
    "midpoint": Midpoint,
    "heun": Heun,
    "rk4": RK4,
}
