"""Reflow: training on pairs that a trained model makes, so that ways from source to data become straight.

A flow carries each source point ``x_0`` to its own ``x_1``; straight lines between these pairs cross less than lines
between independent ones, and a model of them needs fewer steps. Liu et al. 2023, "Flow straight and fast".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pushforward.errors import InputError
from pushforward.progress import SILENT, Progress
from pushforward.run.loading import load

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Shaped
    from torch import Tensor

    from pushforward.data import Dataset
    from pushforward.tensor import Points

__all__ = ["PAIRS", "Reflow", "make_pairs", "paired"]

MOST = 100_000  # pairs
PAIRS = "pairs.safetensors"


@dataclass(frozen=True, eq=False)
class Reflow:
    """The pairs: rows with their labels as a data set, and ``partners [n, d + 1]``, source points and labels beside."""

    data: Dataset
    partners: Float[Tensor, "n k"]


def paired(
    x0: Points, x1: Points, y: Shaped[Tensor, "n k"] | None, generator: torch.Generator
) -> tuple[Points, Points, Tensor | None]:
    """A coupling: the source points that came with the rows (``partners``) in place of new ones; -2 is no label."""
    if y is None:
        raise ValueError("paired: the source points are missing")
    labels = y[:, -1].long()
    return y[:, :-1].reshape(x1.shape).to(x1), x1, None if bool((labels == -2).all()) else labels


def make_pairs(run: Path, folder: Path, seed: int, device: str, progress: Progress = SILENT) -> Reflow:
    """Make pairs by the model in ``run``, as many as it was trained on rows (at most 100,000), kept in ``folder``.

    They are made once and read back when training goes on. InputError for a model that does not know the source of its
    rows, or pairs that are damaged.
    """
    import torch

    from pushforward.data import Dataset
    from pushforward.files.tensorfile import load_tensors, save_tensors
    from pushforward.sample import generate

    model = load(run, device)
    shape, classes = model.transform.shape, model.run.data.classes
    n, file = min(model.run.data.rows, MOST), folder / PAIRS
    source, y = model.field.path.source, model.labels(n, None, seed)
    x0 = source.draws(n, shape, seed=seed)
    if file.is_file():
        try:
            x1 = load_tensors(file, {"x1": x0}, model.run.checksum)["x1"]
        except ValueError as error:
            words = "damaged or of another run; delete it, and the pairs are made again"
            raise InputError(f"{file}: {words} ({error})") from error
    else:
        x1 = generate(model.field, n, shape, seed=seed, y=y, device=device, progress=progress)
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors({"x1": x1}, file, model.run.checksum)
    labels = torch.full((n,), -2) if y is None else y
    partners = torch.cat([x0.flatten(1), labels[:, None].to(x0)], 1)
    named = () if y is None else classes  # a model of rows without their classes makes none
    return Reflow(Dataset(f"reflow of {run}", x1, y, model.transform, named), partners)
