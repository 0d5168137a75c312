"""Guided fields against exact fields: mixtures with labels, whose conditional and unconditional laws are known."""

import math

import pytest
import torch

import pushforward as pf
from pushforward.guidance import Guided

PATH = pf.Affine(pf.VP())
SCALES = (0.0, 1.0, 0.4, 2.5, -0.5)
CLASSES = torch.tensor([0, 0, 1, 2])


def mixture(path: pf.Path = PATH) -> pf.MixtureField:
    """Four components of three classes in two dimensions, float64."""
    means = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [2.0, 2.0]], dtype=torch.float64)
    stds = torch.tensor([0.5, 0.3, 0.7, 0.4], dtype=torch.float64)
    weights = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64)
    return pf.MixtureField(path, means, stds, weights, labels=CLASSES)


def log_joint(field: pf.MixtureField):
    """``log p_t(x) + log p_t(y | x)`` of each class, up to a constant, by Bayes' rule from the densities."""
    prior = torch.stack([field.weights[k == CLASSES].sum() for k in range(3)]).log()

    def logits(x, t):
        return torch.stack([field.log_prob(x, t, y=torch.full((len(x),), k)) + prior[k] for k in range(3)], 1)

    return logits


def points(n: int = 12):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=g, dtype=torch.float64) * 1.5
    return x, torch.linspace(0.02, 0.98, n, dtype=torch.float64), torch.arange(n) % 3


def kinds(scale: float, **rest):
    field = mixture()
    return {
        "free": pf.ClassifierFreeGuidance(field, scale, **rest),
        "classifier": pf.ClassifierGuidance(field, log_joint(field), scale, **rest),
    }


@pytest.mark.parametrize("name", ["velocity", "score", "data", "noise", "v"])
@pytest.mark.parametrize("kind", ["free", "classifier"])
def test_zero_is_unconditional_and_one_is_conditional(kind, name):
    field, (x, t, y) = mixture(), points()
    for scale, told in ((0.0, None), (1.0, y)):
        (guided,) = kinds(scale)[kind].evaluate((name,), x, t, y)
        (exact,) = field.evaluate((name,), x, t, told)
        torch.testing.assert_close(guided, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["free", "classifier"])
def test_the_guided_score_is_that_of_the_tilted_density(kind, scale):
    """Both kinds are the slope of ``log p_t(x) + w log p_t(y | x)``, here from the densities by autodiff."""
    field, (x, t, y) = mixture(), points()
    x = x.requires_grad_()
    tilted = (1 - scale) * field.log_prob(x, t) + scale * field.log_prob(x, t, y=y)
    (slope,) = torch.autograd.grad(tilted.sum(), x)
    guided = kinds(scale)[kind].score(x.detach(), t, y=y)
    torch.testing.assert_close(guided, slope, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["free", "classifier"])
def test_every_prediction_is_guided_alike(kind):
    """Each converted from the guided score is the guided one, and the last instant is a number."""
    x, t, y = points()
    field = kinds(2.5)[kind]
    score, velocity, data, v = field.evaluate(("score", "velocity", "data", "v"), x, t, y)
    for name, value in (("velocity", velocity), ("data", data), ("v", v)):
        torch.testing.assert_close(pf.convert(score, x, t, PATH, "score", name), value, rtol=1e-7, atol=1e-7)
    for end in (0.0, 1.0):
        assert all(part.isfinite().all() for part in field.evaluate(("velocity", "data", "noise"), x, end, y))


def test_velocity_is_guided_on_every_path():
    path = pf.GeneralAffine(lambda z, t: t * t * z, lambda t: 1 - t)
    x, t, y = points()
    data = torch.randn(9, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    field = pf.EmpiricalField(path, data, labels=torch.arange(9) % 3)
    free, told = field.velocity(x, t), field.velocity(x, t, y=y)
    guided = pf.ClassifierFreeGuidance(field, 3.0).velocity(x, t, y=y)
    torch.testing.assert_close(guided, 3 * told - 2 * free)
    with pytest.raises(ValueError, match="affine paths"):
        pf.ClassifierFreeGuidance(field, 3.0, rescale=0.5)


def test_interval_says_when_guidance_acts():
    field, (x, t, y) = mixture(), points()
    inside = (t >= 0.3) & (t <= 0.6)
    assert 0 < inside.sum() < len(t)
    for kind, guided in kinds(4.0, interval=(0.3, 0.6)).items():
        whole = kinds(4.0)[kind].velocity(x, t, y=y)
        expected = torch.where(inside[:, None], whole, field.velocity(x, t, y=y))
        torch.testing.assert_close(guided.velocity(x, t, y=y), expected, rtol=1e-9, atol=1e-9)


def test_rescale_gives_the_conditional_norm():
    field, (x, t, y) = mixture(), points()
    full = pf.ClassifierFreeGuidance(field, 5.0, rescale=1.0).v(x, t, y=y)
    torch.testing.assert_close(full.norm(dim=1), field.v(x, t, y=y).norm(dim=1))
    half, none = (pf.ClassifierFreeGuidance(field, 5.0, rescale=r).v(x, t, y=y) for r in (0.5, 0.0))
    torch.testing.assert_close(half, (full + none) / 2)
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(full, none), torch.ones(len(x)).double())


