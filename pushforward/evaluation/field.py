"""What is asked of the field itself: samples and their cost, trajectories, the loss and its floor, likelihoods."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from pushforward.config import build
from pushforward.data import Transform
from pushforward.distributed import SINGLE, Processes
from pushforward.errors import InputError
from pushforward.evaluation.losses import WORK
from pushforward.evaluation.losses import losses as field_losses
from pushforward.evaluation.reference import Rows
from pushforward.evaluation.result import Estimate, LogLikelihood, Loss, Timing, Training
from pushforward.field import Field
from pushforward.metrics.base import some
from pushforward.sample import Stepper, default_grid, integrate
from pushforward.tensor import Points, Time, dimension, per_sample

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = ["draw", "likelihood", "losses", "training", "walk"]

EXACT = 16  # dimensions up to which divergences are exact
TOLERANCE = 0.1  # nats; rows differ by far more
WALKERS, STATES = 200, 50  # trajectories, and their steps


@final
class Counted(Field):
    """A field that counts the rows it was asked for."""

    def __init__(self, field: Field) -> None:
        self.path, self.field, self.rows = field.path, field, 0

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        self.rows += len(x)
        return self.field.evaluate(names, x, t, y)


def draw(
    model: Model,
    n: int,
    seed: int,
    *,
    steps: int | None = None,
    stepper: Stepper | None = None,
    grid: Tensor | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    processes: Processes = SINGLE,
) -> tuple[Any, Timing]:
    """Rows as `Model.sample` makes them, and what they cost: the one place where a report samples.

    ``processes`` share the rows out, and all get all.
    """
    counted = Counted(model.field)
    begun = time.perf_counter()
    progress = None if on_batch is None else lambda share, words: on_batch(round(share * n), n)
    rows = replace(model, field=counted, processes=processes).sample(
        n, steps=steps, stepper=stepper, grid=grid, seed=seed, progress=progress
    )
    seconds = time.perf_counter() - begun
    evaluations = torch.tensor(float(counted.rows), dtype=torch.float64, device=processes.device)
    processes.sum_(evaluations)
    tuned = stepper is None and grid is None and any(steps in (None, t.nfe) for t in model.tuned)
    return rows, Timing(float(evaluations) / n, 1000 * seconds / n, model.device, "tuned" if tuned else "default")


@torch.no_grad()
def walk(model: Model, seed: int) -> tuple[Tensor, Tensor]:
    """States ``[k, n, *d]`` of some samples on their way, in model units, and the times ``[k]``."""
    shape, source = model.transform.shape, model.field.path.source
    few = 6 if model.transform.kind == "image" else WALKERS
    x0 = per_sample(lambda n, g: source.sample((n, *shape), g), 0, few, seed, "source")
    start, y = model.field.path.initial_state(x0).to(model.device), model.labels(few, None, seed)
    told = None if y is None else y.to(model.device)
    run = integrate(model.field, start, grid=default_grid(model.field, STATES), seed=seed, y=told, trajectory=True)
    return run.x.cpu(), run.t


def training(model: Model, found: Loss | None) -> Training:
    """The lines of ``metrics.jsonl``."""
    lines = [row for row in model.history() if "loss" in row]
    held = [row.get("held_out") for row in lines]
    return Training(
        int(lines[-1]["step"]) if lines else 0,
        float(lines[-1]["seconds"]) if lines else 0.0,
        tuple(int(row["step"]) for row in lines),
        tuple(float(row["loss"]) for row in lines),
        tuple(math.nan if value is None else float(value) for value in held),
        found,
    )


def losses(model: Model, rows: Rows, draws: int, seed: int) -> tuple[Loss | None, str]:
    """The loss on rows that were trained on and on rows that were not, and its floor; or a note why there is none."""
    run, device = model.run, torch.device(model.device)
    assert rows.trained is not None
    labelled = run.config.condition.condition == "labels"
    if labelled and rows.y is None:
        return None, "no loss: the classes of the data are not those of the run any more"
    parts = build(run.config, model.transform.shape, len(run.data.classes), model.transform.marginals)
    both = zip((rows.trained, rows.held_out), (None, None) if rows.y is None else rows.y, strict=True)
    try:
        ours, theirs = [(x.to(device), None if y is None else y.to(device)) for x, y in both]
        found = field_losses(model.field, parts, run.config, ours, theirs, seed, draws, WORK)
    except (InputError, ValueError) as error:
        return None, f"the loss could not be measured again ({error})"
    low, over, beyond = (
        None if e is None else _estimate(e) for e in (found.floor, found.excess, found.held_out_excess)
    )
    return Loss(_estimate(found.train), _estimate(found.held_out), low, over, beyond, found.train.n), found.note


def _estimate(found: tuple[float, float, int]) -> Estimate:
    return Estimate(found[0], found[1])


def likelihood(
    model: Model,
    transform: Transform,
    rows: Rows,
    scored: int,
    steps: int | None,
    seed: int,
    say: Callable[[float, str], None],
    processes: Processes = SINGLE,
) -> tuple[LogLikelihood | None, str]:
    """Mean log-densities of some held-out and some training rows, model rows of ``transform``; or a note why not."""
    held_out, trained = rows.held_out, rows.trained
    method = "exact" if dimension(held_out) <= EXACT else "hutchinson"
    found: list[Estimate] = []
    try:
        for i, points in enumerate([held_out] if trained is None else [held_out, trained]):
            say(i / 2, "likelihood")
            x = transform.inverse(some(points, scored, seed, "report likelihood", i))
            tol = TOLERANCE if steps is None else None
            answer = replace(model, processes=processes).log_likelihood(
                x, method=method, steps=steps, tol=tol, seed=seed
            )
            logs = answer.log_prob.double()
            found.append(Estimate(float(logs.mean()), float(logs.std()) / math.sqrt(len(logs))))
    except (InputError, ValueError) as error:
        return None, f"no likelihood: {error}"
    bits = -found[0].value / (dimension(held_out) * math.log(2))
    train = found[1] if len(found) > 1 else None
    return LogLikelihood(found[0], train, bits, min(scored, len(held_out)), method), ""
