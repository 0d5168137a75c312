"""Objectives: ``(field, draw, y, generator) -> loss [n]``, what training makes small."""

from __future__ import annotations

from pushforward.objective.floor import Estimate, excess, floor
from pushforward.objective.implicit import ImplicitScore, SlicedScore
from pushforward.objective.matching import Marginal, Matching, Objective, Several, Unbiased, target
from pushforward.objective.maxlik import MaximumLikelihood, ResidualLikelihood
from pushforward.objective.weights import WEIGHTS, Weighting

__all__ = [
    "OBJECTIVES",
    "WEIGHTS",
    "Estimate",
    "ImplicitScore",
    "Marginal",
    "Matching",
    "MaximumLikelihood",
    "Objective",
    "ResidualLikelihood",
    "Several",
    "SlicedScore",
    "Unbiased",
    "Weighting",
    "excess",
    "floor",
    "target",
]

OBJECTIVES: dict[str, Objective] = {
    "flow": Matching("velocity"),
    "score": Matching("score"),
    "noise": Matching("noise"),
    "data": Matching("data"),
    "v": Matching("v"),
    "joint": Several(("velocity", "score")),
    "marginal": Marginal("velocity"),
    "implicit": ImplicitScore(),
    "sliced": SlicedScore(),
    "maximum_likelihood": MaximumLikelihood(),
}
