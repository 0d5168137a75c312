"""Dormand-Prince 5(4): steps chosen by an error estimate, for each sample by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pushforward.sample.ode import RungeKutta, advance, slopes
from pushforward.sample.stepper import ConditionedField, Noise, Stepper
from pushforward.tensor import Points, time_dtype

__all__ = ["RK5", "DormandPrince"]

A: tuple[tuple[float, ...], ...] = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
FIFTH = (*A[6], 0.0)
FOURTH = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
ERROR = tuple(p - q for p, q in zip(FIFTH, FOURTH, strict=True))


def RK5() -> RungeKutta:
    """Order 5, six evaluations: Dormand and Prince's method with steps of a given size."""
    return RungeKutta("rk5", a=A[:6], b=FIFTH[:6], order=5)


class AdaptiveState(NamedTuple):
    """Per sample: the next step, and what has been spent."""

    h: Float[Tensor, "n"]  # 0 before the first step
    evaluations: Int[Tensor, "n"]
    rejected: Int[Tensor, "n"]
    reached: Float[Tensor, "n"]
    finished: Bool[Tensor, "n"]


@final
@dataclass(frozen=True)
class DormandPrince(Stepper):
    """Adaptive Runge-Kutta of order 5 with an error estimate of order 4; every sample has a step size of its own.

    A step is accepted when the root mean square of ``error / (tol + tol max(|x|, |x'|))`` is at most 1; so a sample's
    result does not depend on its batch mates. A sample that has not arrived after ``most`` attempts in one interval of
    the grid stays where it is, the best state there is: ``Trajectory.info`` has ``finished``, ``reached`` (its time),
    ``evaluations`` and ``rejected`` per sample.

    Reference: Dormand & Prince 1980; Hairer, Norsett & Wanner, section II.4, for the control of the step.
    """

    tol: float = 1e-5
    most: int = 1000
    order = 5.0

    def __post_init__(self) -> None:
        if not self.tol > 0 or self.most < 1:
            raise ValueError(f"DormandPrince(tol={self.tol:g}, most={self.most}): both must be positive")

    @property
    def evaluations(self) -> int:
        """Six in an attempt: the slope at its start is that at the end of the one before."""
        return 6

    @property
    def adaptive(self) -> bool:
        """True: it chooses the steps of each sample by itself."""
        return True

    def init(self, field: ConditionedField, x: Points, grid: Float[Tensor, "times"]) -> AdaptiveState:
        zero = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        start = torch.zeros(len(x), dtype=time_dtype(x.device), device=x.device)
        return AdaptiveState(start, zero, zero, start + float(grid[0]), zero == 0)

    def scale(self, x: Points, y: Points) -> Points:
        return self.tol + self.tol * torch.maximum(x.abs(), y.abs())

    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: AdaptiveState, noise: Noise
    ) -> tuple[Points, AdaptiveState]:
        start, end, x, space = float(t), float(s), x.clone(), field.path.space
        sign = 1.0 if end > start else -1.0
        h, evaluations, rejected, reached, finished = (v.clone() for v in state)
        active = torch.nonzero(finished)[:, 0]
        first: Points | None = None  # the slope at the present point of the active samples, which no attempt changes
        for _ in range(self.most):
            if len(active) == 0:
                break
            one, now, here = field.subset(active), reached[active], x[active]
            if first is None:
                first = one.velocity(here, now)
                field.count += 1
                evaluations[active] += 1
                fresh = h[active] == 0
                h[active] = torch.where(
                    fresh, self._first_step(here.detach(), first.detach(), abs(end - start)), h[active]
                )
            left = (end - now).abs()
            last = h[active] >= left * (1 - 1e-12)
            aim = torch.where(last, torch.full_like(now, end), now + sign * h[active])
            k = slopes(one, here, now, aim, A, (first,))
            field.count += 6
            evaluations[active] += 6
            there = advance(space, here, aim - now, FIFTH, k)
            wrong = advance(space, torch.zeros_like(here), aim - now, ERROR, k) / self.scale(here, there)
            # the choice of the steps is no part of a gradient
            error = rms(wrong.detach()).nan_to_num(nan=torch.inf)
            good = error <= 1
            # five is the order of the error of one step of the fourth-order result
            grow = (0.9 * error.clamp_min(1e-10) ** -0.2).clamp(0.2, 5.0)
            size = (aim - now).abs()
            # the last step was cut to fit: it says nothing against the longer one that was planned
            h[active] = torch.where(last & good, torch.maximum(h[active], size * grow), size * grow)
            x[active] = torch.where(shaped(good, here), there, here)
            reached[active] = torch.where(good, aim, now)
            rejected[active] += (~good).long()
            going = ~(good & last)
            first = torch.where(shaped(good, here), k[6], first)[going]
            active = active[going]
        finished[active] = False
        return x, AdaptiveState(h, evaluations, rejected, reached, finished)

    def _first_step(self, x: Points, slope: Points, interval: float) -> Float[Tensor, "n"]:
        """A step over which the state changes by a hundredth of its size, at most the interval."""
        scale = self.scale(x, x)
        size = rms(x / scale), rms(slope / scale)
        return (0.01 * size[0] / size[1].clamp_min(1e-10)).clamp(1e-6 * interval, interval)

    def report(self, state: AdaptiveState) -> dict[str, Tensor]:
        kept = ("evaluations", "rejected", "reached", "finished")
        return {name: getattr(state, name) for name in kept}


def rms(x: Points) -> Float[Tensor, "n"]:
    """Root mean square over the data dimensions, in the precision of times."""
    return x.flatten(1).to(time_dtype(x.device)).square().mean(1).sqrt()


def shaped(rows: Tensor, x: Points) -> Tensor:
    """One flag per sample in the shape of the samples."""
    return rows.reshape(-1, *[1] * (x.ndim - 1))


STEPPERS: dict[str, Callable[..., Stepper]] = {
    "dormand_prince": DormandPrince,
}
