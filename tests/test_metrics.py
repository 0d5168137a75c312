"""Distances between sets against closed forms and against independent implementations."""

import inspect
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.spatial
import scipy.stats
import torch
from conftest import golden
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

from pushforward import metrics
from pushforward.errors import InputError
from pushforward.metrics import (
    METRICS,
    energy_distance,
    frechet_distance,
    kernel_distance,
    median_distance,
    membership,
    memorisation,
    mmd,
    sliced_wasserstein,
    wasserstein,
)

DISTANCES = pytest.mark.parametrize("distance", [sliced_wasserstein, energy_distance])


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def energy_reference(x, y):
    x, y = (z.flatten(1).numpy() for z in (x, y))
    return 2 * pairwise_distances(x, y).mean() - pairwise_distances(x).mean() - pairwise_distances(y).mean()


# -- what both owe -----------------------------------------------------------------------------------------------------


@DISTANCES
@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 6, 6)])
def test_zero_on_equal_sets_and_in_any_order(distance, shape):
    x = randn(300, *shape) + 5
    assert distance(x, x.clone()) == 0
    assert distance(x, x[torch.randperm(300, generator=torch.Generator().manual_seed(1))]) < 1e-7
    assert distance(x, x.repeat_interleave(3, 0)) < 1e-7  # the same law, written with more points


@DISTANCES
def test_symmetric(distance):
    x, y = randn(211, 3), randn(340, 3, seed=1) + 1
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-12)


@DISTANCES
@pytest.mark.parametrize("d", [4, 48])
def test_translation_leaves_and_scale_multiplies(distance, d):
    x, y = randn(211, d), 0.5 + randn(340, d, seed=1)
    value = distance(x, y)
    assert distance(x + 1e4, y + 1e4) == pytest.approx(value, rel=1e-8)
    assert distance(30 * x, 30 * y) == pytest.approx(30 * value, rel=1e-10)


@DISTANCES
def test_images_are_their_pixels(distance):
    x, y = randn(60, 3, 5, 4), randn(50, 3, 5, 4, seed=1)
    assert distance(x, y) == distance(x.flatten(1), y.flatten(1))


@DISTANCES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_narrow_types_are_summed_in_float64(distance, dtype):
    x, y = (randn(200, 40, seed=s).to(dtype) + s for s in (0, 1))
    assert distance(x, y) == pytest.approx(distance(x.double(), y.double()), rel=1e-9)


@DISTANCES
@pytest.mark.parametrize("d", [3, 40])
def test_value_does_not_depend_on_the_chunks(distance, d, monkeypatch):
    x, y = randn(27, d), randn(40, d, seed=1)
    how = {"projections": 70} if distance is sliced_wasserstein else {}
    whole = distance(x, y, **how)
    for block in (1, 67 * 33, 10**4):
        monkeypatch.setattr(metrics.base, "BLOCK", block)
        assert distance(x, y, **how) == pytest.approx(whole, rel=1e-9)


@DISTANCES
def test_diverged_samples_are_not_good(distance):
    x = randn(50, 2)
    for bad in (math.nan, math.inf):
        y = x.clone()
        y[7, 1] = bad
        assert not math.isfinite(distance(x, y)) and not math.isfinite(distance(y, x))


@DISTANCES
def test_no_gradient_and_no_global_randomness(distance):
    state = torch.get_rng_state()
    x = randn(20, 2).requires_grad_()
    assert isinstance(distance(x, randn(30, 2)), float)
    assert torch.equal(torch.get_rng_state(), state)


@DISTANCES
@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (randn(5, 2), randn(5, 3), "(2,)"),
        (randn(5, 2, 3), randn(5, 6), "(2, 3)"),
        (randn(0, 2), randn(5, 2), "empty"),
        (randn(5, 2), randn(0, 2), "empty"),
        (randn(5, 0), randn(5, 0), "empty"),
    ],
)
def test_sets_that_cannot_be_compared(distance, x, y, says):
    with pytest.raises(InputError) as error:  # unwrapped: the checker of the test run would object first
        inspect.unwrap(distance)(x, y)
    assert says in str(error.value)


