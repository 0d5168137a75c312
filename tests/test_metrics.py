"""Distances between sets against closed forms and against independent implementations."""

import inspect
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances

from pushforward import metrics
from pushforward.errors import InputError
from pushforward.metrics import energy_distance, sliced_wasserstein

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
        monkeypatch.setattr(metrics, "BLOCK", block)
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
