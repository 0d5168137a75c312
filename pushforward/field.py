"""Fields: whatever moves points. Oracles, learned networks and guided combinations share one interface.

A field answers for any of the predictions ``velocity, score, data, noise, v`` at a point and a time, on its path.
Samplers, likelihoods, metrics and plots take a `Field` and never ask which kind it is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.path import Affine, Path
from pushforward.schedule import VP, Cosine
from pushforward.tensor import Conditioning, NetTimes, Pairs, Points, Time, Times, bcast, brief, clock, squared_norm
from pushforward.times import HIGHEST, LOWEST

__all__ = ["Energy", "Field", "Joint", "Learned", "Preconditioned", "Rescheduled", "on_smooth_clock"]

Net = Callable[[Tensor, Tensor, Any], Tensor]
SECOND = ("score", "noise")  # what `Joint` asks of its second head: the noise is -beta times the score


def for_net(t: Times | Pairs, x: Points) -> NetTimes:
    """One time or a pair for each point as a network takes them: in the dtype of ``x``, never under float32."""
    return t.to(torch.promote_types(x.dtype, torch.float32)).expand(x.shape[0], *t.shape[1:])


def same_shape(p: Tensor, x: Points, owner: str) -> Points:
    """The answer of a network; ValueError unless it has the shape of the points, to which it would be broadcast."""
    if p.shape != x.shape:
        raise ValueError(
            f"{owner}: the network gave shape {tuple(p.shape)} for points {tuple(x.shape)}; it must give one number "
            "for each of theirs"
        )
    return p


class Field(ABC):
    """Anything that moves points along a path.

    ``shape`` is that of one point, where the field knows it (oracles do), else None.
    """

    path: Path

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of one point, where it is known."""
        return None

    @property
    def native(self) -> str:
        """The prediction that is learned, from which the others are made; "v", which determines all, of exact fields.

        Samplers choose by it where their steps lie: what is made of the noise, say, is uncertain where noise is high.
        """
        return "v"

    @abstractmethod
    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Any = None) -> tuple[Points, ...]:
        """Several predictions at ``x`` ``[n, *d]`` and ``t`` ``()`` or ``[n]`` from one evaluation."""

    @final
    def velocity(self, x: Points, t: Time, y: Conditioning = None) -> Points:
        """``u_t(x)``, data units per unit of time."""
        return self.evaluate(("velocity",), x, t, y)[0]

    @final
    def score(self, x: Points, t: Time, y: Conditioning = None) -> Points:
        """``s_t(x) = grad log p_t(x)``."""
        return self.evaluate(("score",), x, t, y)[0]

    @final
    def data(self, x: Points, t: Time, y: Conditioning = None) -> Points:
        """``E[x_1 | x_t = x]``."""
        return self.evaluate(("data",), x, t, y)[0]

    @final
    def noise(self, x: Points, t: Time, y: Conditioning = None) -> Points:
        """``E[x_0 | x_t = x]``."""
        return self.evaluate(("noise",), x, t, y)[0]

    @final
    def v(self, x: Points, t: Time, y: Conditioning = None) -> Points:
        """``alpha E[x_0 | x_t = x] - beta E[x_1 | x_t = x]`` (Salimans & Ho 2022)."""
        return self.evaluate(("v",), x, t, y)[0]

    def __repr__(self) -> str:
        return brief(self) if is_dataclass(self) else f"{type(self).__name__}(path={self.path!r})"


