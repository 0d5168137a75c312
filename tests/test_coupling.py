"""Couplings against closed forms: permutations by brute force, plans of Gaussians, cells of known mass."""

import itertools
import math
import runpy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from conftest import golden, tensor

import pushforward as pf
from pushforward.batches import BatchRecipe, feed_for
from pushforward.config import Config, PathConfig, TrainConfig, components
from pushforward.coupling import SemidiscretePlan
from pushforward.coupling.transport import assignment
from pushforward.data import DataSpec
from pushforward.tensor import bcast

pytestmark = pytest.mark.usefixtures("one_thread")


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cost(x0, x1):
    return float((x1 - x0).flatten(1).square().sum(1).mean())


def chi_square(counts, mass):
    """Of counts against probabilities, over its degrees of freedom: near 1 where they are right."""
    expected = mass * counts.sum()
    return float(((counts - expected).square() / expected).sum() / (len(counts) - 1))


normal = torch.distributions.Normal(tensor(0.0), tensor(1.0))


@dataclass(frozen=True)
class Circle(pf.Space):
    """Angles: the distance is the shorter way round."""

    def interpolate(self, x0, x1, k):
        return x0 + bcast(k, x0) * self._around(x1 - x0)

    def move(self, x, v, h, noise=None):
        return self._around(x + bcast(h, x) * v + (0 if noise is None else noise))

    def loss(self, prediction, target, name):
        return (prediction - target).square().flatten(1).mean(1)

    def distance(self, x, y):
        return self._around(x.flatten(1)[:, None] - y.flatten(1)[None]).norm(dim=2)

    def project(self, x, v):
        return v

    def _around(self, angle):
        return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


class Unsplit(Circle):
    """Euclidean vectors of which couplings are not told that they are flat."""

    def _around(self, angle):
        return angle


# -- curved spaces -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2])
def test_optimal_transport_of_angles_is_the_best_of_all_pairings(d, rng):
    circle, differs = Circle(), 0
    for seed in range(5):
        x0, x1 = (math.pi * torch.tanh(randn(6, d, seed=s)) for s in (seed, 100 + seed))
        squares = circle.distance(x0, x1).square()
        best = min(float(squares[list(p), range(6)].sum()) for p in itertools.permutations(range(6)))
        source, data, _ = pf.OptimalTransport(space=circle)(x0, x1, None, rng)
        assert float(circle.distance(source, data).diagonal().square().sum()) == pytest.approx(best, rel=1e-12)
        differs += not torch.equal(source, pf.OptimalTransport()(x0, x1, None, rng)[0])
    assert differs  # the straight way is another


@pytest.mark.parametrize("coupling", [pf.Sinkhorn, pf.Unbalanced, pf.SchrodingerBridge])
def test_the_plan_of_a_flat_space_is_that_of_its_distances(coupling):
    x0, x1 = randn(40, 3, seed=1), 2 * randn(40, 3, seed=2) + 5
    by_products = coupling().plan(x0, x1)
    torch.testing.assert_close(coupling(space=Unsplit()).plan(x0, x1), by_products, rtol=1e-6, atol=1e-12)


def test_the_nearest_noise_is_nearest_on_the_circle():
    x0, x1 = (math.pi * torch.tanh(randn(50, 1, seed=s)) for s in (1, 2))
    g = torch.Generator().manual_seed(0)
    chosen, _, _ = pf.Immiscible(50, space=Circle())(x0, x1, None, g)  # of all there are
    nearest = Circle().distance(x0, x1).argmin(0)
    assert torch.equal(chosen, x0[nearest])


def test_a_plan_of_inner_products_refuses_curved_spaces():
    with pytest.raises(ValueError, match=r"Circle is curved.*OptimalTransport"):
        pf.Semidiscrete(space=Circle())


