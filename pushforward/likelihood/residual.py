"""The residual flow: K Euler steps of the flow as layers ``phi_k(x) = x + u_{k/K}(x)/K`` with their own exact density.

``log p(x_K) = log p_0(x_0) - sum_k log |det(I + J_k/K)|``, which is the continuous flow's in the limit of large K, at
order 1. Reference: Chen et al. 2019, "Residual flows for invertible generative modeling".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.arguments import explained
from pushforward.field import Field
from pushforward.likelihood.divergence import Hutchinson, Pull, pull_back, value_and_vjp
from pushforward.likelihood.flow import Likelihood, log_source, needs_graph
from pushforward.tensor import Points, dimension, generator, time_dtype

__all__ = ["residual_flow", "residual_log_prob"]

SMALL = 64  # coordinates up to which the determinant is taken of the whole Jacobian
ROUNDS = 200  # of the fixed-point iteration that inverts a layer


@explained
def residual_flow(field: Field, x0: Points, layers: int, *, y: Tensor | None = None) -> Points:
    """``x_K`` from source draws: K equal Euler steps, the forward pass of the residual flow."""
    x = field.path.initial_state(x0)
    for k in range(layers):
        x = x + field.velocity(x, k / layers, y=y) / layers
    return x


@explained
def residual_log_prob(
    field: Field,
    x: Points,
    layers: int,
    *,
    y: Tensor | None = None,
    method: Literal["auto", "exact", "series"] = "auto",
    probes: int = 4,
    certain: int = 4,
    seed: int = 0,
) -> Likelihood:
    """``log p(x)`` under the residual flow of K ``layers``, nats: each layer inverted, its determinant taken.

    ``method`` "exact" takes ``log |det|`` of the whole Jacobian (chosen up to 64 coordinates); "series" sums
    ``tr(J^j) (-1)^(j+1) / j`` by ``probes`` random directions, its first ``certain`` terms surely and the rest with
    geometric chances and weights that keep it unbiased. A layer is inverted by fixed-point iteration, which needs
    ``|J|/K < 1``: ValueError where it does not converge, with the advice to use more layers.
    """
    if layers < 1:
        raise ValueError(f"layers={layers}: at least one")
    exact = method == "exact" or (method == "auto" and dimension(x) <= SMALL)
    # solved in full precision: what the inversion leaves over is taken for density
    outside, dtype = torch.is_grad_enabled() and needs_graph(field, x, y), x.dtype
    precision = max(1e-13, 4 * torch.finfo(dtype).eps)
    x = x.to(time_dtype(x.device))
    directions = Hutchinson(probes).directions(x, 0, seed)
    # back through the layers: each is inverted, and its log-determinant added
    estimates = x.new_zeros(1 if exact else probes, len(x))
    evaluations = 0
    for k in reversed(range(layers)):

        def layer(z: Tensor, t: float = k / layers) -> Tensor:
            return field.velocity(z.to(dtype), t, y=y).to(z) / layers

        image = x
        with torch.no_grad():
            x, rounds = invert(layer, image, k, precision)
        evaluations += rounds + 1
        if outside:
            x = _differentiable(layer, image, x, precision)
        with torch.set_grad_enabled(outside):
            pull = value_and_vjp(layer, x)[1]
            part = _exact(pull, x) if exact else _series(pull, x, directions, certain, generator(seed, "series", k))
        estimates = estimates + part
    # the source density at the end of the way, and the spread of the probes
    log_prob = log_source(field.path, x) - estimates.mean(0)
    error = torch.zeros_like(log_prob) if exact else estimates.std(0) / probes**0.5
    missing = torch.full_like(log_prob, torch.nan)
    x0 = x / field.path.initial_scale
    return Likelihood(log_prob.to(dtype), error.to(dtype), missing, x0.to(dtype), evaluations)


def invert(layer: Callable[[Tensor], Tensor], y: Points, k: int, precision: float) -> tuple[Points, int]:
    """``x`` with ``x + layer(x) = y``, to ``precision`` relative to y, and the evaluations it took."""
    x = y
    for i in range(ROUNDS):
        new = y - layer(x)
        gap = (new - x).detach().flatten(1).norm(dim=1) / (1 + y.detach().flatten(1).norm(dim=1))
        x = new
        if float(gap.max()) < precision:
            return x, i + 1
        if not bool(gap.isfinite().all()):
            break
    raise ValueError(f"layer {k + 1} of the residual flow is not a contraction here: use more layers")


def _differentiable(layer: Callable[[Tensor], Tensor], y: Points, x: Points, precision: float) -> Points:
    """``x`` as a function of y and of the layer's parameters, by the implicit function theorem.

    From ``dx = dy - d layer - J dx``: the gradient g that arrives at x is that of ``y - layer(x)``, x held, once
    ``g + J^T g`` is what arrived, which is found by fixed-point iteration as x was.
    """
    point = x.detach().requires_grad_()
    u = layer(point)
    held = y - layer(x)

    def through(arrived: Tensor) -> Tensor:
        g = arrived
        for _ in range(ROUNDS):
            new = arrived - pull_back(u, point, g[None])[0]
            gap, g = float((new - g).norm()), new
            if gap <= precision * float(g.norm()):
                break
        return g

    if held.requires_grad:
        held.register_hook(through)
    return held.view_as(held)  # derivatives that are asked for at x itself do not pass the hook


def _exact(pull: Pull, x: Points) -> Float[Tensor, "1 n"]:
    """``log |det (I + J)|`` of each point."""
    d = dimension(x)
    unit = torch.eye(d, dtype=x.dtype, device=x.device)
    rows = pull(unit.reshape(d, 1, *x.shape[1:]).expand(d, *x.shape)).flatten(2)
    log_det: Tensor = torch.linalg.slogdet(unit + rows.transpose(0, 1))[1]
    return log_det[None]


def _series(pull: Pull, x: Points, v: Tensor, certain: int, g: torch.Generator) -> Float[Tensor, "probes n"]:
    """Unbiased estimates of ``sum_j (-1)^(j+1) tr(J^j) / j``: probe p stops after ``certain`` + geometric terms."""
    stops = certain + torch.empty(len(v), dtype=torch.float64).geometric_(0.5, generator=g) - 1
    total, w = x.new_zeros(len(v), len(x)), v
    for j in range(1, int(stops.max()) + 1):
        w = pull(w)
        # the chance that a probe is still going
        weight = torch.where(stops >= j, 2.0 ** max(j - certain, 0), 0.0).to(x)
        total = total + (-1) ** (j + 1) / j * weight[:, None] * (w * v).flatten(2).sum(2)
    return total