# -- sliced Wasserstein ------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_one_dimensional_distance_for_any_two_sizes(n, m, seed):
    """Repeating every point up to the least common multiple turns n != m into sorting and pairing."""
    x, y = randn(n, seed=seed), randn(m, seed=seed + 1)
    lcm = math.lcm(n, m)
    pairs = x.sort().values.repeat_interleave(lcm // n) - y.sort().values.repeat_interleave(lcm // m)
    assert sliced_wasserstein(x, y, projections=1) == pytest.approx(float(pairs.square().mean().sqrt()), rel=1e-12)


def test_one_dimensional_distance_by_linear_programming():
    """The optimal transport itself, with no use of quantiles."""
    x, y = randn(7, seed=3), randn(11, seed=4)
    rows = np.kron(np.eye(7), np.ones(11))
    columns = np.kron(np.ones(7), np.eye(11))
    plan = scipy.optimize.linprog(
        (x[:, None] - y).square().flatten().numpy(),
        A_eq=np.vstack([rows, columns]),
        b_eq=np.r_[np.full(7, 1 / 7), np.full(11, 1 / 11)],
    )
    assert sliced_wasserstein(x, y) == pytest.approx(math.sqrt(plan.fun), rel=1e-9)


@pytest.mark.parametrize("n", [80, 120])
def test_each_projection_is_the_distance_along_it(n):
    """Directions recovered from the distance itself: between two single points s apart it is ``|<theta, s>|``."""
    x, y = randn(n, 2), randn(80, 2, seed=1) * 2 + 1
    lcm = math.lcm(n, 80)
    for seed in range(5):
        cosine, sine = (
            sliced_wasserstein(torch.zeros(1, 2).double(), e[None], projections=1, seed=seed)
            for e in torch.eye(2).double()
        )
        assert math.hypot(cosine, sine) == pytest.approx(1)
        both = []
        for sign in (1, -1):  # the sign of theta is free, the relative sign of its two components is not known
            px, py = (z @ torch.tensor([cosine, sign * sine], dtype=torch.float64) for z in (x, y))
            px, py = (z.sort().values.repeat_interleave(lcm // len(z)) for z in (px, py))
            both.append(float((px - py).square().mean().sqrt()))
        got = sliced_wasserstein(x, y, projections=1, seed=seed)
        assert min(abs(got - b) for b in both) < 1e-12


@pytest.mark.parametrize("d", [1, 2, 10, 100])
def test_shift(d):
    """Every projection of a shift s costs ``<theta, s>^2``, whose mean over the sphere is ``|s|^2 / d``."""
    x, s = randn(150, d), randn(d, seed=9)
    got = [sliced_wasserstein(x, x + s, projections=1000, seed=seed) ** 2 for seed in range(4)]
    expected = float(s.square().sum()) / d
    error = expected * math.sqrt(2 * (d - 1) / (d + 2) / 4000)  # Var <theta, s>^2 = 2 (d - 1) / (d^2 (d + 2)) |s|^4
    assert np.mean(got) == pytest.approx(expected, abs=4 * error + 1e-12)


def test_isotropic_gaussians():
    """``SW_2^2 = |mu - nu|^2 / d + (sigma - tau)^2``."""
    n, d = 8000, 5
    x, y = randn(n, d), 2 * randn(n, d, seed=1) + 0.5
    assert sliced_wasserstein(x, y) ** 2 == pytest.approx(0.25 + 1, rel=0.05)


def test_gaussians_with_covariance():
    """In each direction ``W_2^2 = (sqrt(theta' A theta) - sqrt(theta' B theta))^2``, averaged here over the circle."""
    a, b = torch.tensor([2.0, 0.3]).double(), torch.tensor([0.5, 1.0]).double()
    angle = 2 * math.pi * torch.arange(1000).double() / 1000
    theta = torch.stack([angle.cos(), angle.sin()], 1)
    expected = ((theta * a).norm(dim=1) - (theta * b).norm(dim=1)).square()
    got = sliced_wasserstein(a * randn(6000, 2), b * randn(9000, 2, seed=1), projections=500)
    assert got**2 == pytest.approx(float(expected.mean()), abs=4 * float(expected.std()) / math.sqrt(500))


def test_seed_and_projections():
    x, y = randn(100, 3), randn(100, 3, seed=1) + torch.tensor([3.0, 0, 0])
    assert sliced_wasserstein(x, y, seed=1) == sliced_wasserstein(x, y, seed=1) != sliced_wasserstein(x, y, seed=2)
    # the first 64 of 128 directions are the 64 directions: the rest are a mean of squares, so not negative
    assert 2 * sliced_wasserstein(x, y, 128) ** 2 >= sliced_wasserstein(x, y, 64) ** 2
    with pytest.raises(InputError, match="projections"):
        sliced_wasserstein(x, y, projections=0)


# -- energy distance ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 32, 33, 200])
@pytest.mark.parametrize("offset", [0, 100])
def test_energy_distance_is_its_definition(d, offset):
    x, y = offset + randn(120, d), offset + 0.3 + randn(170, d, seed=1)
    assert energy_distance(x, y) == pytest.approx(energy_reference(x, y), rel=1e-8)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_energy_distance_in_one_dimension(n, m, seed):
    x, y = randn(n, seed=seed), randn(m, seed=seed + 1)
    assert energy_distance(x, y) == pytest.approx(scipy.stats.energy_distance(x, y) ** 2, rel=1e-9)


def test_energy_distance_of_gaussians():
    """``E|N(mu, s^2)| = s sqrt(2 / pi) e^(-mu^2 / 2 s^2) + mu erf(mu / s sqrt 2)``, s^2 the sum of the variances."""
    mu, x = 1.0, torch.special.ndtri((torch.arange(2000).double() + 0.5) / 2000)
    folded = math.sqrt(4 / math.pi) * math.exp(-(mu**2) / 4) + mu * math.erf(mu / 2)
    expected = 2 * folded - 2 * math.sqrt(4 / math.pi)
    assert energy_distance(x, x + mu) == pytest.approx(expected, rel=1e-3)


def test_energy_distance_of_two_points():
    assert energy_distance(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])) == 10


# -- what every metric owes --------------------------------------------------------------------------------------------

METRIC = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@METRIC
def test_diverged_samples_are_seen(metric):
    x, y = randn(50, 2), randn(60, 2, seed=1)
    for bad in (math.nan, math.inf):
        x[7, 1] = bad
        assert not math.isfinite(metric(x, y)) and not math.isfinite(metric(y, x))


@METRIC
def test_images_gradients_and_global_randomness(metric):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    x, y = randn(30, 1, 2, 2).requires_grad_(), randn(40, 1, 2, 2, seed=1)
    value = metric(x, y)
    assert isinstance(value, float) and value == metric(x.flatten(1), y.flatten(1)) == metric(x, y)
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numpy_state).all()


