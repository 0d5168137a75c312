"""`integrate` as a module whose steps are fixed beforehand, for torch.compile and torch.export."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.arguments import check_type, explained
from pushforward.field import Field
from pushforward.sample.integrate import networks
from pushforward.sample.noise import Brownian, NoiseStreams, StepNoise
from pushforward.sample.sampler import Sampler
from pushforward.sample.stepper import ConditionedField, Stepper, check_needs
from pushforward.tensor import Points

__all__ = ["Unrolled"]


@final
class Unrolled(nn.Module):
    """Integrate a field with its grid and stepper filled in: ``module(x, y) -> x`` from the first time to the last.

    The same numbers as `integrate`, whose checks look at values: here they are made once, with the coefficients of all
    steps, so that ``torch.compile(module, fullgraph=True)`` and ``torch.export.export(module, (x,))`` take it whole.
    The method is given as in `integrate`; weights of the field's networks are those of the module. ``shape`` is that of
    one point, ``device`` and ``dtype`` those of the points. Raises ValueError for a method that draws random numbers or
    adapts its steps, and as `integrate` does.

    >>> import torch, pushforward as pf
    >>> field = pf.MixtureField(pf.Affine(), torch.tensor([[3.0, 0.0]]), torch.tensor([0.5]))
    >>> pf.Unrolled(field, (2,), steps=20)(torch.zeros(1, 2)).round(decimals=2)
    tensor([[3., 0.]])
    """

    @explained
    def __init__(
        self,
        field: Field,
        shape: tuple[int, ...],
        *,
        stepper: Stepper | None = None,
        steps: int | None = None,
        grid: Float[Tensor, "times"] | None = None,
        sampler: Sampler | None = None,
        reverse: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        check_type("Unrolled", "field", field, Field, "wrap a network, pf.Learned(net, path)")
        times, self.stepper = Sampler.of(sampler, stepper, grid, steps, None).plan(field, reverse)
        if self.stepper.stochastic or self.stepper.adaptive:
            raise ValueError(
                f"{self.stepper}: draws random numbers or adapts its steps; for fixed ones take a Runge-Kutta "
                "or a multistep method, such as adams_moulton or heun"
            )
        check_needs(self.stepper, field, times)
        # what the field evaluates, as parts of the module; and what a step needs, computed now
        self.field, self.nets = field, nn.ModuleList(networks(field))
        self.times = [t.clone() for t in times]
        like = torch.zeros(1, *shape, device=device, dtype=dtype)
        self.state = self.stepper.init(ConditionedField(field, None), like, times)

    def forward(self, x: Points, y: Tensor | None = None) -> Points:
        """Where points ``[n, *shape]`` at the first time of the grid are at its last; ``y`` is the condition."""
        field, state = ConditionedField(self.field, y), self.state
        none = StepNoise(Brownian(NoiseStreams(x, 0, 0)), 0, 0.0, 1.0)  # drawn by no stepper that is let in
        for t, s in zip(self.times, self.times[1:], strict=False):
            x, state = self.stepper.step(field, x, t, s, state, none)
        return x
