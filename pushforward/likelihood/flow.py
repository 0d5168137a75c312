"""Densities of continuous flows: ``log p_1(x_1) = log p_0(x_0) - int_0^1 div u_t(x_t) dt`` along the flow.

The state and the integral are one ODE, carried by the same loop and steppers as samples, in float64 whatever the
network's precision. Reference: Chen et al. 2018, "Neural ordinary differential equations"; Grathwohl et al. 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pushforward.arguments import check_type, explained
from pushforward.errors import nearest
from pushforward.field import Field, on_smooth_clock
from pushforward.guidance import Guided
from pushforward.likelihood.divergence import METHODS, Divergence, Exact, velocity_and_divergence
from pushforward.path import Path
from pushforward.progress import Progress
from pushforward.sample import DormandPrince, Stepper, default_grid, integrate
from pushforward.sample.adaptive import RK5
from pushforward.tensor import Conditioning, Points, Time, clock, condition_rows, conditions_of, dimension, time_dtype

__all__ = ["Likelihood", "log_likelihood", "log_prob", "log_source", "sample_with_log_prob"]

TOLERANCE = 1e-3  # nats
SAFE = 0.5  # of a tolerance: some change little before they are right
FIXED = 100  # steps for points that adaptive ones do not bring to the source
FINEST = 1e-10  # the tightest tolerance of a step; beyond, rounding decides


@final
@dataclass(frozen=True, eq=False)
class Likelihood:
    """Log-densities with what is known of their errors.

    ``log_prob [n]`` in nats, in the units of ``x``; ``std_error [n]`` of the random directions, 0 with the exact
    divergence, nan with a single one; ``step_error [n]``, the change when the steps were last tightened, nan where the
    grid was given, inf where nothing is known of the error; ``x0 [n, *d]``, the source draw to which the flow
    leads back; ``nfe``, evaluations per point.
    """

    log_prob: Float[Tensor, "n"]
    std_error: Float[Tensor, "n"]
    step_error: Float[Tensor, "n"]
    x0: Points
    nfe: int

    def __repr__(self) -> str:
        mean, spread = float(self.log_prob.mean()), float(self.std_error.mean())
        return f"Likelihood({len(self.log_prob)} points, mean {mean:.6g} nats, standard error {spread:.2g} each)"


def join(parts: list[Likelihood]) -> Likelihood:
    """Those of several batches as one; ``nfe`` is the largest."""
    return Likelihood(
        torch.cat([p.log_prob for p in parts]),
        torch.cat([p.std_error for p in parts]),
        torch.cat([p.step_error for p in parts]),
        torch.cat([p.x0 for p in parts]),
        max(p.nfe for p in parts),
    )


@final
class Augmented(Field):
    """The ODE of points and of their divergences' integrals; states ``[n, D + estimates]``, y their row numbers."""

    def __init__(self, field: Field, x: Points, y: Conditioning, how: Divergence, directions: Tensor | None) -> None:
        if isinstance(field, Guided):
            raise ValueError(
                f"{type(field).__name__}: a guided field is the velocity of no path of the data, so that it has no "
                "density; ask the field that it guides"
            )
        self.path, self.field, self.y, self.how, self.directions = field.path, field, y, how, directions
        self.point_shape, self.dtype = x.shape[1:], x.dtype

    def some(self, rows: Tensor) -> Augmented:
        """That of some of the points."""
        y, directions = self.y, self.directions
        return Augmented(
            self.field,
            torch.empty(0, *self.point_shape, dtype=self.dtype, device=rows.device),
            conditions_of(y, rows),
            self.how,
            None if directions is None else directions[:, rows],
        )

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        assert names == ("velocity",) and y is not None
        point = x[:, : -self.how.estimates].reshape(-1, *self.point_shape).to(self.dtype)
        condition = conditions_of(self.y, y)
        directions = None if self.directions is None else self.directions[:, y]
        u, parts = velocity_and_divergence(
            lambda z: self.field.velocity(z, t, y=condition), point, self.how, directions
        )
        return (torch.cat([u.flatten(1).to(x), parts.T.to(x)], 1),)


@final
@dataclass(frozen=True, eq=False)
class Transported:
    """Where an augmented integration ended: points, integrals of the divergence ``[n, estimates]``, evaluations.

    ``arrived [n]`` says which points came to the end of time: an adaptive stepper may give up on some.
    """

    x: Points
    integral: Float[Tensor, "n estimates"]
    nfe: int
    arrived: Bool[Tensor, "n"]


def carry(field: Augmented, x: Points, grid: Tensor, stepper: Stepper) -> Transported:
    """Points along a grid, with the integrals of their divergences."""
    full = time_dtype(x.device)
    state = torch.cat([x.flatten(1).to(full), x.new_zeros(len(x), field.how.estimates, dtype=full)], 1)
    run = integrate(field, state, grid=grid, stepper=stepper, y=torch.arange(len(x), device=x.device))
    end = run.x[-1]
    points = end[:, : -field.how.estimates].reshape(x.shape)
    arrived = run.info["finished"] if stepper.adaptive else torch.ones(len(x), dtype=torch.bool, device=x.device)
    return Transported(points, end[:, -field.how.estimates :], run.nfe, arrived)