@METRIC
@pytest.mark.parametrize("d", [3, 40])
def test_no_value_depends_on_the_blocks(metric, d, monkeypatch):
    x, y = randn(27, d), randn(40, d, seed=1)
    whole = metric(x, y)
    for block in (1, 67 * 33):
        monkeypatch.setattr(metrics.base, "BLOCK", block)
        assert metric(x, y) == pytest.approx(whole, rel=1e-8)


@METRIC
def test_every_metric_says_what_it_is(metric):
    assert metric.title and metric.reading and callable(metric.function)
    if metric.position is not None:
        assert [m.position for m in METRICS.values()].count(metric.position) == 1


def test_metric_is_the_number_of_its_function():
    x, y = randn(40, 3), randn(50, 3, seed=1)
    assert METRICS["energy"](x, y) == energy_distance(x, y)
    assert METRICS["recall"](x, y) == metrics.precision_recall(x, y).recall
    assert METRICS["pairs"](x[..., None], y[..., None]) == metrics.pair_distances(x, y).mean


def test_no_square_of_all_pairs_is_held(monkeypatch):
    """The largest tensor that any metric (but exact transport) makes has as many numbers as a block allows."""
    largest, cdist = [], torch.cdist
    monkeypatch.setattr(torch, "cdist", lambda *a, **k: largest.append((out := cdist(*a, **k)).numel()) or out)
    monkeypatch.setattr(metrics.base, "BLOCK", 20**2)
    for name in ("energy", "mmd", "density"):
        METRICS[name](randn(80, 1), randn(120, 1))
    memorisation(randn(80, 2), randn(120, 2, seed=1), randn(50, 2, seed=2))
    largest.remove(max(largest))  # the 120 points of which the median distance is taken
    assert max(largest) == 20**2


