"""Laws of exact fields: the continuity equation, scores and posterior means."""

import math

import pytest
import torch
from conftest import draw_mixture, mixture

import pushforward as pf
from laws import inner, randn, schedules


@schedules
@pytest.mark.parametrize("law", ["isotropic", "diagonal", "full"])
def test_oracle_score_is_the_gradient_of_log_prob(schedule, law):
    field = mixture(pf.Affine(schedule), d=3, law=law)
    x = randn(7, 3, seed=15).requires_grad_()
    (gradient,) = torch.autograd.grad(field.log_prob(x, inner(schedule)).sum(), x)
    torch.testing.assert_close(field.score(x, inner(schedule)), gradient, rtol=1e-9, atol=1e-9)


@schedules
@pytest.mark.parametrize("law", ["isotropic", "diagonal", "full"])
def test_oracle_obeys_the_continuity_equation(schedule, law):
    # d_t log p + div u + u . grad log p = 0, all derivatives by autodiff
    field = mixture(pf.Affine(schedule), d=2, law=law)
    for x, t in zip(randn(7, 1, 2, seed=16), inner(schedule), strict=True):
        _, d_log_p = torch.func.jvp(lambda s, x=x: field.log_prob(x, s), (t,), (torch.ones_like(t),))
        jacobian = torch.func.jacrev(lambda z, t=t: field.velocity(z[None], t)[0])(x[0])
        transport = (field.velocity(x, t) * field.score(x, t)).sum()
        scale = float(d_log_p.abs() + jacobian.trace().abs() + transport.abs())
        assert abs(d_log_p + jacobian.trace() + transport).item() < 1e-11 * max(scale, 1)


@schedules
def test_oracle_velocity_is_the_regression_of_ut_on_xt(schedule, rng):
    # E[(u_t(x_t|x_1) - u_t(x_t)) f(x_t)] = 0 for any f: orthogonality of a conditional expectation
    field, n = mixture(pf.Affine(schedule)), 100_000
    x1, x0 = draw_mixture(field, n, rng), torch.randn(n, 2, generator=rng, dtype=torch.float64)
    for t in (0.1, 0.5, 0.9):
        draw = field.path.draw(x0, x1, t)
        residual = draw.ut - field.velocity(draw.xt, t)
        for f in (torch.ones(n, 2).double(), draw.xt, draw.xt.flip(1) ** 2, torch.sin(3 * draw.xt)):
            terms = residual * f
            z = terms.mean(0) / (terms.std(0) / math.sqrt(n))
            assert bool((z.abs() < 4.5).all()), (t, z)


def test_oracle_field_of_a_wide_mixture_is_the_empirical_field():
    # a mixture with tiny standard deviations is a finite data set
    data = randn(20, 2, seed=17)
    field = pf.EmpiricalField(pf.Affine(), data)
    near = pf.MixtureField(pf.Affine(), data, torch.full((20,), 1e-6, dtype=torch.float64))
    x, t = randn(7, 2, seed=18), inner(pf.CondOT())
    torch.testing.assert_close(field.log_prob(x, t), near.log_prob(x, t), rtol=1e-6, atol=1e-6)
    for name in pf.PREDICTIONS:
        torch.testing.assert_close(getattr(field, name)(x, t), getattr(near, name)(x, t), rtol=1e-6, atol=1e-6)


@schedules
def test_empirical_field_at_the_end_is_the_nearest_data_point(schedule):
    data, x = randn(20, 2, seed=17), randn(7, 2, seed=18)
    nearest = data[(x[:, None] - data).square().sum(2).argmin(1)]
    field = pf.EmpiricalField(pf.Affine(schedule), data)
    torch.testing.assert_close(field.data(x, 1.0), nearest)
    assert all(getattr(field, name)(x, t).isfinite().all() for name in pf.PREDICTIONS for t in (0.0, 1.0))
