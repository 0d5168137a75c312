"""Laws of spaces: geodesics, errors and distances."""

import pytest
import torch

import pushforward as pf
from laws import randn
from pushforward.tensor import bcast

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