@final
@dataclass(frozen=True, eq=False, repr=False)
class Learned(Field):
    """A network as a field: ``net(x, t, y)`` with ``t`` ``[n]`` predicts one quantity, the others follow by `convert`.

    Times reach the network in the dtype of ``x``, but never narrower than float32. Raises ValueError for an answer of
    another shape than the points have.
    """

    net: Net
    path: Path
    predicts: str = "velocity"

    def __post_init__(self) -> None:
        if self.predicts != "velocity":
            self.path.affine_schedule(self.predicts)

    @property
    def native(self) -> str:
        """What the network predicts."""
        return self.predicts

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Conditioning = None) -> tuple[Points, ...]:
        t = clock(t, x)
        p = same_shape(self.net(x, for_net(t, x), y), x, "Learned")
        return tuple(p if name == self.predicts else self.path.convert(p, x, t, self.predicts, name) for name in names)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Joint(Field):
    """One network with two heads, ``net(x, t, y) -> [first, second]``: neither answer is made from the other.

    The first head is asked for velocity, data and v, the second for score and noise; ``predicts`` names what each head
    itself is. The heads are a tuple of two ``[n, *d]``, or one tensor with twice the entries along dimension 1.
    Raises ValueError for heads of another shape, and where the path does not have both quantities.

    Reference: Albergo et al. 2023, "Stochastic interpolants", which learns both.
    """

    net: Callable[[Tensor, Tensor, Any], Tensor | tuple[Tensor, Tensor]]
    path: Path
    predicts: tuple[str, str] = ("velocity", "score")

    def __post_init__(self) -> None:
        self.path.check_quantities(*self.predicts)
        if self.predicts[0] in SECOND or self.predicts[1] not in SECOND:
            raise ValueError(f"Joint: predicts = {self.predicts}: first velocity, data or v, then score or noise")

    @property
    def native(self) -> str:
        """What the first head predicts."""
        return self.predicts[0]

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Conditioning = None) -> tuple[Points, ...]:
        t = clock(t, x)
        out = self.net(x, for_net(t, x), y)
        heads = out.chunk(2, 1) if isinstance(out, Tensor) else out
        if [head.shape for head in heads] != [x.shape] * 2:
            shapes = " and ".join(str(tuple(head.shape)) for head in heads)
            raise ValueError(
                f"Joint: heads of shape {shapes} for points {tuple(x.shape)}; the network must give two of that shape, "
                "as a tuple or side by side along dimension 1"
            )
        second = [name in SECOND for name in names]
        return tuple(
            self.path.convert(heads[i], x, t, self.predicts[i], name) for i, name in zip(second, names, strict=True)
        )


