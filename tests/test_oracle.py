"""The empirical oracle at scale, its labels, and the points that no trajectory reaches."""

import pytest
import torch
from laws import randn

import pushforward as pf
from pushforward.oracle import empirical


@pytest.fixture
def fused(monkeypatch):
    """Every data set counts as large: fused attention in the data's own precision."""
    monkeypatch.setattr(empirical, "SMALL", 0)


def naive(data, x, t, weights=None):
    """``E[x_1 | x_t = x]`` on the straight path by the formula, in float64, one query at a time."""
    data, x, t = data.double(), x.double(), torch.as_tensor(t, dtype=torch.float64).expand(len(x))
    prior = torch.zeros(len(data)) if weights is None else weights.double().log()
    rows = [
        torch.softmax(prior - (q - s * data).square().sum(1) / (2 * (1 - s) ** 2), 0) @ data
        for q, s in zip(x, t, strict=True)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("per_row", [False, True])
def test_fused_attention_agrees_with_the_formula(fused, dtype, tolerance, per_row):
    data = (randn(40, 64, seed=60)[torch.arange(3000) % 40] + 0.5 * randn(3000, 64, seed=61)).to(dtype)
    field = pf.EmpiricalField(pf.Affine(), data)
    for t in (0.0, 0.05, 0.2, 0.4, 0.7, 0.95):
        x = (t * data[:50] + (1 - t) * randn(50, 64, seed=62)).to(dtype)
        times = torch.full((50,), t, dtype=torch.float64) if per_row else t
        error = (field.data(x, times).double() - naive(data, x, t)).norm(dim=1) / naive(data, x, t).norm(dim=1)
        assert float(error.max()) < tolerance, t


def test_fused_attention_takes_weights_labels_and_blocks(fused, monkeypatch):
    data, x = randn(300, 5, seed=63), randn(20, 5, seed=64)
    weights, labels = torch.rand(300, generator=torch.Generator().manual_seed(1)).double(), torch.arange(300) % 3
    field = pf.EmpiricalField(pf.Affine(), data, weights, labels)
    torch.testing.assert_close(field.data(x, 0.4), naive(data, x, 0.4, weights))
    y = torch.arange(20) % 3
    whole = field.data(x, 0.4, y=y)
    for i in range(20):
        keep = labels == y[i]
        torch.testing.assert_close(whole[i : i + 1], naive(data[keep], x[i : i + 1], 0.4, weights[keep]))
    monkeypatch.setattr(empirical, "ROOM", 700)  # two queries a block
    torch.testing.assert_close(field.data(x, 0.4, y=y), whole)
    torch.testing.assert_close(
        field.data(x, 1.0, y=y)[0], data[labels == 0][(data[labels == 0] - x[0]).norm(dim=1).argmin()]
    )


@pytest.mark.parametrize("path", [pf.Affine(), pf.Affine(pf.VP(), pf.Laplace()), pf.Bridge(0.5)], ids=str)
def test_blocks_do_not_change_the_answer(path, monkeypatch):
    field = pf.EmpiricalField(path, randn(30, 2, seed=65))
    x, t = randn(11, 2, seed=66), torch.linspace(0.1, 0.9, 11, dtype=torch.float64)
    names = ("velocity", "data", "score")
    whole = [*field.evaluate(names, x, t), field.log_prob(x, t)]
    monkeypatch.setattr(empirical, "ROOM", 100)
    torch.testing.assert_close([*field.evaluate(names, x, t), field.log_prob(x, t)], whole)


def test_conditional_oracles_are_the_oracles_of_the_class():
    means, labels = randn(6, 2, seed=67), torch.tensor([0, 0, 1, 1, 1, 2])
    stds = 0.2 + torch.rand(6, generator=torch.Generator().manual_seed(2)).double()
    x, y = randn(9, 2, seed=68), torch.arange(9) % 3
    for field, part in (
        (
            pf.MixtureField(pf.Affine(), means, stds, labels=labels),
            lambda k: pf.MixtureField(pf.Affine(), means[k], stds[k]),
        ),
        (pf.EmpiricalField(pf.Affine(), means, labels=labels), lambda k: pf.EmpiricalField(pf.Affine(), means[k])),
    ):
        for c in range(3):
            alone = part(labels == c)
            torch.testing.assert_close(field.velocity(x, 0.3, y=y)[y == c], alone.velocity(x[y == c], 0.3))
            torch.testing.assert_close(field.log_prob(x, 0.3, y=y)[y == c], alone.log_prob(x[y == c], 0.3))
        with pytest.raises(ValueError, match="no data for"):
            field.velocity(x, 0.3, y=y + 7)
    with pytest.raises(ValueError, match="no labels"):
        pf.EmpiricalField(pf.Affine(), means).velocity(x, 0.3, y=y)


@pytest.mark.parametrize("name", ["affine", "characteristics"])
def test_points_that_no_trajectory_reaches_follow_the_nearest(name):
    data = torch.tensor([[0.5], [1.7]], dtype=torch.float64)
    path = {
        "affine": pf.Affine(source=pf.Uniform(0, 2)),
        "characteristics": pf.Characteristics(lambda x, z, t: (x - t * z) / (1 - t), pf.Uniform(0, 2)),
    }[name]
    field = pf.EmpiricalField(path, data)
    # at t = 0.5 the curves to 0.5 cover [0.25, 1.25] and those to 1.7 cover [0.85, 1.85]
    x = torch.tensor([[-3.0], [9.0], [0.0], [2.0]], dtype=torch.float64)
    assert bool((field.log_prob(x, 0.5) == -torch.inf).all())
    nearest = torch.tensor([[0.5], [1.7], [0.5], [1.7]], dtype=torch.float64)
    torch.testing.assert_close(field.data(x, 0.5), nearest)
    torch.testing.assert_close(field.velocity(x, 0.5), (nearest - x) / 0.5)


def test_quantities_that_a_path_does_not_have_are_refused():
    field = pf.EmpiricalField(pf.Bridge(0.5), randn(4, 2))
    with pytest.raises(ValueError, match="Bridge: this path has no noise"):
        field.noise(randn(3, 2), 0.5)


def test_empirical_field_on_a_bridge_is_the_gaussian_path_of_the_same_law():
    # source N(0, I) and Brownian noise: x_t | z ~ N(t z, (1-t)^2 + sigma^2 t (1-t)), an affine path in disguise
    data, x = randn(12, 2, seed=69), randn(7, 2, seed=70)
    t = torch.tensor([0.1, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9], dtype=torch.float64)

    class Spread(pf.Schedule):
        def variance(self, t):
            return (1 - t) ** 2 + 0.25 * t * (1 - t)

        def __call__(self, t):
            return t, self.variance(t).clamp_min(0).sqrt()

    one, other = pf.EmpiricalField(pf.Bridge(0.5), data), pf.EmpiricalField(pf.Affine(Spread()), data)
    for name in ("velocity", "data", "score"):
        torch.testing.assert_close(getattr(one, name)(x, t), getattr(other, name)(x, t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(one.log_prob(x, t), other.log_prob(x, t))
