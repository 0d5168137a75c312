"""The one loop: a stepper carries points along a grid of times.

A stepper is a frozen dataclass with a declared order of accuracy, ``init(field, x, grid) -> state`` and
``step(field, x, t, s, state, noise) -> (x, state)``, a pure function from time t to time s. The loop knows nothing of
what a step does, so ODE, SDE, multistep and Langevin samplers are one kind of thing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.field import Field
from pushforward.tensor import Points, Time, per_sample
from pushforward.times import linear

__all__ = ["DEFAULT_STEPS", "Stepper", "Trajectory", "generate", "integrate"]

DEFAULT_STEPS = 50

Noise = Callable[[], Tensor]


class Stepper(ABC):
    """A sampling method: how to go from time t to time s."""

    order: float

    def init(self, field: Field, x: Points, grid: Float[Tensor, "times"]) -> Any:
        """What the steps must remember; None for one-step methods."""
        return None

    @abstractmethod
    def step(self, field: Field, x: Points, t: Tensor, s: Tensor, state: Any, noise: Noise) -> tuple[Points, Any]:
        """The state at time ``s`` from the state at time ``t`` (both ``()``, s may lie on either side of t)."""


@final
@dataclass(frozen=True, eq=False)
class Trajectory:
    """What an integration did: states ``x [k, n, *d]`` at times ``t [k]``, the whole grid, evaluations per sample.

    ``x[-1]`` is the end point; the states before it are kept on request only (``trajectory=True``).
    """

    t: Float[Tensor, "k"]
    x: Float[Tensor, "k n *d"]
    nfe: int
    grid: Float[Tensor, "times"]
    stepper: Stepper

    def __repr__(self) -> str:
        k, n, *d = self.x.shape
        ends = f"t {self.grid[0]:g} -> {self.grid[-1]:g}"
        return f"Trajectory({n} points of shape {tuple(d)}, {k} states kept, {ends}, nfe={self.nfe}, {self.stepper})"


@final
class Bound(Field):
    """A field with its condition filled in, counting evaluations."""

    def __init__(self, field: Field, y: Tensor | None) -> None:
        self.path, self.field, self.y, self.count = field.path, field, y, 0

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        self.count += 1
        return self.field.evaluate(names, x, t, self.y)


def check_grid(grid: Tensor) -> Float[Tensor, "times"]:
    """A grid of at least two strictly monotone times in [0, 1], as float64; ValueError otherwise."""
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"grid has shape {tuple(grid.shape)}; it needs at least two times in one dimension")
    grid = grid.to("cpu", torch.float64)
    h = grid.diff()
    if not (bool((h > 0).all()) or bool((h < 0).all())) or grid.min() < 0 or grid.max() > 1:
        raise ValueError("grid must run strictly up (source to data) or strictly down, within [0, 1]; 0 is the source")
    return grid


def integrate(
    field: Field,
    x0: Points,
    grid: Float[Tensor, "times"] | None = None,
    stepper: Stepper | None = None,
    seed: int = 0,
    *,
    steps: int | None = None,
    y: Tensor | None = None,
    reverse: bool = False,
    trajectory: bool = False,
    first: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Carry points along a field: from the source at t = 0 to the data at t = 1, or back with ``reverse``.

    Args:
        x0: the state at the first time of the grid, ``[n, *d]`` (``field.path.start(source draw)`` at t = 0).
        grid, steps: explicit times, or a number of equal steps (default 50); not both.
        stepper: default `Heun`.
        seed: of the noise in stochastic steppers; sample i uses the stream of (seed, first + i).
        y: condition, one row per sample.
        trajectory: keep every state instead of the last one.
        on_step: called with (steps done, steps in all).

    Raises ValueError for two ways of saying the grid, or a grid that is not monotone in [0, 1].
    """
    from pushforward.sample.ode import Heun

    if grid is not None and (steps is not None or reverse):
        raise ValueError("give grid= alone: it already says how many steps there are and in which direction they run")
    if steps is not None and steps < 1:
        raise ValueError(f"steps={steps}: at least one step is needed")
    if grid is None:
        grid = linear(DEFAULT_STEPS if steps is None else steps)
        grid = grid.flip(0) if reverse else grid
    grid = check_grid(grid)
    stepper = Heun() if stepper is None else stepper
    bound = Bound(field, y)
    x, kept = x0, [x0]
    state = stepper.init(bound, x, grid)
    for i in range(len(grid) - 1):

        def noise(i: int = i) -> Tensor:
            shape = x0.shape[1:]
            draw = per_sample(lambda k, g: torch.randn(k, *shape, generator=g), first, len(x0), seed, "step", i)
            return draw.to(x0)

        x, state = stepper.step(bound, x, grid[i], grid[i + 1], state, noise)
        if trajectory:
            kept.append(x)
        if on_step is not None:
            on_step(i + 1, len(grid) - 1)
    times, states = (grid, torch.stack(kept)) if trajectory else (grid[-1:], x[None])
    return Trajectory(times, states, bound.count, grid, stepper)


@torch.no_grad()
def generate(
    field: Field,
    n: int,
    shape: tuple[int, ...],
    stepper: Stepper | None = None,
    steps: int | None = None,
    seed: int = 0,
    *,
    y: Tensor | None = None,
    grid: Float[Tensor, "times"] | None = None,
    batch_size: int = 4096,
    first: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_batch: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "n *d"]:
    """New samples ``[n, *shape]``: source draws carried to t = 1, in batches.

    Sample i depends on (seed, first + i) alone, not on ``batch_size`` or on how a job is split. ``on_batch`` is called
    with (samples done, samples in all).
    """
    if n < 1:
        raise ValueError(f"n={n}: at least one sample is needed")
    if y is not None and len(y) != n:
        raise ValueError(f"y has {len(y)} rows for {n} samples")

    def begin(k: int, g: torch.Generator) -> Tensor:
        return field.path.source.sample((k, *shape), g, dtype)

    out: list[Tensor] = []
    for done in range(0, n, batch_size):
        m = min(batch_size, n - done)
        x0 = per_sample(begin, first + done, m, seed, "source").to(device)
        condition = None if y is None else y[done : done + m].to(device)
        run = integrate(field, field.path.start(x0), grid, stepper, seed, steps=steps, y=condition, first=first + done)
        out.append(run.x[-1].cpu())
        if on_batch is not None:
            on_batch(done + m, n)
    return torch.cat(out)
