"""Objectives: ``(field, draw, y, generator) -> loss [n]``, what training makes small."""

from __future__ import annotations

from pushforward.objective.implicit import ImplicitScore, SlicedScore
from pushforward.objective.irreducible import Estimate, excess_loss, irreducible_loss
from pushforward.objective.matching import ImportanceWeighted, Matching, MultiMatching, Objective, StableTarget, target
from pushforward.objective.maxlik import MaximumLikelihood, ResidualLikelihood
from pushforward.objective.weights import WEIGHTS, Weighting

__all__ = [
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
    "target",
]

OBJECTIVES: dict[str, Objective] = {
    "flow": Matching("velocity"),
    "score": Matching("score"),
    "noise": Matching("noise"),
    "data": Matching("data"),
    "v": Matching("v"),
    "joint": MultiMatching(("velocity", "score")),
    "marginal": StableTarget("velocity"),
    "implicit": ImplicitScore(),
    "sliced": SlicedScore(),
    "maximum_likelihood": MaximumLikelihood(),
}
