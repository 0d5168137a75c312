"""Judge samples by a classifier: can it tell them from data, and can they stand for data in training?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from pushforward.errors import InputError
from pushforward.metrics.base import Metric, check_comparable, finite, subsample
from pushforward.tensor import Points

__all__ = ["Estimator", "TwoSample", "Utility", "classifier_two_sample", "train_on_synthetic"]

Estimator: TypeAlias = Any  # a scikit-learn classifier or regressor


@dataclass(frozen=True)
class TwoSample:
    """How well a classifier tells two sets apart: ``accuracy`` 1/2 is chance, and ``p_value`` the chance of as much.

    ``error`` is the standard deviation of the accuracy between equal laws.
    """

    accuracy: float
    p_value: float
    error: float


@dataclass(frozen=True)
class Utility:
    """Scores on held-out data after training on samples and on real data: accuracy, or R^2 of a numeric target."""

    synthetic: float
    real: float


def _rows(x: Points) -> NDArray[np.float64]:
    return np.asarray(x.detach().reshape(len(x), -1).cpu().double().numpy())


def classifier_two_sample(
    x: Float[Tensor, "n *d"],
    y: Float[Tensor, "m *d"],
    folds: int = 5,
    seed: int = 0,
    classifier: Estimator | None = None,
) -> TwoSample:
    """Run the classifier two-sample test: how often a classifier tells from which set an unseen point came.

    The accuracy over all points of a stratified cross-validation, with min(n, m) points of each set, so that 1/2 is
    chance and ``1/2 + TV(x, y) / 2`` the best possible, TV the total variation between the laws. The p-value is the
    upper tail of a normal law with mean 1/2 and variance ``(1 + K / (K - 1)) / 4 N`` for K folds and N points. The
    first factor allows for folds that share their training points: the binomial law, without it, calls one in seven
    pairs of equal sets different at the level 0.05.

    ``x [n, *d]`` and ``y [m, *d]``; results have no units. The ``classifier`` is a scikit-learn estimator, cloned for
    each fold: the default is 100 extremely randomised trees, which do not ask for scaled columns. Points that occur in
    both sets or several times let a classifier answer by heart.

    Raises InputError when the points differ in shape, a set has fewer points than folds, or folds are fewer than 2.

    Lopez-Paz, Oquab (2017), Revisiting classifier two-sample tests, ICLR; Nadeau, Bengio (2003), Inference for the
    generalization error, Machine Learning 52.
    """
    if folds < 2:
        raise InputError(f"folds is {folds}; it must be at least 2")
    check_comparable(x, y, least=folds)
    if not finite(x, y):
        return TwoSample(math.nan, math.nan, math.nan)
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    # equally many of each, so that a blind guess is right half of the time
    if classifier is None:
        classifier = ExtraTreesClassifier(n_estimators=100, min_samples_leaf=5, random_state=seed)
    n = min(len(x), len(y))
    points = np.concatenate([_rows(subsample(z, n, seed, "classifier_two_sample", i)) for i, z in enumerate((x, y))])
    labels = np.repeat([0, 1], n)
    # every point is judged by trees that have not seen it
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    accuracy = float((cross_val_predict(classifier, points, labels, cv=split) == labels).mean())
    error = math.sqrt((1 + folds / (folds - 1)) / (8 * n))
    return TwoSample(accuracy, NormalDist(0.5, error).cdf(1 - accuracy), error)  # the upper tail, with all its digits


def train_on_synthetic(
    samples: Float[Tensor, "n d"],
    train: Float[Tensor, "m d"],
    held_out: Float[Tensor, "l d"],
    target: int,
    categorical: Sequence[int] = (),
    seed: int = 0,
    estimator: Estimator | None = None,
) -> Utility:
    """Train a predictor on samples, test it on held-out data; beside it the same with training data for the samples.

    The score of predicting the column ``target`` from all others: accuracy when it is among the ``categorical``
    columns (given as codes), else ``R^2 = 1 - sum (y - f(x))^2 / sum (y - mean y)^2``, which is negative for samples
    worse than a constant. Both trainings get min(n, m) rows, so that ``real`` is what perfect samples would reach.

    ``samples [n, d]``, ``train [m, d]`` and ``held_out [l, d]``; scores have no units. The default ``estimator`` is 100
    extremely randomised trees, which take codes as they are; any scikit-learn estimator is cloned for both trainings.

    Raises InputError when the tables differ in columns, one has fewer than two rows, there is only one column, or there
    is no column ``target``.

    Esteban, Hyland, Rätsch (2017), Real-valued (medical) time series generation with recurrent conditional GANs.
    """
    check_comparable(samples, train, least=2)
    check_comparable(train, held_out, least=2)
    d = train.shape[1]
    if d < 2 or not 0 <= target < d:
        raise InputError(f"target is {target}; it must be one column of at least two, and there are {d}")
    if not finite(samples, train, held_out):
        return Utility(math.nan, math.nan)
    from sklearn.base import clone
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    # trees need no scales and few choices
    if estimator is None:
        kind = ExtraTreesClassifier if target in categorical else ExtraTreesRegressor
        estimator = kind(n_estimators=100, min_samples_leaf=2, random_state=seed)

    def score(table: Tensor, on: Tensor) -> float:
        (inputs, targets), (test_inputs, truth) = (
            (np.delete(_rows(z), target, 1), _rows(z)[:, target]) for z in (table, on)
        )
        return float(clone(estimator).fit(inputs, targets).score(test_inputs, truth))

    # the same number of rows to learn from on both sides
    n = min(len(samples), len(train))
    synthetic, real = (subsample(z, n, seed, "train_on_synthetic", i) for i, z in enumerate((samples, train)))
    return Utility(score(synthetic, held_out), score(real, held_out))


METRICS: dict[str, Metric] = {
    "two_sample": Metric(
        classifier_two_sample,
        "classifier two-sample",
        "how often a classifier tells samples from data; 0.5 is chance, 1 always",
        value="accuracy",
        error="error",
        failure="told apart",  # from chance to 1
        position=50,
    )
}
