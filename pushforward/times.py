"""When we look: training laws of t, and the grids on which samplers step.

A time law is ``(n, generator) -> t [n]`` in [0, 1); a grid is ``(steps) -> t [steps + 1]`` from 0 to 1. Both float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["GRIDS", "TIMES", "linear", "logit_normal", "uniform"]

TimeLaw = Callable[..., Tensor]  # (n, generator, parameters) -> t [n]
Grid = Callable[[int], Tensor]


def uniform(n: int, generator: torch.Generator) -> Float[Tensor, "n"]:
    """Uniform on [0, 1)."""
    return torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)


def logit_normal(n: int, generator: torch.Generator, mean: float = 0.0, std: float = 1.0) -> Float[Tensor, "n"]:
    """``t = 1 / (1 + exp(-z))``, ``z ~ N(mean, std^2)``: most looks in the middle (Esser et al. 2024, section 3.1)."""
    z = torch.randn(n, generator=generator, device=generator.device, dtype=torch.float64)
    return torch.sigmoid(mean + std * z)


def linear(steps: int) -> Float[Tensor, "times"]:
    """Equal steps in t."""
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


TIMES: dict[str, TimeLaw] = {
    "uniform": uniform,
    "logit_normal": logit_normal,
}

GRIDS: dict[str, Grid] = {
    "linear": linear,
}
