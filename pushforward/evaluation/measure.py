"""`measure`: how good the samples of a run are, in numbers beside their floors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from torch import Tensor

from pushforward.data import Transform
from pushforward.data.files.read import Source
from pushforward.distributed import SINGLE, Processes
from pushforward.errors import InputError
from pushforward.evaluation.budget import allowance
from pushforward.evaluation.fidelity import tables
from pushforward.evaluation.field import draw, likelihood, losses, training, walk
from pushforward.evaluation.quality import Lens, copies, lens, scores, two_sample
from pushforward.evaluation.reference import LEAST, Rows, read
from pushforward.evaluation.result import Copies, Curve, Evaluation, Findings, Loss, Shown
from pushforward.metrics import Memorisation, energy_distance
from pushforward.metrics.base import some
from pushforward.sample import DEFAULT_STEPS, EulerMaruyama, Stepper, default_grid, reverse_sigma
from pushforward.version import __version__

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = ["Say", "measure"]

SHOWN = 1000  # rows that pictures are drawn from, at most

Say: TypeAlias = Callable[[float, str], None]
Way: TypeAlias = "tuple[Stepper | None, Tensor]"


def measure(
    models: Sequence[Model],
    against: Source | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
    steps: int | None = None,
    quick: bool = False,
    on_step: Say | None = None,
    processes: Processes = SINGLE,
) -> Findings:
    """How good the samples of one or several runs are, each figure beside its floor.

    ``against`` is a file, a built-in name, an array or a table; None is the data that the runs were trained on. If it
    is those data, samples are compared with the held-out rows, and the floor is what training rows score in their
    place; otherwise with one half of it, and the floor is what the other half scores. ``n`` samples are drawn, with
    ``steps`` as in `Model.sample`, but no more than a large network can take in half a minute unless they are asked
    for; sample i is a function of (seed, i). ``quick`` leaves out the curves over evaluations and diffusion, the loss
    and the likelihood. All metrics are taken in the model units of the first run, in which a column has standard
    deviation 1. ``on_step`` is told (share done, words). ``processes`` share out the samples and the rows whose
    likelihood is asked, and all return the same report.

    Raises InputError where the data are gone or too few, for runs whose rows differ in shape or columns, and for a
    model whose samples are not finite.
    """
    begun = time.perf_counter()
    if n < LEAST:
        raise InputError(f"-n {n}: at least {LEAST} samples are needed to measure with")
    if not models:
        raise InputError("no run to evaluate; give the folder of one")
    for model in models[1:]:
        _alike(models[0], model)
    rows = read(models, against, n, seed)
    say = on_step or (lambda share, words: None)
    found = []
    for i, model in enumerate(models):

        def here(share: float, words: str, i: int = i) -> None:
            say((i + share) / len(models), words if len(models) == 1 else f"{models[i].folder.name}: {words}")

        found.append(_one(model, models[0].transform, rows, n, seed, steps, quick, here, processes))
    say(1.0, "done")
    return Findings(tuple(found), rows.held, n, seed, __version__, time.perf_counter() - begun, rows.notes)


def _alike(first: Model, other: Model) -> None:
    """InputError for runs whose samples cannot be told apart for what they are: rows of other shape or columns."""

    def looks(model: Model) -> tuple[object, ...]:
        t = model.transform
        named = [(column.name, column.describe()[1]) for column in t.columns] if t.kind == "table" else []
        return t.kind, t.row_shape, *named

    if looks(first) != looks(other):
        ours, theirs = set(looks(first)), set(looks(other))
        odd = ", ".join(str(part) for part in [*(ours - theirs), *(theirs - ours)][:4])
        raise InputError(
            f"{first.folder} and {other.folder} cannot be compared: their rows differ in shape or columns ({odd})"
        )


class Sampled(NamedTuple):
    """How a run's samples are seen: model rows of the first run, and flat as metrics take them."""

    model: Model
    transform: Transform
    view: Lens
    held_out: Tensor
    train: Tensor
    processes: Processes

    def curve(self, x: Sequence[float], n: int, seed: int, ways: Sequence[Way], say: Say) -> Curve:
        """The energy distance of each way of sampling; nan where the samples are not finite."""
        n, y = min(n, len(self.train)), []
        for i, (stepper, grid) in enumerate(ways):
            say(i / len(ways), "curves")
            try:
                rows, _ = draw(self.model, n, seed, stepper=stepper, grid=grid, processes=self.processes)
                samples = self.view(self.transform.forward(rows, f"samples of {self.model.folder}"))
                y.append(energy_distance(samples, self.held_out))
            except InputError:  # diverged
                y.append(float("nan"))
        floor = energy_distance(some(self.train, n, seed, "curve"), self.held_out)
        return Curve(tuple(x), tuple(y), floor, n)


