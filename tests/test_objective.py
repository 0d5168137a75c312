"""Objectives against exact answers, and the fields and time laws that come with them."""

import dataclasses
import itertools
import math
import runpy
import sys
from pathlib import Path

import pytest
import torch
from conftest import draw_mixture, mixture
from laws import SCHEDULES, beside, drawn, inner, randn, schedules

import pushforward as pf
from pushforward.batches import BatchRecipe, feed_for
from pushforward.config import Config, ObjectiveConfig, PathConfig, components
from pushforward.data import DataSpec
from pushforward.metrics import energy_distance
from pushforward.nn import MLP
from pushforward.times import antithetic, even, ladder
from pushforward.training import Budget, OptimizerConfig, fit

DOUBLE = torch.float64
BENCH = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "objectives.py"))


def times(n, rng):
    return 0.05 + 0.85 * torch.rand(n, generator=rng, dtype=DOUBLE)


def small_net(d=2, out=None, seed=0):
    """A smooth random network of float64 that is not exact anywhere."""
    with torch.random.fork_rng():
        torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        body = torch.nn.Sequential(torch.nn.Linear(d + 1, 16), torch.nn.Tanh(), torch.nn.Linear(16, out or d)).double()
    return body, lambda x, t, y: body(torch.cat([x, t[:, None]], 1))


def gradient_of(loss, body):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, body.parameters())])


# -- marginal and conditional, implicit and denoising ------------------------------------------------------------------


@pytest.mark.parametrize("quantity", pf.PREDICTIONS)
def test_conditional_and_marginal_gradients_agree_as_the_root_of_n(quantity, rng):
    # one batch each, so that the difference of the two gradients is the noise of the conditional target alone
    exact, (body, net) = mixture(), small_net()
    field, objective, apart = pf.Learned(net, exact.path), pf.Matching(quantity), {}
    for n in (250, 4000):
        gaps = []
        for _ in range(24):
            draw = drawn(exact, n, rng)
            conditional = gradient_of(objective(field, draw, None, rng).mean(), body)
            (mine,), (best,) = (f.evaluate((quantity,), draw.xt, draw.t) for f in (field, exact))
            scale = pf.WEIGHTS["default"]()(draw.t, exact.path, quantity, draw.xt)
            marginal = gradient_of((scale * (mine - best).square().mean(1)).mean(), body)
            gaps.append(conditional - marginal)
        gaps = torch.stack(gaps)
        z = gaps.mean(0) / (gaps.std(0) / math.sqrt(24))
        assert float(z.abs().mean()) < 1.6 and float(z.abs().max()) < 6, z
        apart[n] = float(gaps.norm(dim=1).square().mean().sqrt())
    assert apart[250] / apart[4000] == pytest.approx(4, rel=0.35)


def test_marginal_targets_are_less_noisy_and_tend_to_the_exact_one(rng):
    exact = mixture()
    field = pf.Learned(lambda x, t, y: torch.zeros_like(x), exact.path)
    few, many = draw_mixture(exact, 50, rng), draw_mixture(exact, 5000, rng)
    draw = drawn(exact, 2000, rng)

    def error(objective):
        """Of the target: the loss of a field that is exact."""
        return float(objective(exact, draw, None, rng).mean())

    plain, batch = error(pf.Matching("velocity")), error(pf.StableTarget())
    assert batch < 0.1 * plain
    assert error(pf.StableTarget("velocity", many)) < 0.1 * error(pf.StableTarget("velocity", few)) < plain
    # a reference that is the data set: the exact marginal loss
    data = pf.EmpiricalField(exact.path, few)
    draw = exact.path.draw(randn(50, 2), few, times(50, rng))
    loss = pf.StableTarget("data", few)(field, draw, None, rng)
    expected = (field.data(draw.xt, draw.t) - data.data(draw.xt, draw.t)).square().mean(1)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("own", [True, False])
def test_marginal_targets_stay_in_the_class(own, rng):
    path, x1, y = pf.Affine(), randn(60, 2, seed=1), torch.arange(60) % 3
    draw = path.draw(randn(60, 2, seed=2), x1, times(60, rng))
    objective = pf.StableTarget("data") if own else pf.StableTarget("data", x1, y)
    zero = pf.Learned(lambda x, t, y: torch.zeros_like(x), path, "data")
    loss = objective(zero, draw, y, rng)
    for k in range(3):
        one = pf.EmpiricalField(path, x1[y == k]).data(draw.xt[y == k], draw.t[y == k])
        torch.testing.assert_close(loss[y == k], one.square().mean(1))
    with pytest.raises(ValueError, match="class numbers"):
        pf.StableTarget()(zero, draw, randn(60, 2), rng)


