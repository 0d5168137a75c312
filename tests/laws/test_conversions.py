"""Laws of conversions between predictions."""

import pytest
import torch
from conftest import mixture

import pushforward as pf
from laws import inner, randn, schedules
from pushforward.tensor import bcast


@schedules
@pytest.mark.parametrize("frm", pf.PREDICTIONS)
@pytest.mark.parametrize("to", pf.PREDICTIONS)
@pytest.mark.parametrize("n", [3, 7])
def test_conversions_round_trip(schedule, frm, to, n):
    # n == d among them: a time per row must never be taken for a coefficient per column
    path, x, p = pf.Affine(schedule), randn(n, 3, seed=9), randn(n, 3, seed=10)
    t = inner(schedule)[:n]
    back = pf.convert(pf.convert(p, x, t, path, frm, to), x, t, path, to, frm)
    torch.testing.assert_close(back, p, rtol=1e-9, atol=1e-9)
    rows = torch.cat([pf.convert(p[i : i + 1], x[i : i + 1], float(t[i]), path, frm, to) for i in range(n)])
    torch.testing.assert_close(pf.convert(p, x, t, path, frm, to), rows)


@schedules
@pytest.mark.parametrize("frm", pf.PREDICTIONS)
@pytest.mark.parametrize("to", pf.PREDICTIONS)
def test_conversions_agree_with_the_oracle(schedule, frm, to):
    field, x = mixture(pf.Affine(schedule)), randn(7, 2, seed=11)
    p = getattr(field, frm)(x, inner(schedule))
    torch.testing.assert_close(
        pf.convert(p, x, inner(schedule), field.path, frm, to),
        getattr(field, to)(x, inner(schedule)),
        rtol=1e-9,
        atol=1e-9,
    )


@schedules
@pytest.mark.parametrize("t", [1e-6, 1 - 1e-6])
def test_conversions_that_exist_near_the_ends_are_exact(schedule, t):
    field, x = mixture(pf.Affine(schedule)), randn(5, 2, seed=12)
    pairs = [("velocity", "data"), ("velocity", "noise"), ("v", "data"), ("noise", "v")]
    for frm, to in pairs if t > 0.5 else [("data", "velocity"), ("v", "data"), ("data", "noise")]:
        exact = getattr(field, to)(x, t)
        torch.testing.assert_close(
            pf.convert(getattr(field, frm)(x, t), x, t, field.path, frm, to), exact, rtol=1e-7, atol=1e-7
        )


@schedules
def test_at_the_ends_vanishing_determinants_give_standard_normal_answers(schedule):
    # the field of N(0, I) data is linear and known: what the module's notes promise at t = 0 and t = 1
    x, one = randn(5, 2, seed=13), torch.ones(1, dtype=torch.float64)
    field = pf.MixtureField(pf.Affine(schedule), torch.zeros(1, 2, dtype=torch.float64), one)
    for t in (0.0, 1.0):
        for frm in pf.PREDICTIONS:
            for to in pf.PREDICTIONS:
                p = getattr(field, frm)(x, t)
                exact = getattr(field, to)(x, t)
                torch.testing.assert_close(
                    pf.convert(p, x, t, field.path, frm, to), exact, rtol=1e-9, atol=1e-9, msg=f"{frm} {to} {t}"
                )


@schedules
@pytest.mark.parametrize("frm", pf.PREDICTIONS)
@pytest.mark.parametrize("to", pf.PREDICTIONS)
def test_weight_is_the_ratio_of_squared_errors(schedule, frm, to):
    path, x, p, error = pf.Affine(schedule), *randn(3, 7, 2, seed=14)
    change = pf.convert(p + error, x, inner(schedule), path, frm, to) - pf.convert(p, x, inner(schedule), path, frm, to)
    ratio = change.square().sum(1) / error.square().sum(1)
    torch.testing.assert_close(pf.weight(inner(schedule), path, frm, to, x), ratio, rtol=1e-7, atol=0)


def test_conversion_refuses_what_does_not_exist():
    x = randn(3, 3)
    with pytest.raises(ValueError, match="Normal source only"):
        pf.convert(x, x, 0.5, pf.Affine(source=pf.Uniform()), "velocity", "score")
    with pytest.raises(ValueError, match="did you mean 'velocity'"):
        pf.convert(x, x, 0.5, pf.Affine(), "velocty", "score")
    with pytest.raises(ValueError, match="4 points"):
        bcast(torch.rand(3), randn(4, 4))