@METRIC
def test_every_metric_refuses_what_cannot_be_compared(metric):
    for x, y in ((randn(9, 2), randn(9, 3)), (randn(0, 2), randn(9, 2))):
        with pytest.raises((InputError, TypeError)):  # TypeError: the checker of the test run objects first
            metric(x, y)


# -- exact Wasserstein -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", golden("optimal_transport")["cases"])
def test_wasserstein_on_reference_pairings(case):
    x, y = (torch.tensor(case[name], dtype=torch.float64) for name in ("source", "data"))
    assert wasserstein(x, y) ** 2 == pytest.approx(case["mean_cost"], rel=1e-9)


@pytest.mark.parametrize("p", [1, 2])
def test_wasserstein_by_linear_programming(p):
    x, y = randn(9, 3, seed=3), randn(14, 3, seed=4)
    cost = torch.cdist(x, y).numpy() ** p
    rows, columns = np.kron(np.eye(9), np.ones(14)), np.kron(np.ones(9), np.eye(14))
    sides = np.r_[np.full(9, 1 / 9), np.full(14, 1 / 14)]
    plan = scipy.optimize.linprog(cost.flatten(), A_eq=np.vstack([rows, columns]), b_eq=sides)
    assert wasserstein(x, y, p) == pytest.approx(plan.fun ** (1 / p), rel=1e-9)


def test_wasserstein_by_assignment_in_one_dimension_and_of_shifts():
    x, y = randn(300, 2), 1 + 2 * randn(300, 2, seed=1)
    cost = torch.cdist(x, y).square().numpy()
    assert wasserstein(x, y) ** 2 == pytest.approx(cost[scipy.optimize.linear_sum_assignment(cost)].mean(), rel=1e-9)
    assert wasserstein(x[:, :1], y[:200, :1], p=1) == pytest.approx(
        scipy.stats.wasserstein_distance(x[:, 0], y[:200, 0]), rel=1e-9
    )
    for scale in (1e-6, 1.0, 1e6):  # the solver's own tolerances are absolute
        assert wasserstein(scale * x, scale * (x + torch.tensor([3.0, 4.0]))) == pytest.approx(5 * scale, rel=1e-6)


def test_wasserstein_of_gaussians():
    """``W_2^2 = |mu - nu|^2 + sum_i (s_i - t_i)^2`` for diagonal covariances; the error falls as 1 / sqrt(n) in 2-D."""
    s, t = torch.tensor([1.0, 3.0]).double(), torch.tensor([2.0, 0.5]).double()
    got = wasserstein(s * randn(1500, 2), t * randn(1500, 2, seed=1) + 1)
    assert got**2 == pytest.approx(2 + 1 + 6.25, rel=0.05)


def test_wasserstein_says_what_it_cannot_do(monkeypatch):
    with pytest.raises(InputError, match="p is 3"):
        wasserstein(randn(5, 2), randn(5, 2), p=3)
    monkeypatch.setattr(metrics.transport, "PAIRS", 99)
    with pytest.raises(InputError, match="sliced_wasserstein"):
        wasserstein(randn(10, 2), randn(10, 2))


# -- maximum mean discrepancies ----------------------------------------------------------------------------------------


def gaussian_mmd(d, h, shift, scale):
    """Between N(0, I) and N(shift 1, scale^2 I): ``E k = (h^2 / (h^2 + v))^(d/2) exp(-|m|^2 / 2 (h^2 + v))``, where
    X - Y is N(m, v I)."""
    pairs = ((2, 0), (2 * scale**2, 0), (1 + scale**2, shift**2))
    xx, yy, xy = ((h**2 / (h**2 + w)) ** (d / 2) * math.exp(-m * d / (2 * (h**2 + w))) for w, m in pairs)
    return xx + yy - 2 * xy