@schedules
def test_implicit_and_denoising_losses_differ_by_exactly_one(schedule, rng):
    # E beta^2 |score(x_t|x_1)|^2 / d = 1, whatever the field
    exact, n = mixture(pf.Affine(schedule)), 10_000
    t = inner(schedule)[torch.randint(7, (n,), generator=rng)]
    draw = exact.path.draw(randn(n, 2, seed=4), draw_mixture(exact, n, rng), t)
    field = pf.Learned(lambda x, t, y: exact.v(x, t) + 0.3 * torch.cos(x), exact.path, "v")
    denoising = pf.OBJECTIVES["score"]()(field, draw, None, rng)
    for objective in (pf.ImplicitScore(), pf.SlicedScore(), pf.SlicedScore(3, variance_reduced=False)):
        gap = denoising - objective(field, draw, None, rng) - 1
        assert abs(float(gap.mean())) < 4.5 * float(gap.std()) / math.sqrt(n), objective


@pytest.mark.parametrize("shape", [(3,), (2, 3, 3)])
@pytest.mark.usefixtures("unchecked")
def test_sliced_is_implicit_in_the_mean_over_directions(shape, rng):
    d = math.prod(shape)
    matrix, shift = randn(d, d, seed=5) / d, randn(1, d, seed=6)
    path = pf.Affine()
    field = pf.Learned(
        lambda x, t, y: (torch.sin(x.flatten(1) @ matrix) + shift).reshape(x.shape), path, predicts="score"
    )
    draw = path.draw(randn(4, *shape), randn(4, *shape, seed=1), times(4, rng))
    exact = pf.ImplicitScore()(field, draw, None, rng)
    for reduced in (True, False):
        mean = pf.SlicedScore(4000, reduced)(field, draw, None, rng)
        torch.testing.assert_close(mean, exact, rtol=0.1, atol=0.03)
    # by hand: trace of the Jacobian and squared norm
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: torch.sin(x.flatten() @ matrix) + shift[0]))(draw.xt)
    trace = jacobian.reshape(4, d, d).diagonal(dim1=1, dim2=2).sum(1)
    norm = field.score(draw.xt, draw.t).flatten(1).square().sum(1)
    torch.testing.assert_close(exact, (1 - draw.t).square() * (norm + 2 * trace) / d)
    with pytest.raises(ValueError, match="directions"):
        pf.SlicedScore(0)


@pytest.mark.parametrize(
    "objective", [pf.ImplicitScore(static=True), pf.SlicedScore(static=True)], ids=["implicit", "sliced"]
)
def test_static_score_matching_finds_the_precision_of_a_normal_law(objective, rng):
    # for s = -A x the loss is quadratic in A, and its minimiser the inverse covariance of the sample
    x = randn(4000, 2) @ torch.tensor([[1.0, 0.5], [0.0, 0.7]], dtype=DOUBLE)
    draw, a = pf.Affine().draw(torch.zeros_like(x), x, 0.5), torch.eye(2, dtype=DOUBLE, requires_grad=True)
    field = pf.Learned(lambda x, t, y: -x @ a.T, pf.Affine(), "score")
    optimizer = torch.optim.LBFGS([a], max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = objective(field, draw, None, rng.manual_seed(1)).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    precision = torch.linalg.inv(x.T @ x / len(x))
    torch.testing.assert_close(
        a.detach(), precision, rtol=0, atol=1e-5 if isinstance(objective, pf.ImplicitScore) else 0.15
    )


# -- maximum likelihood ------------------------------------------------------------------------------------------------


def plain_likelihood(net, x, steps):
    """Mean ``-log p / d`` by a Runge-Kutta loop of its own on the default grid, the trace from the whole Jacobian."""
    grid = pf.GRIDS["shifted"](steps, pf.CondOT()).flip(0)

    def slope(x, t):
        def one(z):
            return net(z[None], t[None], None)[0]

        return torch.func.vmap(one)(x), torch.func.vmap(torch.func.jacrev(one))(x).diagonal(dim1=1, dim2=2).sum(1)

    integral = torch.zeros(len(x), dtype=DOUBLE)
    for t, s in itertools.pairwise(grid):
        h = s - t
        u1, d1 = slope(x, t)
        u2, d2 = slope(x + h / 2 * u1, t + h / 2)
        u3, d3 = slope(x + h / 2 * u2, t + h / 2)
        u4, d4 = slope(x + h * u3, s)
        x, integral = x + h / 6 * (u1 + 2 * u2 + 2 * u3 + u4), integral + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return -(torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1) + integral).mean() / x.shape[1]


