"""The weights of an oracle's components before a point is seen."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["log_prior"]


def log_prior(
    weights: Tensor | None, labels: Tensor | None, y: Tensor | None, k: int, like: Tensor
) -> Float[Tensor, "#n k"]:
    """Log-weights of ``k`` components, restricted to those of class ``y`` where labels are given (-1: to none)."""
    weights = like.new_ones(k) if weights is None else weights.to(like)
    log_w = (weights / weights.sum()).log()[None]
    if y is None:
        return log_w
    if labels is None:
        raise ValueError("a condition y was given, but this oracle has no labels")
    here = (labels.to(y.device)[None] == y[:, None]) | (y[:, None] == -1)
    log_w = torch.where(here, log_w, -math.inf)
    if bool((log_w == -math.inf).all(1).any()):
        raise ValueError("a condition y names a class that this oracle has no data for")
    return log_w.log_softmax(1)