# -- exact transport ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", golden("optimal_transport")["cases"], ids=lambda c: f"n={len(c['source'])}")
def test_optimal_transport_is_the_reference_pairing(case, rng):
    source, data = tensor(case["source"]), tensor(case["data"])
    x0, x1, _ = pf.OptimalTransport()(source, data, None, rng)
    assert torch.equal(x1, data)
    to = torch.tensor(case["permutation"])  # of source row i, the data row
    assert torch.equal(x0[to], source)
    assert cost(x0, x1) == pytest.approx(case["mean_cost"], rel=1e-12)
    assert cost(source, data) == pytest.approx(case["independent_cost"], rel=1e-12)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_optimal_transport_of_six_points_is_the_best_of_all_pairings(d, rng):
    for seed in range(5):
        x0, x1 = randn(6, d, seed=seed), 2 * randn(6, d, seed=100 + seed) + 1
        best = min(cost(x0[list(p)], x1) for p in itertools.permutations(range(6)))
        assert cost(*pf.OptimalTransport()(x0, x1, None, rng)[:2]) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(("n", "d", "shift"), [(64, 3, 0.0), (300, 2, 0.0), (300, 50, 0.0), (200, 2, 1e6)])
def test_assignment_from_good_prices_is_as_short_as_without(n, d, shift, rng):
    """The prices change how fast the optimum is found, not what it is; float32 costs a part in 10^6 at most."""
    from scipy.optimize import linear_sum_assignment

    x0, x1 = randn(n, d, seed=1), randn(n, d, seed=2) * torch.linspace(0.1, 3, n)[:, None]
    square = torch.cdist(x1, x0).square()
    rows, columns = linear_sum_assignment(square.numpy())
    least = float(square[rows, columns].mean())
    assert float(square[torch.arange(n), assignment(square)].mean()) == pytest.approx(least, rel=1e-12)
    a0, a1, _ = pf.OptimalTransport()(x0 + shift, x1 - shift, None, rng)
    assert cost(a0 - shift, a1 + shift) == pytest.approx(least, rel=1e-9)
    b0, b1, _ = pf.OptimalTransport()(x0.float(), x1.float(), None, rng)
    assert cost(b0.double(), b1.double()) == pytest.approx(least, rel=1e-6)


def test_optimal_transport_in_one_dimension_sorts(rng):
    x0, x1, _ = pf.OptimalTransport()(randn(200, 1), randn(200, 1, seed=1).exp(), None, rng)
    assert torch.equal(x0[:, 0].argsort(), x1[:, 0].argsort())


def test_points_in_one_place_are_coupled_too(rng):
    x0, x1 = randn(100, 2), torch.ones(100, 2, dtype=torch.float64)
    for coupling in (pf.OptimalTransport(), pf.Sinkhorn(), pf.SchrodingerBridge(), pf.Unbalanced()):
        a0, a1, _ = coupling(x0, x1, None, rng)
        assert torch.equal(a1, x1) and a0.shape == x0.shape and bool(a0.isfinite().all())


# -- entropic transport ------------------------------------------------------------------------------------------------


def test_sinkhorn_becomes_optimal_transport_as_the_blur_falls(rng):
    x0, x1 = randn(50, 2, seed=3), randn(50, 2, seed=4) + 1
    least = cost(*pf.OptimalTransport()(x0, x1, None, rng)[:2])
    square = torch.cdist(x0, x1).square()
    plans = [pf.Sinkhorn(reg, tolerance=1e-6, iterations=100_000).plan(x0, x1) for reg in (1.0, 0.1, 0.01)]
    above = [float((plan * square).sum()) / least - 1 for plan in plans]
    assert above[0] > 5 * above[1] > 25 * above[2] > 0 and above[2] < 5e-3
    x0, x1, _ = pf.Sinkhorn(1e-3, iterations=100_000)(x0, x1, None, rng)
    assert cost(x0, x1) == pytest.approx(least, rel=0.02)


@pytest.mark.parametrize("coupling", [pf.Sinkhorn(0.1), pf.Sinkhorn(1.0), pf.SchrodingerBridge(0.5)], ids=str)
def test_plan_has_its_margins_and_is_of_gibbs_form(coupling):
    x0, x1 = randn(60, 3, seed=5), 2 * randn(60, 3, seed=6)
    plan = replace(coupling, tolerance=1e-10).plan(x0, x1)
    assert float((plan.sum(0) * 60 - 1).abs().max()) < 1e-8 and float((plan.sum(1) * 60 - 1).abs().max()) < 1e-8
    # log P + cost / reg is a sum f_i + g_j: its mixed differences vanish
    unit = float((2 * (x0 - x0.mean(0)) @ (x1 - x1.mean(0)).T).square().mean().sqrt())
    gibbs = plan.log() + torch.cdist(x0, x1).square() / coupling.regularization(unit)
    mixed = gibbs - gibbs[:1] - gibbs[:, :1] + gibbs[:1, :1]
    assert float(mixed.abs().max()) < 1e-8


