"""`DataSpec`: what a network must know of its data to be built, and nothing else of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pushforward.tensor import GaussianMixture

__all__ = ["DataSpec"]


@final
@dataclass(frozen=True, eq=False)
class DataSpec:
    """The facts of a data set that decide the network of a run, beside its configuration.

    ``shape`` is that of one model row, ``classes`` their number, 0 without labels. ``marginals`` are Gaussian mixtures
    near the laws of the feature groups of a table, in the order of a row's entries; empty for other data, and for rows
    that come in pairs with their source points, of which they say too little.
    """

    shape: tuple[int, ...]
    classes: int = 0
    marginals: tuple[GaussianMixture, ...] = ()

    @property
    def feature_groups(self) -> tuple[int, ...]:
        """How many entries of a row each of the ``marginals`` is of."""
        return tuple(law.width for law in self.marginals)
