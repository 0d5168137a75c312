"""Measure a trained field: timed samples, trajectories, the loss beside its floor, likelihoods, and its training."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from pushforward.config import components
from pushforward.data import Transform
from pushforward.distributed import SINGLE, Processes
from pushforward.errors import InputError
from pushforward.evaluation.audit import membership_audit
from pushforward.evaluation.losses import WORK, Losses, losses
from pushforward.evaluation.reference import Reference
from pushforward.evaluation.result import LogLikelihood, Timing, Training
from pushforward.field import Field
from pushforward.metrics import Membership
from pushforward.metrics.base import subsample
from pushforward.objective import Estimate
from pushforward.progress import SILENT, Progress
from pushforward.sample import Stepper, default_grid, integrate
from pushforward.tensor import Points, Time, dimension

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = [
    "audit_losses",
    "measure_likelihood",
    "measure_losses",
    "sample_trajectories",
    "timed_samples",
    "training_history",
]

EXACT = 16  # dimensions up to which divergences are exact
TOLERANCE = 0.1  # nats; rows differ by far more
TRAJECTORIES, STATES = 200, 50  # and the steps of each
IMAGES = 6  # trajectories of images and volumes


@final
class CountingField(Field):
    """A field that counts the rows at which it is evaluated."""

    def __init__(self, field: Field) -> None:
        self.path, self.field, self.rows = field.path, field, 0

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        self.rows += len(x)
        return self.field.evaluate(names, x, t, y)


def timed_samples(
    model: Model,
    n: int,
    seed: int,
    *,
    steps: int | None = None,
    stepper: Stepper | None = None,
    grid: Tensor | None = None,
    progress: Progress = SILENT,
    processes: Processes = SINGLE,
) -> tuple[Any, Timing]:
    """Draw rows as `Model.sample` does, and measure what they cost: the one place where an evaluation samples.

    ``processes`` share the rows out, and all get all.
    """
    counting = CountingField(model.field)
    start = time.perf_counter()
    rows = replace(model.independent(), field=counting, processes=processes).sample(
        n, steps=steps, stepper=stepper, grid=grid, seed=seed, progress=progress
    )
    seconds = time.perf_counter() - start
    evaluations = torch.tensor(float(counting.rows), dtype=torch.float64, device=processes.device)
    processes.sum_(evaluations)
    tuned = stepper is None and grid is None and any(steps in (None, t.nfe) for t in model.tuned)
    timing = Timing(
        evaluations=float(evaluations) / n,
        seconds_per_1000=1000 * seconds / n,
        device=model.device,
        sampler="tuned" if tuned else "default",
    )
    return rows, timing


@torch.no_grad()
def sample_trajectories(model: Model, seed: int) -> tuple[Tensor, Tensor]:
    """Integrate a few samples; their states ``[k, n, *d]`` in model units, and the times ``[k]``."""
    n = IMAGES if len(model.transform.shape) > 2 else TRAJECTORIES
    start = model.field.path.begin(n, model.transform.shape, seed=seed).to(model.device)
    labels = model.labels(n, None, seed)
    y = None if labels is None else labels.to(model.device)
    run = integrate(model.field, start, grid=default_grid(model.field, STATES), seed=seed, y=y, trajectory=True)
    return run.x.cpu(), run.t


def training_history(model: Model, measured: Losses | None) -> Training:
    """Collect steps, seconds and losses from the run's ``metrics.jsonl``."""
    lines = [row for row in model.history() if "loss" in row]
    held_out = [row.get("held_out") for row in lines]
    return Training(
        steps=int(lines[-1]["step"]) if lines else 0,
        seconds=float(lines[-1]["seconds"]) if lines else 0.0,
        at=tuple(int(row["step"]) for row in lines),
        loss=tuple(float(row["loss"]) for row in lines),
        held_out=tuple(math.nan if value is None else float(value) for value in held_out),
        losses=measured,
    )


def measure_losses(model: Model, reference: Reference, draws: int, seed: int) -> tuple[Losses | None, str]:
    """Measure the loss on training and on held-out rows, and its floor; or a note why there is none."""
    run = model.run
    if run.config.condition.condition == "labels" and reference.labels is None:
        return None, "no loss: the classes of the data are not those of the run any more"
    parts = components(run.config, run.data.spec(model.transform), model.own)
    try:
        measured = losses(model.field, parts, run.config, *_sides(model, reference), seed, draws, WORK)
    except (InputError, ValueError) as error:
        return None, f"the loss could not be measured again ({error})"
    return measured, measured.note


def audit_losses(model: Model, reference: Reference, evaluations: int, seed: int) -> Membership:
    """Audit the run for its training rows by their losses (see `membership_audit`)."""
    parts = components(model.run.config, model.run.data.spec(model.transform), model.own)
    return membership_audit(model.field, parts, *_sides(model, reference), seed, evaluations)


def _sides(model: Model, reference: Reference) -> tuple[tuple[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]:
    """Training and held-out rows on the model's device, with their classes where the network is conditioned on them."""
    assert reference.trained is not None
    device, labels = torch.device(model.device), reference.labels
    labelled = labels is not None and model.run.config.condition.condition == "labels"
    y, held_out_y = (part.to(device) for part in labels) if labelled and labels else (None, None)
    return (reference.trained.to(device), y), (reference.held_out.to(device), held_out_y)


def measure_likelihood(
    model: Model,
    transform: Transform,
    reference: Reference,
    rows: int,
    steps: int | None,
    seed: int,
    progress: Progress = SILENT,
    processes: Processes = SINGLE,
) -> tuple[LogLikelihood | None, str]:
    """Measure mean log-densities of some held-out and some training rows, in nats; or a note why there are none.

    The reference's rows are model rows of ``transform``; at most ``rows`` of either are taken, with ``steps`` steps
    (None: adaptive).
    """
    held_out, trained = reference.held_out, reference.trained
    method = "exact" if dimension(held_out) <= EXACT else "hutchinson"
    means: list[Estimate] = []
    try:
        for i, points in enumerate([held_out] if trained is None else [held_out, trained]):
            progress(i / 2, "likelihood")
            x = transform.inverse(subsample(points, rows, seed, "report likelihood", i))
            tol = TOLERANCE if steps is None else None
            answer = replace(model, processes=processes).log_likelihood(
                x, method=method, steps=steps, tol=tol, seed=seed
            )
            logs = answer.log_prob.double()
            means.append(Estimate(float(logs.mean()), float(logs.std()) / math.sqrt(len(logs)), len(logs)))
    except (InputError, ValueError) as error:
        return None, f"no likelihood: {error}"
    likelihood = LogLikelihood(
        nats=means[0],
        train=means[1] if len(means) > 1 else None,
        bits_per_dimension=-means[0].value / (dimension(held_out) * math.log(2)),
        rows=min(rows, len(held_out)),
        method=method,
    )
    return likelihood, ""
