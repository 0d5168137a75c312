"""Loss weights: what an error of a prediction counts at each time.

A weighting is ``(t, path, quantity, like) -> weight [n]``: the factor of ``|error of quantity|^2``. An error of one
prediction is an error of any other times a known factor, whose square is `pushforward.path.weight`; so each weighting
is written for the quantities in which it is simplest, and says the same whichever one the loss compares. Nothing is
divided by here: the weights stay finite wherever the factors are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pushforward.path import Path, weight
from pushforward.registry import configurable
from pushforward.tensor import Time, Times, clock

__all__ = [
    "WEIGHTS",
    "Weighting",
    "default_weight",
    "edm_weight",
    "likelihood_weight",
    "min_snr_weight",
    "prediction_weight",
]

Weighting = Callable[..., Tensor]  # (t, path, quantity, like, parameters) -> weight, of the shape of t


def default_weight(t: Time, path: Path, quantity: str, like: Tensor) -> Times:
    """That of the path (`Path.target_weight`): 1, and less where the mean of a target's square is infinite.

    On affine paths ``beta_t^2`` for the score; on bridges the inverse of what noise adds to the target's square.
    """
    path.check_quantities(quantity)
    return path.target_weight(quantity, clock(t, like))


def prediction_weight(t: Time, path: Path, quantity: str, like: Tensor, to: str = "velocity") -> Times:
    """Uniform in another prediction: the loss is ``|error of to|^2``, whatever is compared."""
    return weight(t, path, quantity, to, like)


def min_snr_weight(t: Time, path: Path, quantity: str, like: Tensor, gamma: float = 5.0) -> Times:
    """``min(alpha^2/beta^2, gamma)`` on the data prediction: no step is easy enough to drown the others.

    As ``alpha/beta`` times an error of the data is one of the noise, it is the lesser of the loss in the noise and
    gamma times the loss in the data. Reference: Hang et al. 2023, section 3.4.
    """
    if not gamma > 0:
        raise ValueError(f"min_snr: gamma = {gamma:g} must be positive")
    return torch.minimum(weight(t, path, quantity, "noise", like), gamma * weight(t, path, quantity, "data", like))


def edm_weight(t: Time, path: Path, quantity: str, like: Tensor, data_std: float = 1.0) -> Times:
    """``(sigma^2 + data_std^2) / (sigma data_std)^2`` on the data prediction, ``sigma = beta/alpha``.

    The loss in the noise plus that in the data over ``data_std^2``; uniform in the output of a `Preconditioned`
    network. Reference: Karras et al. 2022, section 5, lambda.
    """
    if not data_std > 0:
        raise ValueError(f"edm: data_std = {data_std:g} must be positive")
    return weight(t, path, quantity, "noise", like) + weight(t, path, quantity, "data", like) / data_std**2


def likelihood_weight(t: Time, path: Path, quantity: str, like: Tensor) -> Times:
    """``g_t^2 / 2`` on the score, ``g_t^2 = 2 (beta^2 d_alpha/alpha - beta d_beta)``: a bound on the divergence.

    Integrated over t and summed over the data dimensions, the loss above its floor bounds the divergence, in nats, of
    the data from the samples of the SDE with noise ``g``. As ``g^2/2`` turns an error of the score into one of the
    velocity, it is the root of the product of the two losses. It grows as ``1/(1 - t)`` at the data end, so the times
    must stay away from it (`ladder`, `log_normal`). Reference: Song et al. 2021, "Maximum likelihood training of
    score-based diffusion models", theorem 1.
    """
    return (weight(t, path, quantity, "velocity", like) * weight(t, path, quantity, "score", like)).sqrt()


# name -> what builds the weighting from its parameters
WEIGHTS: dict[str, Callable[..., Weighting]] = {
    "default": configurable(default_weight, 4),
    "velocity": lambda: partial(prediction_weight, to="velocity"),
    "score": lambda: partial(prediction_weight, to="score"),
    "data": lambda: partial(prediction_weight, to="data"),
    "noise": lambda: partial(prediction_weight, to="noise"),
    "v": lambda: partial(prediction_weight, to="v"),
    "min_snr": configurable(min_snr_weight, 4),
    "edm": configurable(edm_weight, 4),
    "likelihood": configurable(likelihood_weight, 4),
}