def test_mmd_of_gaussians():
    n, d, widths = 4000, 3, (0.7, 2.0)
    x, y = randn(n, d), 0.5 + 1.5 * randn(n, d, seed=1)
    expected = np.mean([gaussian_mmd(d, h, 0.5, 1.5) for h in widths])
    assert mmd(x, y, widths) == pytest.approx(expected, rel=0.05)  # the standard error is about 2 percent


def test_mmd_is_its_definition():
    x, y, h = randn(30, 2), randn(40, 2, seed=1) + 0.3, 0.8
    kxx, kyy, kxy = (rbf_kernel(a, b, gamma=1 / (2 * h * h)) for a, b in ((x, x), (y, y), (x, y)))
    expected = (kxx.sum() - 30) / (30 * 29) + (kyy.sum() - 40) / (40 * 39) - 2 * kxy.mean()
    assert mmd(x, y, [h]) == pytest.approx(expected, rel=1e-10)
    assert mmd(x, y, [h, 3.0]) == pytest.approx((mmd(x, y, [h]) + mmd(x, y, [3.0])) / 2, rel=1e-10)
    median = np.median(scipy.spatial.distance.pdist(y[:39].numpy()))  # 741 pairs: no convention about the middle two
    assert median_distance(y[:39]) == pytest.approx(median, rel=1e-12)
    assert mmd(x, y[:39]) == mmd(x, y[:39], [median_distance(y[:39]) * 2.0**i for i in range(-4, 2)])


