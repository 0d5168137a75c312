"""The velocity and its divergence from one evaluation: exactly, or by random directions.

Products ``v^T J`` share one forward pass and are backward passes: one by one where the points already fill the
processor, several as a batch of gradients where they are few. Both measure faster than forward mode on networks
(`benchmarks/likelihood.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pushforward.tensor import Points, dimension, per_sample

__all__ = [
    "METHODS",
    "Divergence",
    "Exact",
    "HutchPlusPlus",
    "Hutchinson",
    "Pull",
    "pull_back",
    "value_and_vjp",
    "velocity_and_divergence",
]

ROWS = 256  # points times directions in a backward pass: more leave the cache, fewer are all overhead

# v [m, n, *d] -> v^T J [m, n, *d]
Pull = Callable[[Tensor], Tensor]


class Divergence(ABC):
    """How ``div u`` is computed: some estimates per point, whose mean is the answer."""

    @property
    @abstractmethod
    def estimates(self) -> int:
        """How many independent estimates there are; 1 for an exact method."""

    @property
    def products(self) -> int:
        """How many products with the Jacobian a random method takes; 0 for an exact one."""
        return 0

    def directions(self, x: Points, first: int, seed: int) -> Tensor | None:
        """The random directions of a whole solve, ``[m, n, *d]``; sample i's depend on (seed, first + i) alone."""
        return None

    @abstractmethod
    def of(self, pull: Pull, x: Points, directions: Tensor | None) -> Float[Tensor, "estimates n"]:
        """The estimates at ``x`` from products with the Jacobian."""


def velocity_and_divergence(
    velocity: Callable[[Tensor], Tensor], x: Points, how: Divergence, directions: Tensor | None
) -> tuple[Points, Float[Tensor, "estimates n"]]:
    """``u(x)`` and the estimates of its divergence; gradients flow through both where autograd is on."""
    with sdpa_kernel(SDPBackend.MATH):  # fused attention takes no batch of gradients
        u, pull = value_and_vjp(velocity, x)
        return u, how.of(pull, x, directions)


def value_and_vjp(f: Callable[[Tensor], Tensor], x: Points) -> tuple[Points, Pull]:
    """``f(x)``, and ``v^T df/dx`` as a function of directions ``v [m, n, *d]``; differentiable where autograd is on."""
    if torch.is_grad_enabled():
        # batches of `autograd.grad` that stay differentiable are wrong for GroupNorm, those of `vjp` are right
        value, product = torch.func.vjp(f, x)  # type: ignore[misc]  # torch annotates the has_aux form
        several = torch.func.vmap(lambda v: product(v)[0])
        return value, lambda v: torch.cat([several(some) for some in _batches(v)])
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        value = f(point)
    return value.detach(), lambda v: pull_back(value, point, v).detach()


def pull_back(u: Points, x: Points, v: Tensor) -> Tensor:
    """``v^T du/dx`` for directions ``v [m, n, *d]``, of values that have a graph; without one of its own."""
    if not u.requires_grad:  # a velocity that does not depend on the point
        return torch.zeros_like(v)
    parts = []
    for some in _batches(v):
        batched = len(some) > 1
        (part,) = torch.autograd.grad(
            u, x, some if batched else some[0], retain_graph=True, materialize_grads=True, is_grads_batched=batched
        )
        parts.append(part if batched else part[None])
    return torch.cat(parts)


def _batches(v: Tensor) -> tuple[Tensor, ...]:
    """Directions ``[m, n, *d]``, as many at a time as suit the caches."""
    parts: tuple[Tensor, ...] = v.split(max(1, ROWS // max(v.shape[1], 1)))
    return parts


@final
@dataclass(frozen=True)
class Exact(Divergence):
    """``sum_i d u_i / d x_i`` by d directions, ``chunk`` at a time, which bounds the memory."""

    chunk: int = 64

    @property
    def estimates(self) -> int:
        return 1

    def of(self, pull: Pull, x: Points, directions: Tensor | None) -> Float[Tensor, "estimates n"]:
        d, total = dimension(x), x.new_zeros(len(x))
        for start in range(0, d, self.chunk):
            count = min(self.chunk, d - start)
            units = x.new_zeros(count, d)
            units[range(count), range(start, start + count)] = 1
            rows = pull(units.reshape(count, 1, *x.shape[1:]).expand(count, *x.shape)).flatten(2)
            total = total + rows[:, :, start : start + count].diagonal(dim1=0, dim2=2).sum(-1)
        return total[None]


@dataclass(frozen=True)
class _Random(Divergence):
    """Estimates by random directions that stay the same along a solve, so that its steps see a smooth function."""

    probes: int = 4
    noise: Literal["rademacher", "gaussian"] = "rademacher"

    def __post_init__(self) -> None:
        if self.probes < 1 or self.noise not in ("rademacher", "gaussian"):
            raise ValueError(f"{self}: needs at least one probe, and noise rademacher or gaussian")

    @property
    def estimates(self) -> int:
        return self.probes

    def _count(self) -> int:
        return self.probes

    @property
    def products(self) -> int:
        return self._count()

    @final
    def directions(self, x: Points, first: int, seed: int) -> Tensor:
        shape = (self._count(), *x.shape[1:])

        def draw(n: int, g: torch.Generator) -> Tensor:
            if self.noise == "gaussian":
                return torch.randn(n, *shape, generator=g, dtype=torch.float32)
            return 2.0 * torch.randint(2, (n, *shape), generator=g) - 1

        return per_sample(draw, first, len(x), seed, "divergence").transpose(0, 1).to(x)


@final
@dataclass(frozen=True)
class Hutchinson(_Random):
    """``E[v^T J v]`` over directions of unit covariance: ``probes`` unbiased estimates (Grathwohl et al. 2019)."""

    def of(self, pull: Pull, x: Points, directions: Tensor | None) -> Float[Tensor, "estimates n"]:
        assert directions is not None
        return (pull(directions) * directions).flatten(2).sum(2)


@final
@dataclass(frozen=True)
class HutchPlusPlus(_Random):
    """The trace of J on the span Q of ``rank`` products exactly, `Hutchinson` on the rest: less noise for few modes.

    ``tr(Q^T J Q) + E[g^T (I - Q Q^T) J (I - Q Q^T) g]``, Q from a QR of ``J^T S``; unbiased, as Q and g are
    independent. Reference: Meyer et al. 2021, "Hutch++: optimal stochastic trace estimation".
    """

    rank: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ValueError(f"{self}: needs a rank of at least 1")

    def _count(self) -> int:
        return self.rank + self.probes

    @property
    def products(self) -> int:
        return 2 * self.rank + self.probes

    def of(self, pull: Pull, x: Points, directions: Tensor | None) -> Float[Tensor, "estimates n"]:
        assert directions is not None
        rank = min(self.rank, dimension(x))
        flat = directions.flatten(2)  # [m, n, d]

        def product(v: Tensor) -> Tensor:
            return pull(v.reshape(-1, *x.shape)).flatten(2)

        q: Tensor = torch.linalg.qr(product(flat[:rank]).permute(1, 2, 0))[0].permute(2, 0, 1)  # orthonormal
        known = (product(q) * q).sum((0, 2))
        g = flat[self.rank :]
        rest = g - torch.einsum("mnd,rnd,rne->mne", g, q, q)
        return known + (product(rest) * rest).sum(2)


METHODS: dict[str, Callable[[], Divergence]] = {
    "exact": Exact,
    "hutchinson": Hutchinson,
    "hutch++": HutchPlusPlus,
}
