"""Maximum likelihood: the density of the flow itself, differentiated through its ODE.

Its minimiser has the law of the data, whatever the path, and its value is the entropy of the data plus the divergence
from it. It is the slow reference that matching replaces: some ten evaluations with their divergences, and the way back
through all of them, where matching asks the field once. The draw's x_0 and t are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from pushforward.errors import InputError
from pushforward.field import Field
from pushforward.likelihood.divergence import Divergence
from pushforward.likelihood.flow import Augmented, log_source, method_of
from pushforward.likelihood.residual import residual_log_prob
from pushforward.objective.weights import Weighting, default_weight
from pushforward.path import Draw
from pushforward.sample import RK4, default_grid, integrate
from pushforward.tensor import Points, dimension

__all__ = ["MaximumLikelihood", "ResidualLikelihood"]

Gradient = Literal["checkpoint", "store", "adjoint"]


class _Again(torch.autograd.Function):
    """A step of which nothing is kept but its start: it is made again on the way back.

    What `torch.utils.checkpoint` does with hooks on saved tensors, which fields that use `torch.func.grad` cannot pass.
    """

    @staticmethod
    def forward(ctx: Any, step: Callable[[Tensor], Tensor], state: Tensor, *weights: Tensor) -> Tensor:
        ctx.step, ctx.weights = step, weights
        ctx.save_for_backward(state)
        return step(state)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        state = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            end = ctx.step(state)
        parts = torch.autograd.grad(end, (state, *ctx.weights), gradient, retain_graph=True, allow_unused=True)
        return None, *parts


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))


@final
@dataclass(frozen=True)
class MaximumLikelihood:
    """``-log p_1(x_1) / d`` per point, nats per coordinate, by ``steps`` of RK4 back along the flow.

    ``log p_1(x_1) = log p_0(x_0) - int_0^1 div u_t(x_t) dt``; ``method`` is how the divergence is computed: "exact",
    "hutchinson", "hutch++", or one of these with its numbers (`log_likelihood`). ``gradient`` is

    - "checkpoint": that of the discrete steps, exact; each step is made again on the way back, so that its start is all
      that is kept, and a field must give the same answer twice (no dropout);
    - "store": the same with everything kept, a little faster;
    - "adjoint": that of the continuous flow, solved back with torchdiffeq (extra ``adjoint``): memory for one step,
      and an error that falls with the steps as that of the likelihood does.

    With ``jitter`` the inner times of the grid are drawn afresh at each call, each between the midpoints of its two
    steps. On times that stay, a network learns to be wrong between them: the likelihood of the steps rises above what
    any density can have, and that of the flow falls.

    A likelihood has no weights: InputError from a ``weighting`` other than 1, and where torchdiffeq is missing.
    Reference: Chen et al. 2018, "Neural ordinary differential equations"; Grathwohl et al. 2019, "FFJORD".
    """

    steps: int = 12
    method: str | Divergence = "exact"
    gradient: Gradient = "checkpoint"
    jitter: bool = True
    weighting: Weighting = default_weight

    def __post_init__(self) -> None:
        method_of(self.method)
        if self.steps < 1 or self.gradient not in get_args(Gradient):
            raise ValueError(
                f"MaximumLikelihood(steps={self.steps}, gradient={self.gradient!r}): one step at least, and a gradient "
                f"of {', '.join(get_args(Gradient))}"
            )

    @property
    def quantities(self) -> tuple[str, ...]:
        """What the field is asked for."""
        return ("velocity",)

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        if bool((self.weighting(draw.t, field.path, "velocity", draw.xt) != 1).any()):
            raise InputError("maximum likelihood has no weights: leave out --weighting")
        x, how = draw.x1, method_of(self.method)
        directions = how.directions(x, 0, _seed(generator))
        moving = Augmented(field, x, y, how, directions)
        state = torch.cat([x.flatten(1), x.new_zeros(len(x), how.estimates)], 1)
        grid, rows = default_grid(field, self.steps).flip(0), torch.arange(len(x), device=x.device)
        if self.jitter:
            middle = (grid[1:] + grid[:-1]) / 2
            share = torch.rand(self.steps - 1, generator=generator, device=generator.device, dtype=torch.float64)
            grid[1:-1] = middle[:-1].lerp(middle[1:], share.to(grid))
        end = state
        if self.gradient == "store":
            end = integrate(moving, state, grid=grid, stepper=RK4(), y=rows).x[-1]
        elif self.gradient == "adjoint":
            end = _adjoint(moving, state, grid, rows, _leaves(field, x, y, grid))
        else:
            weights = _leaves(field, x, y, grid)
            for ends in grid.unfold(0, 2, 1):

                def step(z: Tensor, ends: Tensor = ends) -> Tensor:
                    return integrate(moving, z, grid=ends, stepper=RK4(), y=rows).x[-1]

                end = _Again.apply(step, end, *weights)  # type: ignore[no-untyped-call]
        x0, integral = end[:, : -how.estimates].reshape(x.shape), end[:, -how.estimates :]
        return -(log_source(field.path, x0) + integral.mean(1)) / dimension(x)


def _leaves(field: Field, x: Points, y: Tensor | None, grid: Tensor) -> tuple[Tensor, ...]:
    """The parameters behind a field, read off the graphs of its velocity at the times of a grid."""
    with torch.enable_grad():
        one, condition = x[:1].detach(), None if y is None else y[:1]
        nodes = [field.velocity(one, t, y=condition).grad_fn for t in grid]
    seen, found = set(nodes), []
    while nodes:
        node = nodes.pop()
        if node is None:
            continue
        if hasattr(node, "variable"):
            found.append(node.variable)
        new = {below for below, _ in node.next_functions} - seen
        seen |= new
        nodes += new
    return tuple(found)


def _adjoint(field: Augmented, state: Tensor, grid: Tensor, rows: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    try:
        from torchdiffeq import odeint_adjoint
    except ImportError as error:
        raise InputError(
            "gradient='adjoint' needs torchdiffeq: pip install 'pushforward[adjoint]', or take gradient='checkpoint'"
        ) from error
    states: Tensor = odeint_adjoint(
        lambda t, z: field.velocity(z, t, y=rows), state, grid.to(state), method="rk4", adjoint_params=weights
    )
    return states[-1]


@final
@dataclass(frozen=True)
class ResidualLikelihood:
    """``-log p(x_1) / d`` of the residual flow of K ``layers``, nats per coordinate: see `residual_log_prob`.

    The flow that is learned is that of K Euler steps and no other: sample it with `residual_flow` and the same K, or
    with ``Euler()`` on K equal steps. ``method`` "exact" (chosen for few coordinates) or "series".
    Raises ValueError where a layer stops being a contraction.
    Reference: Chen et al. 2019, "Residual flows for invertible generative modeling".
    """

    layers: int = 16
    method: Literal["auto", "exact", "series"] = "auto"

    @property
    def quantities(self) -> tuple[str, ...]:
        """What the field is asked for."""
        return ("velocity",)

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        found = residual_log_prob(field, draw.x1, self.layers, y=y, method=self.method, seed=_seed(generator))
        return -found.log_prob / dimension(draw.x1)


OBJECTIVES: dict[str, Callable[..., object]] = {"maximum_likelihood": MaximumLikelihood}
