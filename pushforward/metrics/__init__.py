"""Metrics: how far samples are from data, each figure against its floor, as plain functions of tensors.

Where the samples came from does not matter. All but `train_on_synthetic` and the tables' take points ``[n, *d]``
of any data shape, and sums are float64. Memory is bounded: no more than 2^22 pairs are held at once, `wasserstein`
excepted. Randomness is a seed. A point that is not finite makes the result nan or inf, so that diverged samples cannot
pass for good ones.

Two draws from the same law are not at distance zero: `with_floor` gives the value beside that of training data in the
samples' place, with the uncertainty of both.
"""

from __future__ import annotations

from pushforward.metrics.base import Metric
from pushforward.metrics.classifier import TwoSample, Utility, classifier_two_sample, train_on_synthetic
from pushforward.metrics.floor import Measured, with_floor, with_floors
from pushforward.metrics.frechet import frechet_distance
from pushforward.metrics.kernels import energy_distance, kernel_distance, median_distance, mmd
from pushforward.metrics.membership import Membership, membership
from pushforward.metrics.neighbours import Memorisation, PrecisionRecall, memorisation, precision_recall
from pushforward.metrics.tables import (
    ClosestRecord,
    Columns,
    Pairs,
    associations,
    closest_record,
    column_distances,
    pair_distances,
)
from pushforward.metrics.transport import sliced_wasserstein, wasserstein
from pushforward.registry import merged

__all__ = [
    "METRICS",
    "ClosestRecord",
    "Columns",
    "Measured",
    "Membership",
    "Memorisation",
    "Metric",
    "Pairs",
    "PrecisionRecall",
    "TwoSample",
    "Utility",
    "associations",
    "classifier_two_sample",
    "closest_record",
    "column_distances",
    "energy_distance",
    "frechet_distance",
    "kernel_distance",
    "median_distance",
    "membership",
    "memorisation",
    "mmd",
    "pair_distances",
    "precision_recall",
    "sliced_wasserstein",
    "train_on_synthetic",
    "wasserstein",
    "with_floor",
    "with_floors",
]

# every metric that is one number of samples and data, from the foot of the file that defines it
METRICS: dict[str, Metric] = merged("metrics", "METRICS")
