"""The semidiscrete plan of a run: fitted before training begins, and read back when it goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.coupling import Semidiscrete, SemidiscretePlan
    from pushforward.source import Source
    from pushforward.tensor import Dequantize

__all__ = ["plan"]


def plan(
    kept: Path,
    on_step: Callable[[int, int], None],
    how: Semidiscrete,
    x: Tensor,
    y: Tensor | None,
    source: Source,
    seed: int,
    dequantize: Dequantize | None,
) -> SemidiscretePlan:
    """What ``how.fit`` of the other arguments gives, with its potentials kept in the folder ``kept``.

    Potentials that are there and whole are taken; others are fitted again. A disk that refuses to keep them costs
    nothing but the time when training goes on.
    """
    from pushforward.coupling import SemidiscretePlan
    from pushforward.files import read_folder, write_folder

    try:
        found, _ = read_folder(kept, {"potentials": x.new_empty(len(x))})
        return SemidiscretePlan.of(x, y, found["potentials"], dequantize)
    except (OSError, ValueError):
        pass
    partners = how.fit(x, y, source, seed, dequantize, on_step)
    with suppress(OSError):
        write_folder(kept, {"potentials": partners.potentials}, {})
    return partners
