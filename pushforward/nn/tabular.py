"""The network of tables: what lies close together in a column, or close to a surface of several, is told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.nn.embed import Conditions
from pushforward.nn.mlp import MLP

__all__ = ["Tabular"]

WAVES = 8  # frequencies of an entry
GAINS = 64  # magnified features
FINEST = 6.0  # the largest gain at first, as a logarithm: columns bound to each other within 1/400 of their spread


class Tabular(MLP):
    """An `MLP` that sees rows ``x`` ``[n, d]`` in two more ways. Raises InputError as that does.

    Of the entries ``numbers`` (default: all) it sees ``cos(2 pi f x_i)`` and ``sin(2 pi f x_i)``, for `WAVES`
    frequencies f of each, learned from N(0, 1): what changes within a fraction of a unit is then learned early
    (Gorishniy et al. 2022). And it sees `GAINS` features ``u(x) / sqrt((1 - t)^2 + s^2)``, each with a width s of its
    own, learned from 1 to exp(-`FINEST`). Where columns almost determine another, the data lie within s of a surface
    u = 0, and the velocity changes across it within the noise 1 - t: no bounded features of x and t tell that.
    """

    numbers: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 256,
        depth: int = 4,
        conditions: Conditions | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        super().__init__(shape, width, depth, conditions, max(64, width // 4))
        d = math.prod(shape)
        seen = list(range(d)) if numbers is None else list(numbers)
        self.register_buffer("numbers", torch.tensor(seen, dtype=torch.int64), persistent=False)
        self.frequencies = nn.Parameter(torch.randn(len(seen), WAVES))
        # layers of their own, so that straight lines do not begin the weaker the more waves there are
        self.waves = nn.Linear(2 * WAVES * len(seen), width, bias=False) if seen else None
        self.surfaces = nn.Sequential(nn.Linear(d + 2 * WAVES * len(seen), width), nn.SiLU(), nn.Linear(width, GAINS))
        self.planes = nn.Linear(d, GAINS, bias=False)
        self.log_gain = nn.Parameter(torch.linspace(0, FINEST, GAINS))
        self.near = nn.Linear(GAINS, width, bias=False)
        nn.init.zeros_(self.near.weight)  # what is magnified before it means something makes a rough field

    def begin(self, z: Float[Tensor, "n wide"], x: Float[Tensor, "n d"], t: Float[Tensor, "n"]) -> Tensor:
        """Straight lines, waves, and what is magnified near the data."""
        angle = 2 * math.pi * x.index_select(1, self.numbers)[:, :, None] * self.frequencies
        waves = torch.cat([angle.cos(), angle.sin()], 2).flatten(1)
        noise = (1 - t.to(x.dtype))[:, None]
        u = self.planes(x) + self.surfaces(torch.cat([x, waves], 1))
        h: Tensor = super().begin(z, x, t) + self.near(u / torch.hypot(noise, torch.exp(-self.log_gain)))
        return h if self.waves is None else h + self.waves(waves)