def data_alone(x):
    return pf.Affine().draw(torch.zeros_like(x), x, 0.5)


def test_likelihood_has_the_gradient_of_plain_autograd_and_of_finite_differences(rng):
    (body, net), x = small_net(), randn(6, 2)
    field, draw = pf.Learned(net, pf.Affine()), data_alone(x)
    expected = plain_likelihood(net, x, 3)
    gradient = gradient_of(expected, body)
    for how in ("checkpoint", "store"):
        loss = pf.MaximumLikelihood(3, gradient=how, jitter=False)(field, draw, None, rng).mean()
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient_of(loss, body), gradient)
    direction = randn(len(gradient), seed=3)
    ends = []
    for h in (1e-5, -1e-5):
        moved = small_net()[0]
        torch.nn.utils.vector_to_parameters(
            torch.nn.utils.parameters_to_vector(body.parameters()).detach() + h * direction, moved.parameters()
        )
        there = pf.Learned(lambda x, t, y, moved=moved: moved(torch.cat([x, t[:, None]], 1)), pf.Affine())
        ends.append(float(pf.MaximumLikelihood(3, jitter=False)(there, draw, None, rng).mean().detach()))
    assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float(gradient @ direction), rel=1e-6)


@pytest.mark.parametrize("method", ["exact", "hutchinson"])
def test_adjoint_gradient_tends_to_that_of_the_steps(method):
    (body, net), x = small_net(), randn(6, 2)
    field, apart = pf.Learned(net, pf.Affine()), []
    for steps in (4, 8, 16):
        both = [
            gradient_of(
                pf.MaximumLikelihood(steps, method, how, jitter=False)(
                    field, data_alone(x), None, torch.Generator().manual_seed(1)
                ).mean(),
                body,
            )
            for how in ("checkpoint", "adjoint")
        ]
        apart.append(float((both[0] - both[1]).norm() / both[0].norm()))
    assert apart[0] < 1e-2 and apart[0] > 8 * apart[1] > 64 * apart[2] > 0, apart  # order 4: factors of 16


def test_times_are_drawn_afresh_and_leave_the_likelihood_as_it_was(rng):
    exact = mixture()
    draw = data_alone(draw_mixture(exact, 50, rng))
    one, other, many = (pf.MaximumLikelihood(n)(exact, draw, None, rng).detach() for n in (4, 4, 16))
    fixed = pf.MaximumLikelihood(16, jitter=False)(exact, draw, None, rng).detach()
    assert 0 < float((one - other).abs().mean()) < 0.1  # different errors of the steps, and of nothing else
    assert float((many - fixed).abs().mean()) < 3e-3


def test_random_divergences_give_an_unbiased_gradient():
    (body, net), x = small_net(), randn(6, 2)
    field = pf.Learned(net, pf.Affine())

    def gradient(method, seed):
        g = torch.Generator().manual_seed(seed)
        return gradient_of(
            pf.MaximumLikelihood(3, method, "store", jitter=False)(field, data_alone(x), None, g).mean(), body
        )

    gaps = torch.stack([gradient("hutchinson", seed) for seed in range(40)]) - gradient("exact", 0)
    z = gaps.mean(0) / (gaps.std(0) / math.sqrt(40))
    assert float(gaps.norm(dim=1).mean()) > 0 and float(z[gaps.std(0) > 1e-12].abs().max()) < 5


def test_likelihood_of_a_linear_field_reaches_the_entropy_of_its_gaussian(rng):
    # u = A x + b carries N(0, I) to every normal law; the best one has the mean and covariance of the sample
    x = randn(500, 2) @ torch.tensor([[1.2, 0.4], [0.0, 0.6]], dtype=DOUBLE) + torch.tensor([0.5, -1.0], dtype=DOUBLE)
    weights = torch.zeros(3, 2, dtype=DOUBLE, requires_grad=True)
    field = pf.Learned(lambda x, t, y: x @ weights[:2] + weights[2], pf.Affine())
    optimizer = torch.optim.LBFGS([weights], max_iter=30, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = pf.MaximumLikelihood(gradient="store")(field, data_alone(x), None, rng).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    entropy = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T, correction=0)).entropy() / 2
    assert float(closure().detach()) == pytest.approx(float(entropy), abs=1e-5)


def test_floor_of_the_likelihood_is_the_entropy_of_the_data(rng):
    exact = mixture()
    x = draw_mixture(exact, 200, rng)
    low = pf.irreducible_loss(pf.MaximumLikelihood(20), exact, data_alone(x))
    own = pf.Mixture(exact.means, exact.stds, exact.weights)
    assert low.value == pytest.approx(-float(own.log_prob(x).mean()) / 2, abs=2e-3)