@pytest.mark.parametrize("metric", [lambda x, y: mmd(x, y, [1.0]), kernel_distance], ids=["mmd", "kernel"])
def test_unbiased_when_nothing_is_wrong(metric):
    """The mean over draws is 0 within four standard errors; with the diagonal left in it would be many away."""
    values = np.array([metric(randn(20, 2, seed=2 * s), randn(30, 2, seed=2 * s + 1)) for s in range(200)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(200)
    assert 0.3 < (values < 0).mean() < 0.8


def test_kernel_distance_is_its_definition():
    x, y = randn(30, 6), randn(40, 6, seed=1) + 0.3
    kxx, kyy, kxy = (polynomial_kernel(a, b, degree=3, gamma=1 / 6, coef0=1) for a, b in ((x, x), (y, y), (x, y)))
    expected = (kxx.sum() - kxx.trace()) / (30 * 29) + (kyy.sum() - kyy.trace()) / (40 * 39) - 2 * kxy.mean()
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_kernels_say_what_they_cannot_do():
    x = randn(9, 2)
    for call, says in (
        (lambda: mmd(x, x, []), "bandwidths"),
        (lambda: mmd(x, x, [1.0, 0.0]), "bandwidths"),
        (lambda: mmd(x, x * 0), "coincide"),
        (lambda: mmd(x, x[:1]), "at least 2"),
        (lambda: kernel_distance(x, x, degree=0), "degree"),
    ):
        with pytest.raises(InputError, match=says):
            call()


# -- Frechet -----------------------------------------------------------------------------------------------------------


def with_moments(mean, root, n=50, seed=0):
    """Points whose mean and covariance (divided by n - 1) are exactly ``mean`` and ``root @ root.T``."""
    d = len(mean)
    z = randn(n, d, seed=seed)
    q = torch.linalg.qr(z - z.mean(0)).Q * math.sqrt(n - 1)
    return mean + (q - q.mean(0)) @ root.T


def test_frechet_of_gaussians():
    """Against ``scipy.linalg.sqrtm``, and against ``sum_i (s_i - t_i)^2`` for covariances that commute."""
    a, b, mu, nu = randn(4, 4), randn(4, 4, seed=1), randn(4, seed=2), randn(4, seed=3)
    ca, cb = (a @ a.T).numpy(), (b @ b.T).numpy()
    expected = float((mu - nu).square().sum()) + np.trace(ca + cb - 2 * scipy.linalg.sqrtm(ca @ cb).real)
    assert frechet_distance(with_moments(mu, a), with_moments(nu, b, 80, 5)) == pytest.approx(expected, rel=1e-9)
    s, t = torch.tensor([1.0, 1e-3, 5.0]).double(), torch.tensor([2.0, 1e-9, 5.0]).double()
    x, y = (with_moments(torch.zeros(3).double(), torch.diag(r), seed=i) for i, r in enumerate((s, t)))
    assert frechet_distance(x, y) == pytest.approx(1 + 1e-6, rel=1e-9)


def test_frechet_of_singular_covariances():
    """More features than points, a constant feature, and equal sets: no small constant is added, none is missed."""
    x = torch.cat([randn(20, 100), torch.ones(20, 1).double()], 1)
    assert frechet_distance(x, x) < 1e-12
    assert frechet_distance(x, x + 2) == pytest.approx(4 * 101, rel=1e-9)
    assert frechet_distance(x, 3 * x) == pytest.approx(4 * float(x.mean(0).square().sum() + x.var(0).sum()), rel=1e-9)
    assert frechet_distance(1e6 + x, 1e6 + 3 * x - 2 * x.mean(0)) == pytest.approx(4 * float(x.var(0).sum()), rel=1e-6)


def test_frechet_bias_is_as_stated():
    d, n = 6, 500
    values = [frechet_distance(randn(n, d, seed=2 * s), randn(2 * n, d, seed=2 * s + 1)) for s in range(60)]
    assert np.mean(values) == pytest.approx(d * (d + 5) / 4 * 1.5 / n, rel=0.1)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_features_are_taken_in_batches(distance, monkeypatch):
    x, y, sizes = randn(300, 1, 4, 4), randn(280, 1, 4, 4, seed=1), []

    def features(images):
        assert not torch.is_grad_enabled()
        sizes.append(len(images))
        return images.mean((1, 2))

    assert distance(x, y, features) == distance(x.mean((1, 2)), y.mean((1, 2)))
    assert max(sizes) == 256 and sum(sizes) == 580
    with pytest.raises(InputError, match="one row"):
        distance(x, y, lambda images: images.mean((1, 2, 3)))


# ---- membership


def test_membership_of_rows_of_one_law_is_chance():
    """The p-value is exact: under the null it is below any level as often as the level says, or less often."""
    g = torch.Generator().manual_seed(0)
    values = [
        membership(torch.randn(300, generator=g), torch.randn(150, generator=g), seed=i).p_value for i in range(400)
    ]
    for level in (0.01, 0.1, 0.3):
        below = float((torch.tensor(values) <= level).double().mean())
        assert below <= level + 3 * math.sqrt(level * (1 - level) / 400)
    assert float((torch.tensor(values) <= 0.3).double().mean()) > 0.1


def test_membership_of_rows_that_are_known():
    """Two normals, of which share and area are known; what is not finite counts as the largest."""
    g = torch.Generator().manual_seed(0)
    n, shift = 20_000, 1.5
    found = membership(torch.randn(n, generator=g) - shift, torch.randn(n, generator=g))
    normal = torch.distributions.Normal(0.0, 1.0)
    share = float(normal.cdf(normal.icdf(torch.tensor(0.01)) + shift))
    area = float(normal.cdf(torch.tensor(shift / math.sqrt(2))))
    assert found.found == pytest.approx(share, abs=0.02) and found.low < share < found.high
    assert found.auc == pytest.approx(area, abs=0.006) and found.leaks
    assert found.expected == pytest.approx(0.01, abs=1e-4)
    few = membership(torch.zeros(40), torch.ones(10))  # of ten fresh rows the least is the threshold
    assert few.found == 1 and few.expected == pytest.approx(1 / 11) and few.auc == 1 and few.leaks
    lost = membership(torch.full((50,), math.nan), torch.zeros(100))
    assert lost.found == 0 and lost.auc == 0 and not lost.leaks
    same = membership(torch.zeros(50), torch.zeros(100))
    assert same.auc == 0.5 and not same.leaks
    with pytest.raises(ValueError, match="no rows"):
        membership(torch.zeros(0), torch.zeros(3))
