"""`measure`: how good the samples of runs are, in numbers beside their floors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from pushforward.data import DataSource, Transform
from pushforward.distributed import SINGLE, Processes
from pushforward.errors import InputError
from pushforward.evaluation.budget import EvaluationBudget, evaluation_budget
from pushforward.evaluation.fidelity import TableFindings, table_fidelity
from pushforward.evaluation.field import (
    audit_losses,
    measure_likelihood,
    measure_losses,
    sample_trajectories,
    timed_samples,
    training_history,
)
from pushforward.evaluation.losses import Losses
from pushforward.evaluation.quality import PCAProjection, fit_projection, scores, search_copies
from pushforward.evaluation.reference import LEAST, Reference, load_reference
from pushforward.evaluation.result import Copies, Curve, Evaluation, Findings, LogLikelihood, PlotData
from pushforward.metrics import Membership, energy_distance
from pushforward.metrics.base import subsample
from pushforward.progress import Progress
from pushforward.sample import DEFAULT_STEPS, EulerMaruyama, Stepper, default_grid, reverse_sigma
from pushforward.version import __version__

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = ["measure"]

AUDIT = 128  # evaluations of the membership audit for each draw of the losses
PLOTTED = 1000  # rows that pictures are drawn from, at most


def measure(
    models: Sequence[Model],
    against: DataSource | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
    steps: int | None = None,
    quick: bool = False,
    progress: Progress | Callable[[float, str], None] | None = None,
    processes: Processes = SINGLE,
) -> Findings:
    """Measure how good the samples of one or several trained models are, each figure beside its floor.

    ``against`` is a file, a built-in name, an array or a table; None is the data that the runs were trained on. If it
    is those data, samples are compared with the held-out rows, and the floor is what training rows score in their
    place; otherwise with one half of it, and the floor is what the other half scores. ``n`` samples are drawn, with
    ``steps`` as in `Model.sample`, but no more than a large network can take in half a minute unless they are asked
    for; sample i is a function of (seed, i). ``quick`` leaves out the curves over evaluations and diffusion, the loss
    and the likelihood. All metrics are taken in the model units of the first run, in which a column has standard
    deviation 1. ``progress`` is called with (share done, words). ``processes`` share out the samples and the rows whose
    likelihood is measured, and all return the same report.

    Raises InputError where the data are gone or too few, for runs whose rows differ in shape or columns, and for a
    model whose samples are not finite.
    """
    # what cannot be compared is refused before anything is sampled
    start, whole = time.perf_counter(), Progress.of(progress)
    if n < LEAST:
        raise InputError(f"-n {n}: at least {LEAST} samples are needed to measure with")
    if not models:
        raise InputError("no run to evaluate; give the folder of one")
    for model in models[1:]:
        _check_comparable(models[0], model)

    # all runs are seen through one reference: its rows, its units, its projection
    reference = load_reference(models, against, n, seed, whole.part(0.0, 0.02))
    projection = fit_projection(reference.train, seed)
    held_out, train = projection(reference.held_out), projection(reference.train)
    evaluations = []
    for i, model in enumerate(models):
        subject = Subject(
            model=model,
            transform=models[0].transform,
            reference=reference,
            projection=projection,
            held_out=held_out,
            train=train,
            n=n,
            seed=seed,
            budget=evaluation_budget(model, n, steps, DEFAULT_STEPS),
            processes=processes,
        )
        prefix = "" if len(models) == 1 else f"{model.folder.name}: "
        part = whole.part(i / len(models), (i + 1) / len(models), prefix)
        evaluations.append(_evaluate(subject, quick, part))
    whole(1.0, "done")
    return Findings(
        runs=tuple(evaluations),
        against=reference.info,
        n=n,
        seed=seed,
        pushforward=__version__,
        seconds=time.perf_counter() - start,
        notes=reference.notes,
    )


def _check_comparable(first: Model, other: Model) -> None:
    """InputError for runs whose samples cannot be told apart for what they are: rows of other shape or columns."""

    def looks(model: Model) -> tuple[object, ...]:
        t = model.transform
        columns = [(column.name, column.describe()[1]) for column in t.columns] if t.kind == "table" else []
        return t.kind, t.row_shape, f"layout {t.layout}", *columns

    if looks(first) != looks(other):
        one, two = set(looks(first)), set(looks(other))
        odd = ", ".join(str(part) for part in [*(one - two), *(two - one)][:4])
        raise InputError(
            f"{first.folder} and {other.folder} cannot be compared: their rows differ in shape or columns ({odd})"
        )


@dataclass(frozen=True, eq=False)
class Subject:
    """One run under evaluation: how it samples, and how its samples are seen.

    ``transform`` is that of the first run, in whose units all are measured; ``held_out`` and ``train`` are the
    reference's rows as metrics take them, through the ``projection``.
    """

    model: Model
    transform: Transform
    reference: Reference
    projection: PCAProjection
    held_out: Tensor
    train: Tensor
    n: int
    seed: int
    budget: EvaluationBudget
    processes: Processes


class CopyFindings(NamedTuple):
    """The search for copies, where the training rows are known, and what is drawn of it."""

    copies: Copies | None
    closest: Tensor
    originals: Tensor
    sample_distance: Tensor
    reference_distance: Tensor
    notes: list[str]


class FieldFindings(NamedTuple):
    """What is measured of the field beyond its samples; empty for a quick evaluation."""

    by_evaluations: Curve | None
    by_diffusion: Curve | None
    losses: Losses | None
    membership: Membership | None
    likelihood: LogLikelihood | None
    notes: list[str]


def _evaluate(subject: Subject, quick: bool, progress: Progress) -> Evaluation:
    """Evaluate one run."""
    model, transform, reference, seed = subject.model, subject.transform, subject.reference, subject.seed
    notes = [subject.budget.note, *model.run.data.notes]

    # samples, in the model units of the first run
    progress(0.0, "samples")
    rows, timing = timed_samples(
        model,
        subject.n,
        seed,
        steps=subject.budget.steps,
        progress=progress.part(0.0, 0.1, "samples "),
        processes=subject.processes,
    )
    samples = transform.forward(rows, f"samples of {model.folder}")

    # metrics of points, through principal components where there are too many dimensions
    points = subject.projection(samples)
    if subject.projection.directions is not None:
        components = subject.projection.directions.shape[1]
        notes.append(f"points are measured through {components} principal components of training rows")
    listed, p_values = scores(points, subject.held_out, subject.train, seed, progress.part(0.1, 0.4))

    # metrics of tables, in the user's columns; pixels and steps are no columns
    fidelity = TableFindings([], None, [])
    if transform.columnar:
        fidelity = table_fidelity(
            samples,
            reference.held_out,
            reference.train,
            reference.trained,
            transform,
            seed,
            progress.part(0.4, 0.55),
        )

    # copies of training rows, and what only the field itself can say
    progress(0.55, "copies")
    memory = _find_copies(subject, samples, points)
    field = (
        FieldFindings(None, None, None, None, None, []) if quick else _measure_field(subject, progress.part(0.65, 0.98))
    )
    progress(0.98, "trajectories")
    trajectories, times = sample_trajectories(model, seed)
    notes += [*fidelity.notes, *memory.notes, *field.notes]
    return Evaluation(
        name=str(model.folder),
        run=model.run,
        scores=(*listed, *fidelity.scores),
        p_value=p_values["two_sample"],
        copies=memory.copies,
        membership=field.membership,
        table=fidelity.table,
        by_evaluations=field.by_evaluations,
        by_diffusion=field.by_diffusion,
        likelihood=field.likelihood,
        training=training_history(model, field.losses),
        timing=timing,
        notes=tuple(note for note in notes if note),
        plot_data=PlotData(
            transform=transform,
            samples=samples[:PLOTTED],
            data=reference.held_out[:PLOTTED],
            closest=memory.closest,
            originals=memory.originals,
            trajectories=trajectories,
            times=times,
            sample_distance=memory.sample_distance,
            reference_distance=memory.reference_distance,
        ),
    )


def _find_copies(subject: Subject, samples: Tensor, points: Tensor) -> CopyFindings:
    """Search for copies of training rows among samples, where the training rows are known."""
    trained = subject.reference.trained
    if trained is None:
        no_rows, no_distance = subject.reference.held_out[:0], subject.reference.held_out.new_zeros(0)
        return CopyFindings(None, samples[:0], no_rows, no_distance, no_distance, [])
    copies, memory, originals = search_copies(points, subject.projection(trained), subject.held_out, subject.seed)
    notes = []
    if copies.train < len(trained):
        notes.append(f"copies are looked for among {copies.train:,} of {len(trained):,} training rows")
    return CopyFindings(
        copies=copies,
        closest=samples[[i for i, _, _ in copies.closest]],
        originals=trained[originals],
        sample_distance=memory.distance,
        reference_distance=memory.reference_distance,
        notes=notes,
    )


def _measure_field(subject: Subject, progress: Progress) -> FieldFindings:
    """Measure quality over evaluations and over diffusion, the loss beside its floor, and likelihoods."""
    model, budget, reference, seed = subject.model, subject.budget, subject.reference, subject.seed
    notes = []

    # the default sampler with more and more evaluations
    plans = [model.default_sampler(k).plan(model.field) for k in budget.evaluations]
    defaults = [(stepper, grid) for grid, stepper in plans]
    by_evaluations = _curve(subject, budget.evaluations, budget.evaluation_samples, defaults, progress.part(0.0, 0.3))

    # every diffusion coefficient has the same law on an exact field; some paths have no reverse SDE
    by_diffusion = None
    try:
        grid = default_grid(model.field, budget.diffusion_steps)
        diffusions = [(EulerMaruyama(reverse_sigma(model.field.path, tau)), grid) for tau in budget.diffusions]
        curve = _curve(subject, budget.diffusions, budget.diffusion_samples, diffusions, progress.part(0.3, 0.6))
        by_diffusion = replace(curve, steps=budget.diffusion_steps)
    except ValueError as error:
        notes.append(f"no curve over diffusion: {error}")

    # rows of another source have no floor, which is of the rows that were trained on
    losses: Losses | None = None
    audit: Membership | None = None
    if reference.trained is not None and reference.info.own:
        progress(0.6, "the loss and its floor")
        losses, note = measure_losses(model, reference, budget.loss_draws, seed)
        audit = None if losses is None else audit_losses(model, reference, AUDIT * budget.loss_draws, seed)
        notes.append(note)

    likelihood, note = measure_likelihood(
        model,
        subject.transform,
        reference,
        budget.likelihood_rows,
        budget.likelihood_steps,
        seed,
        progress.part(0.75, 1.0),
        subject.processes,
    )
    return FieldFindings(by_evaluations, by_diffusion, losses, audit, likelihood, [*notes, note])


def _curve(
    subject: Subject,
    x: Sequence[float],
    n: int,
    samplers: Sequence[tuple[Stepper | None, Tensor]],
    progress: Progress,
) -> Curve:
    """Measure the energy distance of at most ``n`` samples by each sampler, a stepper and a grid; nan if not finite."""
    n, y = min(n, subject.n, len(subject.train)), []
    for i, (stepper, grid) in enumerate(samplers):
        progress(i / len(samplers), "curves")
        try:
            rows, _ = timed_samples(
                subject.model, n, subject.seed, stepper=stepper, grid=grid, processes=subject.processes
            )
            samples = subject.projection(subject.transform.forward(rows, f"samples of {subject.model.folder}"))
            y.append(energy_distance(samples, subject.held_out))
        except InputError:  # diverged
            y.append(float("nan"))
    floor = energy_distance(subsample(subject.train, n, subject.seed, "curve"), subject.held_out)
    return Curve(tuple(x), tuple(y), floor, n)
