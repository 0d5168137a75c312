"""Paths given by their characteristics: any family of curves that all reach the data point at t = 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.arguments import check_type
from pushforward.path.base import InvertiblePath, Path, aligned
from pushforward.source import Normal, Source
from pushforward.tensor import Points, Time, Times, clock, jvp

__all__ = ["Characteristics"]

LAST = 1 - 2.0**-30  # at t = 1 itself phi is singular: every curve is at the data point


@final
@dataclass(frozen=True, eq=False, repr=False)
class Characteristics(InvertiblePath):
    """Curves ``phi(x, x_1, t) = x_0`` with any source: the method of characteristics.

    ``u_t(x|z) = -(d phi/d x)^-1 d phi/d t`` (implicit differentiation) and
    ``log p_t(x|z) = log p_0(phi_t(x|z)) + log |det d phi/d x|``.

    ``phi`` and ``inverse(x0, x1, t) -> x_t`` are torch functions of points ``[n, *d]``, row by row, and of times that
    broadcast against them. Without an inverse the curves are found by Newton's method. ``elementwise`` says that each
    coordinate of ``phi`` depends on its own coordinate of x alone, so that the Jacobian is a diagonal and costs one
    forward derivative instead of d. At t = 1 quantities are taken at ``1 - 2^-30``, except the point, which is ``x_1``.

    Raises ValueError, with the number of points and the remaining error, where Newton's method does not converge.
    """

    phi: Callable[[Tensor, Tensor, Tensor], Tensor]
    source: Source = field(default_factory=Normal)
    inverse: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    elementwise: bool = False
    iterations: int = 50

    def __post_init__(self) -> None:
        check_type("Characteristics", "source", self.source, Source, 'write pf.Uniform() or pf.SOURCES["uniform"]()')

    def _phi(self, x: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        return self.phi(x, x1, aligned(t, x)).to(x.dtype)

    def _jacobian(self, x: Points, x1: Points, t: Times) -> Tensor:
        """``d phi/d x``: its diagonal ``[n, D]`` for elementwise families, else ``[n, D, D]``."""
        if self.elementwise:
            return jvp(lambda z: self._phi(z, x1, t), x, torch.ones_like(x))[1].flatten(1)  # type: ignore[no-any-return]

        def one(row: Tensor, x1: Tensor, t: Tensor) -> Tensor:
            return self._phi(row.reshape(1, *x.shape[1:]), x1[None], t[None])[0].flatten()

        rows = torch.func.vmap(torch.func.jacfwd(one))
        return rows(x.flatten(1), x1, t.expand(len(x)).clone())  # type: ignore[no-any-return]

    def _solve(self, jacobian: Tensor, v: Points) -> Points:
        flat = v.flatten(1)
        solved = flat / jacobian if self.elementwise else torch.linalg.solve_ex(jacobian, flat[..., None])[0][..., 0]
        return solved.reshape(v.shape)

    def _newton(self, x0: Points, x1: Points, t: Times) -> Points:
        """The point of each curve at time t, by Newton's method with step halving, from the straight line's point."""
        x = x0 + aligned(t, x0).to(x0.dtype) * (x1 - x0)
        tolerance = 64 * torch.finfo(x.dtype).eps * (1 + x0.flatten(1).abs().amax(1))

        def error(x: Points) -> Tensor:
            return (self._phi(x, x1, t) - x0).flatten(1).abs().amax(1).nan_to_num(nan=torch.inf)

        remaining = error(x)
        for _ in range(self.iterations):
            if bool((remaining <= tolerance).all()):
                return x
            step = self._solve(self._jacobian(x, x1, t), self._phi(x, x1, t) - x0)
            length = torch.ones_like(remaining)
            for _ in range(30):
                trial = x - length.reshape(-1, *[1] * (x.ndim - 1)) * step
                worse = ~(error(trial) < remaining) & (remaining > tolerance)
                if not bool(worse.any()):
                    break
                length = torch.where(worse, length / 2, length)
            better = error(trial)
            stuck = ~(better < remaining)
            x = torch.where(stuck.reshape(-1, *[1] * (x.ndim - 1)), x, trial)
            remaining = torch.minimum(remaining, better)
            if bool((stuck | (remaining <= tolerance)).all()):
                break
        # where phi is steep, its rounding is that of x times the slope, and no iteration gets below it
        size = torch.maximum(x.flatten(1).abs().amax(1), x1.flatten(1).abs().amax(1))
        steep = self._jacobian(x, x1, t).flatten(1).abs().amax(1)
        bad = ~(remaining <= tolerance + 64 * torch.finfo(x.dtype).eps * steep * size)
        if bool(bad.any()):
            raise ValueError(
                f"Characteristics: Newton's method did not find {int(bad.sum())} of {len(bad)} curves (|phi - x0| is "
                f"still {float(remaining.max()):.1e}); is phi smooth and one-to-one in x? Otherwise give inverse="
            )
        return x

    def trajectory(self, x0: Points, x1: Points, t: Times) -> Points:
        inside = t - (t - t.clamp(max=LAST)).detach()
        if self.inverse is not None:
            xt = self.inverse(x0, x1, aligned(inside, x0)).to(x0.dtype)
        else:
            found = self._newton(x0, x1, inside.detach())
            jacobian = self._jacobian(found, x1, inside.detach())
            # one more step, kept differentiable in t: its derivative is the implicit one, -J^-1 d phi/d t
            xt = found - self._solve(jacobian, self._phi(found, x1, inside) - x0)
        arrived = x1 + (xt - xt.detach())  # the data point, with the velocity of the curve
        return torch.where(aligned(t.detach(), x0) >= 1, arrived, xt)

    def source_point(self, xt: Points, x1: Points, t: Time) -> Points:
        return self._phi(xt, x1, clock(t, xt).clamp(max=LAST))

    def velocity(self, xt: Points, x1: Points, t: Time) -> Points:
        """``u_t(x | x_1) = -(d phi/d x)^-1 d phi/d t``."""
        t = clock(t, xt).clamp(max=LAST)
        _, slope = jvp(lambda s: self._phi(xt, x1, s), t, torch.ones_like(t))
        return -self._solve(self._jacobian(xt, x1, t), slope)

    def log_det(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        jacobian = self._jacobian(xt, x1, clock(t, xt).clamp(max=LAST))
        return jacobian.abs().log().sum(1) if self.elementwise else torch.linalg.slogdet(jacobian).logabsdet


PATHS: dict[str, Callable[..., Path]] = {"characteristics": Characteristics}