def test_likelihood_says_what_is_missing(rng, monkeypatch):
    field, draw = pf.Learned(small_net()[1], pf.Affine()), data_alone(randn(4, 2))
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(pf.InputError, match=r"pushforward\[adjoint\]"):
        pf.MaximumLikelihood(gradient="adjoint")(field, draw, None, rng)
    with pytest.raises(pf.InputError, match="no weights"):
        pf.MaximumLikelihood(weighting=pf.WEIGHTS["data"]())(field, draw, None, rng)
    for bad in ({"steps": 0}, {"gradient": "none"}, {"method": "exactly"}):
        with pytest.raises((ValueError, TypeError), match=r"step|gradient|exact"):
            pf.MaximumLikelihood(**bad)


@pytest.mark.parametrize("method", ["exact", "series"])
def test_residual_likelihood_has_the_gradient_of_finite_differences(method):
    # through the layers' inverses, which are found by an iteration that no graph remembers
    (body, net), x = small_net(), randn(6, 2).requires_grad_()
    field, objective = pf.Learned(net, pf.Affine()), pf.ResidualLikelihood(4, method)

    def loss():
        return objective(field, data_alone(x), None, torch.Generator().manual_seed(2)).sum()

    parameters = [x, body[0].weight, body[2].bias]
    for p, gradient in zip(parameters, torch.autograd.grad(loss(), parameters), strict=True):
        ends, direction = [], randn(*p.shape, seed=3)
        for h in (1e-5, -2e-5, 1e-5):
            with torch.no_grad():
                p += h * direction
                ends.append(float(loss()))
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "unchecked")
def test_residual_flow_learns_a_density_by_its_likelihood(rng):
    layers, law = 6, pf.Mixture(torch.tensor([[-1.0, -0.5], [1.0, -0.5], [0.0, 1.0]]), torch.tensor([0.5, 0.4, 0.6]))
    with torch.random.fork_rng():
        torch.random.set_rng_state(torch.Generator().manual_seed(0).get_state())
        net = BENCH["Small"](width=64)
    field, objective = pf.Learned(net, pf.Affine()), pf.ResidualLikelihood(layers)
    optimizer = torch.optim.Adam(net.parameters())
    for step in range(120):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 + math.cos(math.pi * step / 120))
        optimizer.zero_grad()
        objective(field, data_alone(law.sample((256, 2), rng)), None, rng).mean().backward()
        optimizer.step()
    x = law.sample((2000, 2), rng)
    with torch.no_grad():
        found = pf.residual_log_prob(field, x, layers).log_prob
    gap = law.log_prob(x) - found
    normal = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T))
    assert float(gap.mean()) < 0.06 < 0.3 * float((law.log_prob(x) - normal.log_prob(x)).mean())
    made = pf.residual_flow(field, torch.randn(2000, 2, generator=rng), layers).detach()
    assert energy_distance(made, x) < 3 * energy_distance(law.sample((2000, 2), rng), x)


# -- fields ------------------------------------------------------------------------------------------------------------


def normal_energy(path, predicts="score", std=1.5):
    """The energy of N(0, std^2) data on a Gaussian path, in the form that a prediction has."""
    schedule = path.schedule

    def net(x, t, y):

        alpha, beta = schedule(t.double())
        k_x, k_p = path.conversion(t.double(), "score", predicts)
        slope = k_x - k_p / (alpha.square() * std**2 + beta.square())  # prediction = slope x
        return -slope * x.square().flatten(1).sum(1) / 2

    return net


@pytest.mark.parametrize("predicts", pf.PREDICTIONS)
@pytest.mark.parametrize("shape", [(2,), (1, 2, 3)])
def test_energy_is_the_exact_field_of_its_density(predicts, shape):
    path = pf.Affine(pf.Cosine())
    field = pf.Energy(normal_energy(path, predicts), path, predicts)
    exact = pf.MixtureField(path, torch.zeros(1, *shape, dtype=DOUBLE), torch.tensor([1.5], dtype=DOUBLE))
    x, t = randn(7, *shape), torch.linspace(0.05, 0.95, 7, dtype=DOUBLE)
    for name in pf.PREDICTIONS:
        torch.testing.assert_close(getattr(field, name)(x, t), getattr(exact, name)(x, t))
    gap = field.log_prob(x, 0.4) - exact.log_prob(x, 0.4)
    torch.testing.assert_close(gap, gap[:1].expand(7))
    score = torch.func.grad(lambda x: field.log_prob(x, t).sum())(x)
    torch.testing.assert_close(score, exact.score(x, t))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_energy_samples_with_every_mode_of_gradients(mode):
    path = pf.Affine()
    net = MLP((2,), 16, 1)
    with torch.random.fork_rng():
        torch.nn.init.normal_(net.proj_out.weight)
    field = pf.Energy(lambda x, t, y: (x * net(x, t, y)).sum(1), path)
    with mode():
        x = pf.generate(field, 5, (2,), stepper=pf.Euler(), steps=3, seed=0)
    assert x.shape == (5, 2) and bool(x.isfinite().all())


