"""Averages of chosen length: against quadrature, and against averages that were tracked all the way."""

import copy
import math
import shutil

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

import pushforward as pf
from pushforward import run
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.errors import InputError
from pushforward.training import Budget, OptimizerConfig, TrainingOptions, fit
from pushforward.training.average import (
    SNAPSHOTS,
    Profile,
    combination,
    exponent,
    length,
    longest,
    reaverage,
    sharper,
    take_snapshot,
)


def density(profile):
    return lambda s: (profile.exponent + 1) * s**profile.exponent / profile.step ** (profile.exponent + 1)


@pytest.mark.parametrize("g", [0.0, 1.5, 6.94, 16.97, 40.0])
def test_length_is_the_standard_deviation_of_the_profile(g):
    p = density(Profile(1, g))
    mean, square = (quad(lambda s, k=k: p(s) * s**k, 0, 1)[0] for k in (1, 2))
    assert length(g) == pytest.approx(math.sqrt(square - mean**2), rel=1e-6)
    assert exponent(length(g)) == pytest.approx(g, abs=1e-6)


def test_lengths_of_the_paper():
    """Karras et al. 2024, section 3.1: lengths 5% and 10% have the exponents 16.97 and 6.94."""
    assert exponent(0.05) == pytest.approx(16.97, abs=0.005) and exponent(0.10) == pytest.approx(6.94, abs=0.005)
    assert length(sharper(6.94)) == pytest.approx(length(6.94) / 2)
    for bad in (0.0, -1.0, longest() + 0.01, math.nan):
        with pytest.raises(ValueError, match="between 1e-06 and"):
            exponent(bad)


@pytest.mark.parametrize("one", [Profile(7, 0.0), Profile(20, 6.94)], ids=["mean", "power"])
@pytest.mark.parametrize("other", [Profile(20, 16.97), Profile(33, 3.0)], ids=["sharp", "late"])
def test_product_is_the_integral(one, other):
    p, q = density(one), density(other)
    exact = quad(lambda s: p(s) * q(s), 0, min(one.step, other.step))[0]
    assert one.product(other) == pytest.approx(exact, rel=1e-8) and other.product(one) == one.product(other)


def test_a_kept_profile_is_found_again():
    kept = [Profile(step, g) for step in (10, 20, 30, 40) for g in (7.0, 17.0)]
    numbers, error = combination(kept, kept[-2])
    assert numbers == pytest.approx([0.0] * 6 + [1.0, 0.0], abs=1e-5) and error < 1e-5