def test_pairs_are_drawn_from_the_plan():
    x0, x1 = randn(8, 2, seed=7), randn(8, 2, seed=8)
    coupling = pf.Sinkhorn(0.5, tolerance=1e-3)
    g, counts, draws = torch.Generator().manual_seed(0), torch.zeros(8, 8, dtype=torch.float64), 400
    index = {tuple(row): i for i, row in enumerate(x0.tolist())}
    for _ in range(draws):
        for j, row in enumerate(coupling(x0, x1, None, g)[0].tolist()):
            counts[index[tuple(row)], j] += 1
    share, plan = counts / draws, coupling.plan(x0, x1) * 8
    assert bool(((share - plan).abs() <= 5 * (plan * (1 - plan) / draws).sqrt() + 1e-9).all())


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_schrodinger_bridge_between_gaussians_is_the_closed_form(sigma):
    """Cov(x0, x1) = (sqrt(4 a b + sigma^4) - sigma^2) / 2 for variances a, b and regularisation 2 sigma^2."""
    quantiles = normal.icdf((torch.arange(800, dtype=torch.float64) + 0.5) / 800)[:, None]
    x0, x1 = quantiles, 1.7 * quantiles + 3
    plan = pf.SchrodingerBridge(sigma, tolerance=1e-8).plan(x0, x1)
    a, b = float(x0.var(unbiased=False)), float(x1.var(unbiased=False))
    covariance = (math.sqrt(4 * a * b + sigma**4) - sigma**2) / 2
    got = float((plan * (x0 * (x1.T - 3))).sum())
    assert got == pytest.approx(covariance, rel=4e-3)
    # the conditional mean is linear with slope covariance / a; read off where the tails are far
    means = (plan @ x1 * 800)[300:500, 0] - 3
    torch.testing.assert_close(means, covariance / a * x0[300:500, 0], rtol=1e-2, atol=5e-3)


def test_blur_of_schrodinger_bridge_is_absolute_and_that_of_sinkhorn_relative():
    x0, x1 = randn(40, 2, seed=9), randn(40, 2, seed=10)
    torch.testing.assert_close(pf.Sinkhorn(0.3).plan(9 * x0, 9 * x1), pf.Sinkhorn(0.3).plan(x0, x1))
    torch.testing.assert_close(
        pf.SchrodingerBridge(9.0).plan(9 * x0, 9 * x1), pf.SchrodingerBridge(1.0).plan(x0, x1), rtol=1e-6, atol=1e-12
    )
    assert not torch.allclose(pf.SchrodingerBridge(1.0).plan(9 * x0, 9 * x1), pf.SchrodingerBridge(1.0).plan(x0, x1))


def test_unbalanced_satisfies_its_own_optimality_and_leaves_outliers_out():
    """Rows of the source are full; data point j has the mass exp(-g_j / relax) of its own potential."""
    x0, x1 = randn(50, 2, seed=11), randn(50, 2, seed=12)
    x1[:5] += 20
    coupling = pf.Unbalanced(relax=0.5, reg=0.2, tolerance=1e-9)
    plan = coupling.plan(x0, x1)
    torch.testing.assert_close(plan.sum(1), torch.full((50,), 1 / 50, dtype=torch.float64))
    unit = float((2 * (x0 - x0.mean(0)) @ (x1 - x1.mean(0)).T).square().mean().sqrt())
    # log P_ij + c_ij / reg = f_i / reg + g_j / reg with g_j = -relax log(n mass_j): differences along a row
    gibbs = plan.log() + torch.cdist(x0, x1).square() / (0.2 * unit)
    potential = -0.5 / 0.2 * (50 * plan.sum(0)).log()
    rest = (gibbs - potential)[:, 5:]  # an outlier's mass is known as well as 1e-9 is small
    assert float((rest - rest[:, :1]).abs().max()) < 1e-5
    mass = 50 * plan.sum(0)
    assert float(mass[:5].max()) < 0.05 and float(mass[5:].mean()) > 1.05
    balanced = pf.Sinkhorn(0.2, tolerance=1e-9).plan(x0, x1)
    torch.testing.assert_close(pf.Unbalanced(1e7, 0.2, tolerance=1e-9).plan(x0, x1), balanced, rtol=1e-3, atol=1e-9)
    x0, x1 = (z.repeat(8, 1) for z in (x0, x1))
    drawn = pf.Unbalanced(0.5, 0.2)(x0, x1, None, torch.Generator().manual_seed(0))[1]
    assert int((drawn.sum(1) > 20).sum()) < 5