@pytest.mark.parametrize("name", pf.STEPPERS)
def test_energy_is_sampled_by_every_stepper(name):
    path = pf.Affine()
    field = pf.Energy(normal_energy(path), path)
    exact = pf.MixtureField(path, torch.zeros(1, 2, dtype=DOUBLE), torch.tensor([1.5], dtype=DOUBLE))
    x0, stepper = randn(6, 2), pf.STEPPERS[name]()
    with torch.no_grad():
        mine = pf.integrate(field, x0, stepper=stepper, steps=6).x[-1]
    torch.testing.assert_close(mine, pf.integrate(exact, x0, stepper=stepper, steps=6).x[-1])


def test_energy_is_sampled_by_metropolis_adjusted_langevin():
    # two wells with the mass 3 : 1, of which the energy knows no constant
    means, std = torch.tensor([[-1.0], [1.0]], dtype=DOUBLE), 0.6

    def net(x, t, y):
        log = -((x - means.T) / std).square() / 2 + torch.tensor([0.75, 0.25], dtype=DOUBLE).log()
        return 7 - log.logsumexp(1)

    field = pf.Energy(net, pf.Affine())
    with torch.no_grad():
        run = pf.integrate(field, randn(4000, 1), stepper=pf.Langevin(0.3, metropolis=True), steps=60)
    accepted = float(run.info["accepted"].mean())
    assert 0.5 < accepted < 1
    x = run.x[-1]
    assert float(x.mean()) == pytest.approx(-0.5, abs=5 * float(x.std()) / math.sqrt(4000))
    assert float(x.var()) == pytest.approx(std**2 + 0.75, rel=0.1)


def test_energy_learns_through_its_slope_and_says_what_is_wrong(rng):
    body, net = small_net(out=1)
    field = pf.Energy(lambda x, t, y: net(x, t, y)[:, 0], pf.Affine())
    draw = drawn(mixture(), 50, rng)
    for name in pf.OBJECTIVES:
        loss = pf.OBJECTIVES[name]()(field, draw, None, rng).mean()
        assert bool((gradient_of_first(loss, body) != 0).any()), name
    with pytest.raises(ValueError, match=r"one number per point.*sum"):
        pf.Energy(net, pf.Affine()).score(draw.xt, 0.5)
    with pytest.raises(ValueError, match="Normal source"):
        pf.Energy(net, pf.Affine(source=pf.Laplace()))


def gradient_of_first(loss, body):
    """In the first layer: the last layer's bias is a constant of the energy, which no slope can see."""
    return torch.autograd.grad(loss, body[0].weight)[0]


@pytest.mark.parametrize("heads", ["tuple", "channels"])
@pytest.mark.parametrize("shape", [(2,), (3, 4, 4)])
@pytest.mark.parametrize("predicts", [("velocity", "score"), ("data", "noise")])
def test_joint_answers_each_quantity_from_its_own_head(heads, shape, predicts):
    path = pf.Affine()
    exact = pf.MixtureField(path, randn(3, *shape), torch.full((3,), 0.5, dtype=DOUBLE))
    other = pf.MixtureField(path, randn(3, *shape, seed=1), torch.full((3,), 0.5, dtype=DOUBLE))

    def net(x, t, y):
        pair = getattr(exact, predicts[0])(x, t), getattr(other, predicts[1])(x, t)
        return pair if heads == "tuple" else torch.cat(pair, 1)

    field, x, t = pf.Joint(net, path, predicts), randn(4, *shape, seed=2), torch.linspace(0.2, 0.8, 4, dtype=DOUBLE)
    for name in pf.PREDICTIONS:
        whose = other if name in ("score", "noise") else exact
        torch.testing.assert_close(getattr(field, name)(x, t), getattr(whose, name)(x, t))


def test_joint_says_what_is_wrong():
    with pytest.raises(ValueError, match="first velocity"):
        pf.Joint(lambda x, t, y: x, pf.Affine(), ("score", "velocity"))
    with pytest.raises(ValueError, match=r"heads of shape \(4, 1\) and \(4, 1\).*two"):
        pf.Joint(lambda x, t, y: x, pf.Affine()).velocity(randn(4, 2), 0.5)


