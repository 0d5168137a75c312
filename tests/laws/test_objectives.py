"""Laws of objectives: what the oracle minimizes, and floors."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import mixture

import pushforward as pf
from laws import beside, drawn, inner, randn, schedules

weightings = pytest.mark.parametrize("weighting", pf.WEIGHTS)

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
