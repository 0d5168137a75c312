"""The exact field of a finite data set, on any path, of any size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pushforward.field import Field
from pushforward.oracle.prior import log_prior
from pushforward.path import Path
from pushforward.tensor import Points, Time, Times, clock, dimension, squared_norm, time_dtype

__all__ = ["EmpiricalField"]

SMALL = 2**22  # numbers in a data set that is worked on in float64, differentiable in every mode
ROOM = 2**23  # numbers in a temporary: what bounds the memory of one block


def nearest_only(distance: Float[Tensor, "n m"], prior: Float[Tensor, "#n m"]) -> Float[Tensor, "n m"]:
    """Log-weights that leave only the nearest of the allowed components; equally near ones share by their prior."""
    allowed = torch.where(prior > -math.inf, distance, math.inf)
    return torch.where(allowed <= allowed.amin(1, keepdim=True), prior, -math.inf)


@final
@dataclass(frozen=True, eq=False, repr=False)
class EmpiricalField(Field):
    """Exact field of a finite data set ``[m, *d]`` on any path with a conditional law.

    ``u_t(x) = sum_i w_i u_t(x|z_i)`` with ``w_i`` proportional to ``prior_i p_t(x|z_i)``; likewise score, data, noise.
    On a Gaussian path the posterior mean is attention, query x and key and value z:
    ``w = softmax_i(alpha/beta^2 <x, z_i> - alpha^2/(2 beta^2) |z_i|^2 + log prior_i)``, computed by torch's fused
    attention in memory that does not grow with the data set; sets of up to four million numbers are worked on in
    float64. Without noise (t = 1) the weights have become the choice of the nearest data point.

    Where every ``p_t(x|z_i)`` is 0, outside a compact source's reach, the weight goes to the curve whose origin is
    nearest to the source's support: the nearest trajectory.

    Args: ``weights [m]`` (default equal, normalised); ``labels [m]`` for a conditional law.
    Raises ValueError for a quantity that the path does not have (score without a source density, v off affine paths).
    """

    path: Path
    points: Float[Tensor, "m *d"]
    weights: Float[Tensor, "m"] | None = None
    labels: Int[Tensor, "m"] | None = None
    _squares: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # |z|^2 once, without a temporary the size of the data
        wide = self._precise(self.points)
        squares = [squared_norm(block.to(wide)) for block in self.points.split(max(1, ROOM // dimension(self.points)))]
        object.__setattr__(self, "_squares", torch.cat(squares))

    @property
    def shape(self) -> tuple[int, ...]:
        """That of a row of ``points``."""
        return tuple(self.points.shape[1:])

    def _precise(self, x: Tensor) -> torch.dtype:
        return time_dtype(x.device) if self.points.numel() <= SMALL else x.dtype

    def _prior(self, x: Tensor, y: Tensor | None) -> Tensor:
        return log_prior(self.weights, self.labels, y, len(self.points), x)

    def _attention(self, x: Points, t: Times) -> tuple[Tensor, Tensor, Tensor]:
        """The queries' factor ``alpha/beta^2``, the keys' ``alpha^2/(2 beta^2)``, ``[n or 1, 1]``, and where beta = 0.

        Without noise both are infinite; ``alpha`` and ``alpha^2/2`` then rank the data points as the limit does.
        """
        alpha, beta = (c.reshape(-1, 1).to(x) for c in self.path.affine_schedule()(t))
        still = beta == 0
        squared = torch.where(still, 1.0, beta.square())
        return alpha / squared, alpha.square() / (2 * squared), still

    def _mean_gaussian(self, x: Points, t: Times, y: Tensor | None) -> Points:
        """``E[x_1 | x_t = x]`` on a Gaussian path."""
        queries, keys = x.flatten(1), self.points.to(x).flatten(1)
        factor, shift, still = self._attention(x, t)
        bias = self._prior(x, y) - shift * self._squares.to(x)
        if self.points.numel() <= SMALL or bool(still.any()):
            logits = factor * (queries @ keys.T) + bias
            chosen = torch.nn.functional.one_hot(logits.argmax(1), len(keys)).to(x)
            return (torch.where(still, chosen, logits.softmax(1)) @ keys).reshape(x.shape)
        mask = bias.expand(len(x), -1)[None, None]
        attended = torch.nn.functional.scaled_dot_product_attention(
            (factor * queries)[None, None], keys[None, None], keys[None, None], attn_mask=mask, scale=1.0
        )
        return attended.reshape(x.shape)

    def _log_joint(self, x: Points, t: Times, y: Tensor | None) -> Float[Tensor, "n m"]:
        """``log (prior_i p_t(x|z_i))`` for every pair, from the path's conditional law."""
        return self.path.log_prob(*self._pairs(x, t)).reshape(len(x), -1) + self._prior(x, y)

    def _pairs(self, x: Points, t: Times) -> tuple[Tensor, Tensor, Tensor]:
        """Every query with every data point, ``[n m, *d]`` twice, and the times ``[n m]``."""
        n, m = len(x), len(self.points)
        rows = self.points.to(x).repeat(n, *[1] * (x.ndim - 1))
        return x.repeat_interleave(m, 0), rows, t.expand(n).repeat_interleave(m)

    def _posterior(self, x: Points, t: Times, y: Tensor | None) -> Float[Tensor, "n m"]:
        joint = self._log_joint(x, t, y)
        unseen = (joint == -math.inf).all(1, keepdim=True)
        still = joint.isnan().any(1, keepdim=True) | (joint == math.inf).any(1, keepdim=True)
        if bool(unseen.any()):
            outside = self.path.support_distance(*self._pairs(x, t)).reshape(joint.shape)
            joint = torch.where(unseen, nearest_only(outside, self._prior(x, y)), joint)
        if bool(still.any()):
            away = self.path.space.distance(x, self.points.to(x))
            joint = torch.where(still, nearest_only(away, self._prior(x, y)), joint)
        return joint.softmax(1)

    def _general(self, names: tuple[str, ...], x: Points, t: Times, y: Tensor | None) -> tuple[Points, ...]:
        """Averages over the posterior, for paths whose conditional quantities are asked one by one."""
        post = self._posterior(x, t, y)
        pairs = self._pairs(x, t)

        def average(values: Tensor) -> Tensor:
            return torch.einsum("nm,nmd->nd", post, values.reshape(*post.shape, -1)).reshape(x.shape)

        def quantity(name: str) -> Points:
            if name in self.path.conditionals:
                return average(self.path.conditionals[name](*pairs))
            return self.path.convert(average(pairs[1]), x, t, "data", name)

        has = dict.fromkeys((*self.path.conditionals, *self.path.predictions))
        if missing := [name for name in names if name not in has]:
            raise ValueError(f"{type(self.path).__name__}: this path has no {missing[0]}; it has {', '.join(has)}")
        return tuple(quantity(name) for name in names)

    def _block(self, names: tuple[str, ...], x: Points, t: Times, y: Tensor | None) -> tuple[Points, ...]:
        if self.path.gaussian:
            data = self._mean_gaussian(x, t, y)
            return tuple(self.path.convert(data, x, t, "data", name) for name in names)
        return self._general(names, x, t, y)

    def _blocks(self, x: Points, t: Times, y: Tensor | None) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """The queries in blocks whose temporaries fit in a bounded room."""
        per_row = len(self.points) * (1 if self.path.gaussian else dimension(x))
        if self.path.gaussian and self.points.numel() > SMALL and t.numel() == 1 and y is None:
            per_row = dimension(x)  # fused attention with one row of biases for all queries: nothing of n x m is stored
        size = max(1, ROOM // per_row)
        rows = x.to(self._precise(x)).split(size)
        times = t.split(size) if t.ndim and len(t) > 1 else (t.reshape(()),) * len(rows)
        labels = [None] * len(rows) if y is None else y.split(size)
        return list(zip(rows, times, labels, strict=True))

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        parts = [self._block(names, *block) for block in self._blocks(x, clock(t, x), y)]
        return tuple(torch.cat(part).to(x.dtype) for part in zip(*parts, strict=True))

    def log_prob(self, x: Points, t: Time, *, y: Tensor | None = None) -> Float[Tensor, "n"]:
        """``log p_t(x)`` in nats; a density for t < 1 only, where the path still has noise in it."""
        parts = [self._log_prob(*block) for block in self._blocks(x, clock(t, x), y)]
        return torch.cat(parts).to(x.dtype)

    def _log_prob(self, x: Points, t: Times, y: Tensor | None) -> Float[Tensor, "n"]:
        if not self.path.gaussian:
            return self._log_joint(x, t, y).logsumexp(1)
        keys = self.points.to(x).flatten(1)
        factor, shift, still = self._attention(x, t)
        logits = factor * (x.flatten(1) @ keys.T) - shift * self._squares.to(x) + self._prior(x, y)
        variance = self.path.affine_schedule().variance(t).to(x)
        normal = -0.5 * squared_norm(x) / variance - 0.5 * dimension(x) * (2 * math.pi * variance).log()
        return torch.where(still[:, 0], -math.inf, logits.logsumexp(1) + normal)
