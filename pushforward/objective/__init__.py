"""Objectives: ``(field, draw, y, generator) -> loss [n]``, what training makes small."""

from pushforward.objective.matching import (
    OBJECTIVES,
    Matching,
    Objective,
)

__all__ = ["OBJECTIVES", "Matching", "Objective"]
