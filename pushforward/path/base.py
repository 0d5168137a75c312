"""The interface of a path, and the families of curves whose source point can be told from a point on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.errors import nearest
from pushforward.path.predictions import PREDICTIONS, Row, conversion
from pushforward.schedule import Schedule
from pushforward.source import Source
from pushforward.space import Euclidean, Space
from pushforward.tensor import Pairs, Points, Time, Times, bcast, brief, clock, jvp

__all__ = ["Draw", "InvertiblePath", "Path", "aligned"]


def aligned(t: Times, x: Points) -> Tensor:
    """Time in the shape ``[n, 1, ..., 1]`` that a user's function of points and time expects, still in float64."""
    return t.reshape(-1, *[1] * (x.ndim - 1)) if t.ndim else t


@final
@dataclass(frozen=True, repr=False)
class Draw:
    """Points on conditional trajectories: ends ``x0, x1``, points ``xt``, velocities ``ut``, all ``[n, *d]``.

    Times ``t [n]``; or pairs ``[n, 2]``, now and then, with the points and velocities of now.
    """

    t: Float[Tensor, "n"] | Float[Tensor, "n 2"]
    x0: Points
    x1: Points
    xt: Points
    ut: Points

    def __repr__(self) -> str:
        return brief(self)

    def split(self, size: int) -> list[Draw]:
        """The points in batches of ``size``."""
        parts = (z.split(size) for z in (self.t, self.x0, self.x1, self.xt, self.ut))
        return [Draw(*batch) for batch in zip(*parts, strict=True)]

    def to(self, device: torch.device) -> Draw:
        """The same points on another device."""
        if self.xt.device == device:
            return self
        return Draw(*(z.to(device) for z in (self.t, self.x0, self.x1, self.xt, self.ut)))