@schedules
@pytest.mark.parametrize("std", [1.0, 0.5])
def test_preconditioned_has_inputs_and_targets_of_variance_one(schedule, std, rng):
    path, n, seen = pf.Affine(schedule), 20_000, []

    def zero(x, t, y):
        seen.append((x, t))
        return torch.zeros_like(x)

    field = pf.Preconditioned(zero, path, std)
    x1, t = std * randn(n, 1, seed=1), inner(schedule)[3]
    draw = path.draw(randn(n, 1), x1, t.repeat(n))
    # the zero network is exact for normal data
    exact = pf.MixtureField(path, torch.zeros(1, 1, dtype=DOUBLE), torch.tensor([std], dtype=DOUBLE))
    for name in pf.PREDICTIONS:
        torch.testing.assert_close(getattr(field, name)(draw.xt, t), getattr(exact, name)(draw.xt, t))
    alpha, beta = schedule(t)
    assert float(seen[0][0].var()) == pytest.approx(1, rel=0.05)
    assert float(seen[0][1][0]) == pytest.approx(math.log(float(beta / alpha)) / 4)
    # the loss is uniform in the network's output: of a target of variance 1 for the zero network
    loss = pf.Matching("data", pf.WEIGHTS["edm"](std))(field, draw, None, rng)
    assert float(loss.mean()) == pytest.approx(1, rel=0.05)
    for end in (0.0, 1.0):
        for name in pf.PREDICTIONS:
            assert bool(getattr(field, name)(x1[:3], end).isfinite().all())


def test_preconditioned_is_edm_where_alpha_is_one():
    # D = c_skip x + c_out F(c_in x, c_noise) with the four coefficients of the paper's table 1
    path, std, net = pf.Affine(pf.EDM()), 0.5, lambda x, t, y: torch.sin(x) + t[:, None]
    x, t = randn(5, 2), torch.linspace(0.1, 0.7, 5, dtype=DOUBLE)
    sigma = path.schedule(t)[1][:, None]
    total = sigma**2 + std**2
    f = torch.sin(x / total.sqrt()) + sigma.log() / 4
    expected = std**2 / total * x + sigma * std / total.sqrt() * f
    torch.testing.assert_close(pf.Preconditioned(net, path, std).data(x, t), expected)
    with pytest.raises(ValueError, match="data_std"):
        pf.Preconditioned(net, path, 0.0)
    with pytest.raises(ValueError, match="affine"):
        pf.Preconditioned(net, pf.Bridge())


# -- times -------------------------------------------------------------------------------------------------------------


def test_even_times_stratify_every_run_of_rows(rng):
    t = even(1024, rng)
    for n in (16, 64, 256):
        for batch in t.split(n):
            gaps = batch.sort().values.diff()
            assert float(gaps.max()) < 2.7 / n and float(gaps.min()) > 0.3 / n
    assert abs(float(even(256, rng).mean()) - 0.5) < 0.01


def test_antithetic_times_come_in_pairs(rng):
    t = antithetic(7, rng)
    torch.testing.assert_close(t[0:6:2] + t[1:6:2], torch.ones(3, dtype=DOUBLE))
    assert abs(float(antithetic(1000, rng).mean()) - 0.5) < 1e-12


def test_ladder_has_geometric_levels_and_refuses_what_is_none(rng):
    path = pf.Affine(pf.EDM())
    sigma = path.schedule(ladder(500, rng, path.schedule, 5, 10.0, 0.1))[1].unique()
    torch.testing.assert_close(sigma, torch.logspace(-1, 1, 5, dtype=DOUBLE))
    for bad in ((0, 1.0, 0.1), (2.5, 1.0, 0.1), (3, 0.1, 1.0)):
        with pytest.raises(ValueError, match="ladder"):
            ladder(3, rng, path.schedule, *bad)


def test_score_over_a_ladder_is_the_loss_of_ncsn(rng):
    # Song & Ermon 2019, equations 5 and 6: lambda(sigma) = sigma^2, target -(x~ - x) / sigma^2
    path = pf.Affine(pf.EDM())
    t = ladder(20, rng, path.schedule)
    x, z = randn(20, 2), randn(20, 2, seed=1)
    field = pf.Learned(lambda x, t, y: torch.sin(x), path, "score")
    loss = pf.OBJECTIVES["score"]()(field, path.draw(z, x, t), None, rng)
    sigma = path.schedule(t)[1][:, None]
    noisy = x + sigma * z
    torch.testing.assert_close(loss, (sigma**2 * (torch.sin(noisy) + (noisy - x) / sigma**2) ** 2).mean(1))


