"""The equations that prove a field right, and the theorems as numbers computed two ways.

Residuals are relative rates of the density, in nats per unit of time, 0 for an exact field:

``d_t log p + div u + u . grad log p``  (continuity equation) and, for the SDE with drift ``b = u + sigma^2/2 s``,
``d_t log p + div b + b . grad log p - sigma^2/2 (lap log p + |grad log p|^2)``  (Fokker-Planck equation).

All derivatives of ``log p`` are by autodiff of the density, so a field's own score and velocity are what is tested.
Reference: Lipman et al. 2024, sections 3.5 and 10.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

from pushforward.field import Field, Learned
from pushforward.objective import WEIGHTS, Matching
from pushforward.oracle import EmpiricalField, MixtureField
from pushforward.path import Affine, Characteristics, Path
from pushforward.sample import RK4, Euler, integrate
from pushforward.schedule import VP, CondOT, Cosine, Schedule
from pushforward.source import Normal, Uniform
from pushforward.tensor import Points, Time, clock, divergence, generator, jvp, laplacian

__all__ = ["Check", "continuity_residual", "fokker_planck_residual", "verify", "verify_learned"]


@runtime_checkable
class Density(Protocol):
    """A field that also knows its density."""

    def log_prob(self, x: Points, t: Time) -> Float[Tensor, "n"]: ...
    def velocity(self, x: Points, t: Time) -> Points: ...
    def score(self, x: Points, t: Time) -> Points: ...


def _rates(field: Density, x: Points, t: Time) -> tuple[Tensor, Tensor]:
    """``d_t log p`` and ``grad log p`` by autodiff of the density."""
    t = clock(t, x)
    slope = jvp(lambda s: field.log_prob(x, s), t, torch.ones_like(t))[1]
    gradient = torch.func.grad(lambda z: field.log_prob(z, t).sum())(x)
    return slope, gradient


def _dot(a: Points, b: Points) -> Float[Tensor, "n"]:
    return (a * b).flatten(1).sum(1)


def continuity_residual(field: Density, x: Points, t: Time, velocity: Field | None = None) -> Float[Tensor, "n"]:
    """``d_t log p + div u + u . grad log p`` at points of any shape: 0 where ``u`` transports ``p``.

    ``velocity`` asks it of another field's ``u`` against this density, for instance a learned one's.
    """
    u = field if velocity is None else velocity
    slope, gradient = _rates(field, x, t)
    return slope + divergence(lambda z: u.velocity(z, t), x) + _dot(u.velocity(x, t), gradient)


def fokker_planck_residual(field: Density, x: Points, t: Time, sigma: float) -> Float[Tensor, "n"]:
    """Residual of the Fokker-Planck equation for ``dX = (u + sigma^2/2 s) dt + sigma dW``: 0 for every sigma >= 0."""
    slope, gradient = _rates(field, x, t)

    def drift(z: Points) -> Points:
        return field.velocity(z, t) + sigma**2 / 2 * field.score(z, t)

    spread = laplacian(lambda z: field.log_prob(z, t), x) + _dot(gradient, gradient)
    return slope + divergence(drift, x) + _dot(drift(x), gradient) - sigma**2 / 2 * spread


@dataclass(frozen=True)
class Check:
    """A statement computed two ways: the largest difference, and the most that rounding or quadrature explains.

    A tolerance of None marks a figure of a trained model, which no theorem bounds.
    """

    statement: str
    ways: str
    difference: float
    tolerance: float | None
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """PASS, FAIL, or nothing for a figure without a bound."""
        if self.tolerance is None:
            return "" if math.isfinite(self.difference) else "FAIL"
        return "PASS" if self.difference <= self.tolerance else "FAIL"


def _mixture(schedule: Schedule, d: int = 2) -> MixtureField:
    g = generator(7, "verify")
    means = 1.5 * torch.randn(3, d, generator=g, dtype=torch.float64)
    stds = torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64)
    return MixtureField(Affine(schedule), means, stds, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))


def _points(field: MixtureField, n: int = 32) -> tuple[Tensor, Tensor]:
    """Times at even signal-to-noise ratios and points on the path there."""
    g = generator(8, "verify")
    t = field.path.affine_schedule().time_of_log_snr(torch.linspace(-2.5, 3, n, dtype=torch.float64))
    x0 = torch.randn(n, field.means.shape[1], generator=g, dtype=torch.float64)
    x1 = field.means[torch.arange(n) % len(field.means)] + 0.3 * torch.randn(x0.shape, generator=g, dtype=torch.float64)
    return field.path.draw(x0, x1, t).xt, t


def _largest(a: Tensor, b: Tensor | float = 0.0) -> float:
    return float((a - b).abs().max())


SCHEDULES_CHECKED = (CondOT(), Cosine(), VP())


def _over_schedules(residual: Callable[[MixtureField, Tensor, Tensor], float]) -> float:
    return max(residual(field, *_points(field)) for field in map(_mixture, SCHEDULES_CHECKED))


def _continuity() -> float:
    return _over_schedules(lambda field, x, t: _largest(continuity_residual(field, x, t)))


def _fokker_planck() -> float:
    sigmas = (0.5, 1.0, 3.0)
    return _over_schedules(lambda f, x, t: max(_largest(fokker_planck_residual(f, x, t, s)) for s in sigmas))


def _conversions() -> float:
    def worst(field: MixtureField, x: Tensor, t: Tensor) -> float:
        score = field.path.convert(field.velocity(x, t), x, t, "velocity", "score")
        return _largest(score, _rates(field, x, t)[1])

    return _over_schedules(worst)


def _marginalization() -> float:
    """``E[u_t(x|z) | x_t = x]`` by quadrature over z against the closed form, in one dimension."""
    field = _mixture(CondOT(), d=1)
    x, t = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None], 0.6
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None]
    weights = field.log_prob(z, 1.0)
    velocities = []
    for row in x:
        rows = row.expand_as(z)
        post = (weights + field.path.log_prob(rows, z, t)).softmax(0)
        velocities.append(post @ field.path.velocity(rows, z, t))
    return _largest(torch.stack(velocities), field.velocity(x, t))


def _transport() -> float:
    """``log p_0(x_0) - int div u dt`` along the marginal ODE against ``log p_1(x_1)``."""
    field, steps = _mixture(Cosine()), 120
    x0 = torch.randn(16, 2, generator=generator(9, "verify"), dtype=torch.float64)
    run = integrate(field, x0, stepper=RK4(), steps=steps, trajectory=True)
    rates = torch.stack([divergence(partial(_at, field, t), x) for x, t in zip(run.x, run.t, strict=True)])
    moved = Normal().log_prob(x0) - _simpson(rates, 1 / steps)
    return _largest(moved, field.log_prob(run.x[-1], 1.0))


def _at(field: Field, t: Time, x: Points) -> Points:
    return field.velocity(x, t)


def _conditional(path: Path, z: Points, t: Time, x: Points) -> Points:
    return path.velocity(x, z, t)


def _waves(theta: Tensor, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
    """A network of one parameter."""
    return torch.sin(theta * x) + theta


def _simpson(values: Tensor, h: float) -> Tensor:
    """Simpson's rule over an odd number of equally spaced rows."""
    return h / 3 * (values[0] + values[-1] + 4 * values[1:-1:2].sum(0) + 2 * values[2:-1:2].sum(0))