def log_source(path: Path, x: Points) -> Float[Tensor, "n"]:
    """Log-density, in nats, of the points at which sampling begins: ``log p_0(x / beta_0) - D log beta_0``."""
    scale = path.initial_scale
    return path.source.log_prob(x / scale) - dimension(x) * clock(scale, x).log()


def needs_graph(field: Field, x: Points, y: Conditioning) -> bool:
    """Whether gradients are wanted: of the points, or of parameters behind the field."""
    with torch.enable_grad():
        one = field.velocity(x[:1].detach(), 1.0, y=conditions_of(y, slice(1)))
    return x.requires_grad or one.requires_grad


def method_of(method: str | Divergence, d: int | None = None) -> Divergence:
    """A divergence by name, or as it is; exact for points of so few coordinates ``d`` that it takes no more products.

    A few directions in a few dimensions can agree by chance, and would then state an error of 0.
    """
    if isinstance(method, str) and method not in METHODS:
        raise ValueError(nearest(method, METHODS, "method"))
    how = METHODS[method]() if isinstance(method, str) else method
    return how if d is None or d > how.products else Exact()


def check_flow(stepper: Stepper) -> None:
    """ValueError for a stepper that is not one of the flow's own."""
    check_type("log_likelihood", "stepper", stepper, Stepper, "write pf.RK4()")
    if stepper.stochastic or stepper.uses != ("velocity",):
        raise ValueError(
            f"{stepper}: a likelihood follows the flow's velocity. Stochastic samplers have no density that one "
            "trajectory could give, and methods on other predictions no divergence to integrate; use RK4() or Adams()"
        )


@explained
def log_likelihood(
    field: Field,
    x: Points,
    *,
    y: Conditioning = None,
    method: str | Divergence = "exact",
    steps: int | None = None,
    grid: Float[Tensor, "times"] | None = None,
    tol: float | None = None,
    stepper: Stepper | None = None,
    seed: int = 0,
    first: int = 0,
    batch_size: int = 1024,
    progress: Progress | Callable[[float, str], None] | None = None,
) -> Likelihood:
    """``log p_1(x)`` of a field's flow, with its errors: back from t = 1 to the source.

    Args:
        x: data in the field's units, ``[n, *d]``, any shape; ``y`` conditions, one row per point.
        method: "exact", "hutchinson", "hutch++", or one of these with its numbers, such as ``Hutchinson(probes=16)``.
            Where a point has no more coordinates than a random method takes products, it is exact.
        steps, grid, tol: a number of steps (of order 5, on the default grid), times from 1 down to 0, or a tolerance in
            nats (default 1e-3): adaptive steps for each point, tightened until its answer changes by less.
        stepper: for ``steps`` and ``grid``, a method that follows the velocity.
        seed, first: of the random directions; those of point i depend on (seed, first + i) alone.
        batch_size: points at a time; ``progress`` is called with the share that is done and words.

    A point that adaptive steps do not bring to the source, one a million standard deviations away say, gets the answer
    of a fixed grid, with ``step_error`` inf: nothing is known of its error.

    Gradients with respect to x and to the network's parameters flow where autograd is on. Raises ValueError for a
    stepper that is not a flow's, and a source without a density.

    >>> import torch, pushforward as pf
    >>> field = pf.MixtureField(pf.Affine(), torch.zeros(1, 2), torch.ones(1))
    >>> round(float(pf.log_likelihood(field, torch.zeros(1, 2)).log_prob), 3)
    -1.838
    """
    how, show = method_of(method, dimension(x)), Progress.of(progress)
    if sum(way is not None for way in (steps, grid, tol)) > 1:
        raise ValueError("give one of steps=, grid= and tol=: each says where the steps are")
    # a fixed grid, or a tolerance that an adaptive stepper keeps
    if stepper is not None:
        check_flow(stepper)
        if steps is None and grid is None:
            raise ValueError("stepper= needs steps= or grid=; a tolerance in nats is kept by DormandPrince")
    if steps is not None:
        grid = default_grid(field, steps).flip(0)
    y = condition_rows(y, len(x))
    parts: list[Likelihood] = []
    field = field if grid is not None else on_smooth_clock(field)
    # where nothing wants a gradient, no graph of the solve is kept
    with torch.set_grad_enabled(torch.is_grad_enabled() and needs_graph(field, x, y)):
        for done in range(0, len(x), batch_size):
            some = slice(done, done + batch_size)
            condition = conditions_of(y, some)
            directions = how.directions(x[some], first + done, seed)
            moving = Augmented(field, x[some], condition, how, directions)
            if grid is not None:
                parts.append(_solve(moving, x[some], grid, RK5() if stepper is None else stepper)[0])
            else:
                parts.append(_tighten(moving, x[some], TOLERANCE if tol is None else tol))
            show.steps(min(done + batch_size, len(x)), len(x))
    return join(parts)