def _one(
    model: Model,
    transform: Transform,
    rows: Rows,
    n: int,
    seed: int,
    steps: int | None,
    quick: bool,
    say: Say,
    processes: Processes,
) -> Evaluation:
    """One run, in the model units of ``transform``."""
    may = allowance(model, n, steps, DEFAULT_STEPS)
    notes = [may.note] if may.note else []
    say(0.0, "sampling")

    def shown(done: int, total: int) -> None:
        say(0.1 * done / total, "sampling")

    made, timing = draw(model, n, seed, steps=may.steps, on_batch=shown, processes=processes)
    samples = transform.forward(made, f"samples of {model.folder}")
    view = lens(rows.train, seed)
    if view.directions is not None:
        notes.append(f"points are measured through {view.directions.shape[1]} principal components of training rows")
    flat, held_out, train = view(samples), view(rows.held_out), view(rows.train)
    listed = scores(flat, held_out, train, seed, lambda share, words: say(0.1 + 0.2 * share, words))
    say(0.3, "classifier")
    judged, p_value = two_sample(flat, held_out, train, seed)
    listed.append(judged)
    table = None
    if transform.kind != "image":
        more, table, left_out = tables(
            samples, rows.held_out, rows.train, rows.trained, transform, seed, lambda s, w: say(0.4 + 0.15 * s, w)
        )
        listed += more
        notes += left_out
    copied: Copies | None = None
    memory: Memorisation | None = None
    closest, originals = samples[:0], rows.held_out[:0]
    if rows.trained is not None:
        say(0.55, "copies")
        copied, memory, which = copies(flat, view(rows.trained), held_out, seed)
        closest, originals = samples[[i for i, _, _ in copied.closest]], rows.trained[which]
        if copied.train < len(rows.trained):
            notes.append(f"copies are looked for among {copied.train:,} of {len(rows.trained):,} training rows")
    by_evaluations = by_diffusion = None
    loss: Loss | None = None
    likely = None
    if not quick:
        seen = Sampled(model, transform, view, held_out, train, processes)
        ways: list[Way] = [(None, default_grid(model.field, k)) for k in may.evaluations]
        by_evaluations = seen.curve(
            may.evaluations, min(n, may.at_evaluations), seed, ways, lambda s, w: say(0.65 + 0.1 * s, w)
        )
        try:
            grid = default_grid(model.field, may.diffusion_steps)
            ways = [(EulerMaruyama(reverse_sigma(model.field.path, tau)), grid) for tau in may.diffusions]
            found = seen.curve(
                may.diffusions, min(n, may.at_diffusions), seed, ways, lambda s, w: say(0.75 + 0.1 * s, w)
            )
            by_diffusion = replace(found, steps=may.diffusion_steps)
        except ValueError as error:
            notes.append(f"no curve over diffusion: {error}")
        if rows.trained is not None and rows.held.own:
            say(0.85, "the loss and its floor")
            loss, note = losses(model, rows, may.draws, seed)
            notes += [note] if note else []
        likely, note = likelihood(
            model,
            transform,
            rows,
            may.scored,
            may.score_steps,
            seed,
            lambda share, words: say(0.9 + 0.08 * share, words),
            processes,
        )
        notes += [note] if note else []
    say(0.98, "trajectories")
    states, times = walk(model, seed)
    empty = rows.held_out.new_zeros(0)
    pictured = Shown(
        transform,
        samples[:SHOWN],
        rows.held_out[:SHOWN],
        closest,
        originals,
        states,
        times,
        empty if memory is None else memory.distance,
        empty if memory is None else memory.fair,
    )
    return Evaluation(
        str(model.folder),
        model.run,
        tuple(listed),
        p_value,
        copied,
        table,
        by_evaluations,
        by_diffusion,
        likely,
        training(model, loss),
        timing,
        tuple(notes),
        pictured,
    )