def test_a_plan_that_is_not_there_is_an_error(rng):
    x = randn(20, 2)
    bad = x.clone()
    bad[3, 1] = math.nan
    for coupling in (pf.OptimalTransport(), pf.Sinkhorn(), pf.SchrodingerBridge(), pf.Unbalanced()):
        with pytest.raises(ValueError, match="not finite"):
            coupling(x, bad, None, rng)
        with pytest.raises(ValueError, match="not finite"):
            coupling(x, 1e200 * x, None, rng)
    with pytest.raises(RuntimeError, match="after 10 iterations; blur more"):
        pf.Sinkhorn(1e-3, tolerance=1e-12, iterations=10)(x, randn(20, 2, seed=1), None, rng)


# -- conditions --------------------------------------------------------------------------------------------------------


def ring(n, seed):
    """Data on a ring whose angle is the condition, and noise; the direction ``m`` in which a row's data lies."""
    g = torch.Generator().manual_seed(seed)
    y = torch.rand(n, generator=g, dtype=torch.float64)
    m = torch.stack([(2 * math.pi * y).cos(), (2 * math.pi * y).sin()], 1)
    noise = torch.randn(2, n, 2, generator=g, dtype=torch.float64)
    return noise[0], 3 * m + 0.5 * noise[1], y, m


def test_c2ot_keeps_the_source_of_each_condition_where_plain_transport_does_not():
    kept, plain, costs = [], [], []
    for seed in range(16):
        x0, x1, y, m = ring(256, seed)
        g = torch.Generator().manual_seed(seed)
        a0, a1, ay = pf.OptimalTransport()(x0, x1, y, g)
        b0, b1, by = pf.OptimalTransport(conditions="ignore")(x0, x1, y, g)
        assert torch.equal(ay, y) and torch.equal(by, y) and torch.equal(a1, x1)
        assert torch.equal(a0.sort(0).values, x0.sort(0).values)  # the source as a whole, exactly
        kept.append((a0 * m).sum(1))
        plain.append((b0 * m).sum(1))
        costs.append([cost(x0, x1), cost(a0, a1), cost(b0, b1)])
    kept, plain, bar = torch.cat(kept), torch.cat(plain), 1 / math.sqrt(16 * 256)
    # along the direction of its condition's data, the noise is still N(0, 1) ...
    assert abs(float(kept.mean())) < 4 * bar and abs(float(kept.var()) - 1) < 4 * math.sqrt(2) * bar
    # ... and with x alone it is nowhere near
    assert float(plain.mean()) > 1 and float(plain.var()) < 0.6
    independent, joint, alone = torch.tensor(costs).mean(0).tolist()
    assert alone < joint < 0.92 * independent


@pytest.mark.parametrize("coupling", [pf.OptimalTransport(weight=0.0), pf.OptimalTransport(weight=1e9)], ids=str)
def test_weight_of_conditions_goes_from_plain_transport_to_pairs_as_drawn(coupling, rng):
    x0, x1, y, _ = ring(100, 0)
    a0, _, _ = coupling(x0, x1, y, rng)
    expected = x0 if coupling.weight else pf.OptimalTransport(conditions="ignore")(x0, x1, y, rng)[0]
    assert torch.equal(a0, expected)