@final
@dataclass(frozen=True, eq=False, repr=False)
class Preconditioned(Field):
    """Any network between inputs and targets of variance 1, at every time of any affine path.

    ``E[x_1|x_t] = c_skip x_t + c_out net(c_in x_t, c_noise, y)`` with ``s^2 = beta^2 + alpha^2 data_std^2`` and

    ``c_skip = alpha data_std^2 / s^2``, ``c_out = beta data_std / s``, ``c_in = 1/s``, ``c_noise = log(beta/alpha)/4``.

    With ``alpha = 1`` these are the coefficients of EDM. ``c_noise`` stops at the noise-to-signal ratios 80 (or the
    larger one in which the schedule begins) and 0.002, so that both ends are numbers. The best network is 0 for normal
    data of variance ``data_std^2``. For unit data it predicts ``-v / |(alpha, beta)|``, and like v it determines every
    other quantity at every time.
    Raises ValueError off affine paths, and for an answer of another shape than the points have.
    Reference: Karras et al. 2022, table 1 and appendix B.6.
    """

    net: Net
    path: Path
    data_std: float = 1.0

    def __post_init__(self) -> None:
        self.path.affine_schedule("v")
        if not (self.data_std > 0 and math.isfinite(self.data_std)):
            raise ValueError(f"Preconditioned: data_std = {self.data_std:g} must be positive")

    @property
    def _highest(self) -> float:
        """The noise-to-signal ratio at which ``c_noise`` stops: 80, or that in which the schedule begins."""
        alpha, beta = self.path.affine_schedule()(torch.zeros((), dtype=torch.float64))
        return HIGHEST if alpha == 0 else max(HIGHEST, float(beta / alpha))

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Conditioning = None) -> tuple[Points, ...]:
        schedule, variance = self.path.affine_schedule(), self.data_std**2
        t = clock(t, x)
        alpha, beta = schedule(t)
        s = torch.hypot(beta, self.data_std * alpha)
        noise = (-schedule.log_snr(t)).clamp(math.log(LOWEST), math.log(self._highest)) / 4
        f = same_shape(self.net(bcast(1 / s, x) * x, for_net(noise, x), y), x, "Preconditioned")
        skip, out = alpha * beta * (1 - variance) / s.square(), (alpha.square() + beta.square()) * self.data_std / s
        v = bcast(skip, x) * x - bcast(out, x) * f
        return tuple(self.path.convert(v, x, t, "v", name) for name in names)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Energy(Field):
    """A scalar network as a field: a prediction is its downhill slope, ``p = -grad_x net(x, t, y)``, by autodiff.

    By default ``p`` is the score and ``net`` the energy: ``p_t = exp(-net) / Z_t``. Every prediction is a gradient, as
    ``score = k_x x + k_p p``, so any other can be learned this way too, with
    ``log p_t(x) = k_x |x|^2 / 2 - k_p net(x, t) + constant``; velocity, data, noise and v stay of size 1 where the
    score grows as ``1/beta``. At t = 1 only the score itself tells the density.

    ``net(x, t, y)`` gives ``[n]``. Slopes are computed under ``torch.no_grad`` too, and can be differentiated in the
    weights where gradients are on. Raises ValueError for another shape, and off Gaussian paths.
    Reference: Salimans & Ho 2021, "Should EBMs model the energy or the score?".
    """

    net: Net
    path: Path
    predicts: str = "score"

    def __post_init__(self) -> None:
        self.path.affine_schedule(self.predicts, "score")

    @property
    def native(self) -> str:
        """What its slope predicts."""
        return self.predicts

    def _scalar(self, x: Points, t: Times, y: Conditioning) -> Float[Tensor, "n"]:
        value = self.net(x, for_net(t, x), y)
        if value.shape != x.shape[:1]:
            raise ValueError(
                f"Energy: the network gave shape {tuple(value.shape)} for points {tuple(x.shape)}; it must give one "
                "number per point, for instance (x * net(x, t, y)).flatten(1).sum(1)"
            )
        return value

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Conditioning = None) -> tuple[Points, ...]:
        t = clock(t, x)
        p: Tensor = -torch.func.grad(lambda z: self._scalar(z, t, y).sum())(x)
        return tuple(self.path.convert(p, x, t, self.predicts, name) for name in names)

    def log_prob(self, x: Points, t: Time = 1.0, *, y: Conditioning = None) -> Float[Tensor, "n"]:
        """``log p_t(x)`` in nats, up to a number that depends on t and y alone."""
        t = clock(t, x)
        k_x, k_p = (k.to(x) for k in self.path.conversion(t, self.predicts, "score"))
        return k_x * squared_norm(x) / 2 - k_p * self._scalar(x, t, y)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Rescheduled(Field):
    """A field of one Gaussian path answering for another: change the schedule after training.

    Both paths visit the same laws at other times and scales: at equal signal-to-noise,
    ``p_t(x) = c^d p'_{t'}(c x)`` with ``alpha'/beta' = alpha/beta`` at t', ``c = |(alpha', beta')| / |(alpha, beta)|``.
    So data predictions agree and scores differ by the factor c, and every quantity follows from these two without a
    division, at both ends too. Exact wherever the old path reaches the ratio; beyond it, its nearest end answers.
    Raises ValueError unless both paths are Gaussian. Reference: Karras et al. 2022, appendix B; Lipman et al. 2024,
    section 4.6.
    """

    field: Field
    path: Path

    def __post_init__(self) -> None:
        for path in (self.field.path, self.path):
            path.affine_schedule("score")

    @property
    def shape(self) -> tuple[int, ...] | None:
        """That of the field."""
        return self.field.shape

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Conditioning = None) -> tuple[Points, ...]:
        old, new = self.field.path.affine_schedule(), self.path.affine_schedule()
        t = clock(t, x)
        w = new.coefficients(t)
        there = old.time_of_log_snr(w.alpha.log() - w.beta.log())
        alpha, beta = old(there)
        c = bcast(torch.hypot(alpha, beta) / torch.hypot(w.alpha, w.beta), x)
        data, score = self.field.evaluate(("data", "score"), c * x, there, y)
        score = c * score
        # noise = -beta score, so d_beta noise = -(beta d_beta) score, finite at both ends
        rows = {
            "data": (torch.ones_like(t), torch.zeros_like(t)),
            "score": (torch.zeros_like(t), torch.ones_like(t)),
            "noise": (torch.zeros_like(t), -w.beta),
            "velocity": (w.d_alpha, -w.beta_d_beta),
            "v": (-w.beta, -w.alpha * w.beta),
        }
        return tuple(bcast(rows[name][0], x) * data + bcast(rows[name][1], x) * score for name in names)


def on_smooth_clock(field: Field) -> Field:
    """The same flow on a schedule whose rates do not jump, where the field's own do: DDPM's jump a thousand times.

    Adaptive steps would end at every jump. Both schedules begin at the same noise-to-signal ratio and end in the data,
    so every trajectory visits the same laws at other times, and has the same density.
    """
    if not field.path.gaussian or field.path.affine_schedule().smooth:
        return field
    alpha, beta = field.path.affine_schedule()(torch.zeros((), dtype=torch.float64))
    if alpha == 0:
        return Rescheduled(field, Affine(Cosine()))
    total = 2 * math.log1p(float(beta / alpha) ** 2)  # of the two rates, whose sum decides on the first ratio
    return Rescheduled(field, Affine(VP(total / 200, total * 199 / 200)))
