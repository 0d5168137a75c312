"""The exact field of a Gaussian mixture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pushforward.field import Field
from pushforward.oracle.prior import log_prior
from pushforward.path import Path
from pushforward.tensor import Points, Time, Times, clock, dimension, time_dtype

__all__ = ["MixtureField"]


# E_k[a m_k + U_k diag(g_k) U_k^T (x - alpha m_k)] over a posterior [n, k], with a [n, 1] and g [n, k, D or 1]


def _isotropic_average(post: Tensor, alpha: Tensor, means: Tensor, points: Tensor, a: Tensor, g: Tensor) -> Tensor:
    """The average over round components, by matrix products."""
    share = post * g[..., 0]
    return (a * post - alpha * share) @ means + share.sum(1, keepdim=True) * points


def _general_average(post: Tensor, axes: Tensor | None, means: Tensor, turned: Tensor, a: Tensor, g: Tensor) -> Tensor:
    """The average over components of any shape, from the residuals in their eigenbases."""
    scaled = g * turned
    back = scaled if axes is None else torch.einsum("kij,nkj->nki", axes, scaled)
    return (post[..., None] * (a[..., None] * means + back)).sum(1)


@final
@dataclass(frozen=True, eq=False, repr=False)
class MixtureField(Field):
    """Exact field of a Gaussian-mixture data law on a Gaussian path.

    Component k of ``p_t`` is ``N(alpha m_k, S_k)`` with ``S_k = alpha^2 C_k + beta^2 I``, so with ``r = x - alpha m_k``

    ``E[x_1|x,k] = m_k + alpha C_k S_k^-1 r``, ``E[x_0|x,k] = beta S_k^-1 r``, ``grad log p_t(x|k) = -S_k^-1 r``,

    averaged with the posterior of k. Computed in float64 whatever the dtype of ``x``.

    Args: ``means [k, *d]``; ``stds [k]`` (isotropic) or ``[k, d]`` (diagonal, flattened data), or ``covariances
    [k, d, d]`` in place of stds; ``weights [k]`` (default equal, normalised); ``labels [k]`` for a conditional law.
    Raises ValueError for shapes that do not fit or covariances that are not positive definite.
    """

    path: Path
    means: Float[Tensor, "k *d"]
    stds: Float[Tensor, "k"] | Float[Tensor, "k D"] | None = None
    weights: Float[Tensor, "k"] | None = None
    covariances: Float[Tensor, "k D D"] | None = None
    labels: Int[Tensor, "k"] | None = None
    _spectrum: tuple[Tensor, Tensor | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.path.gaussian:
            raise ValueError("MixtureField needs a Gaussian path: Affine with the Normal source")
        if (self.stds is None) == (self.covariances is None):
            raise ValueError("MixtureField: give stds or covariances, one of the two")
        k, d = len(self.means), dimension(self.means)
        axes: Tensor | None = None
        if self.covariances is not None:
            if self.covariances.shape != (k, d, d):
                raise ValueError(f"MixtureField: covariances {tuple(self.covariances.shape)}, expected {(k, d, d)}")
            variances, axes = torch.linalg.eigh(self.covariances.to(time_dtype(self.means.device)))
        else:
            assert self.stds is not None
            if self.stds.shape not in ((k,), (k, d)):
                raise ValueError(f"MixtureField: stds {tuple(self.stds.shape)}, expected {(k,)} or {(k, d)}")
            variances = self.stds.to(time_dtype(self.means.device)).square().reshape(k, -1)
        if not bool((variances > 0).all()):
            raise ValueError("MixtureField: every variance must be positive; for a finite set use EmpiricalField")
        object.__setattr__(self, "_spectrum", (variances, axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """That of a row of ``means``."""
        return tuple(self.means.shape[1:])

    def _components(self, x: Points, t: Times, y: Tensor | None) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
        """Log joint densities ``[n, k]`` of the components, and the average over their posterior.

        ``average(a, g)`` is ``E_k[a m_k + U_k diag(g_k) U_k^T (x - alpha m_k)]`` with ``a`` ``[n, 1]`` and ``g``
        ``[n, k, D or 1]`` in the eigenbasis of component k.
        """
        full = time_dtype(x.device)
        variances, axes = (None if s is None else s.to(x.device, full) for s in self._spectrum)
        assert variances is not None
        points, means = x.flatten(1).to(full), self.means.flatten(1).to(x.device, full)
        alpha, beta = (c.reshape(-1, 1) for c in self.path.affine_schedule()(t))  # [n or 1, 1]
        total = (alpha[..., None] * alpha[..., None]) * variances + beta[..., None].square()  # [n, k, D or 1]
        log_w = log_prior(self.weights, self.labels, y, len(means), points)
        d = points.shape[1]
        if variances.shape[1] == 1 and d > 1:  # isotropic: distances and averages are matrix products
            centre = means.mean(0)
            near, offsets = points - alpha * centre, means - centre
            squares = (
                near.square().sum(1, keepdim=True)
                - 2 * alpha * (near @ offsets.T)
                + alpha.square() * offsets.square().sum(1)
            ).clamp_min(0)
            log_joint = log_w - 0.5 * (squares / total[..., 0] + d * (2 * math.pi * total[..., 0]).log())
            return log_joint, partial(_isotropic_average, log_joint.softmax(1), alpha, means, points)
        residual = points[:, None] - alpha[..., None] * means  # [n, k, D]
        turned = residual if axes is None else torch.einsum("kij,nki->nkj", axes, residual)
        log_joint = log_w - 0.5 * (turned.square() / total + (2 * math.pi * total).log()).sum(2)
        return log_joint, partial(_general_average, log_joint.softmax(1), axes, means, turned)

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        t = clock(t, x)
        _, average = self._components(x, t, y)
        alpha, beta, d_alpha, _, beta_d_beta = (c.reshape(-1, 1) for c in self.path.affine_schedule().coefficients(t))
        variances = self._spectrum[0].to(alpha)
        total = alpha[..., None].square() * variances + beta[..., None].square()
        noise = beta[..., None] / total
        data = alpha[..., None] * variances / total
        zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
        rows: dict[str, tuple[Tensor, Tensor]] = {
            "data": (one, data),
            "noise": (zero, noise),
            "score": (zero, -1 / total),
            "velocity": (d_alpha, d_alpha[..., None] * data + beta_d_beta[..., None] / total),
            "v": (-beta, alpha[..., None] * noise - beta[..., None] * data),
        }
        return tuple(average(*rows[name]).reshape(x.shape).to(x.dtype) for name in names)

    def log_prob(self, x: Points, t: Time = 1.0, *, y: Tensor | None = None) -> Float[Tensor, "n"]:
        """``log p_t(x)`` in nats; t = 1 is the data law itself."""
        return self._components(x, clock(t, x), y)[0].logsumexp(1).to(x.dtype)
