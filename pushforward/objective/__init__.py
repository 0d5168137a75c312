"""Objectives: ``(field, draw, y, generator) -> loss [n]``, what training makes small."""

from __future__ import annotations

from collections.abc import Callable

from pushforward.objective.implicit import ImplicitScore, SlicedScore
from pushforward.objective.irreducible import Estimate, excess_loss, irreducible_loss
from pushforward.objective.matching import (
    ComponentMatching,
    ImportanceWeighted,
    Matching,
    MultiMatching,
    Objective,
    StableTarget,
)
from pushforward.objective.maxlik import MaximumLikelihood, ResidualLikelihood
from pushforward.objective.weights import WEIGHTS, Weighting
from pushforward.registry import merged

__all__ = [
    "ComponentMatching",
    "OBJECTIVES",
    "WEIGHTS",
    "Estimate",
    "ImplicitScore",
    "ImportanceWeighted",
    "Matching",
    "MaximumLikelihood",
    "MultiMatching",
    "Objective",
    "ResidualLikelihood",
    "SlicedScore",
    "StableTarget",
    "Weighting",
    "excess_loss",
    "irreducible_loss",
]

OBJECTIVES: dict[str, Callable[..., Objective]] = merged("objective", "OBJECTIVES")
