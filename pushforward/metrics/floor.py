"""Measure a metric beside its floor, what training data scores in the place of samples, with intervals of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, stdev

from jaxtyping import Float
from torch import Tensor

from pushforward.errors import InputError
from pushforward.metrics.base import check_comparable, subsample
from pushforward.tensor import Points

__all__ = ["Measured", "with_floor", "with_floors"]


@dataclass(frozen=True)
class Measured:
    """A metric's ``value`` for samples and its ``floor`` for training data, each with the half-width of its interval.

    ``n`` is the number of samples, and of training points, that were compared with the held-out data.
    """

    value: float
    error: float
    floor: float
    floor_error: float
    n: int

    @property
    def ratio(self) -> float:
        """Value over floor: 1 is as good as more data. Without meaning where the floor is 0 on average, as for mmd."""
        return self.value / self.floor if self.floor else math.nan

    @property
    def differs(self) -> bool:
        """Whether value and floor are further apart than both errors together, taken for independent; nan differs."""
        return not abs(self.value - self.floor) <= math.hypot(self.error, self.floor_error)


def with_floor(
    metric: Callable[[Tensor, Tensor], float],
    samples: Float[Tensor, "n *d"],
    held_out: Float[Tensor, "m *d"],
    train: Float[Tensor, "l *d"],
    resamples: int = 50,
    confidence: float = 0.95,
    seed: int = 0,
) -> Measured:
    """Measure a metric of samples against held-out data, its floor, and the uncertainty of both.

    ``value = metric(samples, held_out)`` and ``floor = metric(train, held_out)``, with min(n, l) samples and as many
    training points, drawn at random from the larger of the two sets, so that both carry the same bias. Perfect samples
    reach the floor; memorised ones too.

    The interval is ``value +- z std``, where std is over ``resamples`` random halves of both sets, drawn without
    replacement: for any mean over points this is the standard error at full size, as in the bootstrap. Draws with
    replacement would contain every point several times, and coinciding points spoil nearest neighbours, classifiers
    and unbiased sums. Near its floor a squared distance falls faster than ``1 / sqrt(n)``, and the interval is too
    wide.

    ``metric`` is any ``(tensor, tensor) -> float``, such as the entries of ``METRICS``, and ``samples [n, *d]``,
    ``held_out [m, *d]``, ``train [l, *d]``; results are in the metric's units. The cost is that of
    ``2 (1 + resamples)`` evaluations, most at half the size; with ``resamples`` 0 errors are nan.

    Raises InputError when the points differ in shape, a set has fewer than four points, ``resamples`` is 1 or negative,
    or ``confidence`` is not between 0 and 1.

    McCarthy (1969), Pseudo-replication: half samples, Review of the International Statistical Institute 37; Politis,
    Romano, Wolf (1999), Subsampling.
    """
    return with_floors(lambda x, y: (metric(x, y),), samples, held_out, train, resamples, confidence, seed)[0]


def with_floors(
    metrics: Callable[[Tensor, Tensor], Sequence[float]],
    samples: Float[Tensor, "n *d"],
    held_out: Float[Tensor, "m *d"],
    train: Float[Tensor, "l *d"],
    resamples: int = 50,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Measured, ...]:
    """Measure several metrics that share their work, as `precision_recall`'s four do: each as `with_floor` does.

    ``metrics`` gives as many numbers for any two sets. Raises as `with_floor`.
    """
    check_comparable(samples, held_out, least=4)
    check_comparable(train, held_out, least=4)
    if resamples < 0 or resamples == 1 or not 0 < confidence < 1:
        raise InputError(f"resamples is {resamples} (0, or 2 or more) and confidence {confidence} (between 0 and 1)")
    n = min(len(samples), len(train))
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    # halves are drawn without replacement: points that coincide would spoil neighbours and unbiased sums
    def measure(points: Points, name: str) -> list[tuple[float, float]]:
        points = points if len(points) == n else subsample(points, n, seed, "with_floor", name)
        halves = [
            metrics(
                subsample(points, n // 2, seed, "with_floor", name, i),
                subsample(held_out, len(held_out) // 2, seed, "with_floor", "held_out", i),
            )
            for i in range(resamples)
        ]
        whole = metrics(points, held_out)
        columns = list(zip(*halves, strict=True)) if halves else [()] * len(whole)
        spreads = [stdev(column) if column and all(map(math.isfinite, column)) else math.nan for column in columns]
        return [(value, z * spread) for value, spread in zip(whole, spreads, strict=True)]

    both = zip(measure(samples, "samples"), measure(train, "train"), strict=True)
    return tuple(Measured(*value, *floor, n) for value, floor in both)
