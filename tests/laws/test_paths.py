"""Laws of paths: curves, velocities, conditional densities and where sampling begins."""

import pytest
import torch
from conftest import mixture

import pushforward as pf
from laws import ARGUMENTS, DENSITIES, SCHEDULES, SOURCES, START, inner, randn, schedules


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
