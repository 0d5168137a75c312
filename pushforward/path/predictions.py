"""One network, every quantity: predictions on affine paths, converted into each other.

With ``x_t = alpha x_1 + beta x_0``, a prediction is a row (a, b) that estimates ``p = a x_1 + b x_0``. The two are one
2 x 2 linear system with determinant ``alpha b - beta a``, so `convert` is a single formula for all pairs, and the ratio
of two determinants, squared, is the `weight` between their losses.

Where the determinant vanishes, ``p`` repeats what ``x_t`` already says (at t = 1 a data prediction is ``x_t`` itself),
and the other part is its mean given ``x_t`` for standardised data: ``E[x_1|x_t] = alpha x_t / (alpha^2 + beta^2)`` and
``E[x_0|x_t] = beta x_t / (alpha^2 + beta^2)``, the Moore-Penrose solution of the one equation left. It is exact
wherever the true answer does not depend on the data law: ``x_1 = x_t`` and ``x_0 = 0`` at t = 1, ``x_0 = x_t`` at
t = 0; for the rest it is the answer of standard normal data.

Reference: Lipman et al. 2024, "Flow Matching Guide and Code"; Salimans & Ho 2022 for v.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from pushforward.schedule import Coefficients, Schedule
from pushforward.tensor import Times

__all__ = ["PREDICTIONS", "Row", "conversion", "prediction_row"]

Row: TypeAlias = Callable[[Coefficients], tuple[Tensor, Tensor, Tensor]]


def conversion(schedule: Schedule, t: Times, frm: str, to: str) -> tuple[Times, Times]:
    """``(k_x, k_p)`` such that the prediction ``to`` is ``k_x x_t + k_p p`` for a prediction ``p`` of kind ``frm``.

    ``m p = a x_1 + b x_0`` and ``x_t = alpha x_1 + beta x_0`` solved for the row of ``to``, at times of any shape.
    """
    w = schedule.coefficients(t)
    if frm == to:
        return torch.zeros_like(t), torch.ones_like(t)
    (m, a, b), (m_to, c, e) = PREDICTIONS[frm](w), PREDICTIONS[to](w)
    # beta d_beta stays finite where d_beta alone does not (VP at t = 1); velocity and score share that factor beta
    if (frm, to) == ("score", "velocity"):
        k_x, k_p, det = w.d_alpha, w.beta.square() * w.d_alpha - w.alpha * w.beta_d_beta, w.alpha
    elif (frm, to) == ("velocity", "score"):
        k_x, k_p, det = -w.d_alpha, w.alpha, w.beta.square() * w.d_alpha - w.alpha * w.beta_d_beta
    else:
        k_x, k_p, det = c * b - e * a, m * (e * w.alpha - c * w.beta), m_to * (w.alpha * b - w.beta * a)
        if "velocity" in (frm, to):  # no finite slope of beta here: nothing but the known part of the velocity is left
            det = torch.where((w.beta == 0) & (w.beta_d_beta != 0), 0.0, det)
    # what x_t alone says, for standardised data
    total = w.alpha.square() + w.beta.square()
    known = {
        "data": w.alpha,
        "noise": w.beta,
        "score": -torch.ones_like(t),
        "velocity": w.alpha * w.d_alpha + w.beta_d_beta,
        "v": torch.zeros_like(t),
    }[to] / total
    singular = det == 0
    safe = torch.where(singular, 1.0, det)
    return torch.where(singular, known, k_x / safe), torch.where(singular, 0.0, k_p / safe)


def prediction_row(schedule: Schedule, t: Times, name: str) -> tuple[Times, Times, Times, Times]:
    """``(alpha, beta, a, b beta)``: ``x_t = alpha x_1 + beta x_0``, and the prediction estimates ``a x_1 + b x_0``.

    The last is a product because it is finite where b is not: for the score, and for a beta of infinite slope.
    """
    w = schedule.coefficients(t)
    _, a, b = PREDICTIONS[name](w)
    b_beta = w.beta_d_beta if name == "velocity" else -b if name == "score" else b * w.beta
    return w.alpha, w.beta, a, b_beta


# name -> (m, a, b) with m p = a x_1 + b x_0. m is 1 but for the score, whose own row (0, -1/beta) is infinite at t = 1.
PREDICTIONS: dict[str, Row] = {
    "velocity": lambda w: (torch.ones_like(w.beta), w.d_alpha, w.d_beta),
    "score": lambda w: (-w.beta, torch.zeros_like(w.beta), torch.ones_like(w.beta)),
    "data": lambda w: (torch.ones_like(w.beta), torch.ones_like(w.beta), torch.zeros_like(w.beta)),
    "noise": lambda w: (torch.ones_like(w.beta), torch.zeros_like(w.beta), torch.ones_like(w.beta)),
    "v": lambda w: (torch.ones_like(w.beta), -w.beta, w.alpha),
}
