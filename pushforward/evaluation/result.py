"""Results of an evaluation, numbers beside their floors, as frozen dataclasses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pushforward.metrics import METRICS, ClosestRecord, Measured, Membership, Utility

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.data import Transform
    from pushforward.evaluation.losses import Losses
    from pushforward.objective import Estimate
    from pushforward.run.folder import RunFile

__all__ = [
    "ColumnScore",
    "Copies",
    "Curve",
    "Evaluation",
    "Findings",
    "LogLikelihood",
    "PlotData",
    "ReferenceInfo",
    "Score",
    "TableScores",
    "Timing",
    "Training",
]


@dataclass(frozen=True)
class Score:
    """One of ``METRICS``, by name, beside its floor."""

    name: str
    measured: Measured
    derived: ClassVar = ("higher_is_better", "title", "reading", "verdict")  # properties that stand in the JSON too

    @property
    def higher_is_better(self) -> bool:
        """Whether larger values are better."""
        return METRICS[self.name].higher_is_better

    @property
    def title(self) -> str:
        """What the metric is called."""
        return METRICS[self.name].title

    @property
    def reading(self) -> str:
        """How to read the metric."""
        return METRICS[self.name].reading

    @property
    def verdict(self) -> str:
        """Say in a few words what value and floor tell together."""
        m = self.measured
        if not (math.isfinite(m.value) and math.isfinite(m.floor)):
            return "not finite"
        if not m.differs:
            return "at the floor"
        if (m.value > m.floor) == self.higher_is_better:
            return "beyond the floor"  # no praise: copies score so, and samples that are too narrow
        if failure := METRICS[self.name].failure:
            return failure
        return "worse than data" if self.higher_is_better or m.floor <= 0 else f"{m.ratio:.3g} x the floor"

    @property
    def at_floor(self) -> bool:
        """Whether no difference from new data was found."""
        return self.verdict == "at the floor"


@dataclass(frozen=True)
class ReferenceInfo:
    """What samples were compared with: the ``source``, and how many rows it has.

    ``own``: training and held-out rows of the run's data. Otherwise the floor is that of two halves of ``source``.
    Samples are measured against ``compared`` rows; ``floor`` rows stand in their place for the floor.
    """

    source: str
    own: bool
    rows: int
    compared: int
    floor: int
    fingerprint: str


@dataclass(frozen=True)
class Training:
    """How training went: steps, seconds, and the losses at each report (``held_out`` nan where not measured)."""

    steps: int
    seconds: float
    at: tuple[int, ...]
    loss: tuple[float, ...]
    held_out: tuple[float, ...]
    losses: Losses | None


@dataclass(frozen=True)
class Copies:
    """Whether samples are copies of training rows: see `metrics.memorisation`.

    ``closest``: the samples nearest to a training row, most suspect first: number of the sample and of the training
    row, and their distance in standard deviations.
    """

    ratio: float
    closer: float
    suspects: int
    samples: int
    train: int
    closest: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class ColumnScore:
    """One column by itself: its distance to held-out rows, from 0 to 1, and that of training rows."""

    name: str
    category: bool
    distance: float
    floor: float


@dataclass(frozen=True)
class TableScores:
    """What is asked of tables: each column, the worst pairs of columns, closest records, use as training data.

    ``pairs``: names of two columns, and how differently they are related in samples and held-out rows, worst first.
    ``utility``: the column predicted, whether it is a category, and the scores of both trainings.
    """

    columns: tuple[ColumnScore, ...]
    pairs: tuple[tuple[str, str, float], ...]
    closest: ClosestRecord | None
    utility: tuple[tuple[str, bool, Utility], ...]


@dataclass(frozen=True)
class Curve:
    """Energy distances ``y`` over what was varied, ``x``, with the floor at the same n.

    ``steps`` of each point, where it is not they that were varied.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    floor: float
    n: int
    steps: int | None = None

    @property
    def best(self) -> float:
        """The x of the smallest distance."""
        return min(zip(self.x, self.y, strict=True), key=lambda point: (math.isnan(point[1]), point[1]))[0]


@dataclass(frozen=True)
class LogLikelihood:
    """Mean log-densities of held-out and of training rows, in the user's units: nats per row with standard errors."""

    nats: Estimate
    train: Estimate | None
    bits_per_dimension: float
    rows: int
    method: str


@dataclass(frozen=True)
class Timing:
    """What sampling cost: evaluations of the network per sample, seconds for a thousand samples, and on what."""

    evaluations: float
    seconds_per_1000: float
    device: str
    sampler: str


@dataclass(frozen=True, eq=False)
class PlotData:
    """What the pictures are drawn from; not part of the JSON.

    ``samples``, ``data``, ``closest`` and ``originals`` are model rows of ``transform``, the last two the samples that
    ``Copies.closest`` names and the training rows they are near to; ``trajectories [k, n, *d]`` are states at
    ``times [k]``; ``sample_distance`` and ``reference_distance`` are distances of samples and of held-out rows to
    training rows.
    """

    transform: Transform
    samples: Tensor
    data: Tensor
    closest: Tensor
    originals: Tensor
    trajectories: Tensor
    times: Tensor
    sample_distance: Tensor
    reference_distance: Tensor


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One run, evaluated; ``p_value`` is that of the classifier two-sample test."""

    name: str
    run: RunFile
    scores: tuple[Score, ...]
    p_value: float
    copies: Copies | None
    membership: Membership | None
    table: TableScores | None
    by_evaluations: Curve | None
    by_diffusion: Curve | None
    likelihood: LogLikelihood | None
    training: Training
    timing: Timing
    notes: tuple[str, ...]
    plot_data: PlotData

    def score(self, name: str) -> Measured:
        """The metric of this name; KeyError if there is none."""
        return {score.name: score.measured for score in self.scores}[name]


@dataclass(frozen=True, eq=False)
class Findings:
    """What `measure` found for one or several runs, and what their samples were compared with."""

    runs: tuple[Evaluation, ...]
    against: ReferenceInfo
    n: int
    seed: int
    pushforward: str
    seconds: float
    notes: tuple[str, ...]
