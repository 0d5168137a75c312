"""The exact step of an affine path as a linear part plus an integral of one prediction.

With ``l = log(alpha/beta)``, ``h = l_t - l_s`` and stochasticity ``tau``, ``sigma_t^2 dt = 2 beta^2 tau^2 dl`` (0 is
the flow, 1 the reverse SDE), the step from s to t is any of

* data: ``x_t = (beta_t/beta_s) e^{-tau^2 h} x_s + beta_t int (1 + tau^2) e^{-tau^2 (l_t - l)} e^l D(l) dl``
* noise: ``x_t = (alpha_t/alpha_s) x_s - alpha_t int (1 + tau^2) e^{-l} eps(l) dl``
* flow: ``x_t / (alpha_t + beta_t) = x_s / (alpha_s + beta_s) + int (D - eps) dr``, ``r = alpha/(alpha + beta)``
* velocity: ``x_t = x_s + int u dt``

plus noise of variance ``beta_t^2 (1 - e^{-2 tau^2 h})`` or ``tau^2 alpha_t^2 (e^{-2 l_s} - e^{-2 l_t})``. The flow row
is the velocity row of the CondOT path, whose laws every affine path visits: it is finite from pure noise to pure data
and does not depend on the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushforward.schedule import Schedule

__all__ = ["INTEGRALS", "VARIABLES", "Node", "StepIntegral", "Variable", "flow_time"]

LOG_SNR_CUTOFF = (
    40.0  # e^-40 is below the rounding of float64: integrals over an infinite step in log-SNR are cut there
)
UNIT, WEIGHTS = (torch.from_numpy(q) / 2 for q in np.polynomial.legendre.leggauss(40))
UNIT = UNIT + 0.5


class Node(NamedTuple):
    """Times with the path's numbers there, all of one shape, float64."""

    t: Tensor
    alpha: Tensor
    beta: Tensor
    log_snr: Tensor

    @classmethod
    def at(cls, schedule: Schedule, t: Tensor) -> Node:
        return cls(t, *schedule(t), schedule.log_snr(t))

    @classmethod
    def of(cls, schedule: Schedule, log_snr: Tensor) -> Node:
        t = schedule.time_of_log_snr(log_snr)
        return cls(t, *schedule(t), log_snr)

    def pick(self, which: int | slice | list[int]) -> Node:
        """Some of the times."""
        return Node(*(v[which] for v in self))


class StepIntegral(NamedTuple):
    """One step: coefficients of the state, of a constant prediction and of the noise; quadrature nodes, weights."""

    state: float
    prediction: float
    kick: float
    at: Node
    weights: Tensor  # sum 1


Integral = Callable[[Schedule, Node, Node, float], StepIntegral]
Variable = Callable[[Node], Tensor]


def ratio_or_inf(a: float, b: float) -> float:
    """``a / b``, infinite where b is 0: the caller takes another form of the step there."""
    return a / b if b > 0 else math.inf


def _exponential(length: float, rate: float) -> tuple[Tensor, Tensor]:
    """Nodes z in [0, length] and weights ``~ e^{-rate z}`` that sum to 1."""
    z = min(length, LOG_SNR_CUTOFF) * UNIT
    w = WEIGHTS * torch.exp(-rate * z)
    return z, w / w.sum()


def data(schedule: Schedule, start: Node, end: Node, tau: float) -> StepIntegral:
    """The kernel ``e^{(1 + tau^2) l}`` weighs the cleaner end of the step."""
    h, rate = float(end.log_snr - start.log_snr), 1 + tau**2
    z, w = _exponential(abs(h), rate)
    share = -math.expm1(-rate * abs(h))
    decay, kick = 1.0, 0.0
    if tau:
        decay, kick = math.exp(-(tau**2) * h), float(end.beta) * math.sqrt(-math.expm1(-2 * tau**2 * h))
    fall = ratio_or_inf(float(end.beta), float(start.beta))
    prediction = float(end.alpha) * share if h > 0 else -fall * float(start.alpha) * share
    at = Node.of(schedule, torch.maximum(start.log_snr, end.log_snr) - z)
    return StepIntegral(fall * decay, prediction, kick, at, w)


def noise(schedule: Schedule, start: Node, end: Node, tau: float) -> StepIntegral:
    """The kernel ``e^{-l}`` weighs the noisier end of the step."""
    h = float(end.log_snr - start.log_snr)
    z, w = _exponential(abs(h), 1.0)
    share = (1 + tau**2) * -math.expm1(-abs(h))
    rise = ratio_or_inf(float(end.alpha), float(start.alpha))
    prediction = -rise * float(start.beta) * share if h > 0 else float(end.beta) * share
    kick = tau * rise * float(start.beta) * math.sqrt(-math.expm1(-2 * h)) if tau else 0.0
    at = Node.of(schedule, torch.minimum(start.log_snr, end.log_snr) + z)
    return StepIntegral(rise, prediction, kick, at, w)


def flow_integral(schedule: Schedule, start: Node, end: Node, tau: float) -> StepIntegral:
    r, s = flow_time(start), flow_time(end)
    before, after = float(start.alpha + start.beta), float(end.alpha + end.beta)
    at = Node.of(schedule, torch.logit(r + (s - r) * UNIT))
    return StepIntegral(after / before, after * float(s - r), 0.0, at, WEIGHTS)


def velocity(schedule: Schedule, start: Node, end: Node, tau: float) -> StepIntegral:
    at = Node.at(schedule, start.t + (end.t - start.t) * UNIT)
    return StepIntegral(1.0, float(end.t - start.t), 0.0, at, WEIGHTS)


def flow_time(node: Node) -> Tensor:
    """``alpha/(alpha + beta)``, which is t on the CondOT path: finite everywhere."""
    return node.alpha / (node.alpha + node.beta)


def vp_time(node: Node, low: float = 0.1, high: float = 20.0) -> Tensor:
    """The time (1 is data) at which the VP path of Song et al. 2021 has this signal-to-noise ratio, before 0 too.

    ``log(1 + e^{-2 l}) = low s + (high - low) s^2/2`` solved for ``s = 1 - t``.
    """
    prediction = torch.nn.functional.softplus(-2 * node.log_snr)
    return 1 - ((low**2 + 2 * (high - low) * prediction).sqrt() - low) / (high - low)


INTEGRALS: dict[str, Integral] = {"data": data, "noise": noise, "flow": flow_integral, "velocity": velocity}

# in which the prediction is taken for a polynomial
VARIABLES: dict[str, Variable] = {
    "log_snr": lambda node: node.log_snr,
    "time": lambda node: node.t,
    "flow_time": flow_time,
    "noise_to_signal": lambda node: node.beta / node.alpha,
    "vp_time": vp_time,
    "karras": lambda node: (node.beta / node.alpha) ** (1 / 7),
}
