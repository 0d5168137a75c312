"""Guidance: fields made of fields that lean further towards a condition, by one scale.

``guided = weak + w (strong - weak)``: at w = 0 it is the weak field, at w = 1 the strong one, and beyond it goes
further from the one to the other. Every prediction is the same affine function of every other, so it does not matter
which is guided: velocity, score, data and noise agree, and each sampler works. For w other than 0 and 1 the velocity is
that of no path of the data, so that a guided field has no density (`log_likelihood` refuses it).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.field import Field
from pushforward.path import Path
from pushforward.tensor import Conditioning, Points, Time, Times, bcast, clock, squared_norm

__all__ = ["AutoGuidance", "ClassifierFreeGuidance", "ClassifierGuidance", "Guided"]


class Guided(Field):
    """What the kinds of guidance share: the scale, and the ``interval`` of times in which it acts.

    Outside of the interval the scale is 1: early guidance costs variety, late guidance does nothing (Kynkaanniemi et
    al. 2024, "Applying guidance in a limited interval").
    Raises ValueError for a scale that is not finite and an interval that is not one of [0, 1].
    """

    field: Field
    scale: float
    interval: tuple[float, float]

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not math.isfinite(self.scale):
            raise ValueError(f"{name}: scale {self.scale:g} must be a finite number")
        if not 0 <= self.interval[0] < self.interval[1] <= 1:
            raise ValueError(f"{name}: interval {self.interval} must be two times, the first earlier, within 0 and 1")
        self._check()

    def _check(self) -> None:  # not every kind has more
        """ValueError for what is impossible."""

    @property
    def path(self) -> Path:  # type: ignore[override]
        """That of the field."""
        return self.field.path

    @property
    def native(self) -> str:
        """That of the field."""
        return self.field.native

    @property
    def shape(self) -> tuple[int, ...] | None:
        """That of the field."""
        return self.field.shape

    def _scale_at(self, t: Times) -> Times:
        """``w`` at each time."""
        inside = (t >= self.interval[0]) & (t <= self.interval[1])
        return torch.where(inside, torch.full_like(t, self.scale), torch.ones_like(t))

    @abstractmethod
    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Any = None) -> tuple[Points, ...]:
        """Guided predictions towards the condition y."""


def _between(
    names: tuple[str, ...],
    x: Points,
    t: Times,
    w: Times,
    weak: Callable[[tuple[str, ...]], tuple[Points, ...]],
    strong: Callable[[tuple[str, ...]], tuple[Points, ...]],
    path: Path,
    rescale: float,
) -> tuple[Points, ...]:
    """``weak + w (strong - weak)`` for each prediction, and only the field that counts where w is 0 or 1 everywhere.

    With ``rescale`` the guided v gets the norm of the strong one, in that share.
    """
    for alone, value in ((strong, 1.0), (weak, 0.0)):
        if not torch.compiler.is_compiling() and bool((w == value).all()):  # a graph cannot depend on values
            return alone(names)
    quantities = ("v",) if rescale else names
    low, high = weak(quantities), strong(quantities)
    guided = tuple(torch.lerp(a, b, bcast(w, x).to(a)) for a, b in zip(low, high, strict=True))  # exact at both ends
    if not rescale:
        return guided
    v, norm = guided[0], squared_norm(guided[0])
    ratio = (squared_norm(high[0]) / torch.where(norm > 0, norm, 1.0)).sqrt()
    v = v * bcast(1 + rescale * (ratio - 1), v)
    return tuple(path.convert(v, x, t, "v", name) for name in names)


@final
@dataclass(frozen=True, eq=False)
class ClassifierFreeGuidance(Guided):
    """``u(x, t) + w (u(x, t | y) - u(x, t))`` with a field trained with and without its condition.

    w = 0 is unconditional, w = 1 conditional; the scale of those who write ``(1 + s) u(y) - s u`` is ``w = 1 + s``.
    Rows without a condition (y = None) are left as they are. ``rescale`` in [0, 1] gives the guided v the norm of the
    conditional one, in that share, against the growth of contrast under large scales (Lin et al. 2024, section 3.4,
    with norms in place of standard deviations; affine paths).

    The field must have been trained with conditions dropped at random: one trained without has never learned
    ``u(x, t)``. Reference: Ho & Salimans 2022.
    """

    field: Field
    scale: float
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0

    def _check(self) -> None:
        _check_rescale(self, self.rescale)

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Conditioning = None) -> tuple[Points, ...]:
        if y is None:
            return self.field.evaluate(names, x, t)
        t = clock(t, x)

        def weak(quantities: tuple[str, ...]) -> tuple[Points, ...]:
            return self.field.evaluate(quantities, x, t)

        def strong(quantities: tuple[str, ...]) -> tuple[Points, ...]:
            return self.field.evaluate(quantities, x, t, y)

        return _between(names, x, t, self._scale_at(t), weak, strong, self.path, self.rescale)


@final
@dataclass(frozen=True, eq=False)
class AutoGuidance(Guided):
    """``weak(x, t | y) + w (u(x, t | y) - weak(x, t | y))``: away from a worse model of the same law.

    ``weak`` is a smaller network, or one trained for a shorter time, on the same path: where the two differ, the better
    one is taken to be right. It works with and without conditions, and does not push towards the mean of a class.
    Raises ValueError for a weak field on another path. Reference: Karras et al. 2024, "Guiding a diffusion model with a
    bad version of itself".
    """

    field: Field
    weak: Field
    scale: float
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0

    def _check(self) -> None:
        _check_rescale(self, self.rescale)
        if repr(self.weak.path) != repr(self.path):
            raise ValueError(f"Auto: the weak field is on another path, {self.weak.path}, than the field, {self.path}")

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Conditioning = None) -> tuple[Points, ...]:
        t = clock(t, x)

        def weak(quantities: tuple[str, ...]) -> tuple[Points, ...]:
            return self.weak.evaluate(quantities, x, t, y)

        def strong(quantities: tuple[str, ...]) -> tuple[Points, ...]:
            return self.field.evaluate(quantities, x, t, y)

        return _between(names, x, t, self._scale_at(t), weak, strong, self.path, self.rescale)


@final
@dataclass(frozen=True, eq=False)
class ClassifierGuidance(Guided):
    """``grad log p_t(x) + w grad log p_t(y | x)`` with a classifier that knows noisy points: Bayes' rule at w = 1.

    ``logits(x, t) -> [n, classes]`` with times ``[n]``; its slope in x is taken by autodiff, and the other predictions
    follow from the score. The class -1, and y = None, are no class. `train_classifier` makes one for a data set.
    Raises ValueError off Gaussian paths. Reference: Dhariwal & Nichol 2021, algorithm 1.
    """

    field: Field
    logits: Callable[[Tensor, Tensor], Tensor]
    scale: float
    interval: tuple[float, float] = (0.0, 1.0)

    def _check(self) -> None:
        self.path.affine_schedule("score")

    def class_log_prob(self, x: Points, t: Time, *, y: Tensor) -> Float[Tensor, "n"]:
        """``log p_t(y | x)``, nats; 0 for the class -1."""
        times = clock(t, x).to(torch.promote_types(x.dtype, torch.float32)).expand(len(x))
        table = self.logits(x, times).log_softmax(1)
        chosen = table.gather(1, y.clamp_min(0)[:, None])[:, 0]
        return torch.where(y < 0, torch.zeros_like(chosen), chosen)

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        plain = self.field.evaluate(names, x, t)
        if y is None:
            return plain
        t, label = clock(t, x), y
        slope: Tensor = torch.func.grad(lambda z: self.class_log_prob(z, t, y=label).sum())(x)
        step = bcast(self._scale_at(t), x).to(slope) * slope
        return tuple(
            p + bcast(self.path.conversion(t, "score", name)[1], x) * step for p, name in zip(plain, names, strict=True)
        )


def _check_rescale(field: Guided, rescale: float) -> None:
    if not 0 <= rescale <= 1:
        raise ValueError(f"{type(field).__name__}: rescale {rescale:g} must be a share, from 0 to 1")
    if rescale:
        field.path.affine_schedule("v")