def test_conditions_of_many_coordinates_and_units(rng):
    x0, x1, y, _ = ring(100, 1)
    wide = torch.stack([y, 1e6 * y + 1e9, torch.full_like(y, 7.0)], 1).reshape(100, 3, 1)
    a0, _, ay = pf.OptimalTransport(weight=10.0)(x0, x1, wide, rng)
    assert torch.equal(ay, wide)
    # two copies of one coordinate, in any unit, weigh twice; a constant one nothing
    assert torch.equal(a0, pf.OptimalTransport(weight=20.0)(x0, x1, y, rng)[0])


def test_classes_of_several_labels_are_coupled_each_by_itself(rng):
    x0, x1 = randn(90, 2), randn(90, 2, seed=1) + 2
    y = torch.stack([torch.arange(90) % 3, torch.arange(90) % 2], 1)
    a0, a1, ay = pf.OptimalTransport()(x0, x1, y, rng)
    for c in y.unique(dim=0):
        mine = (y == c).all(1)
        alone = pf.OptimalTransport()(x0[mine], x1[mine], None, rng)
        assert torch.equal(a0[mine], alone[0]) and torch.equal(a1[mine], alone[1]) and torch.equal(ay[mine], y[mine])


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_transport_straightens_learned_flows_and_is_no_worse_for_any_class():
    """Small conditional networks on 8 Gaussians in two classes, same steps and noise; energy distances per class."""
    bench = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "straightness.py"))
    drawn, coupled = (
        bench["measure"](bench["train"](how, 500, 0, True)[0], 0, True)
        for how in (pf.independent, pf.OptimalTransport())
    )
    assert coupled[0] < 0.2 * drawn[0]  # the curvature
    assert coupled[1] < 0.3 * drawn[1] and coupled[2] < drawn[2]  # in one step and in two
    assert coupled[3] < 1.25 * drawn[3] < 0.04  # in many, where independent pairs are right too


# -- semidiscrete ------------------------------------------------------------------------------------------------------


def test_semidiscrete_cells_are_quantile_intervals_in_one_dimension(rng):
    """Equal masses in 1-D: the k-th smallest data point owns the k-th of N equal quantile intervals."""
    # an edge between points that all but coincide is hard to place, and matters as little
    data = (torch.linspace(-2, 1.5, 20, dtype=torch.float64)[torch.randperm(20, generator=rng)]).exp()[:, None]
    partners = pf.Semidiscrete(steps=4000).fit(data)
    x0 = torch.linspace(-3, 3, 2001, dtype=torch.float64)[:, None]
    got = data[:, 0].argsort().argsort()[partners.assign(x0)]
    quantile = normal.cdf(x0[:, 0]) * 20
    inside = (quantile - quantile.round()).abs() > 0.1  # away from the edges of cells
    assert float(inside.double().mean()) > 0.5
    assert torch.equal(got[inside], quantile[inside].long())


def test_semidiscrete_cells_have_equal_mass_and_cost_what_exact_transport_costs(rng):
    data = randn(50, 2, seed=14) * torch.tensor([2.0, 0.5]) + torch.tensor([5.0, -3.0])
    partners = pf.Semidiscrete(steps=4000).fit(data)
    x0 = randn(20_000, 2, seed=15)
    index = partners.assign(x0)
    counts = index.bincount(minlength=50).double()
    # chi^2 per degree of freedom: 1 is sampling noise alone, and nearest neighbours are far off
    nearest = torch.cdist(x0, data - data.mean(0)).argmin(1).bincount(minlength=50).double()
    uniform = torch.full((50,), 1 / 50, dtype=torch.float64)
    assert chi_square(counts, uniform) < 2.5 and chi_square(nearest, uniform) > 100
    # a dual certificate: exact transport of 2000 draws to 40 copies of each point costs as much
    some = x0[:2000]
    exact = cost(*pf.OptimalTransport()(some, data.repeat(40, 1), None, rng)[:2])
    assert cost(some, data[index[:2000]]) == pytest.approx(exact, rel=0.02)


