"""How far samples are from data, each figure against its floor: plain functions of tensors.

They ask nothing about where the samples came from. All but `train_on_synthetic` and the tables' take points ``[n, *d]``
of any data shape, and sums are float64. Memory is bounded: no more than 2^22 pairs are held at once, `wasserstein`
excepted. Randomness is a seed. A point that is not finite makes the result nan or inf, so that diverged samples cannot
pass for good ones.

Two draws from the same law are not at distance zero: `with_floor` gives the value beside that of training data in the
samples' place, with the uncertainty of both.
"""

from __future__ import annotations

from pushforward.metrics.classifier import TwoSample, Utility, classifier_two_sample, train_on_synthetic
from pushforward.metrics.floor import Measured, Metric, with_floor, with_floors
from pushforward.metrics.frechet import frechet_distance
from pushforward.metrics.kernels import energy_distance, kernel_distance, median_distance, mmd
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

__all__ = [
    "METRICS",
    "ClosestRecord",
    "Columns",
    "Measured",
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

# (samples, data) -> float: what `with_floor` takes. Less is better for all but the four of `precision_recall`.
METRICS: dict[str, Metric] = {
    "sliced_wasserstein": sliced_wasserstein,
    "wasserstein": wasserstein,
    "energy": energy_distance,
    "mmd": mmd,
    "frechet": frechet_distance,
    "kernel": kernel_distance,
    "two_sample": lambda x, y: classifier_two_sample(x, y).accuracy,
    "precision": lambda x, y: precision_recall(x, y).precision,
    "recall": lambda x, y: precision_recall(x, y).recall,
    "density": lambda x, y: precision_recall(x, y).density,
    "coverage": lambda x, y: precision_recall(x, y).coverage,
    "columns": lambda x, y: column_distances(x.flatten(1), y.flatten(1)).mean,
    "pairs": lambda x, y: pair_distances(x.flatten(1), y.flatten(1)).mean,
}
