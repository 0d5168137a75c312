"""Exact statements, each asked of everything in a registry: what is added there is tested before anyone writes a test.

A registry entry that needs arguments gets them in ARGUMENTS below; one that is missing there and cannot be built
without arguments fails the run, so nothing slips through.
"""

import math
from dataclasses import replace

import pytest
import torch
from conftest import draw_mixture, mixture

import pushforward as pf
from pushforward.source import Source
from pushforward.tensor import bcast

ARGUMENTS = {
    "warped": lambda: pf.Warped(pf.Cosine(), lambda t: t / (t + 3 * (1 - t))),
    "general_affine": lambda: pf.GeneralAffine(lambda z, t: t * t * z, lambda t: 1 - t),
    "characteristics": lambda: pf.Characteristics(
        lambda x, z, t: z + (x - z) * (1 - t) ** -(1 + 0.5 * torch.tanh(z)), elementwise=True
    ),
    "custom": lambda: pf.CustomSchedule(lambda t: t * t, lambda t: (1 - t) * (1 + t / 2)),
    "mixture": lambda: pf.Mixture(torch.tensor([[-1.0, 0.5], [1.0, 0.0]]).double(), torch.tensor([0.5, 0.8]).double()),
    "empirical": lambda: pf.Empirical(torch.randn(50, 2, dtype=torch.float64)),
}
SOURCES: dict[str, Source] = {name: ARGUMENTS.get(name, make)() for name, make in pf.SOURCES.items()}
SCHEDULES = {name: ARGUMENTS.get(name, make)() for name, make in pf.SCHEDULES.items()}
DENSITIES = {name: s for name, s in SOURCES.items() if name != "empirical"}
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)
# (alpha_0, beta_0) of the schedules whose noise end is not (0, 1) by definition
_vp, _ddpm = math.exp(-(0.1 + 20) / 4), math.prod(1 - (1e-4 + (0.02 - 1e-4) * k / 999) for k in range(1000))
START = {
    "vp": (_vp, math.sqrt(1 - _vp**2)),
    "subvp": (_vp, 1 - _vp**2),
    "ve": (1.0, math.sqrt(50.0**2 - 0.01**2)),
    "edm": (1.0, 80.0),
    "ddpm": (math.sqrt(_ddpm), math.sqrt(1 - _ddpm)),
}


def inner(schedule):
    """Seven times between the ends, at the same signal-to-noise ratios for every schedule."""
    return schedule.time_of_log_snr(torch.tensor([-3.8, -2.0, -0.7, 0.03, 1.2, 2.5, 4.0], dtype=torch.float64))


schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
densities = pytest.mark.parametrize("source", DENSITIES.values(), ids=DENSITIES)
predictions = pytest.mark.parametrize("name", pf.PREDICTIONS)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- schedules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_ends(name):
    alpha, beta = SCHEDULES[name](ENDS)
    assert alpha[1] == 1 and beta[1] == 0
    expected = START.get(name, (0.0, 1.0))
    assert (float(alpha[0]), float(beta[0])) == pytest.approx(expected, rel=1e-13, abs=1e-15)


@schedules
def test_schedule_signal_to_noise_rises(schedule):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert bool((schedule.log_snr(t).diff() > 0).all())