def test_semidiscrete_is_shorter_than_transport_of_batches(rng):
    data = randn(500, 2, seed=16)
    partners = pf.Semidiscrete(steps=200).fit(data)
    means = []
    for seed in range(10):
        x0, x1 = randn(64, 2, seed=200 + seed), data[torch.randperm(500, generator=rng)[:64]]
        whole, batch = partners(x0, x1, None, rng), pf.OptimalTransport()(x0, x1, None, rng)
        assert torch.equal(whole[0], x0)
        means.append([cost(*whole[:2]), cost(*batch[:2])])
    whole, batch = torch.tensor(means).mean(0).tolist()
    assert whole < 0.7 * batch


def test_semidiscrete_keeps_to_the_class(rng):
    data, y = torch.cat([randn(30, 2), randn(10, 2, seed=1) + 5]), torch.tensor([3] * 30 + [8] * 10)
    shuffle = torch.randperm(40, generator=rng)
    partners = pf.Semidiscrete().fit(data[shuffle], y[shuffle])
    x0 = randn(4000, 2, seed=17)
    labels = torch.where(torch.arange(4000) % 4 == 0, 8, 3)
    a0, a1, ay = partners(x0, x0, labels, rng)
    assert torch.equal(a0, x0) and torch.equal(ay, labels)
    for c, points in ((3, data[:30]), (8, data[30:])):
        there, index = (a1[labels == c][:, None] == points).all(2).max(1)
        assert bool(there.all())
        assert chi_square(index.bincount(minlength=len(points)).double(), tensor([1 / len(points)] * len(points))) < 3
    with pytest.raises(ValueError, match="class 5"):
        partners(x0, x0, torch.full((4000,), 5), rng)
    with pytest.raises(ValueError, match="no y"):
        partners(x0, x0, None, rng)
    with pytest.raises(ValueError, match="no labels"):
        SemidiscretePlan(data, torch.zeros(40, dtype=torch.float64))(x0, x0, labels, rng)


def test_semidiscrete_needs_data_and_classes(rng):
    x = randn(10, 2)
    with pytest.raises(pf.InputError, match=r"fit\(data, y\)"):
        pf.Semidiscrete()(x, x, None, rng)
    with pytest.raises(pf.InputError, match="classes"):
        pf.Semidiscrete().fit(x, x)


# -- nearest of k noises -----------------------------------------------------------------------------------------------


def test_immiscible_moves_the_source_by_what_it_says(rng):
    """For data far out along the first axis the noise's first coordinate is the largest of k normals."""
    x0, x1 = randn(20_000, 2, seed=18), torch.tensor([[1e6, 0.0]], dtype=torch.float64).expand(20_000, 2)
    assert pf.Immiscible().k == 4
    a0, a1, _ = pf.Immiscible()(x0, x1, None, rng)
    assert torch.equal(a1, x1)
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    density = 4 * normal.cdf(grid) ** 3 * normal.log_prob(grid).exp()
    mean = float(torch.trapezoid(grid * density, grid))
    variance = float(torch.trapezoid((grid - mean) ** 2 * density, grid))
    assert (round(mean, 2), round(variance, 2)) == (1.03, 0.49)  # the docstring's figures
    # rows share candidates, four to a row, so that 20000 rows are worth at least 5000
    assert float(a0[:, 0].mean()) == pytest.approx(mean, abs=4 * math.sqrt(variance / 5000))
    assert float(a0[:, 0].var()) == pytest.approx(variance, abs=0.05)
    assert abs(float(a0[:, 1].mean())) < 4 / math.sqrt(5000) and abs(float(a0[:, 1].var()) - 1) < 0.08


def test_immiscible_takes_the_nearest_of_its_candidates(rng):
    x0, x1 = randn(30, 3), randn(30, 3, seed=1)
    a0 = pf.Immiscible(k=30)(x0, x1, None, rng)[0]  # all rows of the batch
    assert torch.equal(a0, x0[torch.cdist(x1, x0).argmin(1)])
    assert torch.equal(pf.Immiscible(k=1)(x0, x1, None, rng)[0], x0)


