"""The network of tables: what is sharp in a column is known beforehand, what it depends on is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, cast, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.nn.embed import ConditionInput, Conditions
from pushforward.nn.grid import require
from pushforward.nn.mlp import MLP
from pushforward.nn.posterior import Mix, Posterior, straight
from pushforward.nn.sizes import NetSize, NetSpec, inverse_width
from pushforward.tensor import GaussianMixture, NetTimes

__all__ = ["NETS", "ColumnPriors", "Tabular"]

WAVES = 8  # frequencies of an entry


class ColumnPriors(NamedTuple):
    """The laws of the feature groups of a row, in the order of its entries, and what is predicted at each time."""

    feature_groups: Sequence[GaussianMixture]
    mix: Mix = straight


class Tabular(MLP):
    """An `MLP` that corrects what each column says by itself. Raises InputError as that does.

    ``net(x, t, y) = p(x, t, y) + posterior(x, t, logits(x, t, y))``: with the law of every column (see `Posterior`) the
    prediction for independent columns at initialisation, where MLP's is 0. It sees, beside x, which component of its
    law each column seems to be at this time; and of entries of one number ``cos(2 pi f x_i)`` and ``sin(2 pi f x_i)``,
    for `WAVES` frequencies f of each, learned from N(0, 1): what changes within a fraction of a unit is then learned
    early (Gorishniy et al. 2022). Without ``marginals`` all entries are numbers of which nothing is known.
    """

    numbers: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 256,
        depth: int = 4,
        conditions: Conditions | None = None,
        marginals: ColumnPriors | None = None,
    ) -> None:
        super().__init__(shape, width, depth, conditions, max(64, width // 4))
        feature_groups = (
            [1] * math.prod(shape) if marginals is None else [law.width for law in marginals.feature_groups]
        )
        numbers = [end - 1 for end, piece in zip(accumulate(feature_groups), feature_groups, strict=True) if piece == 1]
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64), persistent=False)
        self.frequencies = nn.Parameter(torch.randn(len(numbers), WAVES))
        # layers of their own, so that straight lines do not begin the weaker the more waves there are
        self.waves = nn.Linear(2 * WAVES * len(numbers), width, bias=False) if numbers else None
        self.posterior = None
        if marginals is not None:
            self.posterior = Posterior(*marginals)
            self.posterior_proj = nn.Linear(self.posterior.total, width, bias=False)
            self.logits = nn.Linear(width, self.posterior.total)
            nn.init.zeros_(self.logits.weight)
            nn.init.zeros_(self.logits.bias)

    @property
    def tells_components(self) -> bool:
        """Whether ``net(x, t, y, x1)`` gives the cross-entropy of the components, too (`ComponentMatching`)."""
        return self.posterior is not None

    @overload
    def forward(self, x: Float[Tensor, "n *d"], t: NetTimes, y: ConditionInput = ...) -> Float[Tensor, "n *d"]: ...
    @overload
    def forward(
        self, x: Float[Tensor, "n *d"], t: NetTimes, y: ConditionInput, x1: Float[Tensor, "n *d"]
    ) -> tuple[Float[Tensor, "n *d"], Float[Tensor, "n"]]: ...
    def forward(
        self,
        x: Float[Tensor, "n *d"],
        t: NetTimes,
        y: ConditionInput = None,
        x1: Float[Tensor, "n *d"] | None = None,
    ) -> Float[Tensor, "n *d"] | tuple[Float[Tensor, "n *d"], Float[Tensor, "n"]]:
        """Predict; with the data points ``x1`` the cross-entropy of their components comes along, nats ``[n]``."""
        require(x, t, self.shape)
        flat, extra = x.flatten(1), None
        if self.waves is not None:
            angle = 2 * math.pi * flat.index_select(1, self.numbers)[:, :, None] * self.frequencies
            extra = self.waves(torch.cat([angle.cos(), angle.sin()], 2).flatten(1))
        if self.posterior is None:
            return cast(Tensor, self.proj_out(self.hidden(x, t, y, extra))).reshape(x.shape)
        weighed = self.posterior(flat, t if t.ndim == 1 else t[:, 0])
        components = self.posterior_proj(weighed.shares)
        h = self.hidden(x, t, y, components if extra is None else components + extra)
        logits = self.logits(h)
        p: Tensor = (self.proj_out(h) + weighed.answer(logits)).reshape(x.shape)
        if x1 is None:
            return p
        return p, self.posterior.cross_entropy(weighed.scores, logits, x1.flatten(1))


NETS: dict[str, NetSpec] = {
    "tabular": NetSpec(
        make=lambda shape, size, conditions, marginals: Tabular(shape, size.width, size.depth, conditions, marginals),
        sizes={
            "tiny": NetSize(128, 3),
            "small": NetSize(256, 4),
            "base": NetSize(512, 6),
            "large": NetSize(1024, 8),
        },
        batch=512,
        learning_rate=inverse_width(1.28),
        suits="tables",
    )
}
