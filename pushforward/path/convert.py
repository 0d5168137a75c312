"""Predictions on a path, as functions: conversions, weights between losses, rows of the linear relation."""

from __future__ import annotations

from torch import Tensor

from pushforward.path.base import Path
from pushforward.path.predictions import prediction_row
from pushforward.tensor import Points, Time, Times, clock

__all__ = ["convert", "prediction_coefficients", "weight"]


def convert(p: Points, xt: Points, t: Time, path: Path, frm: str, to: str) -> Points:
    """Convert a prediction into another one: data, noise, velocity, score or v at the point ``xt`` of an affine path.

    Exact at t = 0 and t = 1 as `pushforward.path.predictions` states. Raises ValueError for an unknown name, a path
    without the linear relation, or the score of a source that is not normal.
    """
    return path.convert(p, xt, t, frm, to)


def weight(t: Time, path: Path, frm: str, to: str, like: Tensor) -> Times:
    """``|error of to|^2 / |error of frm|^2``, the squared ratio of determinants: turns one loss into another.

    0 where ``frm`` says nothing about ``to`` (where determinants vanish, see `pushforward.path.predictions`).
    """
    return path.conversion(clock(t, like), frm, to)[1].square()


def prediction_coefficients(path: Path, t: Times, name: str) -> tuple[Times, Times, Times, Times]:
    """``(alpha, beta, a, b beta)`` of an affine path: the prediction ``name`` estimates ``a x_1 + b x_0``.

    See `pushforward.path.predictions.prediction_row`. ValueError where the path does not have the prediction.
    """
    return prediction_row(path.affine_schedule(name), t, name)