def test_importance_looks_where_the_loss_is_and_keeps_its_mean(rng):
    # a loss that is all in the last tenth of time
    def loss(t):
        return torch.where(t > 0.9, 10.0, 0.1).double() * (1 + 0.1 * torch.sin(20 * t))

    t = pf.TIMES["uniform"]()(5000, rng)
    law = pf.Importance.fit(t, loss(t), bins=10)
    s = law(20_000, rng, pf.CondOT())
    assert bool(((s >= 0) & (s < 1)).all()) and float((s > 0.9).double().mean()) > 0.7
    for k in range(10):
        share = float(((s >= k / 10) & (s < (k + 1) / 10)).double().mean())
        assert share == pytest.approx(float(law.density[k]) / 10, abs=0.015)
    plain, weighted = loss(pf.TIMES["uniform"]()(20_000, rng)), loss(s) * law.weight(s)
    error = float(weighted.std()) / math.sqrt(20_000)
    grid = torch.linspace(0, 1, 200_001, dtype=DOUBLE)
    assert abs(float(weighted.mean() - loss(grid).mean())) < 4.5 * error
    assert weighted.std() < 0.3 * plain.std() and float(law.weight(s).max()) <= 10
    for bad in (torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0])):
        with pytest.raises(ValueError, match="density"):
            pf.Importance(bad)
    with pytest.raises(ValueError, match="finite"):
        pf.Importance.fit(t, torch.full_like(t, math.nan))
    assert bool((pf.Importance.fit(t[:3], loss(t[:3])).density > 0).all())  # bins that were never looked at


def test_unbiased_keeps_the_gradient_of_uniform_times(rng):
    exact = mixture()
    law = pf.Importance(torch.tensor([0.2, 0.5, 1.3, 2.0], dtype=DOUBLE))
    field = beside(exact, 0.3)
    rows = []
    for times_of, objective in (
        (pf.TIMES["uniform"](), pf.OBJECTIVES["flow"]()),
        (law, pf.ImportanceWeighted(pf.OBJECTIVES["flow"](), law)),
    ):
        n = 20_000
        draw = exact.path.draw(randn(n, 2, seed=3), draw_mixture(exact, n, rng), times_of(n, rng))
        rows.append(objective(field, draw, None, rng))
    error = math.hypot(*(float(r.std()) / math.sqrt(len(r)) for r in rows))
    assert abs(float(rows[0].mean() - rows[1].mean())) < 4.5 * error


# -- floor, configuration ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", pf.PREDICTIONS)
def test_floor_is_the_mean_of_the_squared_targets_less_the_marginal_ones(quantity, rng):
    path, data = pf.Affine(), randn(40, 2)
    oracle, n = pf.EmpiricalField(path, data), 20_000
    draw = path.draw(randn(n, 2, seed=1), data[torch.randint(40, (n,), generator=rng)], times(n, rng))
    low = pf.irreducible_loss(pf.Matching(quantity), oracle, draw)
    goal, best = oracle.path.target(draw, quantity), getattr(oracle, quantity)(draw.xt, draw.t)
    weight = pf.WEIGHTS["default"]()(draw.t, path, quantity, draw.xt)
    rows = weight * (goal.square() - best.square()).mean(1)
    assert low.n == n and low.value > 0 and low.error < float(rows.std()) / math.sqrt(n)
    assert abs(low.value - float(rows.mean())) < 4.5 * float(rows.std()) / math.sqrt(n)
    assert pf.excess_loss(pf.Matching(quantity), oracle, oracle, draw) == (0.0, 0.0, n)
    split = pf.irreducible_loss(pf.Matching(quantity), oracle, draw, batch=999)
    assert split.value == pytest.approx(low.value, rel=1e-12)


def test_floor_says_when_there_is_none(rng):
    path = pf.Affine()
    oracle = pf.EmpiricalField(path, randn(4, 2))
    with pytest.raises(pf.InputError, match="at least 2"):
        pf.irreducible_loss(pf.OBJECTIVES["flow"](), oracle, path.draw(randn(1, 2), randn(1, 2), 0.5))
    with pytest.raises(pf.InputError, match="below 1"):
        pf.irreducible_loss(pf.OBJECTIVES["score"](), oracle, path.draw(randn(4, 2), randn(4, 2, seed=1), 1.0))


def config(**how):
    path = PathConfig(**{k: how.pop(k) for k in ("source", "coupling", "schedule") if k in how})
    return Config(path=path, objective=ObjectiveConfig(**how))