class Path(ABC):
    """A law of curves from a source to the data, and the conditional law ``p_t(x | x_1)`` of their points."""

    source: Source
    space: Space = Euclidean()

    @property
    def predictions(self) -> Mapping[str, Row]:
        """The predictions that convert into each other on this path, ``name -> row`` of the linear relation.

        Empty where there is no such relation: then a network predicts the velocity, and nothing follows from it.
        """
        return {}

    @property
    def quantities(self) -> tuple[str, ...]:
        """What a network can be trained to predict here: whatever has a target on every trajectory."""
        return tuple(dict.fromkeys(("velocity", *self.predictions)))

    @property
    def gaussian(self) -> bool:
        """Whether ``p_t(x | x_1)`` is ``N(alpha x_1, beta^2 I)``."""
        return False

    @property
    def initial_scale(self) -> float:
        """What a source draw is multiplied by where sampling begins: ``beta_0`` on affine paths."""
        return 1.0

    def affine_schedule(self, *names: str) -> Schedule:
        """The schedule of ``x_t = alpha x_1 + beta x_0``, on which the named predictions exist.

        ValueError with the reason where the path has no such relation, or not these predictions.
        """
        self._check_names(names)
        raise ValueError(f"{type(self).__name__}: predictions convert into each other on affine paths only")

    @final
    def check_quantities(self, *names: str) -> None:
        """ValueError with the reason unless a network can be trained to predict each of these here."""
        missing = [name for name in names if name not in self.quantities]
        if missing:
            self.affine_schedule(*missing)
            raise AssertionError("a path with a schedule has every prediction that this has")

    def conversion(self, t: Times, frm: str, to: str) -> tuple[Times, Times]:
        """``(k_x, k_p)`` with ``to = k_x x_t + k_p p`` for a prediction p of kind ``frm``; ValueError without them."""
        if frm == to and frm in self.quantities:
            return torch.zeros_like(t), torch.ones_like(t)
        return conversion(self.affine_schedule(frm, to), t, frm, to)

    @final
    def convert(self, p: Points, xt: Points, t: Time, frm: str, to: str) -> Points:
        """The prediction ``p`` of kind ``frm`` at ``xt`` as one of kind ``to``."""
        k_x, k_p = self.conversion(clock(t, xt), frm, to)
        return bcast(k_x, xt) * xt + bcast(k_p, xt) * p

    def target(self, draw: Draw, name: str) -> Points:
        """The conditional value of a prediction on each trajectory, which a matching loss regresses on."""
        if name == "velocity":
            return draw.ut
        self.check_quantities(name)
        raise AssertionError("a path states the targets of its quantities")

    def target_weight(self, name: str, t: Times) -> Times:
        """What the squared error of a prediction counts where nothing else is said, so that its mean is finite: 1."""
        return torch.ones_like(t)

    def process_sigma(self, t: Times) -> Times:
        """``sigma_t`` of the process whose law this path follows: the diffusion with it, in reverse, is the published
        sampler; ValueError where there is none.
        """
        self.affine_schedule("score")
        raise AssertionError("a path with a score states its process")

    @property
    def conditionals(self) -> Mapping[str, Callable[[Points, Points, Time], Points]]:
        """Conditional quantities in closed form, ``name -> f(xt, x1, t)``: their posterior means are the exact
        field.
        """
        return {"velocity": self.velocity, "score": self.score, "data": lambda xt, x1, t: x1}

    def support_distance(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        """How far outside the source's support the curve to ``x1`` through ``xt`` begins; 0 where that is not known."""
        return xt.new_zeros(len(xt))

    @staticmethod
    def _check_names(names: tuple[str, ...]) -> None:
        for name in names:
            if name not in PREDICTIONS:
                raise ValueError(nearest(name, PREDICTIONS, "prediction"))

    @abstractmethod
    def trajectory(self, x0: Points, x1: Points, t: Times) -> Points:
        """``x_t`` on the curve from ``x0`` to ``x1``; differentiable in ``t``."""

    @abstractmethod
    def velocity(self, xt: Points, x1: Points, t: Time) -> Points:
        """Conditional velocity ``u_t(x | x_1)``: the mean velocity of the curves to ``x1`` that pass through ``xt``."""

    @abstractmethod
    def log_prob(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        """``log p_t(x | x_1)``, nats."""

    @abstractmethod
    def score(self, xt: Points, x1: Points, t: Time) -> Points:
        """``grad_x log p_t(x | x_1)``; ValueError for a source without a density."""

    def initial_state(self, x0: Points) -> Points:
        """Where sampling begins for the source draw ``x0``."""
        return x0

    @final
    def begin(
        self,
        n: int,
        shape: tuple[int, ...],
        *,
        seed: int = 0,
        first: int = 0,
        stream: str = "source",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Points:
        """States at t = 0 ``[n, *shape]`` from which samples start: source draws, scaled where the path is.

        Number i depends on (seed, stream, first + i) alone.
        """
        draws = self.source.draws(n, shape, seed=seed, first=first, stream=stream, dtype=dtype)
        return self.initial_state(draws.to(device))

    def curve(self, x0: Points, x1: Points, generator: torch.Generator | None) -> Callable[[Times], Points]:
        """One curve per row, as a function of time; random where the path itself is."""
        return lambda t: self.trajectory(x0, x1, t)

    @final
    def draw(self, x0: Points, x1: Points, t: Time | Pairs, generator: torch.Generator | None = None) -> Draw:
        """The point and its velocity ``d x_t / dt`` on each curve, at one time or one time per row.

        Pairs of times ``[n, 2]`` (now, then: for flow maps) are kept in the draw, whose points are those of the first.

        >>> import torch, pushforward as pf
        >>> pf.Affine().draw(torch.zeros(1, 2), torch.ones(1, 2), 0.25).xt
        tensor([[0.2500, 0.2500]])
        """
        if x0.shape != x1.shape:
            raise ValueError(f"x0 has shape {tuple(x0.shape)} but x1 has {tuple(x1.shape)}")
        t = clock(t, x1)
        if not bool(((t >= 0) & (t <= 1)).all()):
            raise ValueError("t: times are in [0, 1], 0 the source and 1 the data, and some of these are not")
        xt, ut = self._moving_point(x0, x1, t[:, 0] if t.ndim == 2 else t, generator)
        return Draw(t if t.ndim == 2 else t.expand(len(x1)), x0, x1, xt, ut)

    def _moving_point(
        self, x0: Points, x1: Points, t: Times, generator: torch.Generator | None
    ) -> tuple[Points, Points]:
        """The point of each curve and its velocity, by autodiff; paths that know their velocity state it, for speed."""
        point, velocity = jvp(self.curve(x0, x1, generator), t, torch.ones_like(t))
        return point, velocity

    def __repr__(self) -> str:
        return brief(self) if is_dataclass(self) else type(self).__name__


class InvertiblePath(Path):
    """Curves one through each point: ``x_0 = phi_t(x | x_1)`` says where the curve to ``x_1`` through ``x`` began."""

    @abstractmethod
    def source_point(self, xt: Points, x1: Points, t: Time) -> Points:
        """``x_0 = phi_t(x_t | x_1)``: the source point of the curve to ``x1`` that passes through ``xt``."""

    @abstractmethod
    def log_det(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        """``log |det d phi_t / d x|`` at ``xt``, nats."""

    @property
    def conditionals(self) -> Mapping[str, Callable[[Points, Points, Time], Points]]:
        return {**super().conditionals, "noise": self.source_point}

    def support_distance(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        return self.source.distance(self.source_point(xt, x1, t))

    def velocity(self, xt: Points, x1: Points, t: Time) -> Points:
        """``u_t(x | x_1)``: the velocity of the curve to ``x1`` that passes through ``xt``."""
        return self._moving_point(self.source_point(xt, x1, t), x1, clock(t, x1), None)[1]

    @final
    def log_prob(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        """``log p_t(x | x_1) = log p_0(phi_t(x|x_1)) + log |det d phi_t / d x|``, nats."""
        return self.source.log_prob(self.source_point(xt, x1, t)) + self.log_det(xt, x1, t)

    @final
    def score(self, xt: Points, x1: Points, t: Time) -> Points:
        """``grad_x log p_t = (d phi/d x)^T grad log p_0(phi) + grad log |det d phi / d x|``, by autodiff."""
        x0, pull = torch.func.vjp(lambda x: self.source_point(x, x1, t), xt)[:2]
        volume: Tensor = torch.func.grad(lambda x: self.log_det(x, x1, t).sum())(xt)
        pulled: Tensor = pull(self.source.score(x0))[0]
        return volume + pulled
