"""Laws of sources: densities, scores and draws."""

import pytest
import torch

from laws import DENSITIES, SOURCES, randn

densities = pytest.mark.parametrize("source", DENSITIES.values(), ids=DENSITIES)


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
