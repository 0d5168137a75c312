"""Warnings before a training begins: combinations that are allowed and train badly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pushforward.config import Components, Config

__all__ = ["forewarning"]

NUMBERS, LARGE = 2**16, 50.0  # by which a first loss is told, and how large it may be: 1 or 2 is usual


def forewarning(config: Config, parts: Components, shape: tuple[int, ...]) -> str | None:
    """What is wrong with a loss that begins far above 1, and the recipe for such a schedule; None where all is well.

    The loss of a network that answers 0, on standard normal data of one row's ``shape``.
    """
    import torch

    from pushforward.config import RECIPES, Spec
    from pushforward.field import Learned
    from pushforward.tensor import generator

    if config.objective.field != "learned" or not getattr(parts.matching, "quantities", ()):
        return None
    g, n = generator(0, "forewarning"), max(16, min(1024, NUMBERS // math.prod(shape)))
    x1 = torch.randn(n, *shape, generator=g, dtype=torch.float32)
    x0 = parts.path.source.sample(tuple(x1.shape), g, x1.dtype)
    draw = parts.path.draw(x0, x1, parts.times(n, g), g)
    silent = Learned(lambda x, t, y: torch.zeros_like(x), parts.path, parts.predicts)
    with torch.no_grad():
        loss = float(parts.matching(silent, draw, None, g).mean())
    if loss < LARGE:
        return None
    schedule = Spec.parse(config.path.schedule, "schedule").name
    schedules = {name: Spec.parse(recipe.config.path.schedule, "schedule").name for name, recipe in RECIPES.items()}
    fitting = [name for name, of in schedules.items() if of == schedule and config.path.path == "affine"]
    way = f"--recipe {fitting[0]} has the settings that are published for it" if fitting else "take other --times"
    return f"the loss begins at {loss:,.0f}, where 1 is usual, and such a training ends badly; {way}"