def test_more_snapshots_fit_better():
    errors = []
    for count in (2, 4, 8, 16):
        kept = [Profile(100 * (i + 1) // count, g) for i in range(count) for g in (6.94, 16.97)]
        numbers, error = combination(kept, Profile(100, exponent(0.15)))
        assert sum(numbers) == pytest.approx(1, abs=1e-9)
        # the error is what it says: an integral of a square
        p, parts = density(Profile(100, exponent(0.15))), [density(k) for k in kept]
        grid = (np.arange(200_000) + 0.5) / 2000
        fitted = sum(n * q(grid) * (grid <= k.step) for n, q, k in zip(numbers, parts, kept, strict=True))
        exact = math.sqrt(((fitted - p(grid)) ** 2).sum() / (p(grid) ** 2).sum())
        assert error == pytest.approx(exact, rel=0.02, abs=1e-4)
        errors.append(error)
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01


# ---- in training

STEPS = 400


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small network trained with snapshots, and its weights after each step."""
    folder, seen = tmp_path_factory.mktemp("averages"), []
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.copy_(torch.arange(6.0).reshape(2, 3))

    def flat(net):
        return torch.cat([p.detach().flatten() for p in net.parameters()]).double()

    def loss(net, x, generator):
        seen.append(flat(net))
        return (net(x) - x.sum(1, keepdim=True).sin()).square().sum(1)

    rows = torch.randn(STEPS, 8, 3, generator=torch.Generator().manual_seed(0))
    state, _ = fit(
        net,
        loss,
        rows.__getitem__,
        Budget(STEPS, None),
        OptimizerConfig(lr=0.1, warmup=0, weight_decay=0.0, clip=1e9, ema=6.94),
        options=TrainingOptions(folder=folder / "checkpoints", snapshots=folder / "averages", checkpoint_every=25),
    )
    return folder, state, torch.stack([*seen[1:], flat(state.net)])


@pytest.mark.parametrize("wanted", [0.04, 0.05, 0.07, 0.1, 0.15, 0.2])
def test_average_of_another_length_is_the_one_tracked_directly(wanted, trained):
    folder, state, weights = trained
    k = torch.arange(STEPS + 1, dtype=torch.float64) ** (exponent(wanted) + 1)
    direct = (k.diff() / k[-1]) @ weights
    net = copy.deepcopy(state.ema).requires_grad_(True)
    start = torch.cat([p.detach().flatten() for p in net.parameters()]).double()
    reaverage(net, folder / "averages", 6.94, wanted)
    made = torch.cat([p.detach().flatten() for p in net.parameters()]).double()
    # the share of the way from the average in hand that is missed
    missed = float((made - direct).norm() / weights.std(0).norm())
    assert missed < 0.005
    if wanted == 0.1:
        assert float((made - start).norm() / weights.std(0).norm()) < 0.004
    elif abs(wanted - 0.1) > 0.04:
        assert float((start - direct).norm() / weights.std(0).norm()) > 5 * missed


def test_no_average_is_made_from_what_cannot_make_it(trained, tmp_path):
    folder, state, _ = trained
    net = copy.deepcopy(state.ema).requires_grad_(True)
    with pytest.raises(InputError, match="no snapshots"):
        reaverage(net, tmp_path, 6.94, 0.1)
    with pytest.raises(InputError, match="between 1e-06 and"):
        reaverage(net, folder / "averages", 6.94, 0.5)
    with pytest.raises(InputError, match="cannot be made"):
        reaverage(net, folder / "averages", 6.94, 0.005)
    shutil.copytree(folder / "averages", tmp_path / "averages")
    shutil.move(tmp_path / "averages" / "step-100", tmp_path / "averages" / "step-101")
    with pytest.raises(InputError, match=r"step-101: damaged snapshot .*another step"):
        reaverage(net, tmp_path / "averages", 6.94, 0.1)


def test_snapshots_are_thinned_out_and_the_newest_is_kept(tmp_path):
    for step in range(10, 1010, 10):
        take_snapshot(tmp_path, step, {"ema": torch.zeros(2), "sharp": torch.ones(2)})
        steps = sorted(int(p.name[5:]) for p in tmp_path.iterdir())
        assert steps[-1] == step and len(steps) <= SNAPSHOTS
    profiles = [Profile(step, g) for step in steps for g in (6.94, 16.97)]
    assert combination(profiles, Profile(1000, exponent(0.2)))[1] < 0.05
    take_snapshot(tmp_path, 500, {"ema": torch.zeros(2), "sharp": torch.ones(2)})  # training was begun again from there
    assert max(int(p.name[5:]) for p in tmp_path.iterdir()) == 500


def test_a_run_is_loaded_with_an_average_of_chosen_length(tmp_path, monkeypatch):
    monkeypatch.setattr(run.callbacks, "preview", lambda *_: None)
    rows = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    config = Config(net=NetConfig(width=16, depth=1), train=TrainConfig(batch=32, warmup=5))
    pf.train(rows, tmp_path / "run", config=config, steps=60, checkpoint_every=5)
    usual, same, long = (pf.load(tmp_path / "run", ema=ema) for ema in (None, length(7.0), 0.2))
    for (name, a), b in zip(usual.field.net.state_dict().items(), same.field.net.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)
    a, b = (model.sample(50, steps=4) for model in (usual, long))
    assert 1e-3 < np.abs(a - b).max() < 1
    with pytest.raises(InputError, match="between 1e-06 and"):
        pf.load(tmp_path / "run", ema=3.0)
