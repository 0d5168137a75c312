"""Tune the sampler of a run, and keep the answer in its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pushforward.errors import InputError
from pushforward.progress import SILENT, Progress
from pushforward.run.folder import SamplerFile, TunedSampler, write_record

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.data import DataSource
    from pushforward.run.model import Model
    from pushforward.sample import Tuned

__all__ = ["tune_model"]


def tune_model(
    model: Model, nfe: int, seed: int = 0, against: DataSource | None = None, progress: Progress = SILENT
) -> Tuned:
    """Find the sampler of a model for ``nfe`` evaluations a sample and keep it in its folder and in ``model.tuned``.

    Held-out rows of the training data decide on stochastic samplers. ``against`` are these data, if they have moved;
    without it those that the run names, where they may be opened and have not changed, and otherwise flows alone are
    tried. InputError for a budget in which no method makes a step, and for other data.
    """
    from pushforward.sample import tune

    try:
        best = tune(
            model.field,
            nfe,
            shape=model.transform.shape,
            seed=seed,
            device=model.device,
            data=_held_out(model, against),
            progress=progress,
        )
    except ValueError as error:
        raise InputError(f"{model.folder}: {error}") from error
    entry = TunedSampler(
        nfe=nfe,
        stepper=best.name,
        grid=tuple(best.grid.tolist()),
        error=best.error,
        best_untuned=best.best_untuned,
        distance=best.distance,
        floor=best.floor,
    )
    model.tuned = (*(t for t in model.tuned if t.nfe != nfe), entry)
    write_record(model.folder / "sampler.json", SamplerFile(tuned=model.tuned))
    return best


def _held_out(model: Model, against: DataSource | None) -> Tensor | None:
    """The held-out rows of the training data, on the model's device; None where they are not what they were."""
    from pushforward.evaluation.reference import own_parts

    parts = own_parts(model, against)
    if parts is None and against is not None:
        raise InputError(f"{against}: not the rows that the run was trained on; without them flows alone are tried")
    return None if parts is None else parts[1].x[:].to(model.device)
