"""Carry points along a field: `integrate`, the one loop, and `generate`, which samples in batches."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.arguments import check_type, explained
from pushforward.field import Field
from pushforward.progress import Progress
from pushforward.sample.noise import Brownian, NoiseStreams, StepNoise
from pushforward.sample.sampler import Sampler
from pushforward.sample.stepper import ConditionedField, Stepper, Trajectory, check_needs
from pushforward.tensor import Points

__all__ = ["generate", "integrate"]

AT_ONCE = 2**17  # numbers in a batch of samples on a CPU: a transformer takes 25 % less time with them than with 2^20


@explained
def integrate(
    field: Field,
    x0: Points,
    *,
    stepper: Stepper | None = None,
    steps: int | None = None,
    grid: Float[Tensor, "times"] | None = None,
    tol: float | None = None,
    sampler: Sampler | None = None,
    seed: int = 0,
    y: Tensor | None = None,
    reverse: bool = False,
    trajectory: bool = False,
    first: int = 0,
    progress: Progress | Callable[[float, str], None] | None = None,
) -> Trajectory:
    """Carry points along a field: from the source at t = 0 to the data at t = 1, or back with ``reverse``.

    Args:
        x0: the state at the first time of the grid, ``[n, *d]`` (`Path.begin`, or ``path.initial_state(source draw)``,
            at t = 0).
        stepper: default `AdamsMoulton` on affine paths, `Heun` on others, `DormandPrince` with ``tol``.
        grid, steps, tol: explicit times (see `GRIDS`), a number of equal steps in t (default 50), or the tolerance of
            an adaptive solver; one of the three.
        sampler: all of these as one value, in their place.
        seed: of the noise in stochastic steppers; sample i uses the stream of (seed, first + i).
        y: condition, one row per sample.
        trajectory: keep every state instead of the last one.
        progress: called with the share that is done and words.

    Raises ValueError for two ways of saying the grid, a grid that is not monotone in [0, 1], or a stepper that the path
    does not allow.
    """
    check_type("integrate", "field", field, Field, "wrap a network, pf.Learned(net, path)")
    # what steps, and where
    show = Progress.of(progress)
    times, stepper = Sampler.of(sampler, stepper, grid, steps, tol).plan(field, reverse)
    check_needs(stepper, field, times)
    conditioned = ConditionedField(field, y)
    x, kept = x0, [x0]
    # noise is a function of the sample and the time, so a finer grid refines the same path
    path = Brownian(NoiseStreams(x0, seed, first))
    state = stepper.init(conditioned, x, times)
    clock = times.tolist()
    for i in range(len(clock) - 1):
        noise = StepNoise(path, i, clock[i], clock[i + 1])
        x, state = stepper.step(conditioned, x, times[i], times[i + 1], state, noise)
        if trajectory:
            kept.append(x)
        show.steps(i + 1, len(clock) - 1)
    at, states = (times, torch.stack(kept)) if trajectory else (times[-1:], x[None])
    return Trajectory(at, states, conditioned.count, times, stepper, stepper.report(state))


@explained
@torch.no_grad()
def generate(
    field: Field,
    n: int,
    shape: tuple[int, ...],
    *,
    stepper: Stepper | None = None,
    steps: int | None = None,
    grid: Float[Tensor, "times"] | None = None,
    tol: float | None = None,
    sampler: Sampler | None = None,
    seed: int = 0,
    y: Tensor | None = None,
    batch_size: int | None = None,
    first: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Progress | Callable[[float, str], None] | None = None,
) -> Float[Tensor, "n *d"]:
    """Sample ``[n, *shape]`` new points: source draws carried to t = 1, in batches.

    Sample i depends on (seed, first + i) alone, not on how a job is split or on ``batch_size``, by default as many as
    suit a processor's caches or a device's memory. The method is given as in `integrate`.
    """
    check_type("generate", "field", field, Field, "wrap a network, pf.Learned(net, path)")
    if n < 1:
        raise ValueError(f"n={n}: at least one sample is needed")
    if y is not None and len(y) != n:
        raise ValueError(f"y has {len(y)} rows for {n} samples")
    # batches that fill a cache, or an accelerator
    show, sampler = Progress.of(progress), Sampler.of(sampler, stepper, grid, steps, tol)
    if batch_size is None:
        numbers = AT_ONCE if torch.device(device).type == "cpu" else 32 * AT_ONCE
        batch_size = max(16, min(4096, numbers // math.prod(shape)))
    # sample i is a function of the seed and i, however many are drawn at once
    out: list[Tensor] = []
    for done in range(0, n, batch_size):
        m = min(batch_size, n - done)
        start = field.path.begin(m, shape, seed=seed, first=first + done, device=device, dtype=dtype)
        condition = None if y is None else y[done : done + m].to(device)
        run = integrate(field, start, sampler=sampler, seed=seed, y=condition, first=first + done)
        out.append(run.x[-1].cpu())
        show.steps(done + m, n)
    return torch.cat(out)
