"""Paths: families of trajectories that carry a source to the data, and what can be read off a point on them.

A path is one function, ``trajectory(x0, x1, t) -> x_t``, with ``x_0 = x0`` at t = 0 and ``x_1 = x1`` at t = 1. Its
velocity is the derivative in t, by forward-mode autodiff, never a second formula. On affine paths every prediction of a
network converts into every other (`pushforward.path.predictions`).

Reference: Lipman et al. 2024, "Flow Matching Guide and Code".
"""

from __future__ import annotations

from collections.abc import Callable

from pushforward.path.affine import Affine, GeneralAffine
from pushforward.path.base import Draw, InvertiblePath, Path
from pushforward.path.bridge import Bridge
from pushforward.path.convert import convert, prediction_coefficients, weight
from pushforward.path.curves import Characteristics
from pushforward.path.predictions import PREDICTIONS
from pushforward.registry import merged

__all__ = [
    "PATHS",
    "PREDICTIONS",
    "Affine",
    "Bridge",
    "Characteristics",
    "Draw",
    "GeneralAffine",
    "InvertiblePath",
    "Path",
    "convert",
    "prediction_coefficients",
    "weight",
]

PATHS: dict[str, Callable[..., Path]] = merged("path", "PATHS")