@pytest.mark.parametrize("kind", ["free", "classifier"])
def test_rows_without_a_class_are_left_alone(kind):
    field, (x, t, y) = mixture(), points()
    y = y.clone()
    y[::2] = -1
    guided = kinds(3.0)[kind].velocity(x, t, y=y)
    torch.testing.assert_close(guided[::2], field.velocity(x, t)[::2], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(guided[1::2], field.velocity(x, t, y=y)[1::2])
    torch.testing.assert_close(kinds(3.0)[kind].velocity(x, t), field.velocity(x, t))


def test_auto_leaves_a_worse_field_behind():
    """A Gaussian guided by a wider one: both scores are linear, so the guided law is the Gaussian between them."""
    zero = torch.zeros(1, 1, dtype=torch.float64)
    good, bad = (pf.MixtureField(PATH, zero, torch.tensor([s], dtype=torch.float64)) for s in (1.0, 2.0))
    x, t = torch.tensor([[0.7], [-2.0]], dtype=torch.float64), torch.tensor(1.0)
    precision = 3.0 / 1.0 - 2.0 / 4.0  # w / 1^2 + (1 - w) / 2^2 at w = 3
    torch.testing.assert_close(pf.AutoGuidance(good, bad, 3.0).score(x, t), -precision * x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(pf.AutoGuidance(good, bad, 1.0).score(x, t), good.score(x, t))
    torch.testing.assert_close(pf.AutoGuidance(good, bad, 0.0).score(x, t), bad.score(x, t))
    with pytest.raises(ValueError, match="another path"):
        pf.AutoGuidance(good, mixture(pf.Affine()), 2.0)


def test_every_sampler_takes_a_guided_field():
    """A class far from the rest is reached by flow and by diffusion alike."""
    guided = pf.ClassifierFreeGuidance(mixture(), 2.0)
    y = torch.full((60,), 2)
    for stepper in (None, pf.Heun(), pf.STEPPERS["dpmpp_2m"](), pf.StochasticHeun(0.7)):
        x = pf.generate(guided, 60, (2,), stepper=stepper, steps=16, seed=0, y=y, dtype=torch.float64)
        nearest = torch.cdist(x, mixture().means).argmin(1)
        assert (nearest == 3).double().mean() > 0.98


def test_a_guided_field_has_no_density():
    field = pf.ClassifierFreeGuidance(mixture(), 2.0)
    assert isinstance(field, Guided)
    for ask in (
        lambda: pf.log_likelihood(field, torch.zeros(1, 2)),
        lambda: pf.sample_with_log_prob(field, 2, (2,)),
    ):
        with pytest.raises(ValueError, match="no density"):
            ask()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: pf.ClassifierFreeGuidance(f, math.nan), "finite"),
        (lambda f: pf.ClassifierFreeGuidance(f, 2.0, (0.5, 0.5)), "interval"),
        (lambda f: pf.ClassifierFreeGuidance(f, 2.0, (-0.1, 0.5)), "interval"),
        (lambda f: pf.ClassifierFreeGuidance(f, 2.0, rescale=1.5), "share"),
        (lambda f: pf.AutoGuidance(f, f, 2.0, rescale=-1.0), "share"),
    ],
    ids=["nan", "empty interval", "before 0", "rescale above 1", "rescale below 0"],
)
def test_impossible_guidance_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make(mixture())


def test_a_trained_classifier_knows_the_posterior():
    """Trained on draws of the mixture it agrees with Bayes' rule at every time, and guides about as it does."""
    path = pf.Affine()
    field, g = mixture(path), torch.Generator().manual_seed(0)
    part = torch.multinomial(field.weights, 8000, True, generator=g)
    x = field.means[part] + field.stds[part][:, None] * torch.randn(8000, 2, generator=g).double()
    net = pf.train_classifier(x.float(), CLASSES[part], path, steps=200, size="tiny", seed=0)
    t = torch.rand(2000, generator=g)
    xt = path.draw(torch.randn(2000, 2, generator=g), x[:2000].float(), t).xt
    found = net(xt, t).softmax(1)
    exact = log_joint(field)(xt.double(), t.double()).softmax(1)
    assert (found - exact).abs().mean() < 0.05
    y = torch.full((300,), 1)
    guided = pf.generate(pf.ClassifierGuidance(field, net, 1.0), 300, (2,), steps=8, seed=0, y=y)
    told = pf.generate(field, 300, (2,), steps=8, seed=0, y=y)
    assert (guided - told).norm(dim=1).mean() < 0.5  # the same noise, so sample by sample; 1.9 without guidance
    assert (torch.cdist(guided.double(), field.means).argmin(1) == 2).double().mean() > 0.8


@pytest.mark.parametrize("y", [torch.zeros(4), torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, -1, 1])])
def test_a_classifier_needs_classes(y):
    with pytest.raises(pf.InputError, match="one class for each"):
        pf.train_classifier(torch.zeros(4, 2), y, PATH, steps=1)