def test_weighting_is_chosen_by_name_with_its_numbers(rng):
    path = pf.Affine()
    draw = path.draw(randn(5, 2), randn(5, 2, seed=1), times(5, rng))
    field = pf.Learned(lambda x, t, y: torch.sin(x), path)
    for spec, expected in {
        "default": pf.WEIGHTS["default"](),
        "data": pf.WEIGHTS["data"](),
        "min_snr:2": pf.WEIGHTS["min_snr"](2.0),
    }.items():
        objective = components(config(weighting=spec), DataSpec((2,))).objective
        torch.testing.assert_close(
            objective(field, draw, None, rng), pf.Matching("velocity", expected)(field, draw, None, rng)
        )
    for spec, words in {
        "min_snr:-1": "gamma",
        "edm:0": "data_std",
        "v:3": "weighting",
        "default:1,2": "takes no arguments",
    }.items():
        with pytest.raises(pf.InputError, match=words):
            components(config(weighting=spec), DataSpec((2,)))
    with pytest.raises(pf.InputError, match="Normal source"):
        components(config(weighting="likelihood", source="laplace"), DataSpec((2,)))
    with pytest.raises(pf.InputError, match="independent pairs"):
        components(config(objective="marginal", coupling="optimal_transport"), DataSpec((2,)))
    with pytest.raises(pf.InputError, match="Normal source"):
        components(config(objective="implicit", source="laplace"), DataSpec((2,)))


def test_time_laws_see_the_schedule_of_the_path():
    parts = components(config(schedule="edm", times="log_normal:-1.2,1.2"), DataSpec((2,)))
    sigma = parts.path.schedule(parts.times(4000, torch.Generator().manual_seed(0)))[1]
    assert float(sigma.log().mean()) == pytest.approx(-1.2, abs=0.1)
    assert float(sigma.log().std()) == pytest.approx(1.2, abs=0.1)


def pairs_of_times(n, generator):
    return torch.rand(n, 2, generator=generator, dtype=DOUBLE).sort(1).values


def test_a_law_of_pairs_of_times_reaches_the_network_and_trains_its_jumps():
    """Data N(0, 1/4) on straight lines: the flow takes x at t to x std(s) / std(t), so its mean velocity is known."""
    data = 0.5 * torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    recipe = BatchRecipe(pf.Affine(), pf.OptimalTransport(), pairs_of_times, 64)
    feed = feed_for(data, None, recipe, seed=1)
    draw, _ = feed(3)
    assert draw.t.shape == (64, 2) and bool((draw.t[:, 0] < draw.t[:, 1]).all())
    k = draw.t[:, :1].float()
    torch.testing.assert_close(draw.xt, (1 - k) * draw.x0 + k * draw.x1)
    torch.testing.assert_close(draw.ut, draw.x1 - draw.x0)

    def std(t):
        return torch.hypot(0.5 * t, 1 - t)

    def mean_velocity(x, t):
        now, then = t.to(x).split(1, 1)
        return x * (std(then) / std(now) - 1) / (then - now)

    def loss(net, batch, generator):
        draw, _ = batch
        return (net(draw.xt, draw.t.float()) - mean_velocity(draw.xt, draw.t)).square().flatten(1).mean(1)

    net = pf.nn.two_times(MLP((1,), 64, 2))
    fit(net, loss, feed, Budget(400, None), OptimizerConfig(lr=3e-3, warmup=0, weight_decay=0.0, clip=1.0, ema=6.94))
    x, t = torch.linspace(-1, 1, 50)[:, None], pairs_of_times(50, torch.Generator().manual_seed(5)).float()
    with torch.no_grad():
        found, one_time = net(x, t), net(x, t[:, 0])
    truth = mean_velocity(x, t)
    assert float((found - truth).norm() / truth.norm()) < 0.1 < float((one_time - truth).norm() / truth.norm())


def test_objectives_are_frozen_and_name_what_they_ask():
    for name, make in pf.OBJECTIVES.items():
        objective = make()
        assert dataclasses.is_dataclass(objective) and set(objective.quantities) <= set(pf.PREDICTIONS), name
    assert SCHEDULES


# -- every objective trains --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh():
    """Test points, and the mean distance of fresh data from them."""
    test, _, least = BENCH["fresh"](1000, 8)
    return test, least


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "unchecked")
@pytest.mark.parametrize("name", sorted(set(BENCH["WAYS"]) - {"maximum_likelihood"}))  # a minute alone: in the docs
def test_every_objective_trains_to_twice_the_distance_of_fresh_data(name, fresh):
    (test, least), way = fresh, BENCH["WAYS"][name]
    x = pf.generate(BENCH["train"](way, 1200), 8000, (2,), seed=1, **way.sampler)
    distance = BENCH["distance"](x, test, 1000)
    assert distance < 2 * least, (distance, least)
