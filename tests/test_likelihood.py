"""Likelihoods against densities known in closed form."""

import math

import pytest
import torch
from conftest import golden, mixture, tensor
from laws import SCHEDULES, randn, slope

import pushforward as pf
from pushforward.likelihood.divergence import METHODS, HutchPlusPlus, velocity_and_divergence
from pushforward.nn import MLP, DiT, UNet
from pushforward.sample.adaptive import RK5
from pushforward.tensor import divergence


def linear(theta, source=None):
    """The field u = -theta x, whose flow is x_0 exp(-theta t)."""
    return pf.Learned(lambda x, t, y: -theta * x, pf.Affine(pf.CondOT(), source or pf.Normal()))


@pytest.mark.parametrize("theta", [-1.0, 0.3, 2.0])
def test_linear_field(theta):
    cases = [case for case in golden("linear_field_likelihood")["cases"] if case["theta"] == theta]
    x, expected = tensor([[case["x"]] for case in cases]), tensor([case["log_prob"] for case in cases])
    assert len(cases) == 3
    torch.testing.assert_close(pf.log_prob(linear(theta), x, tol=1e-8), expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(pf.log_prob(linear(theta), x, steps=100), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("d", [2, 5, 64])
@pytest.mark.usefixtures("unchecked")
def test_mixtures_through_their_exact_fields(d):
    field = mixture(d=d)
    n = 2 if d == 64 else 6
    x = field.means[torch.arange(n) % 3] + 0.5 * randn(n, d, seed=1)
    found = pf.log_likelihood(field, x, tol=1e-5)
    torch.testing.assert_close(found.log_prob, field.log_prob(x), rtol=0, atol=1e-5)
    assert float(found.step_error.max()) <= 1e-5 and bool((found.std_error == 0).all())
    torch.testing.assert_close(pf.log_prob(field, x, steps=50), field.log_prob(x), rtol=0, atol=1e-3)


def test_the_tolerance_is_in_nats():
    field, x = mixture(), randn(6, 2, seed=1)
    for tol in (1e-1, 1e-3):
        found = pf.log_likelihood(field, x, tol=tol)
        assert float((found.log_prob - field.log_prob(x)).abs().max()) < tol and float(found.step_error.max()) <= tol


def test_an_answer_does_not_depend_on_harder_points_beside_it():
    """An easy point is not solved again because another one has to be; the error of either is below the tolerance."""
    field = pf.MixtureField(pf.Affine(), tensor([[-4.0, 0.0], [4.0, 0.0]]), tensor([0.01, 1.0]))
    easy, hard = tensor([[4.0, 0.5]]), tensor([[-4.01, 0.005]])
    alone, both = (pf.log_likelihood(field, x, tol=1e-3) for x in (easy, torch.cat([easy, hard])))
    assert alone.nfe < both.nfe
    assert torch.allclose(both.log_prob[:1], alone.log_prob, rtol=0, atol=1e-12)
    assert torch.allclose(both.step_error[:1], alone.step_error, rtol=0, atol=1e-12)
    assert (both.log_prob - field.log_prob(torch.cat([easy, hard]), 1.0)).abs().max() < 1e-3


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_gives_the_density_of_its_own_flow(name):
    # a schedule that begins short of pure noise flows from N(0, beta_0^2 I), not from p_0: for Gaussian data of mean 0
    # the flow's end law is known: std_1 = std_0 sqrt(s^2 / (alpha_0^2 s^2 + beta_0^2))
    schedule = SCHEDULES[name]
    s = 0.6
    field = pf.MixtureField(pf.Affine(schedule), torch.zeros(1, 2).double(), tensor([s]))
    alpha, beta = (float(v) for v in schedule(tensor(0.0)))
    std = beta * s / math.sqrt((alpha * s) ** 2 + beta**2)
    x = randn(4, 2, seed=2)
    expected = torch.distributions.Normal(0.0, std).log_prob(x).sum(1)
    torch.testing.assert_close(pf.log_prob(field, x, tol=1e-2), expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("source", [pf.Laplace(0.7), pf.Uniform(-3, 3)], ids=str)
def test_other_sources(source):
    # u = -theta x carries p_0 to p_0(x e^theta) e^(d theta)
    x = 0.3 * randn(7, 2, seed=3)
    expected = source.log_prob(x * math.exp(0.5)) + 2 * 0.5
    torch.testing.assert_close(pf.log_prob(linear(0.5, source), x, tol=1e-7), expected, rtol=0, atol=1e-6)


def test_points_outside_the_support_have_no_density():
    found = pf.log_likelihood(linear(0.0, pf.Uniform(-1, 1)), tensor([[0.0, 0.0], [2.0, 0.0]]))
    assert float(found.log_prob[0]) == pytest.approx(-2 * math.log(2)) and float(found.log_prob[1]) == -math.inf


@pytest.mark.parametrize("method", METHODS)
def test_divergence_of_a_matrix_field(method):
    a = randn(6, 6, seed=4)
    x = randn(3, 6, seed=5)
    how = {"exact": pf.Exact(chunk=4), "hutchinson": pf.Hutchinson(64), "hutch++": pf.HutchPlusPlus(64)}[method]
    with torch.no_grad():
        u, parts = velocity_and_divergence(lambda z: z @ a.T, x, how, how.directions(x, 0, 0))
    torch.testing.assert_close(u, x @ a.T)
    assert parts.shape == (how.estimates, 3) and not parts.requires_grad
    error = 1e-12 if method == "exact" else 5 * parts.std(0) / 8
    assert bool(((parts.mean(0) - a.trace()).abs() <= error).all())


def test_hutch_plus_plus_is_exact_on_low_rank():
    b, x = randn(10, 2, seed=6), randn(3, 10, seed=7)
    how = pf.HutchPlusPlus(probes=2, rank=3)
    with torch.no_grad():
        _, parts = velocity_and_divergence(lambda z: z @ (b @ b.T), x, how, how.directions(x, 0, 0))
    torch.testing.assert_close(parts, (b * b).sum().expand(2, 3), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", [pf.Hutchinson(4), pf.Hutchinson(4, "gaussian"), pf.HutchPlusPlus(4)], ids=str)
@pytest.mark.usefixtures("unchecked")
def test_stochastic_methods_are_unbiased_and_know_their_error(method):
    d = method.products + 1  # in fewer dimensions it is exact
    field, x = mixture(d=d), 0.7 * randn(4, d, seed=8)
    exact = pf.log_prob(field, x, steps=12)
    run = pf.log_likelihood(field, x.repeat(40, 1), method=method, steps=12)  # each row with directions of its own
    values = run.log_prob.reshape(40, 4)
    z = (values.mean(0) - exact) / (values.std(0) / 40**0.5)
    assert bool((z.abs() < 4.5).all()), z
    stated = run.std_error.reshape(40, 4).square().mean(0).sqrt()
    assert bool(((stated / values.std(0)).log().abs() < 0.5).all())


@pytest.mark.parametrize("method", ["hutchinson", "hutch++", pf.Hutchinson(2, "gaussian"), pf.Hutchinson(9)], ids=str)
@pytest.mark.usefixtures("unchecked")
def test_few_directions_in_few_dimensions_state_no_error_that_is_not_theirs(method):
    for d in (1, 2, 3, 5):
        field, x = mixture(d=d), 0.7 * randn(60, d, seed=d)
        found, exact = pf.log_likelihood(field, x, method=method, steps=12), pf.log_prob(field, x, steps=12)
        sure = found.std_error == 0
        assert bool(((found.log_prob - exact).abs()[sure] < 1e-9).all())
        assert not bool(sure.any()) or bool(sure.all())  # by the dimension, and not by chance


def test_the_error_of_one_direction_is_not_known():
    found = pf.log_likelihood(mixture(d=6), randn(3, 6), method=pf.Hutchinson(1), steps=4)
    assert bool(found.std_error.isnan().all()) and bool(found.log_prob.isfinite().all())


def test_shapes_batches_and_splits_do_not_matter():
    flat = mixture(d=12)
    image = pf.MixtureField(flat.path, flat.means.reshape(3, 3, 2, 2), flat.stds, flat.weights)
    x = randn(5, 12, seed=9)
    as_image, as_row = pf.log_prob(image, x.reshape(5, 3, 2, 2), steps=10), pf.log_prob(flat, x, steps=10)
    torch.testing.assert_close(as_image, as_row, rtol=1e-9, atol=1e-9)
    for method in ("exact", "hutchinson"):
        whole = pf.log_likelihood(flat, x, method=method, steps=10)
        small = pf.log_likelihood(flat, x, method=method, steps=10, batch_size=2)
        last = pf.log_likelihood(flat, x[3:], method=method, steps=10, first=3)
        torch.testing.assert_close(small.log_prob, whole.log_prob, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(last.log_prob, whole.log_prob[3:], rtol=1e-10, atol=1e-10)


def test_gradients_of_points_and_parameters_are_finite_differences():
    net = MLP((2,), 16, 1).double()
    torch.nn.init.normal_(net.proj_out.weight if hasattr(net, "proj_out") else list(net.parameters())[-2], std=0.3)
    field, x = pf.Learned(net, pf.Affine()), randn(3, 2, seed=10).requires_grad_()
    for how in ({"steps": 5}, {"tol": 1e-2}):
        value = pf.log_prob(field, x, **how).sum()
        weight = next(p for p in net.parameters() if p.ndim == 2)
        gx, gw = torch.autograd.grad(value, [x, weight])
        h = 1e-5

        def at(dx=0.0, dw=0.0, how=how, weight=weight):
            with torch.no_grad():
                weight[0, 0] += dw
                step = torch.zeros_like(x)
                step[1, 0] = dx
                out = float(pf.log_prob(field, x.detach() + step, **how).sum())
                weight[0, 0] -= dw
            return out

        assert float(gx[1, 0]) == pytest.approx((at(dx=h) - at(dx=-h)) / (2 * h), rel=1e-2, abs=1e-3)
        assert float(gw[0, 0]) == pytest.approx((at(dw=h) - at(dw=-h)) / (2 * h), rel=1e-2, abs=1e-3)
    for p in net.parameters():
        p.requires_grad_(False)
    assert not pf.log_prob(field, x.detach(), steps=3).requires_grad


class Grouped(torch.nn.Module):
    """A network for pictures ``[n, 2, 4, 4]`` with GroupNorm, whose batched double backward torch gets wrong."""

    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.Conv2d(4, 2, 3, padding=1)
        self.norm = torch.nn.GroupNorm(2, 4)

    def forward(self, x, t, y=None):
        return self.down(torch.nn.functional.silu(self.norm(self.up(x) + t.reshape(-1, 1, 1, 1))))


@pytest.mark.parametrize("net", [Grouped, lambda: UNet((2, 4, 4), 8, 1)], ids=["own", "unet"])
def test_gradients_pass_normalisation_by_groups(net):
    # one Euler step: log p = log p_0(x - u) - div u, with the divergence by forward mode, differentiated
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = net().double()
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.2)
    field, x = pf.Learned(net, pf.Affine()), randn(3, 2, 4, 4, seed=12).requires_grad_()

    def velocity(z):
        return net(z, torch.ones(len(z), dtype=z.dtype))

    direct = field.path.source.log_prob(x - velocity(x)) - divergence(velocity, x)
    wanted = torch.autograd.grad(direct.sum(), [x, *net.parameters()], allow_unused=True)
    for method in ("exact", HutchPlusPlus(probes=1, rank=32)):  # the second of full rank, so that nothing is random
        grid = torch.tensor([1.0, 0.0], dtype=torch.float64)
        value = pf.log_likelihood(field, x, grid=grid, stepper=pf.Euler(), method=method).log_prob
        torch.testing.assert_close(value, direct, rtol=1e-9, atol=1e-9)
        found = torch.autograd.grad(value.sum(), [x, *net.parameters()], allow_unused=True)
        for a, b in zip(found, wanted, strict=True):
            zero = torch.zeros(())
            torch.testing.assert_close(zero if a is None else a, zero if b is None else b, rtol=1e-6, atol=1e-7)


def test_residual_flows_of_networks_with_groups_have_the_gradients_of_their_jacobian():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = Grouped().double()
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.1)
    field, x0 = pf.Learned(net, pf.Affine()), randn(2, 2, 4, 4, seed=13)
    x = pf.residual_flow(field, x0, 1).detach()
    value = pf.residual_log_prob(field, x, 1, method="exact").log_prob
    jacobian = torch.stack([torch.func.jacrev(lambda z: net(z[None], torch.zeros(1, dtype=z.dtype))[0])(r) for r in x0])
    log_det = torch.linalg.slogdet(torch.eye(32, dtype=x.dtype) + jacobian.reshape(2, 32, 32))[1]
    torch.testing.assert_close(value, field.path.source.log_prob(x0) - log_det, rtol=1e-8, atol=1e-8)
    # the gradient of one weight, by finite differences
    weight = net.up.weight
    found = torch.autograd.grad(value.sum(), weight)[0][0, 0, 1, 1]

    def at(change):
        with torch.no_grad():
            weight[0, 0, 1, 1] += change
            out = float(pf.residual_log_prob(field, x, 1, method="exact").log_prob.sum())
            weight[0, 0, 1, 1] -= change
        return out

    assert float(found) == pytest.approx((at(1e-5) - at(-1e-5)) / 2e-5, rel=1e-5)


def test_density_of_a_network_integrates_to_one():
    # any velocity field gives a density; this one is a small random network, in float32
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = MLP((2,), 32, 2)
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.15)
    net.requires_grad_(False)
    edge = torch.arange(-6, 6, 0.15) + 0.075
    grid = torch.cartesian_prod(edge, edge)
    total = pf.log_prob(pf.Learned(net, pf.Affine()), grid, steps=12).double().exp().sum() * 0.15**2
    assert float(total) == pytest.approx(1, abs=0.01)


def test_fused_attention_does_not_stand_in_the_way():
    net = DiT((1, 4, 4), width=16, depth=1, patch=2).requires_grad_(False)
    x = randn(2, 1, 4, 4, seed=11).float()
    value = pf.log_prob(pf.Learned(net, pf.Affine()), x, steps=2)  # 0 at initialisation: the source's own density
    torch.testing.assert_close(value, pf.Normal().log_prob(x), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_samples_come_with_their_density():
    field = mixture()
    x, found = pf.sample_with_log_prob(field, 40, (2,), steps=60, seed=3, dtype=torch.float64)
    torch.testing.assert_close(found.log_prob, field.log_prob(x), rtol=0, atol=1e-4)
    grid = pf.GRIDS["shifted"](60, pf.CondOT())
    again = pf.generate(field, 40, (2,), stepper=RK5(), grid=grid, dtype=torch.float64, seed=3)
    torch.testing.assert_close(x, again)
    split, _ = pf.sample_with_log_prob(field, 7, (2,), steps=60, seed=3, first=33, dtype=torch.float64, batch_size=3)
    torch.testing.assert_close(split, x[33:], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(pf.encode(field, x, tol=1e-8), found.x0, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["condot", "vp", "edm"])
def test_encode_and_decode_are_inverse(name):
    field, x0 = mixture(pf.Affine(SCHEDULES[name])), randn(6, 2, seed=12)
    x = pf.decode(field, x0, tol=1e-8)
    torch.testing.assert_close(pf.encode(field, x, tol=1e-8), x0, rtol=0, atol=1e-5)
    torch.testing.assert_close(pf.encode(field, pf.decode(field, x0, steps=200), steps=200), x0, rtol=0, atol=1e-2)


def test_interpolation_is_spherical_in_a_normal_source():
    field = linear(0.4)
    a, b = (z / z.norm(dim=1, keepdim=True) for z in randn(2, 3, 8, seed=13))
    way = pf.interpolate(field, a, b, points=5, tol=1e-8)
    torch.testing.assert_close(way[0], a, rtol=0, atol=1e-6)
    torch.testing.assert_close(way[-1], b, rtol=0, atol=1e-6)
    unit = way * math.exp(0.4)
    angles = torch.acos(torch.cosine_similarity(unit[1:], unit[:-1], dim=2))
    torch.testing.assert_close(angles, angles[:1].expand_as(angles), rtol=1e-5, atol=1e-6)  # equal steps of angle
    straight = pf.interpolate(linear(0.4, pf.Laplace()), a, b, points=3, tol=1e-8)
    torch.testing.assert_close(straight[1], (a + b) / 2, rtol=0, atol=1e-6)


def test_bayes_rule_over_classes():
    means = tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, 2.0]])
    field = pf.MixtureField(pf.Affine(), means, tensor([0.5, 0.7, 0.6]), labels=torch.tensor([0, 1, 2]))
    x, prior = randn(6, 2, seed=15), tensor([0.2, 0.3, 0.5])
    found = pf.class_log_prob(field, x, [0, 1, 2], log_prior=prior.log(), tol=1e-5)
    laws = torch.stack(
        [torch.distributions.Normal(m, s).log_prob(x).sum(1) for m, s in zip(means, field.stds, strict=True)], 1
    )
    torch.testing.assert_close(found, (laws + prior.log()).log_softmax(1), rtol=0, atol=1e-4)


def test_stochastic_samplers_and_two_ways_are_refused():
    field, x = mixture(), randn(2, 2)
    for stepper in (pf.EulerMaruyama(), pf.Ancestral(), pf.AdamsMoulton()):
        with pytest.raises(ValueError, match="no density"):
            pf.log_likelihood(field, x, steps=3, stepper=stepper)
    with pytest.raises(ValueError, match="one of steps="):
        pf.log_likelihood(field, x, steps=3, tol=1e-3)
    with pytest.raises(ValueError, match="did you mean 'exact'"):
        pf.log_likelihood(field, x, method="exct")
    with pytest.raises(ValueError, match="3 rows for 2 points"):
        pf.log_likelihood(field, x, y=torch.zeros(3))


# -- residual flow -----------------------------------------------------------------------------------------------------


def wide(d):
    """Components wide enough that twelve layers are contractions."""
    return pf.MixtureField(pf.Affine(), randn(3, d, seed=19), tensor([0.6, 0.8, 1.0]))


def test_residual_flow_is_exact_for_a_linear_field():
    # layers x -> (1 - theta/K) x: log p = log N(x / (1 - theta/K)^K) - d K log(1 - theta/K)
    x, theta, layers = randn(5, 3, seed=16), 0.8, 7
    factor = 1 - theta / layers
    expected = pf.Normal().log_prob(x / factor**layers) - 3 * layers * math.log(factor)
    found = pf.residual_log_prob(linear(theta), x, layers)
    torch.testing.assert_close(found.log_prob, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pf.residual_flow(linear(theta), found.x0, layers), x, rtol=1e-10, atol=1e-10)


def test_residual_flow_converges_to_the_continuous_one_at_order_one():
    field, x, layers = wide(2), 0.7 * randn(12, 2, seed=17), [20, 40, 80]
    exact = field.log_prob(x)
    errors = [float((pf.residual_log_prob(field, x, k).log_prob - exact).abs().mean()) for k in layers]
    assert abs(slope(layers, errors) - 1) < 0.15, errors


@pytest.mark.usefixtures("unchecked")
def test_residual_series_is_unbiased():
    field, x = wide(3), randn(3, 3, seed=18)
    exact = pf.residual_log_prob(field, x, 6, method="exact").log_prob
    runs = [pf.residual_log_prob(field, x, 6, method="series", certain=2, probes=8, seed=seed) for seed in range(40)]
    values = torch.stack([r.log_prob for r in runs])
    z = (values.mean(0) - exact) / (values.std(0) / 40**0.5)
    assert bool((z.abs() < 4.5).all()), z
    stated = torch.stack([r.std_error for r in runs]).square().mean(0).sqrt()
    assert bool(((stated / values.std(0)).log().abs() < 0.6).all())


def test_residual_layers_that_cannot_be_inverted_say_so():
    with pytest.raises(ValueError, match="more layers"):
        pf.residual_log_prob(linear(5.0), randn(2, 2), 2)


# ---- points that no adaptive solver reaches


def test_a_point_that_does_not_arrive_is_bounded_and_the_others_are_what_they_are(monkeypatch):
    """The answer of a fixed grid, with an error without bound; the others do not notice. Against the exact density."""
    from pushforward.likelihood import flow

    means, stds = torch.tensor([[1.0, 0.0], [-2.0, 1.0]], dtype=torch.float64), torch.tensor([0.5, 0.3]).double()
    field = pf.MixtureField(pf.Affine(), means, stds)
    x = torch.tensor([[1.0, 0.2], [8.0, 9.0], [-2.0, 1.1], [0.0, 0.0]], dtype=torch.float64)
    exact = torch.logsumexp(
        -0.5 * ((x[:, None] - means) / stds[:, None]).square().sum(-1) - 2 * stds.log() - math.log(2 * math.pi), 1
    ) - math.log(2)
    right = pf.log_likelihood(field, x, tol=1e-4)
    assert right.step_error.isfinite().all()
    torch.testing.assert_close(right.log_prob, exact, atol=2e-4, rtol=0)
    # as many steps as the easiest point needs at first, and fewer than others
    way = torch.tensor([1.0, 0.0])
    limits = [pf.integrate(field, point[None], grid=way, stepper=pf.DormandPrince(1e-5)).nfe for point in x]
    for most in (min(limits) // 6 + 1, 1):
        monkeypatch.setattr(flow, "DormandPrince", lambda delta, most=most: pf.DormandPrince(delta, most=most))
        found = pf.log_likelihood(field, x, tol=1e-4)
        lost = found.step_error.isinf()
        assert lost.any() and found.log_prob.isfinite().all() and found.x0.isfinite().all()
        torch.testing.assert_close(found.log_prob, exact, atol=2e-3, rtol=1e-4)
        torch.testing.assert_close(found.log_prob[~lost], right.log_prob[~lost], atol=0, rtol=0)
        # and along a grid that is given, by a stepper that gives up
        found = pf.log_likelihood(field, x, grid=way, stepper=pf.DormandPrince(1e-5, most=most))
        assert (found.step_error.isinf().any() and not found.step_error.isinf().all()) or most == 1
        torch.testing.assert_close(found.log_prob, exact, atol=2e-3, rtol=1e-4)
