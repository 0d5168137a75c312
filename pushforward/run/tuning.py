"""Tune the sampler of a run, and keep the answer in its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pushforward.config import fingerprint
from pushforward.errors import InputError
from pushforward.run.folder import SamplerFile, TunedSampler
from pushforward.run.model import load

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.sample import Tuned

__all__ = ["tune"]


def tune(
    folder: Path, nfe: int, *, seed: int = 0, device: str = "cpu", on_step: Callable[[float, str], None] | None = None
) -> Tuned:
    """Find the sampler of a run for ``nfe`` evaluations a sample and keep it there: `sample` uses it from now on.

    Held-out rows of the training data decide on stochastic samplers; where the data have moved or changed, flows alone
    are tried.
    """
    from pushforward.data import load as load_data
    from pushforward.files import written_whole
    from pushforward.sample import tune as find

    model = load(folder, device)
    rows: Tensor | None = None
    with contextlib.suppress(InputError, OSError):
        data = load_data(model.run.data.source)
        if fingerprint(data) == model.run.data.fingerprint:
            rows = data.split(model.run.config.train.held_out, model.run.config.train.seed)[1].x[:].to(device)
    try:
        found = find(
            model.field, nfe, shape=model.transform.shape, seed=seed, device=device, data=rows, progress=on_step
        )
    except ValueError as error:
        raise InputError(f"{folder}: {error}") from error
    entry = TunedSampler(
        nfe=nfe,
        stepper=found.name,
        grid=tuple(found.grid.tolist()),
        error=found.error,
        best_untuned=found.best_untuned,
        distance=found.distance,
        floor=found.floor,
    )
    others = tuple(t for t in model.tuned if t.nfe != nfe)
    with written_whole(folder / "sampler.json") as scratch:
        scratch.write_text(SamplerFile(tuned=(*others, entry)).model_dump_json(indent=1))
    return found
