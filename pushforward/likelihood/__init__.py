"""Log-densities of flows, exact or estimated; data as source points; the residual flow."""

from pushforward.likelihood.divergence import METHODS, Divergence, Exact, Hutchinson, HutchPlusPlus
from pushforward.likelihood.flow import Likelihood, log_likelihood, log_prob, sample_with_log_prob
from pushforward.likelihood.latent import class_log_prob, decode, encode, interpolate
from pushforward.likelihood.residual import residual_flow, residual_log_prob

__all__ = [
    "METHODS",
    "Divergence",
    "Exact",
    "HutchPlusPlus",
    "Hutchinson",
    "Likelihood",
    "class_log_prob",
    "decode",
    "encode",
    "interpolate",
    "log_likelihood",
    "log_prob",
    "residual_flow",
    "residual_log_prob",
    "sample_with_log_prob",
]