# -- bad calls, and batches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: pf.OptimalTransport(conditions="drop"),
        lambda: pf.OptimalTransport(weight=-1.0),
        lambda: pf.Sinkhorn(0.0),
        lambda: pf.SchrodingerBridge(math.inf),
        lambda: pf.Unbalanced(relax=0.0),
        lambda: pf.Immiscible(0),
        lambda: pf.Semidiscrete(batch=0),
    ],
)
def test_numbers_without_a_meaning_are_refused(make):
    with pytest.raises((ValueError, TypeError)):
        make()


@pytest.mark.parametrize("coupling", [pf.OptimalTransport(), pf.Sinkhorn(), pf.Immiscible()], ids=str)
def test_rows_that_do_not_match_are_refused(coupling, rng):
    x = randn(6, 2)
    with pytest.raises((ValueError, TypeError), match=r"x0 has shape|'x1'"):  # the test run's type checker comes first
        coupling(x, randn(5, 2), None, rng)
    with pytest.raises(ValueError, match="one condition per row"):
        coupling(x, x, torch.arange(5), rng)


def parts_of(coupling, pool=1):
    return components(
        Config(path=PathConfig(coupling=coupling, pool=pool), train=TrainConfig(batch=16)), DataSpec((2,))
    )


def test_config_builds_couplings_with_their_numbers():
    assert parts_of("sinkhorn:0.5").coupling == pf.Sinkhorn(0.5)
    assert parts_of("immiscible:8").coupling == pf.Immiscible(8)
    assert parts_of("optimal_transport").coupling == pf.OptimalTransport()
    for bad in (
        "sinkhorn:0",
        "independent:1",
        "immiscible:2,3",
        "immiscible:2.5",
        "semidiscrete:1.5",
        "schrodinger_bridge:-1",
    ):
        with pytest.raises(ValueError, match=bad.split(":")[0]):
            parts_of(bad)


@pytest.mark.parametrize("conditions", [False, True])
def test_a_pool_is_coupled_as_one(conditions):
    """Same noise and rows, coupled 16 or 64 at a time: ways grow shorter, batches keep their size."""
    data, y = randn(640, 2, seed=19).float(), torch.arange(640) % 3
    path, times = pf.Affine(), pf.TIMES["uniform"]()

    def feed(pool):
        recipe = BatchRecipe(path, pf.OptimalTransport(), times, 16, pool)
        return feed_for(data, y if conditions else None, recipe, seed=1)

    def batches(pool):
        made = feed(pool)
        return [made(step) for step in range(64)]

    def mean_cost(pool):
        return sum(cost(draw.x0, draw.x1) for draw, _ in batches(pool)) / 64

    assert mean_cost(4) < 0.85 * mean_cost(1)
    one, other = batches(4), feed(4)
    for step in (50, 3, 51):
        draw, labels = other(step)
        assert torch.equal(draw.xt, one[step][0].xt) and len(draw.t) == 16
        assert (labels is None) != conditions
        if conditions:
            index = torch.cdist(draw.x1, data).argmin(1)
            assert torch.equal(labels, y[index])
    # a pool is one permutation of its own noise
    whole = torch.cat([draw.x0 for draw, _ in one[:4]])
    source = torch.cat([draw.x0 for draw, _ in batches(1)])
    assert set(map(tuple, whole.tolist())) == set(map(tuple, source[:64].tolist()))


def test_feed_fits_semidiscrete_to_its_rows():
    data = randn(100, 2, seed=20).float()
    recipe = BatchRecipe(pf.Affine(), pf.Semidiscrete(steps=50), pf.TIMES["uniform"](), 32)
    width = torch.tensor([0.5, 0.0])
    spread = replace(recipe, dequantize=lambda x, u: x + (u - 0.5) * width)
    draw, plain = (feed_for(data, None, how, 3)(0)[0] for how in (spread, recipe))
    assert set(map(tuple, plain.x1.tolist())) <= set(map(tuple, data.tolist()))
    assert 0 < float((draw.x1 - plain.x1)[:, 0].abs().max()) <= 0.25 and torch.equal(draw.x1[:, 1], plain.x1[:, 1])
    assert cost(plain.x0, plain.x1) < 0.5 * cost(plain.x0, data[:32])
