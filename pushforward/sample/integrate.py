"""Carry points along a field: `integrate`, the one loop, and `generate`, which samples in batches."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.arguments import check_type, explained
from pushforward.field import Field
from pushforward.path import Path
from pushforward.progress import Progress
from pushforward.sample.noise import Brownian, NoiseStreams, StepNoise
from pushforward.sample.sampler import Sampler
from pushforward.sample.stepper import ConditionedField, Stepper, Trajectory, check_needs
from pushforward.tensor import Conditioning, Points, condition_rows, conditions_of

__all__ = ["evaluating", "generate", "integrate", "networks"]

APART, ENOUGH = 4, 64  # factor by which a wrong start is told, and numbers that it takes to tell
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
    y: Conditioning = None,
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
        y: condition, one row per sample or one for all; a dict where there are several, by name.
        trajectory: keep every state instead of the last one.
        progress: called with the share that is done and words.

    Gradients flow through all steps, to the points and to a network's weights: under ``torch.no_grad()`` no graph is
    kept. A network stays in the mode in which it is. Warns of points at t = 0 that are far too near to 0 for the path.
    Raises ValueError for two ways of saying the grid, a grid that is not monotone in [0, 1], or a stepper that the path
    does not allow.
    """
    check_type("integrate", "field", field, Field, "wrap a network, pf.Learned(net, path)")
    # what steps, and where
    show = Progress.of(progress)
    times, stepper = Sampler.of(sampler, stepper, grid, steps, tol).plan(field, reverse)
    check_needs(stepper, field, times)
    conditioned = ConditionedField(field, condition_rows(y, len(x0)))
    if float(times[0]) == 0 < float(times[-1]):
        _check_start(field.path, x0)
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
    y: Conditioning = None,
    batch_size: int | None = None,
    first: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Progress | Callable[[float, str], None] | None = None,
) -> Float[Tensor, "n *d"]:
    """Sample ``[n, *shape]`` new points: source draws carried to t = 1, in batches.

    Sample i depends on (seed, first + i) alone, not on how a job is split or on ``batch_size``, by default as many as
    suit a processor's caches or a device's memory: two calls with the same seed give the same samples, so give another
    ``seed``, or ``first``, for others. The method is given as in `integrate`. Networks are asked in evaluation mode
    (no dropout) and left as they were; no graph is kept.
    """
    check_type("generate", "field", field, Field, "wrap a network, pf.Learned(net, path)")
    if n < 1:
        raise ValueError(f"n={n}: at least one sample is needed")
    y = condition_rows(y, n, "samples")
    # batches that fill a cache, or an accelerator
    show, sampler = Progress.of(progress), Sampler.of(sampler, stepper, grid, steps, tol)
    if batch_size is None:
        numbers = AT_ONCE if torch.device(device).type == "cpu" else 32 * AT_ONCE
        batch_size = max(16, min(4096, numbers // math.prod(shape)))
    # sample i is a function of the seed and i, however many are drawn at once
    out: list[Tensor] = []
    with evaluating(field):
        for done in range(0, n, batch_size):
            m = min(batch_size, n - done)
            start = field.path.begin(m, shape, seed=seed, first=first + done, device=device, dtype=dtype)
            condition = conditions_of(y, slice(done, done + m), device)
            run = integrate(field, start, sampler=sampler, seed=seed, y=condition, first=first + done)
            out.append(run.x[-1].cpu())
            show.steps(done + m, n)
    return torch.cat(out)


@contextmanager
def evaluating(field: Field) -> Iterator[None]:
    """Networks behind a field as they are when asked, dropout and the like off; afterwards as they were."""
    training = {part for net in networks(field) for part in net.modules() if part.training}
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def networks(owner: object) -> Iterator[nn.Module]:
    """The networks that a field holds, or another field that it holds."""
    for value in vars(owner).values():
        if isinstance(value, nn.Module):
            yield value
        elif isinstance(value, Field):
            yield from networks(value)


def _check_start(path: Path, x0: Points) -> None:
    """Warn of points that are no draws of the law at t = 0: unit noise where the path begins with noise of 80, say."""
    scale = path.initial_scale
    if torch.compiler.is_compiling() or not path.gaussian or scale < APART or x0.numel() < ENOUGH:
        return
    if float(x0.detach().square().mean().sqrt()) < scale / APART:
        warnings.warn(
            f"integrate: these points have a spread of {float(x0.detach().square().mean().sqrt()):.3g}, where the path "
            f"begins with {scale:.3g}; start with field.path.begin(n, shape), or field.path.initial_state(noise)",
            stacklevel=4,
        )