def _characteristics() -> float:
    """Density from the log-determinant against ``p_0(x_0) exp(-int div u)`` along the curves of a bent family."""
    path = Characteristics(lambda x, z, t: (x - t * z) / (1 - t) + 0.3 * t * torch.sin(x.flip(-1) - z.flip(-1)))
    g = generator(10, "verify")
    x0, z = torch.randn(2, 6, 2, generator=g, dtype=torch.float64)
    end, steps = 0.6, 60
    times = torch.linspace(0, end, steps + 1, dtype=torch.float64)
    rates = []
    for t in times:
        xt = path.draw(x0, z, t).xt
        rates.append(divergence(partial(_conditional, path, z, t), xt))
    moved = path.source.log_prob(x0) - _simpson(torch.stack(rates), end / steps)
    return _largest(moved, path.log_prob(path.draw(x0, z, end).xt, z, end))


def _uniform_source() -> float:
    """Source U[0,2], four data points: along the marginal ODE the mass to the left stays, ``F_t(x_t) = F_0(x_0)``.

    ``F_t(x) = mean_i P(x_t <= x | z_i)`` is elementary; the field jumps, so the integration is of first order.
    """
    data = torch.tensor([[0.5], [0.5], [1.2], [1.7]], dtype=torch.float64)
    field, end = EmpiricalField(Affine(CondOT(), Uniform(0, 2)), data), 0.5
    x0 = torch.linspace(0.01, 1.99, 100, dtype=torch.float64)[:, None]
    xt = integrate(field, x0, grid=torch.linspace(0, end, 2001, dtype=torch.float64), stepper=Euler()).x[-1]
    mass = (((xt - end * data.T) / (1 - end)) / 2).clamp(0, 1).mean(1)
    return _largest(mass, x0[:, 0] / 2)


