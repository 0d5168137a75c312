"""Sources: the law p_0 in which trajectories begin.

``sample(shape, generator)`` draws ``[n, *d]``; ``log_prob(x)`` is ``log p_0`` in nats, ``[n]``; ``score(x)`` its
gradient. The generator's device is where the draws are made.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, is_dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.tensor import Points, brief, dimension, per_sample, squared_norm

__all__ = ["SOURCES", "Empirical", "Laplace", "Mixture", "Normal", "Source", "Uniform"]


class Source(ABC):
    """A law that can be sampled; the ones with a density also say it.

    ``gaussian`` says that it is the standard normal: linear paths from it are Gaussian, and have scores in closed form.
    """

    gaussian: ClassVar[bool] = False

    @abstractmethod
    def sample(self, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Points:
        """Draws of shape ``(n, *d)`` in ``dtype`` (default: float32; of rows of a data set, theirs)."""

    @abstractmethod
    def log_prob(self, x: Points) -> Float[Tensor, "n"]:
        """``log p_0(x)`` in nats, summed over the data dimensions."""

    def score(self, x: Points) -> Points:
        """``grad log p_0(x)``; ValueError for a source that has none."""
        raise ValueError(f"{type(self).__name__}: this source has no score")

    def components(self, x: Points) -> tuple[Tensor, Tensor, Tensor]:
        """Means ``[k, D]``, variances ``[k]`` and log-weights ``[k]``, like ``x``, of a source that is a mixture of
        isotropic normals (atoms have variance 0); ValueError for others.
        """
        raise ValueError(f"the conditional law of {type(self).__name__} is not in closed form here")

    @final
    def draws(
        self,
        n: int,
        shape: tuple[int, ...],
        *,
        seed: int = 0,
        first: int = 0,
        stream: str = "source",
        dtype: torch.dtype = torch.float32,
    ) -> Points:
        """``n`` points of ``shape`` on the CPU, of which number i depends on (seed, stream, first + i) alone."""
        return per_sample(lambda k, g: self.sample((k, *shape), g, dtype), first, n, seed, stream)

    def distance(self, x: Points) -> Float[Tensor, "n"]:
        """How far a point lies outside the support; 0 for a source that can be anywhere."""
        return x.new_zeros(len(x))

    def __repr__(self) -> str:
        return brief(self) if is_dataclass(self) else type(self).__name__


@final
@dataclass(frozen=True)
class Normal(Source):
    """The standard normal ``N(0, I)``: the source of every Gaussian path."""

    gaussian: ClassVar[bool] = True

    def sample(self, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Points:
        return torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)

    def log_prob(self, x: Points) -> Float[Tensor, "n"]:
        return -0.5 * squared_norm(x) - 0.5 * math.log(2 * math.pi) * dimension(x)

    def score(self, x: Points) -> Points:
        return -x

    def components(self, x: Points) -> tuple[Tensor, Tensor, Tensor]:
        return x.new_zeros(1, dimension(x)), x.new_ones(1), x.new_zeros(1)


@final
@dataclass(frozen=True)
class Uniform(Source):
    """Uniform on the box ``[low, high]^d``; density 0 and score 0 outside."""

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"Uniform(low={self.low}, high={self.high}): low must be below high")

    def sample(self, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Points:
        u = torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)
        return self.low + (self.high - self.low) * u

    def log_prob(self, x: Points) -> Float[Tensor, "n"]:
        inside = ((x >= self.low) & (x <= self.high)).flatten(1).all(1)
        log_volume = math.log(self.high - self.low) * dimension(x)
        return torch.where(inside, -log_volume, -math.inf).to(x.dtype)

    def score(self, x: Points) -> Points:
        return torch.zeros_like(x)

    def distance(self, x: Points) -> Float[Tensor, "n"]:
        return squared_norm(x - x.clamp(self.low, self.high)).sqrt()


@final
@dataclass(frozen=True)
class Laplace(Source):
    """Independent Laplace coordinates, density ``exp(-|x|/scale) / (2 scale)``."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"Laplace(scale={self.scale}): scale must be positive")

    def sample(self, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Points:
        u = torch.rand(shape, generator=generator, device=generator.device, dtype=dtype) - 0.5
        # u = -1/2 would give log 0; the inverse distribution function is -sign(u) log(1 - 2|u|)
        tail = (1 - 2 * u.abs()).clamp_min(torch.finfo(u.dtype).tiny)
        return -self.scale * u.sign() * tail.log()

    def log_prob(self, x: Points) -> Float[Tensor, "n"]:
        return -x.flatten(1).abs().sum(1) / self.scale - math.log(2 * self.scale) * dimension(x)

    def score(self, x: Points) -> Points:
        return -x.sign() / self.scale


@final
@dataclass(frozen=True, eq=False, repr=False)
class Mixture(Source):
    """Isotropic Gaussian mixture ``sum_k w_k N(mean_k, std_k^2 I)``: means ``[k, *d]``, stds ``[k]``, weights ``[k]``.

    Weights default to equal and are normalised. ``Mixture(data, bandwidth * ones)`` is a kernel density estimate.
    """

    means: Float[Tensor, "k *d"]
    stds: Float[Tensor, "k"]
    weights: Float[Tensor, "k"] | None = None

    def __post_init__(self) -> None:
        if self.stds.shape != self.means.shape[:1] or not bool((self.stds > 0).all()):
            raise ValueError("Mixture: needs one positive standard deviation per mean")

    def _log_weights(self, x: Tensor) -> Float[Tensor, "k"]:
        weights = torch.ones_like(self.stds) if self.weights is None else self.weights
        return (weights / weights.sum()).log().to(x)

    def _component_log_probs(self, x: Points) -> Float[Tensor, "n k"]:
        stds = self.stds.to(x)
        squares = (x[:, None] - self.means.to(x)).flatten(2).square().sum(2)
        constant = (0.5 * math.log(2 * math.pi) + stds.log()) * dimension(x)
        return self._log_weights(x) - 0.5 * squares / stds.square() - constant

    def sample(self, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Points:
        if shape[1:] != self.means.shape[1:]:
            raise ValueError(f"Mixture: means have shape {tuple(self.means.shape[1:])}, asked for {shape[1:]}")
        eps = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
        weights = self._log_weights(eps).exp()
        k = torch.multinomial(weights, shape[0], replacement=True, generator=generator)
        stds = self.stds.to(eps)[k].reshape(-1, *[1] * (eps.ndim - 1))
        return self.means.to(eps)[k] + stds * eps

    def log_prob(self, x: Points) -> Float[Tensor, "n"]:
        return self._component_log_probs(x).logsumexp(1)

    def score(self, x: Points) -> Points:
        share = self._component_log_probs(x).softmax(1) / self.stds.to(x).square()
        pull = share @ self.means.to(x).flatten(1) - share.sum(1, keepdim=True) * x.flatten(1)
        return pull.reshape(x.shape)

    def components(self, x: Points) -> tuple[Tensor, Tensor, Tensor]:
        return self.means.to(x).flatten(1), self.stds.to(x).square(), self._log_weights(x)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Empirical(Source):
    """A data set ``[n, *d]``, drawn with replacement: the source of data-to-data transport. Atoms have no density."""

    data: Float[Tensor, "n *d"]

    def sample(self, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype | None = None) -> Points:
        if shape[1:] != self.data.shape[1:]:
            raise ValueError(f"Empirical: rows have shape {tuple(self.data.shape[1:])}, asked for {shape[1:]}")
        rows = torch.randint(len(self.data), shape[:1], generator=generator, device=generator.device)
        picked = self.data[rows.to(self.data.device)].to(generator.device)
        return picked if dtype is None else picked.to(dtype)

    def components(self, x: Points) -> tuple[Tensor, Tensor, Tensor]:
        data = self.data.to(x).flatten(1)
        return data, x.new_zeros(len(data)), x.new_full((len(data),), -math.log(len(data)))

    def log_prob(self, x: Points) -> Float[Tensor, "n"]:
        raise ValueError("Empirical: a finite set has no density; use Mixture(data, stds) for a kernel density")

    def score(self, x: Points) -> Points:
        raise ValueError("Empirical: a finite set has no score; use Mixture(data, stds) for a kernel density")


SOURCES: dict[str, type[Source]] = {
    "normal": Normal,
    "uniform": Uniform,
    "laplace": Laplace,
    "mixture": Mixture,
    "empirical": Empirical,
}
