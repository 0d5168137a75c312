"""Data as source points and back: encode, decode, the way between two points; and Bayes' rule over classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.arguments import explained
from pushforward.field import Field
from pushforward.likelihood.divergence import Divergence
from pushforward.likelihood.flow import log_likelihood
from pushforward.sample import DormandPrince, integrate
from pushforward.tensor import Conditioning, Points, condition_rows, each_condition

__all__ = ["class_log_prob", "decode", "encode", "interpolate"]


@explained
def encode(field: Field, x: Points, *, y: Conditioning = None, tol: float = 1e-5, steps: int | None = None) -> Points:
    """The source draws ``x0 [n, *d]`` whose flow ends at ``x``: backward, with adaptive steps or so many."""
    return _move(field, x, y, tol, steps, reverse=True) / field.path.initial_scale


@explained
def decode(field: Field, x0: Points, *, y: Conditioning = None, tol: float = 1e-5, steps: int | None = None) -> Points:
    """The data ``[n, *d]`` at which the flow from the source draws ``x0`` ends: the inverse of `encode`."""
    return _move(field, field.path.initial_state(x0), y, tol, steps, reverse=False)


def _move(field: Field, x: Points, y: Conditioning, tol: float, steps: int | None, reverse: bool) -> Points:
    if steps is not None:
        return integrate(field, x, steps=steps, y=y, reverse=reverse).x[-1]
    return integrate(field, x, stepper=DormandPrince(tol), y=y, reverse=reverse).x[-1]


@explained
def interpolate(
    field: Field,
    a: Points,
    b: Points,
    *,
    points: int = 8,
    y: Conditioning = None,
    tol: float = 1e-5,
    steps: int | None = None,
) -> Float[Tensor, "points n *d"]:
    """The way from data ``a`` to data ``b`` through the source, both ends included: ``[points, n, *d]``.

    Spherical in a normal source, whose mass lies near a sphere:
    ``x_0(s) = (sin((1 - s) w) a_0 + sin(s w) b_0) / sin w``, w the angle between the codes; straight in others.
    Reference: White 2016, "Sampling generative networks".
    """
    if a.shape != b.shape or points < 2:
        raise ValueError(f"interpolate: shapes {tuple(a.shape)} and {tuple(b.shape)}, {points} points (at least 2)")
    start, end = (encode(field, x, y=y, tol=tol, steps=steps) for x in (a, b))
    s = torch.linspace(0, 1, points, dtype=start.dtype, device=start.device).reshape(-1, *[1] * start.ndim)
    share, other = 1 - s, s
    if field.path.source.gaussian:
        p, q = start.flatten(1), end.flatten(1)
        cosine = torch.nn.functional.cosine_similarity(p, q, dim=1).clamp(-1, 1)
        angle = torch.acos(cosine).reshape(-1, *[1] * (start.ndim - 1))
        near = angle.sin() < 1e-4  # parallel codes: the straight line is the arc
        sine = torch.where(near, 1.0, angle.sin())
        share = torch.where(near, 1 - s, ((1 - s) * angle).sin() / sine)
        other = torch.where(near, s, (s * angle).sin() / sine)
    codes = share * start + other * end
    several = each_condition(condition_rows(y, len(a)), lambda value: value.repeat(points, *[1] * (value.ndim - 1)))
    return decode(field, codes.flatten(0, 1), y=several, tol=tol, steps=steps).reshape(codes.shape)


@explained
def class_log_prob(
    field: Field,
    x: Points,
    classes: Sequence[int],
    *,
    log_prior: Float[Tensor, "c"] | None = None,
    method: str | Divergence = "exact",
    steps: int | None = None,
    tol: float | None = None,
    seed: int = 0,
) -> Float[Tensor, "n c"]:
    """``log p(y | x) = log p(x | y) + log p(y) - log sum_y' ...`` over ``classes``: a conditional flow as a classifier.

    ``log_prior [c]``, equal by default. The directions of stochastic methods are the same for every class.
    """
    columns = [
        log_likelihood(
            field, x, y=torch.full((len(x),), c, device=x.device), method=method, steps=steps, tol=tol, seed=seed
        ).log_prob
        for c in classes
    ]
    joint = torch.stack(columns, 1)
    return (joint if log_prior is None else joint + log_prior.to(joint)).log_softmax(1)