@explained
def log_prob(
    field: Field,
    x: Points,
    *,
    y: Conditioning = None,
    method: str | Divergence = "exact",
    steps: int | None = None,
    tol: float | None = None,
    seed: int = 0,
) -> Float[Tensor, "n"]:
    """``log p_1(x)`` of a field's flow in nats, ``[n]``: `log_likelihood` without its errors; see there."""
    return log_likelihood(field, x, y=y, method=method, steps=steps, tol=tol, seed=seed).log_prob


def _finish(field: Augmented, back: Transported, sign: float = 1.0) -> Likelihood:
    """From the state at the source: ``log p_0 + sign int div``, the sign of the direction of time."""
    value = log_source(field.path, back.x) + sign * back.integral.mean(1)
    k = field.how.estimates
    if field.directions is None:
        error = torch.zeros_like(value)
    else:  # of a single direction nothing is known
        error = back.integral.std(1) / k**0.5 if k > 1 else torch.full_like(value, torch.nan)
    value, x0 = value.to(field.dtype), back.x / field.path.initial_scale
    return Likelihood(value, error.to(value), torch.full_like(value, torch.nan), x0.to(value), back.nfe)


def _tighten(field: Augmented, x: Points, tol: float) -> Likelihood:
    """Adaptive steps with tolerances that fall tenfold until a point's answer changes by no more than ``tol``.

    Each point by itself: its answer and its cost do not depend on those beside it. One that does not arrive has the
    answer of the pass before, or of a fixed grid, and an error without bound.
    """
    if not tol > 0:
        raise ValueError(f"tol={tol:g}: a positive number of nats")
    delta = min(1e-4, tol / 10)
    grid = torch.tensor([1.0, 0.0], dtype=torch.float64)
    best, arrived = _solve(field, x, grid, DormandPrince(delta))
    todo = arrived.nonzero()[:, 0]
    while len(todo):
        delta = max(delta / 10, FINEST)
        some = field.some(todo)
        there = carry(some, x[todo], grid, DormandPrince(delta))
        now, arrived = _finish(some, there), there.arrived
        change = (now.log_prob - best.log_prob[todo]).detach().abs()
        change = change.nan_to_num(nan=0.0)  # inf - inf: outside the support twice
        best = _with(best, todo[arrived], now, change, arrived)
        best = replace(best, step_error=best.step_error.index_fill(0, todo[~arrived], torch.inf))
        todo = todo[arrived & (change > SAFE * tol)] if delta > FINEST else todo[:0]
    return best


def _solve(field: Augmented, x: Points, grid: Tensor, stepper: Stepper) -> tuple[Likelihood, Bool[Tensor, "n"]]:
    """The answer along a grid, of a fixed one for points on which an adaptive stepper gives up; which arrived."""
    there = carry(field, x, grid, stepper)
    found, lost = _finish(field, there), there.arrived.logical_not().nonzero()[:, 0]
    if len(lost):
        some, fixed = field.some(lost), default_grid(field.field, FIXED).flip(0)
        now = _finish(some, carry(some, x[lost], fixed, RK5()))
        found = _with(found, lost, now, torch.full_like(now.log_prob, torch.inf))
    return found, there.arrived


def _with(
    best: Likelihood, rows: Tensor, now: Likelihood, change: Tensor, among: Tensor | slice = slice(None)
) -> Likelihood:
    """Answers of which those of some rows are replaced, by those ``among`` the new ones."""
    return Likelihood(
        best.log_prob.index_copy(0, rows, now.log_prob[among]),
        best.std_error.index_copy(0, rows, now.std_error[among]),
        best.step_error.index_copy(0, rows, change[among]),
        best.x0.index_copy(0, rows, now.x0[among]),
        best.nfe + now.nfe,
    )


def sample_with_log_prob(
    field: Field,
    n: int,
    shape: tuple[int, ...],
    *,
    y: Conditioning = None,
    method: str | Divergence = "exact",
    steps: int = 50,
    seed: int = 0,
    first: int = 0,
    batch_size: int = 1024,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[Points, Likelihood]:
    """New samples ``[n, *shape]`` and their log-densities from one pass of a method of order 5 along the flow.

    Sample i depends on (seed, first + i) alone. See `log_likelihood` for the methods and the errors.
    """
    if n < 1:
        raise ValueError(f"n={n}: at least one sample is needed")
    how, out, parts = method_of(method, math.prod(shape)), [], []
    y = condition_rows(y, n, "samples")
    for done in range(0, n, batch_size):
        count = min(batch_size, n - done)
        start = field.path.begin(count, shape, seed=seed, first=first + done, device=device, dtype=dtype)
        condition = conditions_of(y, slice(done, done + count), device)
        moving = Augmented(field, start, condition, how, how.directions(start, first + done, seed))
        there = carry(moving, start, default_grid(field, steps), RK5())
        out.append(there.x.to(dtype))
        parts.append(_finish(moving, replace(there, x=start.to(there.x)), -1.0))
    return torch.cat(out), join(parts)
