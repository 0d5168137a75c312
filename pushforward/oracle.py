"""Oracles: fields in closed form, against which everything learned or approximated is tested.

Marginalization (Lipman et al. 2023, theorem 1): ``u_t(x) = E[u_t(x|z) | x_t = x]``, an average over data points z with
posterior weights ``p_t(x|z) p_data(z) / p_t(x)``. It can be computed when the data is a Gaussian mixture
(`MixtureField`) or a finite set (`EmpiricalField`). Weights are kept as logarithms throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pushforward.field import Field
from pushforward.path import Affine, Path, convert
from pushforward.source import Normal
from pushforward.tensor import Points, Time, Times, clock, dimension, time_dtype

__all__ = ["EmpiricalField", "MixtureField"]


def log_prior(
    weights: Tensor | None, labels: Tensor | None, y: Tensor | None, k: int, like: Tensor
) -> Float[Tensor, "#n k"]:
    """Log-weights of ``k`` components, restricted to the components of class ``y`` where labels are given."""
    weights = like.new_ones(k) if weights is None else weights.to(like)
    log_w = (weights / weights.sum()).log()[None]
    if y is None:
        return log_w
    if labels is None:
        raise ValueError("a condition y was given, but this oracle has no labels")
    log_w = torch.where(labels.to(y.device)[None] == y[:, None], log_w, -math.inf)
    if bool((log_w == -math.inf).all(1).any()):
        raise ValueError("a condition y names a class that this oracle has no data for")
    return log_w.log_softmax(1)


@final
@dataclass(frozen=True, eq=False)
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
        if not (isinstance(self.path, Affine) and isinstance(self.path.source, Normal)):
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

    def _components(self, x: Points, t: Times, y: Tensor | None) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
        """Log joint densities ``[n, k]`` of the components, and the average over their posterior.

        ``average(a, g)`` is ``E_k[a m_k + U_k diag(g_k) U_k^T (x - alpha m_k)]`` with ``a`` ``[n, 1]`` and ``g``
        ``[n, k, D or 1]`` in the eigenbasis of component k.
        """
        full = time_dtype(x.device)
        variances, axes = (None if s is None else s.to(x.device, full) for s in self._spectrum)
        assert variances is not None
        points, means = x.flatten(1).to(full), self.means.flatten(1).to(x.device, full)
        assert isinstance(self.path, Affine)
        alpha, beta = (c.reshape(-1, 1) for c in self.path.schedule(t))  # [n or 1, 1]
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
            post = log_joint.softmax(1)

            def isotropic(a: Tensor, g: Tensor) -> Tensor:
                share = post * g[..., 0]
                return (a * post - alpha * share) @ means + share.sum(1, keepdim=True) * points

            return log_joint, isotropic
        residual = points[:, None] - alpha[..., None] * means  # [n, k, D]
        turned = residual if axes is None else torch.einsum("kij,nki->nkj", axes, residual)
        log_joint = log_w - 0.5 * (turned.square() / total + (2 * math.pi * total).log()).sum(2)
        post = log_joint.softmax(1)

        def general(a: Tensor, g: Tensor) -> Tensor:
            scaled = g * turned
            back = scaled if axes is None else torch.einsum("kij,nkj->nki", axes, scaled)
            return (post[..., None] * (a[..., None] * means + back)).sum(1)

        return log_joint, general

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        assert isinstance(self.path, Affine)
        t = clock(t, x)
        _, average = self._components(x, t, y)
        alpha, beta, d_alpha, _, beta_d_beta = (c.reshape(-1, 1) for c in self.path.schedule.at(t))
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

    def log_prob(self, x: Points, t: Time = 1.0, y: Tensor | None = None) -> Float[Tensor, "n"]:
        """``log p_t(x)`` in nats; t = 1 is the data law itself."""
        return self._components(x, clock(t, x), y)[0].logsumexp(1).to(x.dtype)


@final
@dataclass(frozen=True, eq=False)
class EmpiricalField(Field):
    """Exact field of a finite data set ``[m, *d]`` on any path with a conditional density.

    ``u_t(x) = sum_i w_i u_t(x|z_i)`` with ``w_i`` proportional to ``prior_i p_t(x|z_i)``. At t = 1 the weights have
    become the choice of the nearest data point.

    Args: ``weights [m]`` (default equal); ``labels [m]`` for a conditional law.
    """

    path: Path
    points: Float[Tensor, "m *d"]
    weights: Float[Tensor, "m"] | None = None
    labels: Int[Tensor, "m"] | None = None

    def _log_joint(self, x: Points, t: Times, y: Tensor | None) -> Float[Tensor, "n m"]:
        n, m = len(x), len(self.points)
        pairs = (x.repeat_interleave(m, 0), self.points.to(x).repeat(n, *[1] * (x.ndim - 1)), t.repeat_interleave(m))
        log_p = self.path.log_prob(*pairs).reshape(n, m)
        return log_p + log_prior(self.weights, self.labels, y, m, x)

    def _posterior(self, x: Points, t: Times, y: Tensor | None) -> Float[Tensor, "n m"]:
        joint = self._log_joint(x, t, y)
        # no noise left (t = 1): each density is an atom, and the limit of the weights chooses the nearest point
        squares = torch.cdist(x.flatten(1), self.points.to(x).flatten(1)).square()
        allowed = torch.where(log_prior(self.weights, self.labels, y, len(self.points), x) > -math.inf, 0.0, math.inf)
        nearest = torch.nn.functional.one_hot((squares + allowed).argmin(1), len(self.points)).to(x)
        return torch.where((joint == math.inf).any(1, keepdim=True), nearest, joint.softmax(1))

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        t = clock(t, x)
        data = (self._posterior(x, t.expand(len(x)), y) @ self.points.to(x).flatten(1)).reshape(x.shape)
        return tuple(convert(data, x, t, self.path, "data", name) for name in names)

    def log_prob(self, x: Points, t: Time, y: Tensor | None = None) -> Float[Tensor, "n"]:
        """``log p_t(x)`` in nats; a density for t < 1 only, where the path still has noise in it."""
        return self._log_joint(x, clock(t, x).expand(len(x)), y).logsumexp(1)