@schedules
def test_schedule_derivatives_are_finite_differences(schedule):
    h = 1e-6
    w = schedule.coefficients(inner(schedule))
    up, down = schedule(inner(schedule) + h), schedule(inner(schedule) - h)
    torch.testing.assert_close(w.d_alpha, (up[0] - down[0]) / (2 * h), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(w.d_beta, (up[1] - down[1]) / (2 * h), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(w.beta_d_beta, w.beta * w.d_beta, rtol=1e-12, atol=1e-14)


@schedules
def test_schedule_stated_rates_are_autodiff(schedule):
    t = torch.cat([ENDS, inner(schedule)])
    for stated, derived in zip(schedule.derivatives(t), pf.Schedule.derivatives(schedule, t), strict=True):
        torch.testing.assert_close(stated, derived, rtol=1e-12, atol=1e-14)


@schedules
def test_schedule_beta_d_beta_at_the_ends_is_a_one_sided_difference(schedule):
    h = 1e-7
    near = torch.tensor([h, 1 - h], dtype=torch.float64)
    slope = (schedule(near)[1].square() - schedule(ENDS)[1].square()) / (near - ENDS)
    torch.testing.assert_close(2 * schedule.coefficients(ENDS).beta_d_beta, slope, rtol=1e-4, atol=1e-5)


@schedules
def test_schedule_time_inverts_log_snr(schedule):
    torch.testing.assert_close(
        schedule.time_of_log_snr(schedule.log_snr(inner(schedule))), inner(schedule), rtol=1e-10, atol=1e-12
    )
    assert schedule.time_of_log_snr(torch.tensor([math.inf], dtype=torch.float64)) == 1


# -- spaces ------------------------------------------------------------------------------------------------------------

SPACES = {name: make() for name, make in pf.SPACES.items()}
spaces = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


@spaces
def test_space_moves_along_its_geodesics(space):
    # the geodesic's own velocity at its start, for the time 1, leads to its end; at constant speed
    x0, x1 = randn(7, 3, seed=40), randn(7, 3, seed=41)
    v = bcast(torch.tensor(1e6).double(), x0) * (space.interpolate(x0, x1, torch.tensor(1e-6).double()) - x0)
    torch.testing.assert_close(space.move(x0, space.project(x0, v), torch.ones(7).double()), x1, rtol=1e-6, atol=1e-6)
    whole = space.distance(x0, x1).diagonal()
    part = space.distance(x0, space.interpolate(x0, x1, torch.full((7,), 0.3).double())).diagonal()
    torch.testing.assert_close(part, 0.3 * whole)
    for k, end in ((0.0, x0), (1.0, x1)):
        torch.testing.assert_close(space.interpolate(x0, x1, torch.tensor(k).double()), end)


@spaces
def test_space_loss_is_the_mean_squared_distance_of_small_errors(space):
    x, error = randn(7, 3, seed=42), 1e-6 * randn(7, 3, seed=43)
    squared = space.distance(x, x + error).diagonal().square()
    torch.testing.assert_close(space.loss(x + error, x, "data"), squared / 3, rtol=1e-4, atol=0)
    noise = randn(7, 3, seed=44)
    assert torch.equal(space.move(x, error, torch.tensor(2.0), noise), space.move(x, error, torch.tensor(2.0)) + noise)


@spaces
def test_space_measures_distances(space):
    x, y, z = randn(6, 2, 2, seed=45), randn(4, 2, 2, seed=46), randn(5, 2, 2, seed=47)
    torch.testing.assert_close(space.distance(x, y), space.distance(y, x).T)
    assert float(space.distance(x, x).diagonal().abs().max()) < 1e-6
    by_way = (space.distance(x, z)[:, :, None] + space.distance(z, y)[None]).amin(1)
    assert bool((space.distance(x, y) <= by_way + 1e-9).all())


# -- sources -----------------------------------------------------------------------------------------------------------


@densities
def test_source_score_is_the_gradient_of_log_prob(source):
    x = (0.8 * randn(40, 2, seed=1)).clamp(-0.95, 0.95).requires_grad_()
    log_p = source.log_prob(x)
    (gradient,) = torch.autograd.grad(log_p.sum(), x, allow_unused=True) if log_p.requires_grad else (None,)
    torch.testing.assert_close(source.score(x), torch.zeros_like(x) if gradient is None else gradient)


@densities
def test_source_density_integrates_to_one(source):
    # midpoints, so that the edge of the uniform box falls between cells
    edge = torch.arange(-9.99, 10, 0.02, dtype=torch.float64)
    grid = torch.cartesian_prod(edge, edge)
    assert source.log_prob(grid).exp().sum() * 0.02**2 == pytest.approx(1, abs=2e-4)


@densities
def test_source_samples_have_the_mean_log_prob_of_their_density(source, rng):
    # E log p over samples equals the integral of p log p over the plane: the samples come from that density
    edge = torch.arange(-11.98, 12, 0.04, dtype=torch.float64)
    log_p = source.log_prob(torch.cartesian_prod(edge, edge))
    entropy = (log_p.exp() * log_p.nan_to_num(neginf=0.0)).sum() * 0.04**2
    draws = source.log_prob(source.sample((40_000, 2), rng, torch.float64))
    error = max(float(draws.std()) / 200, 1e-3)
    assert abs(draws.mean() - entropy) < 5 * error


def test_empirical_source_draws_its_rows(rng):
    source = SOURCES["empirical"]
    draws = source.sample((500, 2), rng)
    found = (draws[:, None] == source.data).all(2)
    assert bool(found.any(1).all()) and int(found.any(0).sum()) > 45
    with pytest.raises(ValueError, match="no density"):
        source.log_prob(draws)


# -- paths -------------------------------------------------------------------------------------------------------------


@schedules
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_path_velocity_is_the_derivative_along_the_trajectory(schedule, source, rng):
    path, h = pf.Affine(schedule, source), 1e-6
    x0, x1 = source.sample((7, 2), rng, torch.float64), randn(7, 2, seed=2)
    draw = path.draw(x0, x1, inner(schedule))
    slope = (path.trajectory(x0, x1, inner(schedule) + h) - path.trajectory(x0, x1, inner(schedule) - h)) / (2 * h)
    torch.testing.assert_close(draw.ut, slope, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(path.source_point(draw.xt, x1, inner(schedule)), x0)
    torch.testing.assert_close(path.velocity(draw.xt, x1, inner(schedule)), draw.ut, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_path_starts_at_the_source_and_ends_at_the_data(name, rng):
    path = pf.Affine(SCHEDULES[name])
    x0, x1 = randn(5, 3, seed=3), randn(5, 3, seed=4)
    torch.testing.assert_close(path.draw(x0, x1, 1.0).xt, x1, rtol=0, atol=0)
    torch.testing.assert_close(path.initial_state(x0), START.get(name, (0.0, 1.0))[1] * x0)
    if name not in START:
        torch.testing.assert_close(path.draw(x0, x1, 0.0).xt, x0, rtol=0, atol=0)


@schedules
def test_path_conditional_density_is_the_density_of_its_draws(schedule):
    # log p_t(x|z) against torch's own normal density, for the Gaussian path
    path, x, z = pf.Affine(schedule), randn(7, 3, seed=5), randn(7, 3, seed=6)
    alpha, beta = schedule(inner(schedule))
    expected = torch.distributions.Normal(alpha[:, None] * z, beta[:, None]).log_prob(x).sum(1)
    torch.testing.assert_close(path.log_prob(x, z, inner(schedule)), expected)


@schedules
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_everything_is_finite_at_both_ends(schedule, dtype):
    x0, x1 = randn(4, 4, seed=7).to(dtype), randn(4, 4, seed=8).to(dtype)
    field = mixture(pf.Affine(schedule), d=4)
    for t in (0.0, 1.0):
        draw = field.path.draw(x0, x1, t)
        assert draw.ut.isfinite().all() and draw.ut.dtype == draw.xt.dtype == dtype
        for name in pf.PREDICTIONS:
            exact = getattr(field, name)(draw.xt, t)
            assert exact.isfinite().all() and exact.dtype == dtype
            for to in pf.PREDICTIONS:
                assert pf.convert(exact, draw.xt, t, field.path, name, to).isfinite().all(), (name, to)


PATHS = {name: ARGUMENTS.get(name, make)() for name, make in pf.PATHS.items()}
CURVED = {
    # not linear in x, coordinates mixed, no inverse: Newton's method and full Jacobians
    "newton": pf.Characteristics(lambda x, z, t: (x - t * z) / (1 - t) + 0.3 * t * torch.sin(x.flip(-1) - z.flip(-1))),
    "uniform source": pf.Characteristics(
        lambda x, z, t: (x - t * z) / (1 - t), pf.Uniform(0, 2), lambda x0, z, t: (1 - t) * x0 + t * z, elementwise=True
    ),
    "bridge from data": pf.Bridge(0.7, pf.Empirical(randn(6, 2, seed=30))),
    "bridge from mixture": pf.Bridge(0.7, ARGUMENTS["mixture"]()),
}
ALL_PATHS = {**PATHS, **CURVED}
paths = pytest.mark.parametrize("path", ALL_PATHS.values(), ids=ALL_PATHS)
TIMES = torch.tensor([0.05, 0.3, 0.5, 0.83, 0.95], dtype=torch.float64)


def start_of(path, n, seed=0):
    return path.source.sample((n, 2), torch.Generator().manual_seed(seed), torch.float64)


@paths
def test_any_path_ends_at_the_data_with_a_finite_velocity(path, rng):
    x0, x1 = start_of(path, 4), randn(4, 2, seed=31)
    for t in (0.0, 1.0):
        draw = path.draw(x0, x1, t, rng)
        torch.testing.assert_close(draw.xt, x1 if t else path.initial_state(x0), rtol=1e-9, atol=1e-9)
        assert draw.ut.isfinite().all() and path.velocity(draw.xt, x1, t).isfinite().all()


@paths
def test_any_path_draws_pairs_of_times_at_the_first(path):
    x0, x1, then = start_of(path, 5), randn(5, 2, seed=31), torch.linspace(0.2, 1, 5, dtype=torch.float64)
    now = path.draw(x0, x1, TIMES, torch.Generator().manual_seed(1))
    pairs = path.draw(x0, x1, torch.stack([TIMES, then], 1), torch.Generator().manual_seed(1))
    assert torch.equal(pairs.xt, now.xt) and torch.equal(pairs.ut, now.ut) and torch.equal(pairs.t[:, 1], then)
    assert [part.t.shape for part in pairs.split(2)] == [(2, 2), (2, 2), (1, 2)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_samples_begin_at_the_scale_of_the_schedule(name):
    path = pf.Affine(SCHEDULES[name])
    scale = START.get(name, (0.0, 1.0))[1]
    draws = path.source.draws(40, (2,), seed=3, dtype=torch.float64)
    torch.testing.assert_close(path.begin(40, (2,), seed=3, dtype=torch.float64), scale * draws)


@paths
def test_any_path_begins_where_its_source_draws_begin(path):
    begun = path.begin(40, (2,), seed=3, dtype=torch.float64)
    draws = path.source.draws(40, (2,), seed=3, dtype=torch.float64)
    assert torch.equal(begun, path.initial_state(draws))
    torch.testing.assert_close(begun, path.initial_scale * draws)
    assert torch.equal(path.begin(4, (2,), seed=3, first=33, dtype=torch.float64), begun[33:37])


@paths
def test_any_path_velocity_is_a_finite_difference_along_its_curve(path):
    h, x0, x1 = 1e-6, start_of(path, 5), randn(5, 2, seed=31)
    point = lambda t: path.draw(x0, x1, t, torch.Generator().manual_seed(1))  # noqa: E731
    slope = (point(TIMES + h).xt - point(TIMES - h).xt) / (2 * h)
    torch.testing.assert_close(point(TIMES).ut, slope, rtol=1e-6, atol=1e-6)


@paths
def test_any_conditional_law_obeys_its_equations(path):
    # score = grad log p_t(x|z); d_t log p + div u + u . score = 0, all derivatives by autodiff
    z = randn(5, 2, seed=32)
    # a point the curves do reach, off the kinks of a compact source
    x = path.draw(start_of(path, 5, seed=3), z, TIMES, torch.Generator().manual_seed(2)).xt
    for i in range(5):
        xi, zi, t = x[i : i + 1], z[i : i + 1], TIMES[i]
        log_p = lambda x, t, zi=zi: path.log_prob(x, zi, t)[0]  # noqa: E731
        score = path.score(xi, zi, t)
        torch.testing.assert_close(score, torch.func.grad(log_p)(xi, t), rtol=1e-8, atol=1e-8)
        velocity = path.velocity(xi, zi, t)
        jacobian = torch.func.jacrev(lambda x, t=t, zi=zi: path.velocity(x[None], zi, t)[0])(xi[0])
        residual = torch.func.grad(log_p, argnums=1)(xi, t) + jacobian.trace() + (velocity * score).sum()
        assert abs(residual.item()) < 1e-8 * (1 + jacobian.abs().sum().item()), (path, float(t))


@pytest.mark.parametrize("name", ["newton", "characteristics", "uniform source"])
def test_characteristics_velocity_is_the_velocity_of_the_curve_through_the_point(name):
    path, x1 = ALL_PATHS[name], randn(5, 2, seed=33)
    x0 = start_of(path, 5)
    draw = path.draw(x0, x1, TIMES)
    torch.testing.assert_close(path.source_point(draw.xt, x1, TIMES), x0, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(path.velocity(draw.xt, x1, TIMES), draw.ut, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("source", DENSITIES.values(), ids=DENSITIES)
def test_affine_families_agree_wherever_they_are_the_same(source):
    schedule = pf.Cosine()
    alpha, beta = (lambda t: schedule(t)[0]), (lambda t: schedule(t)[1])
    phi = lambda x, z, t: (x - alpha(t) * z) / beta(t)  # noqa: E731
    same = [
        pf.Affine(schedule, source),
        pf.GeneralAffine(lambda z, t: alpha(t) * z, beta, source),
        pf.Characteristics(phi, source, lambda x0, z, t: alpha(t) * z + beta(t) * x0, elementwise=True),
        pf.Characteristics(phi, source, elementwise=True),
        pf.Characteristics(phi, source),
    ]
    x0, x1 = source.sample((5, 2), torch.Generator().manual_seed(4), torch.float64), randn(5, 2, seed=34)
    first = same[0].draw(x0, x1, TIMES)
    for path in same[1:]:
        draw = path.draw(x0, x1, TIMES)
        torch.testing.assert_close((draw.xt, draw.ut), (first.xt, first.ut), rtol=1e-10, atol=1e-10)
        for name in ("velocity", "log_prob", "score"):
            expected = getattr(same[0], name)(first.xt, x1, TIMES)
            torch.testing.assert_close(getattr(path, name)(first.xt, x1, TIMES), expected, rtol=1e-9, atol=1e-9)


def test_characteristics_say_when_newton_fails():
    path = pf.Characteristics(lambda x, z, t: torch.exp(x) * (1 + 0 * t))  # never below 0: no x for x0 = -1
    with pytest.raises(ValueError, match=r"2 of 2 curves.*inverse="):
        path.draw(-torch.ones(2, 1).double(), torch.ones(2, 1).double(), 0.5)


def test_bridge_draws_have_the_moments_of_a_brownian_bridge(rng):
    path, n = pf.Bridge(0.7), 200_000
    x0, x1 = torch.full((n, 1), -1.0).double(), torch.full((n, 1), 2.0).double()
    for t in (0.2, 0.9):
        xt = path.draw(x0, x1, t, rng).xt
        assert float(xt.mean()) == pytest.approx((1 - t) * -1 + t * 2, abs=5 * 0.7 / n**0.5)
        assert float(xt.var()) == pytest.approx(0.49 * t * (1 - t), rel=0.02)
    with pytest.raises(ValueError, match="generator"):
        path.draw(x0, x1, 0.5)


# -- conversions -------------------------------------------------------------------------------------------------------


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


# -- oracles -----------------------------------------------------------------------------------------------------------


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


# -- steppers ----------------------------------------------------------------------------------------------------------

# by what is asked of their order; a stepper added to the registry fails here until it has its place
METHODS = {name: make() for name, make in pf.STEPPERS.items()}
STOCHASTIC = {name for name, stepper in METHODS.items() if stepper.stochastic}
CHAINS = {name for name, stepper in METHODS.items() if "score" in stepper.uses and "velocity" not in stepper.uses}
ADAPTIVE = {name for name, stepper in METHODS.items() if stepper.adaptive}  # in tests/test_samplers.py
FLOWS = [name for name in pf.STEPPERS if name not in STOCHASTIC | CHAINS | ADAPTIVE]
ONE_WAY = {name for name, stepper in METHODS.items() if stepper.one_way}


def gaussian_flow(schedule, mean, std):
    """Field and exact flow of N(mean, std^2 I) data: ``x_t = alpha m + (s_t/s_0)(x_0 - alpha_0 m)``."""
    field = pf.MixtureField(pf.Affine(schedule), mean[None], torch.tensor([std], dtype=torch.float64))

    def flow(x, t, s):
        (a, b), (c, e) = (schedule(torch.tensor(when, dtype=torch.float64)) for when in (t, s))
        return c * mean + ((c * std) ** 2 + e**2).sqrt() / ((a * std) ** 2 + b**2).sqrt() * (x - a * mean)

    return field, flow


def slope(steps, errors):
    """Of log error against log step size, by least squares."""
    logs = torch.tensor([[math.log(1 / n), math.log(e)] for n, e in zip(steps, errors, strict=True)]).T
    return float(torch.cov(logs)[0, 1] / logs[0].var())


@pytest.fixture(scope="module")
def mixture_flow():
    """A mixture's own flow on the cosine path from t = 0.3 to 0.7, by classical Runge-Kutta to rounding."""
    field, x = mixture(pf.Affine(pf.Cosine())), randn(20, 2, seed=19)
    return (
        field,
        x,
        pf.integrate(field, x, grid=torch.linspace(0.3, 0.7, 501, dtype=torch.float64), stepper=pf.RK4()).x[-1],
    )


@pytest.mark.parametrize("name", FLOWS)
def test_stepper_order_is_as_declared(name, mixture_flow):
    stepper, (field, x, end) = pf.STEPPERS[name](), mixture_flow
    steps = [8, 16, 32] if isinstance(stepper, pf.RungeKutta) else [64, 128, 256]
    grids = [torch.linspace(0.3, 0.7, n + 1, dtype=torch.float64) for n in steps]
    errors = [float((pf.integrate(field, x, grid=grid, stepper=stepper).x[-1] - end).norm()) for grid in grids]
    assert abs(slope(steps, errors) - stepper.order) < 0.15, (slope(steps, errors), errors)


@pytest.mark.parametrize("name", FLOWS)
def test_stepper_carries_a_gaussian_exactly_in_the_limit(name):
    field, flow = gaussian_flow(pf.VP(), torch.tensor([1.0, -2.0], dtype=torch.float64), 0.4)
    x, grid = randn(20, 2, seed=19), torch.linspace(0.05, 0.95, 201, dtype=torch.float64)
    error = (pf.integrate(field, x, grid=grid, stepper=pf.STEPPERS[name]()).x[-1] - flow(x, 0.05, 0.95)).abs().max()
    assert float(error) < {1.0: 4e-2, 2.0: 4e-3, 3.0: 3e-4, 4.0: 1e-7}[float(pf.STEPPERS[name]().order)]


@schedules
@pytest.mark.parametrize("name", pf.STEPPERS)
def test_stepper_one_and_two_steps_are_finite_for_every_prediction(schedule, name):
    exact = mixture(pf.Affine(schedule))
    x = exact.path.initial_state(randn(6, 2, seed=20))
    stepper = pf.DormandPrince(most=5) if name == "dormand_prince" else pf.STEPPERS[name]()
    for predicts in pf.PREDICTIONS:
        net = lambda x, t, y, predicts=predicts: getattr(exact, predicts)(x, t)  # noqa: E731
        field = pf.Learned(net, exact.path, predicts)
        ways = [(1, False), (2, False), (2, True)] if predicts == "velocity" else [(2, False)]
        for steps, reverse in ways[: 2 if name in ONE_WAY else 3]:
            out = pf.integrate(field, x, stepper=stepper, steps=steps, reverse=reverse).x[-1]
            assert out.isfinite().all() and out.shape == x.shape, (predicts, steps, reverse)


class Recorder(pf.Field):
    """A field that writes down what it is asked for."""

    def __init__(self, field):
        self.path, self.field, self.names = field.path, field, []

    def evaluate(self, names, x, t, y=None):
        self.names.append(names)
        return self.field.evaluate(names, x, t, y)


@pytest.mark.parametrize("name", pf.STEPPERS)
def test_stepper_states_what_it_does(name):
    # between the ends, where no first or last step is a special one
    field, stepper = Recorder(mixture()), pf.STEPPERS[name]()
    x, grid = randn(6, 2, seed=26), torch.linspace(0.2, 0.8, 7, dtype=torch.float64)
    runs = [pf.integrate(field, x, grid=grid, stepper=stepper, seed=seed) for seed in (0, 1)]
    assert torch.equal(runs[0].x, runs[1].x) != stepper.stochastic
    if stepper.adaptive:
        assert (runs[0].nfe - 6) % stepper.evaluations == 0  # one more for each of the six intervals of the grid
    else:
        assert runs[0].nfe == 6 * stepper.evaluations
    assert {asked for names in field.names for asked in names} <= set(stepper.uses)


@pytest.mark.parametrize("name", pf.STEPPERS)
def test_stepper_that_needs_an_affine_path_refuses_others_in_one_sentence(name):
    stepper, bridge = pf.STEPPERS[name](), pf.EmpiricalField(pf.Bridge(0.5), randn(5, 2, seed=27))
    if "affine" in stepper.needs:
        with pytest.raises(
            ValueError, match=r"^[^\n]+: Bridge: predictions convert into each other on affine paths only$"
        ):
            pf.integrate(bridge, randn(3, 2), stepper=stepper, steps=3)
    else:
        assert pf.integrate(bridge, randn(3, 2), stepper=stepper, steps=3).x.isfinite().all()


@pytest.mark.parametrize("name", pf.STEPPERS)
def test_stepper_runs_back_along_the_same_flow_or_says_why_not(name):
    field, flow = gaussian_flow(pf.CondOT(), torch.tensor([1.0, -2.0], dtype=torch.float64), 0.4)
    x, stepper = randn(20, 2, seed=21), pf.STEPPERS[name]()
    if name in ONE_WAY:
        with pytest.raises(ValueError, match=r"towards? the data|to the data"):
            pf.integrate(field, x, stepper=stepper, steps=10, reverse=True)
    elif name in FLOWS or name in ADAPTIVE:
        y = pf.integrate(field, flow(x, 0.0, 1.0), stepper=stepper, steps=100, reverse=True).x[-1]
        tolerance = {1.0: 0.2, 2.0: 2e-2, 3.0: 2e-2}.get(stepper.order, 1e-4)
        torch.testing.assert_close(y, x, rtol=0, atol=tolerance)


@schedules
def test_integration_of_the_oracle_carries_the_source_to_the_data(schedule, rng):
    # moments of the end points against the mixture's own, in units of their standard error; the default sampler
    field = mixture(pf.Affine(schedule))
    x0 = torch.randn(10_000, 2, generator=rng, dtype=torch.float64)
    x = pf.integrate(field, field.path.initial_state(x0), steps=40).x[-1]
    y = draw_mixture(field, 10_000, rng)
    for f in (lambda z: z, lambda z: z**2, lambda z: z**3, lambda z: z[:, :1] * z[:, 1:]):
        a, b = f(x), f(y)
        error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
        assert bool(((a.mean(0) - b.mean(0)).abs() < 4.5 * error + 0.01).all())


@pytest.mark.parametrize("name", pf.STEPPERS)
def test_sample_is_independent_of_batch_size(name):
    field = mixture()
    stepper = pf.STEPPERS[name]()
    whole = pf.generate(field, 70, (2,), stepper=stepper, steps=2, seed=3)
    for batch in (7, 64):
        torch.testing.assert_close(
            pf.generate(field, 70, (2,), stepper=stepper, steps=2, seed=3, batch_size=batch),
            whole,
            rtol=1e-5,
            atol=1e-6,
        )
    alone = pf.generate(
        field, 6, (2,), stepper=stepper, steps=2, seed=3, first=30, batch_size=1
    )  # across a block of 32
    torch.testing.assert_close(alone, whole[30:36], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(pf.generate(field, 70, (2,), stepper=stepper, steps=2, seed=4), whole)


# -- objectives --------------------------------------------------------------------------------------------------------


weightings = pytest.mark.parametrize("weighting", pf.WEIGHTS)


def drawn(field, n, rng):
    """Draws of a mixture's path, away from its ends."""
    x1, x0 = draw_mixture(field, n, rng), torch.randn(n, 2, generator=rng, dtype=torch.float64)
    return field.path.draw(x0, x1, 0.05 + 0.85 * torch.rand(n, generator=rng, dtype=torch.float64))


def beside(field, theta):
    """The exact velocity, and theta of something else."""
    return pf.Learned(lambda x, t, y: field.velocity(x, t) + theta * torch.cos(x), field.path)


MATCHING = [name for name in pf.OBJECTIVES if name != "maximum_likelihood"]  # whose excess is a squared error


def gradient(objective, theta, rng, batches=40, n=500):
    """Of the mean loss in theta, at the exact field plus theta of something else, in units of its standard error.

    Batches of rows, because what an objective does within a batch may make its rows depend on each other.
    """
    field, rows = mixture(), []
    for _ in range(batches):
        at = torch.full((2,), theta, dtype=torch.float64, requires_grad=True)
        objective(beside(field, at), drawn(field, n, rng), None, rng).mean().backward()
        rows.append(at.grad)
    rows = torch.stack(rows)
    return rows.mean(0) / (rows.std(0) / math.sqrt(batches))


@pytest.mark.parametrize("name", pf.OBJECTIVES)
def test_objective_gradient_vanishes_at_the_oracle(name, rng):
    objective, size = pf.OBJECTIVES[name](), (40, 500)
    if isinstance(objective, pf.MaximumLikelihood):  # a whole flow for each row, and less noise
        objective, size = replace(objective, steps=4, gradient="store"), (6, 200)
    assert bool((gradient(objective, 0.0, rng, *size).abs() < 4.5).all())
    assert bool((gradient(objective, 0.3, rng, *size) > 6).all())  # and not beside it


@weightings
def test_objective_gradient_vanishes_at_the_oracle_with_any_weight(weighting, rng):
    objective = pf.Matching("velocity", pf.WEIGHTS[weighting]())
    assert bool((gradient(objective, 0.0, rng).abs() < 4.5).all())
    assert bool((gradient(objective, 0.3, rng) > 6).all())


@pytest.mark.parametrize("name", pf.OBJECTIVES)
@pytest.mark.parametrize("shape", [(3,), (1, 4, 4)])
def test_objective_gives_each_row_a_number_and_the_weights_a_gradient(name, shape, rng):
    net = torch.nn.Linear(math.prod(shape), math.prod(shape))
    field = pf.Learned(lambda x, t, y: net(x.flatten(1)).reshape(x.shape), pf.Affine(pf.Cosine()))
    x0, x1 = torch.randn(5, *shape, generator=rng), torch.randn(5, *shape, generator=rng)
    draw = field.path.draw(x0, x1, torch.linspace(0.1, 0.9, 5, dtype=torch.float64))
    state = torch.random.get_rng_state()
    loss = pf.OBJECTIVES[name]()(field, draw, None, torch.Generator().manual_seed(1))
    again = pf.OBJECTIVES[name]()(field, draw, None, torch.Generator().manual_seed(1))
    assert loss.shape == (5,) and loss.dtype == torch.float32 and torch.equal(loss, again)
    assert torch.equal(torch.random.get_rng_state(), state)
    loss.mean().backward()
    assert bool(net.weight.grad.isfinite().all()) and bool((net.weight.grad != 0).any())


@pytest.mark.parametrize("name", MATCHING)
def test_objective_less_its_floor_is_the_error_against_the_oracle(name, rng):
    # of a field beside the exact one, whose error is known without any draw of a target
    exact, objective = mixture(), pf.OBJECTIVES[name]()
    field = beside(exact, torch.tensor([0.3, -0.2], dtype=torch.float64))
    above, apart, said = [], [], []
    for _ in range(16):
        draw, other = drawn(exact, 200, rng), drawn(exact, 200, rng)
        error = sum(
            pf.WEIGHTS["default"]()(draw.t, exact.path, q, draw.xt)
            * (getattr(field, q)(draw.xt, draw.t) - getattr(exact, q)(draw.xt, draw.t)).square().mean(1)
            for q in objective.quantities
        )
        same = pf.excess_loss(objective, field, exact, draw, batch=128)
        low = pf.irreducible_loss(objective, exact, other)
        above.append(same.value - float(error.mean()))
        apart.append(float(objective(field, draw, None, rng).mean()) - low.value - float(error.mean()))
        said.append(same.error)
    for gaps in (torch.tensor(above), torch.tensor(apart)):
        assert abs(float(gaps.mean())) < 4.5 * float(gaps.std()) / math.sqrt(16)
    if name != "marginal":  # whose rows depend on each other
        assert torch.tensor(above).std() < torch.tensor(apart).std()  # what both losses share has cancelled
        assert 0.5 < float(torch.tensor(above).std() / torch.tensor(said).mean()) < 1.8


@schedules
@pytest.mark.parametrize("weighting", sorted(set(pf.WEIGHTS) - {"default"}))
def test_weighted_loss_is_one_number_whatever_is_compared(schedule, weighting, rng):
    exact = mixture(pf.Affine(schedule))
    field = pf.Learned(lambda x, t, y: exact.v(x, t) + torch.cos(x), exact.path, "v")
    draw = exact.path.draw(randn(7, 2, seed=21), randn(7, 2, seed=22), inner(schedule))
    losses = [pf.Matching(name, pf.WEIGHTS[weighting]())(field, draw, None, rng) for name in pf.PREDICTIONS]
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0], rtol=1e-7, atol=1e-9)


@schedules
def test_weights_are_those_of_their_papers(schedule):
    path, t, like = pf.Affine(schedule), inner(schedule), randn(7, 2)
    alpha, beta, d_alpha, _, beta_d_beta = schedule.coefficients(t)
    sigma, close = beta / alpha, torch.testing.assert_close
    close(pf.WEIGHTS["min_snr"](3.0)(t, path, "data", like), (1 / sigma.square()).clamp(max=3.0))
    close(pf.WEIGHTS["min_snr"]()(t, path, "noise", like), (5 * sigma.square()).clamp(max=1.0))
    close(pf.WEIGHTS["edm"](0.5)(t, path, "data", like), (sigma.square() + 0.25) / (sigma * 0.5).square())
    half = beta.square() * d_alpha / alpha - beta_d_beta  # g^2 / 2
    close(pf.WEIGHTS["likelihood"]()(t, path, "score", like), half)
    close(pf.WEIGHTS["default"]()(t, path, "score", like), beta.square())
    close(pf.WEIGHTS["default"]()(t, path, "v", like), torch.ones(7).double())


# -- couplings, times, grids -------------------------------------------------------------------------------------------


# What a coupling keeps exactly, row for row. Entropic plans draw one side from the rows of the batch,
# `SemidiscretePlan` from its data set; `immiscible` draws x0 from the batch too, and says that its law changes.
KEEPS = {
    "independent": "x0 x1 y classes",
    "optimal_transport": "x0 x1 y classes",
    "sinkhorn": "x1 y",
    "schrodinger_bridge": "x1 y",
    "unbalanced": "x0",
    "semidiscrete": "x0",
    "immiscible": "x1 y",
}


def coupled(name, x0, x1, y, rng):
    coupling = pf.Semidiscrete(steps=30).fit(x1, y) if name == "semidiscrete" else pf.COUPLINGS[name]()
    return coupling(x0, x1, y, rng)


def rows(*parts):
    return sorted(map(tuple, torch.cat([p.reshape(len(p), -1).double() for p in parts], 1).tolist()))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", pf.COUPLINGS)
@pytest.mark.parametrize("shape", [(3,), (1,), (2, 4, 4)])
def test_coupling_moves_whole_rows_and_keeps_what_it_says(name, shape, rng):
    x0, x1 = randn(40, *shape, seed=80), randn(40, *shape, seed=81)
    y = torch.arange(40) % 4
    a0, a1, ay = coupled(name, x0, x1, y, rng)
    keeps = KEEPS.get(name, "").split()
    assert a0.shape == x0.shape and a1.shape == x1.shape and ay.dtype == y.dtype and len(ay) == 40
    assert set(rows(a0)) <= set(rows(x0)) and set(rows(a1, ay)) <= set(rows(x1, y))  # no point invented, no label moved
    assert "x0" not in keeps or rows(a0) == rows(x0)
    assert "x1" not in keeps or rows(a1, ay) == rows(x1, y)
    assert torch.equal(ay.bincount(), y.bincount())  # every class as often as before
    assert "classes" not in keeps or rows(a0, ay) == rows(x0, y)  # each with its own source points
    b0, b1, none = coupled(name, x0, x1, None, rng)
    assert none is None and ("x0" not in keeps or rows(b0) == rows(x0)) and ("x1" not in keeps or rows(b1) == rows(x1))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", sorted(set(pf.COUPLINGS) - {"immiscible"}))
def test_coupling_leaves_the_source_of_each_class_as_it_was(name):
    """Classes at +-4 along one axis, where a coupling of x alone gives each class half of the noise, mean +-0.8."""
    n, means, squares = 128, [], []
    y = torch.arange(n) % 2
    for seed in range(16):
        x0, x1 = randn(n, 2, seed=seed), randn(n, 2, seed=1000 + seed) + 4.0 * (2 * y[:, None] - 1)
        a0, _, ay = coupled(name, x0, x1, y, torch.Generator().manual_seed(seed))
        for c in (0, 1):
            means.append(a0[ay == c].mean(0))
            squares.append(a0[ay == c].square().mean(0))
    means, squares = torch.stack(means), torch.stack(squares)
    # 64 points a mean; drawing them from the batch again at most doubles the variance
    assert float(means[0::2].mean(0).abs().max()) < 4 * math.sqrt(2 / (64 * 16))
    assert float(means[1::2].mean(0).abs().max()) < 4 * math.sqrt(2 / (64 * 16))
    assert float((squares.mean(0) - 1).abs().max()) < 4 * math.sqrt(2 * 2 / (64 * 32))


@pytest.mark.parametrize("name", pf.COUPLINGS)
def test_coupling_follows_its_generator_alone(name):
    x0, x1 = randn(40, 3, seed=80), randn(40, 3, seed=81)
    before = torch.random.get_rng_state()
    one, two = (coupled(name, x0, x1, None, torch.Generator().manual_seed(7))[:2] for _ in range(2))
    assert all(map(torch.equal, one, two))
    assert torch.equal(torch.random.get_rng_state(), before)


# distribution functions at a time, from the laws' definitions; `schedule` is that of the path
NORMAL = torch.distributions.Normal(0.0, 1.0)
LAWS = {
    "uniform": lambda t, schedule: t,
    "antithetic": lambda t, schedule: t,
    "even": lambda t, schedule: t,
    "logit_normal": lambda t, schedule: NORMAL.cdf(torch.logit(t)),
    "log_normal": lambda t, schedule: NORMAL.cdf((schedule.log_snr(t) - 1.2) / 1.2),
    "ladder": lambda t, schedule: sum((rung(schedule, i) <= schedule.log_snr(t)).double() for i in range(10)) / 10,
}


def rung(schedule, i, levels=10):
    alpha, beta = schedule(torch.zeros((), dtype=torch.float64))
    top = min(80.0, float(beta / alpha))
    return -(math.log(top) + i / (levels - 1) * (math.log(0.002) - math.log(top))) - 1e-9


@schedules
@pytest.mark.parametrize("name", pf.TIMES)
def test_time_law_stays_in_the_unit_interval_and_follows_its_generator(name, schedule):
    law, n = pf.TIMES[name](), 1000
    t = law(n, torch.Generator().manual_seed(5), schedule)
    assert t.dtype == torch.float64 and t.shape == (n,) and bool(((t >= 0) & (t < 1)).all())
    assert torch.equal(t, law(n, torch.Generator().manual_seed(5), schedule))
    assert law(1, torch.Generator(), schedule).shape == (1,) and law(3, torch.Generator()).shape == (3,)
    q = torch.sort(torch.cat([inner(schedule), torch.tensor([0.25, 0.5, 0.75])])).values
    if name not in LAWS:  # a law whose distribution nobody has stated yet
        return
    expected, share = LAWS[name](q, schedule), (t[:, None] <= q).double().mean(0)
    assert bool(((share - expected).abs() <= 5 * (expected * (1 - expected) / n).sqrt() + 1e-12).all())


@schedules
@pytest.mark.parametrize("name", pf.GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_grid_rises_from_source_to_data(name, steps, schedule):
    grid = pf.GRIDS[name](steps, schedule)
    assert grid.shape == (steps + 1,) and grid.dtype == torch.float64
    assert grid[0] == 0 and grid[-1] == 1 and bool((grid.diff() > 0).all())


@schedules
def test_grids_are_even_in_what_they_are_named_after(schedule):
    def even(values):
        torch.testing.assert_close(values.diff(), values.diff().mean().expand(len(values) - 1), rtol=1e-6, atol=1e-9)

    inner = lambda name, *numbers: pf.GRIDS[name](12, schedule, *numbers)[1:-1]  # noqa: E731
    ratio = lambda t: schedule(t)[1] / schedule(t)[0]  # noqa: E731
    even(schedule.log_snr(inner("log_snr")))
    even(ratio(inner("karras", 5.0)) ** (1 / 5))
    even(0.4 / (0.4 + ratio(inner("shifted", 0.4))))
    even(pf.GRIDS["linear"](12, schedule))
    even((1 - pf.GRIDS["quadratic"](12, schedule)).sqrt())
    even(torch.acos(1 - 2 * pf.GRIDS["cosine"](12, schedule)))
