"""The coupling that a run fits to its rows: fitted before training begins, and read back when it goes on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pushforward.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.batches import BatchRecipe
    from pushforward.coupling.base import FittedOnData

__all__ = ["fit_plan"]


def fit_plan(
    recipe: BatchRecipe,
    coupling: FittedOnData,
    x: Tensor,
    y: Tensor | None,
    seed: int,
    folder: Path,
    run: str,
    progress: Progress,
) -> BatchRecipe:
    """Fit the coupling of a recipe to rows ``x [N, *d]`` and classes ``y [N]``; the recipe with what was fitted.

    The potentials are kept in ``folder``, as those of the run with the checksum ``run``. Potentials that are there and
    whole are taken; others are fitted again. A disk that refuses to keep them costs nothing but the time when training
    goes on.
    """
    from pushforward.files.tensorfile import read_folder, write_folder

    try:
        tensors, _ = read_folder(folder, {"potentials": x.new_empty(len(x))}, run)
        if not bool(tensors["potentials"].isfinite().all()):
            raise ValueError("potentials that are not finite")
        plan = coupling.restore(x, y, tensors["potentials"], dequantize=recipe.dequantize)
    except (OSError, ValueError):
        plan = coupling.fit(x, y, recipe.path.source, seed, dequantize=recipe.dequantize, progress=progress)
        with suppress(OSError):
            write_folder(folder, {"potentials": plan.potentials}, {}, run)
    # the plan hands out its own rows: it is the one to make them continuous
    return replace(recipe, coupling=plan, dequantize=None)