def _quadrature_draws(field: MixtureField, t: float) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes ``x0, x1`` and weights that integrate over a one-dimensional problem, by Gauss-Hermite quadrature."""
    nodes, weights = (torch.from_numpy(v) for v in hermegauss(80))
    weights = weights / weights.sum()
    assert field.weights is not None and field.stds is not None
    x1 = (field.means + field.stds[:, None] * nodes).flatten()
    w1 = (field.weights[:, None] / field.weights.sum() * weights).flatten()
    x0, x1 = nodes.repeat(len(x1)), x1.repeat_interleave(len(nodes))
    return x0[:, None], x1[:, None], w1.repeat_interleave(len(nodes)) * weights.repeat(len(w1))


def _matching(quantity: str) -> float:
    """Conditional minus marginal loss is the floor for every network, and their gradients are equal."""
    field, t = _mixture(Cosine(), d=1), 0.4
    x0, x1, w = _quadrature_draws(field, t)
    draw = field.path.draw(x0, x1, t)
    exact = getattr(field, quantity)(draw.xt, t)
    objective, g = Matching(quantity, WEIGHTS[quantity]()), generator(0, "unused")  # the bare squared error
    floor = (w * objective(field, draw, None, g)).sum()
    differences = []
    for a in (0.3, -1.2):
        theta = torch.tensor(a, dtype=torch.float64, requires_grad=True)
        net = Learned(partial(_waves, theta), field.path, quantity)
        conditional = (w * objective(net, draw, None, g)).sum()
        marginal = (w * (getattr(net, quantity)(draw.xt, t) - exact).square()[:, 0]).sum()
        one, other = (torch.autograd.grad(loss, theta)[0] for loss in (conditional, marginal))
        differences += [_largest((conditional - marginal).detach(), floor), _largest(one, other)]
    return max(differences)


CHECKS: tuple[tuple[str, str, Callable[[], float], float], ...] = (
    ("continuity equation (A5)", "d_t log p | -div u - u . grad log p", _continuity, 1e-10),
    ("Fokker-Planck equation, SDE extension (A6, B6)", "d_t log p | sigma = 0.5, 1, 3", _fokker_planck, 1e-8),
    ("marginalization (B5)", "quadrature over the data | closed form", _marginalization, 1e-9),
    ("marginal ODE carries p_0 to p_data (B5)", "log p_0 - int div u | log p_data", _transport, 1e-6),
    ("density along characteristics (B7)", "log-determinant | exp(-int div u)", _characteristics, 1e-7),
    ("uniform source, four points (B7)", "share of the mass before | after the ODE", _uniform_source, 2e-3),
    ("velocity to score (C)", "convert | autodiff of log p", _conversions, 1e-9),
    (
        "flow matching equivalence (D1)",
        "conditional - floor | marginal; gradients",
        lambda: _matching("velocity"),
        1e-7,
    ),
    (
        "score matching equivalence (D2)",
        "conditional - floor | marginal; gradients",
        lambda: _matching("score"),
        1e-7,
    ),
)


def verify() -> list[Check]:
    """All theorem checks on built-in problems, in float64."""
    out = []
    for statement, ways, difference, tolerance in CHECKS:
        begun = time.perf_counter()
        value = difference()
        out.append(Check(statement, ways, value, tolerance, time.perf_counter() - begun))
    return out


def verify_learned(field: Field, data: Points, seed: int = 0) -> list[Check]:
    """What can be asked of a trained field, on the path of its data: a finite set, so the oracle is exact."""
    g = generator(seed, "verify a run")
    oracle = EmpiricalField(field.path, data)
    rows = torch.randint(len(data), (256,), generator=g)
    x1 = data[rows]
    t = 0.1 + 0.7 * torch.rand(len(x1), generator=g, dtype=torch.float64)
    x = field.path.draw(field.path.source.sample(tuple(x1.shape), g, x1.dtype), x1, t, generator=g).xt
    with torch.no_grad():
        u, exact = field.velocity(x, t), oracle.velocity(x, t)
        relative = float((u - exact).norm() / exact.norm())
        div, exact_div = (divergence(partial(_at, f, t), x) for f in (field, oracle))
        residual = continuity_residual(oracle, x, t, field)
        excess, rms = div - exact_div, float(residual.square().mean().sqrt())
        checks = [
            Check("velocity against the training set's exact one", "|u - u*| / |u*|", relative, None),
            Check("divergence", "mean of div u - div u*", float(excess.mean()), None),
            Check("divergence", "standard deviation of div u - div u*", float(excess.std()), None),
            Check("continuity equation against the training set", "rms residual, nats / time", rms, None),
        ]
        try:
            score = field.score(x, t)
        except ValueError:  # a source without a score
            return checks
        if field.path.predictions:
            back = field.path.convert(score, x, t, "score", "velocity")
            same = _relative(back, u)
            checks.append(Check("score and velocity say the same (C)", "velocity | from score", same, 1e-3))
        else:  # where neither follows from the other
            off = _relative(score, oracle.score(x, t))
            checks.append(Check("score against the training set's exact one", "|s - s*| / |s*|", off, None))
        # the Jacobian of a gradient is symmetric: v.Jw = w.Jv
        v, w = torch.randn(2, *x.shape, generator=g, dtype=x.dtype)
        jv, jw = (jvp(lambda z: field.score(z, t), x, d)[1] for d in (v, w))
        asymmetry = float((_dot(w, jv) - _dot(v, jw)).abs().mean() / _dot(w, jv).abs().mean())
        checks.append(Check("the score is a gradient", "|v.Jw - w.Jv| / |w.Jv|", asymmetry, None))
    return checks


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())
