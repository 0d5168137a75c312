"""Stochastic bridges between two arbitrary laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.arguments import check_type
from pushforward.path.base import Draw, Path
from pushforward.schedule.base import quotient, root
from pushforward.source import Normal, Source
from pushforward.tensor import Points, Time, Times, bcast, clock, dimension

__all__ = ["Bridge"]


@final
@dataclass(frozen=True)
class Bridge(Path):
    """Brownian bridge: ``x_t = (1-t) x_0 + t x_1 + sigma sqrt(t(1-t)) eps``.

    With the source a mixture of components ``N(m_j, s_j^2)`` (a data set has s_j = 0), ``p_t(x|z)`` is the mixture of
    ``N((1-t) m_j + t z, v_j)``, ``v_j = (1-t)^2 s_j^2 + sigma^2 t(1-t)``, and
    ``u_t(x|z) = E_j[z - m_j + (v_j'/(2 v_j)) (x - (1-t) m_j - t z)]``. Where v_j = 0 (t = 1, and t = 0 for atoms) the
    last term is given as 0, its mean over the bridge.

    A network learns the velocity, or with two heads (`Joint`) the score too, and then samples by the diffusion
    ``dX = (u + sigma^2/2 s) dt + sigma dW`` (`reverse_sigma`) follow the law of the bridges themselves: [SF]2M.
    Its curves are random: `Path.draw` needs a generator. Sources: Normal, Mixture, Empirical for the conditional law;
    any for draws. The Schrodinger-bridge coupling is entropic OT with regularisation ``2 sigma^2`` (Tong et al. 2024).
    """

    sigma: float = 1.0
    source: Source = field(default_factory=Normal)

    def __post_init__(self) -> None:
        check_type("Bridge", "source", self.source, Source, 'write pf.Uniform() or pf.SOURCES["uniform"]()')
        if not self.sigma > 0:
            raise ValueError(f"Bridge(sigma={self.sigma}): sigma must be positive; without noise it is Affine()")

    @property
    def quantities(self) -> tuple[str, ...]:
        """Velocity and score, each with a target of its own: neither follows from the other (`Joint` has both)."""
        return ("velocity", "score")

    def conversion(self, t: Times, frm: str, to: str) -> tuple[Times, Times]:
        if {frm, to} == {"velocity", "score"}:
            raise ValueError(
                "Bridge: the score does not follow from the velocity; a network of two heads learns both: pf.Joint, or "
                "--field joint"
            )
        return super().conversion(t, frm, to)

    def target(self, draw: Draw, name: str) -> Points:
        """Of the score that of the bridge between both ends, ``-(x_t - mean) / (sigma^2 t (1-t))``; 0 at the ends."""
        if name != "score":
            return super().target(draw, name)
        now = draw.t[:, 0] if draw.t.ndim == 2 else draw.t
        variance = self.sigma**2 * now * (1 - now)
        return (self.trajectory(draw.x0, draw.x1, now) - draw.xt) * bcast(
            quotient(torch.ones_like(now), variance), draw.xt
        )

    def target_weight(self, name: str, t: Times) -> Times:
        """What makes the mean square of a target finite at both ends, where that of the bridge's noise is not.

        For the score ``sigma^2 t (1-t)``: then it is the noise eps that is compared. For the velocity, in whose target
        noise of variance ``v = sigma^2 (1-2t)^2 / (4 t (1-t))`` stands beside ``x_1 - x_0``, ``1 / (1 + v)``.
        """
        spread = t * (1 - t)
        if name == "score":
            return self.sigma**2 * spread
        return 4 * spread / (4 * spread + (self.sigma * (1 - 2 * t)).square())

    def process_sigma(self, t: Times) -> Times:
        """``sigma``: bridges of Brownian motion of that size."""
        return torch.full_like(t, self.sigma)

    def trajectory(self, x0: Points, x1: Points, t: Times) -> Points:
        """The mean of the bridge, a straight line."""
        return bcast(1 - t, x0) * x0 + bcast(t, x1) * x1

    def curve(self, x0: Points, x1: Points, generator: torch.Generator | None) -> Callable[[Times], Points]:
        if generator is None:
            raise ValueError("Bridge: its curves are random; give draw(..., generator=)")
        noise = torch.randn(x1.shape, generator=generator, device=generator.device, dtype=x1.dtype)
        eps = self.sigma * noise.to(x1.device)
        return lambda t: self.trajectory(x0, x1, t) + bcast(root(t * (1 - t)), eps) * eps

    def _law(self, xt: Points, x1: Points, t: Time) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """``log joint [n, k]``, its posterior, residuals ``[n, k, D]``, ``1/v`` and ``v'/(2v)`` ``[n or 1, k]``."""
        means, spread, log_w = self.source.components(xt)
        t = clock(t, xt).reshape(-1, 1).to(xt)
        variance = (1 - t).square() * spread + self.sigma**2 * t * (1 - t)
        half_slope = -(1 - t) * spread + self.sigma**2 * (1 - 2 * t) / 2
        centre = (1 - t)[..., None] * means + (t * x1.flatten(1))[:, None]
        residual = xt.flatten(1)[:, None] - centre
        squares = residual.square().sum(2)
        joint = log_w - 0.5 * squares / variance - 0.5 * dimension(xt) * (2 * math.pi * variance).log()
        # where there is no noise, the components whose own curve is nearest share the point by their weights
        atom = variance == 0
        near = squares <= squares.amin(1, keepdim=True)
        post = torch.where(atom, torch.where(near, log_w, -math.inf), joint).softmax(1)
        inverse = torch.where(atom, 0.0, 1 / torch.where(atom, 1.0, variance))
        return joint, post, residual, inverse, inverse * half_slope

    def log_prob(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        return self._law(xt, x1, t)[0].logsumexp(1)

    def velocity(self, xt: Points, x1: Points, t: Time) -> Points:
        _, post, residual, _, ratio = self._law(xt, x1, t)
        mean = post @ self.source.components(xt)[0]
        return (x1.flatten(1) - mean + ((post * ratio)[..., None] * residual).sum(1)).reshape(xt.shape)

    def score(self, xt: Points, x1: Points, t: Time) -> Points:
        _, post, residual, inverse, _ = self._law(xt, x1, t)
        return -((post * inverse)[..., None] * residual).sum(1).reshape(xt.shape)


PATHS: dict[str, Callable[..., Path]] = {"bridge": Bridge}
