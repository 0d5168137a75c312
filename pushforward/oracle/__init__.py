"""Oracles: fields in closed form, against which everything learned or approximated is tested.

Marginalization (Lipman et al. 2023, theorem 1): ``u_t(x) = E[u_t(x|z) | x_t = x]``, an average over data points z with
posterior weights ``p_t(x|z) p_data(z) / p_t(x)``. It can be computed when the data is a Gaussian mixture
(`MixtureField`) or a finite set (`EmpiricalField`). Weights are kept as logarithms throughout.
"""

from __future__ import annotations

from pushforward.oracle.empirical import EmpiricalField
from pushforward.oracle.mixture import MixtureField

__all__ = ["EmpiricalField", "MixtureField"]
