"""Laws of couplings: what they keep, and the generator they follow."""

import math

import pytest
import torch

import pushforward as pf
from laws import randn

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
