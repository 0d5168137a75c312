"""The network of tables against exact fields of mixtures, and the laws of columns against their training draws."""

import copy
import math

import pandas as pd
import pyarrow as pa
import pytest
import torch
from laws import ENDS, inner, predictions, randn, schedules

import pushforward as pf
from pushforward.config import Config, ObjectiveConfig, PathConfig, components, network
from pushforward.data import DataSpec, load
from pushforward.nn import ColumnPriors, Tabular, flops
from pushforward.nn.posterior import Posterior, straight
from pushforward.path import prediction_coefficients
from pushforward.tensor import GaussianMixture, jvp


def doubles(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


PIECES = (  # a number near four values, three categories, a number of which nothing is known, a pair of numbers
    GaussianMixture(doubles([-1.0], [-0.2], [0.5], [2.0]), doubles(0.1, 0.05, 0.2, 0.3), doubles(0.1, 0.4, 0.3, 0.2)),
    GaussianMixture(
        (torch.eye(3).double() - doubles(0.2, 0.3, 0.5)) / 0.5, doubles(0.1, 0.1, 0.1), doubles(0.2, 0.3, 0.5)
    ),
    GaussianMixture(doubles([0.0]), doubles(1.0), doubles(1.0)),
    GaussianMixture(doubles([0.0, 1.0], [2.0, -1.0]), doubles(0.5, 1.5), doubles(0.25, 0.75)),
)


def net_of(feature_groups, mix=straight):
    d = sum(law.width for law in feature_groups)
    return Tabular((d,), 16, 1, marginals=ColumnPriors(feature_groups, mix)).double().requires_grad_(False)


@schedules
@predictions
def test_before_training_it_is_the_exact_prediction_for_independent_columns(schedule, name):
    path = pf.Affine(schedule)
    field = pf.Learned(net_of(PIECES, lambda t: prediction_coefficients(path, t, name)), path, name)
    for t in torch.cat([inner(schedule), ENDS]):
        if float(t) == 1 and name == "score":
            continue  # grows without bound there
        x = sum(schedule(t)) * randn(40, 7, seed=int(1000 * t))
        begin = 0
        for law in PIECES:
            part = slice(begin, begin + law.width)
            exact = getattr(pf.MixtureField(path, *law), name)(x[:, part], t)
            found, begin = getattr(field, name)(x, t)[:, part], part.stop
            torch.testing.assert_close(found, exact, rtol=2e-5, atol=2e-5 * float(1 + exact.abs().max()))


def test_what_the_other_columns_say_enters_by_the_logits_alone():
    """Two columns that depend on each other: exact with log p(k | x_t of the other) - log w_k, from Bayes's formula."""
    joint = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    joint /= joint.sum()
    (means, stds, _), (others, widths, _) = PIECES[:2]
    laws = GaussianMixture(means, stds, joint.sum(1)), GaussianMixture(others, widths, joint.sum(0))
    both = torch.cat([means.repeat_interleave(3, 0), others.repeat(4, 1)], 1)
    spread = torch.cat([stds.repeat_interleave(3)[:, None], widths.repeat(4)[:, None].expand(12, 3)], 1)
    exact = pf.MixtureField(pf.Affine(), both, spread, joint.flatten())
    posterior = Posterior(laws, straight).double()
    for t in (0.2, 0.6, 0.95):
        x = randn(50, 4, seed=1)

        def like(law, part, t=t, x=x):
            variance = (t * law.stds) ** 2 + (1 - t) ** 2
            squares = (x[:, None, part] - t * law.means).square().sum(2)
            return -squares / 2 / variance - law.width / 2 * variance.log()

        first, second = like(laws[0], slice(0, 1)), like(laws[1], slice(1, 4))
        ours = (joint / joint.sum(1, keepdim=True)).log() + second[:, None]  # [n, 4, 3], given the first's component
        theirs = (joint / joint.sum(0)).log() + first[:, :, None]
        logits = torch.cat([ours.logsumexp(2), theirs.logsumexp(1)], 1)  # up to a number for each piece
        _, answer, _ = posterior(x, torch.full((50,), t, dtype=torch.float64))
        torch.testing.assert_close(answer(logits), exact.velocity(x, t), rtol=1e-5, atol=1e-5)


def paired_columns(n, seed):
    """Rows of two columns that depend on each other, their times, points, and logits that are Bayes's."""
    joint = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    joint /= joint.sum()
    (means, stds, _), (others, widths, _) = PIECES[:2]
    laws = GaussianMixture(means, stds, joint.sum(1)), GaussianMixture(others, widths, joint.sum(0))
    g = torch.Generator().manual_seed(seed)
    i, j = divmod(torch.multinomial(joint.flatten(), n, replacement=True, generator=g).numpy(), 3)
    first = means[i] + stds[i, None] * torch.randn(n, 1, generator=g, dtype=torch.float64)
    second = others[j] + widths[j, None] * torch.randn(n, 3, generator=g, dtype=torch.float64)
    x1, t = torch.cat([first, second], 1), torch.rand(n, 1, generator=g, dtype=torch.float64)
    xt = t * x1 + (1 - t) * torch.randn(n, 4, generator=g, dtype=torch.float64)

    def like(law, part):
        variance = (t * law.stds) ** 2 + (1 - t) ** 2
        squares = (xt[:, None, part] - t[:, :, None] * law.means).square().sum(2)
        return -squares / 2 / variance - law.width / 2 * variance.log()

    ours = (joint / joint.sum(1, keepdim=True)).log() + like(laws[1], slice(1, 4))[:, None]
    theirs = (joint / joint.sum(0)).log() + like(laws[0], slice(0, 1))[:, :, None]
    return laws, x1, xt, t[:, 0], torch.cat([ours.logsumexp(2), theirs.logsumexp(1)], 1)


def test_cross_entropy_is_least_at_the_posterior_of_the_components():
    """Its gradient in the logits is the posterior less who it was, so 0 on average at Bayes's logits."""
    laws, x1, xt, t, logits = paired_columns(40_000, 5)
    posterior = Posterior(laws, straight).double()
    scores = posterior(xt, t).scores
    offset, slopes = torch.zeros(7, dtype=torch.float64, requires_grad=True), []
    for k in range(200):
        some = slice(k, None, 200)
        entropy = posterior.cross_entropy(scores[some], logits[some] + offset, x1[some]).mean()
        slopes.append(torch.autograd.grad(entropy, offset)[0])
    each = torch.stack(slopes)
    assert float((each.mean(0) / (each.std(0) / 200**0.5)).abs().max()) < 4
    # more elsewhere: by what the other column says, which noise hides in part
    least = posterior.cross_entropy(scores, logits, x1).mean()
    for factor, more in ((0, 0.01), (0.5, 0), (1.5, 0)):
        assert posterior.cross_entropy(scores, factor * logits, x1).mean() > least + more


def test_cross_entropy_is_that_of_the_components_one_by_one():
    laws, x1, xt, t, logits = paired_columns(30, 6)
    posterior = Posterior(laws, straight).double()
    found = posterior.cross_entropy(posterior(xt, t).scores, logits, x1)
    expected, begin, first = torch.zeros(30, dtype=torch.float64), 0, 0
    for law in laws:
        part, end = slice(begin, begin + law.width), first + len(law.stds)
        normal = torch.distributions.Normal
        parts = [normal(m.expand(30, -1), s) for m, s in zip(law.means, law.stds, strict=True)]
        blurred = [
            normal(t[:, None] * m, ((t * s) ** 2 + (1 - t) ** 2).sqrt()[:, None])
            for m, s in zip(law.means, law.stds, strict=True)
        ]
        own = torch.stack([p.log_prob(x1[:, part]).sum(1) for p in parts], 1) + law.weights.log()
        noisy = torch.stack([p.log_prob(xt[:, part]).sum(1) for p in blurred], 1)
        log_p = (noisy + law.weights.log() + logits[:, first:end]).log_softmax(1)
        expected -= (own.softmax(1) * log_p).sum(1) / len(laws)
        begin, first = part.stop, end
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("predicts", ["velocity", "noise", "data"])
def test_component_matching_is_matching_and_the_cross_entropy(predicts):
    path = pf.Affine(pf.Cosine())
    net = net_of(PIECES, lambda t: prediction_coefficients(path, t, predicts))
    field, g = pf.Learned(net, path, predicts), torch.Generator()
    draw = path.draw(randn(20, 7, seed=1), randn(20, 7, seed=2), torch.linspace(0.1, 0.9, 20, dtype=torch.float64))
    plain = pf.Matching("velocity")(field, draw, None, g)
    entropy = net(draw.xt, draw.t, None, draw.x1)[1]
    torch.testing.assert_close(pf.ComponentMatching("velocity", 0.7)(field, draw, None, g), plain + 0.7 * entropy)
    # of fields that know no components it is matching
    for other in (pf.MixtureField(path, torch.zeros(1, 7), torch.ones(1)), pf.Learned(lambda x, t, y: x, path)):
        torch.testing.assert_close(
            pf.ComponentMatching()(other, draw, None, g), pf.Matching("velocity")(other, draw, None, g)
        )


def test_shares_are_those_of_bayes_and_sum_to_one_in_each_piece():
    posterior = Posterior(PIECES[:2], straight).double()
    x = torch.cat([PIECES[0].means[2:3], PIECES[1].means[1:2]], 1)
    shares, _, _ = posterior(x, torch.ones(1, dtype=torch.float64))
    assert (shares[:, :4].sum(), shares[:, 4:].sum()) == (pytest.approx(1), pytest.approx(1))
    assert shares[0, 2] > 0.99 and shares[0, 5] > 0.99
    shares, _, _ = posterior(x, torch.zeros(1, dtype=torch.float64))  # pure noise says nothing
    torch.testing.assert_close(shares[0], torch.cat([PIECES[0].weights, PIECES[1].weights]), rtol=1e-6, atol=1e-6)


def test_single_precision_mixed_precision_and_derivatives():
    net = net_of(PIECES)
    g = torch.Generator().manual_seed(2)
    for p in net.parameters():
        p.copy_(torch.randn(p.shape, generator=g) / max(1, p[0].numel()) ** 0.5 if p.ndim else p)
    x, t = randn(64, 7, seed=3), torch.linspace(0, 1, 64, dtype=torch.float64)
    exact, single = net(x, t), net.float()(x.float(), t.float())
    assert single.dtype == torch.float32
    error = (single - exact).norm() / exact.norm()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(x.float(), t.float())
    assert error < 1e-5 and (mixed - exact).norm() / exact.norm() < 0.02
    sharp = Posterior(
        [GaussianMixture(doubles([-1.0], [0.5]), doubles(1e-3, 1e-3), doubles(0.5, 0.5))] * 7, straight
    ).float()
    with torch.autocast("cpu", torch.bfloat16):
        shares, answer, _ = sharp(x.float(), t.float())
        inside = answer(torch.zeros(()))
    torch.testing.assert_close(shares, sharp(x.float(), t.float())[0])
    torch.testing.assert_close(inside, sharp(x.float(), t.float())[1](torch.zeros(())))
    rough = copy.deepcopy(net).bfloat16()(x.bfloat16(), t.float())
    assert rough.dtype == torch.bfloat16 and rough.isfinite().all()
    net = net.double()
    v = randn(64, 7, seed=4)
    slope = jvp(lambda x: net(x, t), x, v)[1]
    step = 1e-6 * v
    torch.testing.assert_close(slope, (net(x + step, t) - net(x - step, t)) / 2e-6, rtol=1e-4, atol=1e-4)
    assert flops(net, (7,)) > 0


def lattice(n, g):
    """(k, l): 30 values each, l = 3 k mod 30 up to one step; as positions between -1.5 and 1.5."""
    k = torch.randint(30, (n,), generator=g)
    both = torch.stack([k, (3 * k + torch.randint(-1, 2, (n,), generator=g)) % 30], 1)
    return (both - 14.5) / 10


@pytest.mark.usefixtures("unchecked")
def test_columns_of_few_values_that_depend_on_each_other_are_learned():
    """At most half of the error that the same network has without the laws, against the exact velocity."""
    spread = 0.02
    k = torch.arange(30).repeat_interleave(3)
    both = torch.stack([k, (3 * k + torch.arange(-1, 2).repeat(30)) % 30], 1).double()
    exact = pf.MixtureField(pf.Affine(), (both - 14.5) / 10, torch.full((90,), spread))
    values = GaussianMixture(
        (torch.arange(30).double()[:, None] - 14.5) / 10, torch.full((30,), spread), torch.full((30,), 1 / 30)
    )
    errors = []
    for laws in (None, ColumnPriors((values, values))):
        g = torch.Generator().manual_seed(1)
        with torch.random.fork_rng():
            torch.random.manual_seed(0)
            net = Tabular((2,), 64, 2, marginals=laws)
        adam, steps = torch.optim.Adam(net.parameters()), 300
        for step in range(steps):
            adam.param_groups[0]["lr"] = 5e-3 * (1 + math.cos(math.pi * step / steps)) / 2
            t = torch.sigmoid(1.5 + 2.2 * torch.randn(512, generator=g))
            x1 = lattice(512, g) + spread * torch.randn(512, 2, generator=g)
            x0 = torch.randn(512, 2, generator=g)
            loss = (net(t[:, None] * x1 + (1 - t[:, None]) * x0, t) - (x1 - x0)).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        t = torch.sigmoid(1.5 + 2.2 * torch.randn(2000, generator=g))
        x = t[:, None] * (lattice(2000, g) + spread * torch.randn(2000, 2, generator=g))
        x += (1 - t[:, None]) * torch.randn(2000, 2, generator=g)
        with torch.no_grad():
            errors.append(float((net(x, t) - exact.velocity(x, t)).square().mean()))
    assert errors[1] < 0.5 * errors[0], errors
    assert all(bool((p.grad != 0).any()) for p in net.parameters())  # what it sees of the laws, too


def test_laws_of_columns_have_the_moments_of_what_training_draws():
    g = torch.Generator().manual_seed(0)
    n = 4000

    def gaps(values, share):
        return [None if u < share else v for v, u in zip(values, torch.rand(n, generator=g).tolist(), strict=True)]

    normal, whole = torch.randn(n, generator=g), torch.randint(0, 7, (n,), generator=g)
    frame = {
        "spread": normal.exp().tolist(),
        "few": (whole // 2 * 10).tolist(),
        "many": torch.randint(0, 400, (n,), generator=g).tolist(),
        "spike": torch.where(normal > 0.3, normal, 0.3).double().round(decimals=2).tolist(),
        "gaps": gaps(normal.tolist(), 0.3),
        "whole": gaps(whole.tolist(), 0.1),
        "flag": (normal > 1).tolist(),
        "word": ["abcdefg"[i] for i in whole],
        "code": [f"c{i}" for i in torch.randint(0, 90, (n,), generator=g).tolist()],
        "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(whole.tolist(), unit="D"),
        "one": [1] * n,
    }
    data = load(pa.table(frame), {"rules": ["not any"]})  # for all columns: some determine others
    transform = data.transform
    laws = transform.marginals
    assert tuple(law.width for law in laws) == transform.feature_groups
    assert all(len(law.stds) <= 100 and float(law.weights.sum()) == pytest.approx(1) for law in laws)
    x = transform.dequantize(data.x, torch.rand(data.x.shape, generator=g)).double()
    begin = 0
    for law in laws:
        part = x[:, begin : begin + law.width]
        mean = law.weights @ law.means
        square = law.weights @ (law.means.square() + law.stds.square()[:, None])
        assert float((mean - part.mean(0)).abs().max()) < 0.03
        assert float((square - part.square().mean(0)).abs().max()) < 0.06
        begin += part.shape[1]
    for i, name in ((4, "gaps"), (6, "whole")):  # what stands in the place of gaps, and whether there is one
        missing = pytest.approx(frame[name].count(None) / n)
        assert float(laws[i].weights[-1]) == missing and float(laws[i + 1].weights[1]) == missing
    few = laws[1]  # four values, and nothing for what lies between them
    assert len(few.stds) == 4
    nearest = (x[:, 1:2] - few.means.T).abs().amin(1)
    assert float(nearest.max()) < 4 * float(few.stds.max())


@pytest.mark.parametrize(
    ("field", "predicts"),
    [
        ("learned", "velocity"),
        ("learned", "data"),
        ("preconditioned", "velocity"),
        ("energy", "data"),
        ("joint", "data"),
    ],
)
def test_only_a_learned_field_begins_with_the_laws(field, predicts):
    config = Config(path=PathConfig(schedule="cosine"), objective=ObjectiveConfig(field=field, predicts=predicts))
    data = DataSpec((7,), 0, PIECES)
    parts = components(config, data)
    found = parts.field_of(network(config, data)).velocity(randn(5, 7).float(), 0.5)
    law, x = PIECES[0], randn(5, 7)[:, :1]
    exact = pf.MixtureField(parts.path, *law).velocity(x, 0.5)
    assert torch.allclose(found[:, :1].double(), exact, rtol=1e-4, atol=1e-4) == (field == "learned")
