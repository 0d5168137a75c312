"""Stochastic bridges: both their targets, and samplers that follow the law of the Gaussian Schrodinger bridge."""

import math

import pytest
import torch
from laws import randn

import pushforward as pf
from pushforward import cli
from pushforward.config import Config
from pushforward.config.sections import NetConfig, ObjectiveConfig, PathConfig
from pushforward.nn import MLP, TwoHeads
from pushforward.objective import Matching, MultiMatching
from pushforward.objective.weights import default_weight

SIGMA = 0.7
MEAN = torch.tensor([2.0, -1.0], dtype=torch.float64)
LOWER = torch.tensor([[0.6, 0.0], [0.5, 0.9]], dtype=torch.float64)
EYE = torch.eye(2, dtype=torch.float64)


def coupled_covariance(end):
    """``Cov(x_0, x_1)`` of the Schrodinger bridge from N(0, I) to N(m, end), as Bunne et al. 2023, equation 3."""
    w, v = torch.linalg.eigh(4 * end + SIGMA**4 * EYE)
    return (v @ w.sqrt().diag() @ v.T - SIGMA**2 * EYE) / 2


END = LOWER @ LOWER.T
CROSS = coupled_covariance(END)


def exact_heads(x, t, y=None):
    """Velocity and score of that bridge: it is Gaussian at every time, and its velocity linear in the point."""
    t = t[0].double()
    mean = t * MEAN
    noise = SIGMA**2 * t * (1 - t) * EYE
    covariance = (1 - t) ** 2 * EYE + t**2 * END + t * (1 - t) * (CROSS + CROSS.T) + noise
    # Cov(x_1 - x_0, x_t) and half the slope of the noise's variance
    along = (1 - t) * (CROSS.T - EYE) + t * (END - CROSS) + SIGMA**2 * (1 - 2 * t) / 2 * EYE
    away = torch.linalg.solve(covariance, (x.double() - mean).T)
    return (MEAN + (along @ away).T).to(x), -away.T.to(x)


EXACT = pf.Joint(exact_heads, pf.Bridge(SIGMA))


def test_the_target_of_the_score_is_that_of_the_bridge_between_both_ends(rng):
    """By autodiff of the log-density ``N(x; (1-t) x0 + t x1, sigma^2 t(1-t) I)``."""
    path, x0, x1 = pf.Bridge(SIGMA), randn(6, 2, seed=1), randn(6, 2, seed=2)
    t = torch.linspace(0.01, 0.99, 6, dtype=torch.float64)
    draw = path.draw(x0, x1, t, rng)

    def log_density(x):
        std = (SIGMA**2 * t * (1 - t)).sqrt()[:, None]
        return torch.distributions.Normal((1 - t)[:, None] * x0 + t[:, None] * x1, std).log_prob(x).sum()

    torch.testing.assert_close(path.target(draw, "score"), torch.func.grad(log_density)(draw.xt))
    assert torch.equal(path.target(draw, "velocity"), draw.ut)
    for end in (0.0, 1.0):
        assert not path.target(path.draw(x0, x1, end, rng), "score").any()


@pytest.mark.parametrize("name", ["velocity", "score"])
def test_both_targets_have_the_exact_field_as_their_mean(name):
    """What is left of a target is uncorrelated with every function of the point and the time: a few are tried."""
    n, path = 200_000, pf.Bridge(SIGMA)
    oracle = pf.EmpiricalField(path, randn(5, 2, seed=3))
    g = torch.Generator().manual_seed(0)
    x1 = oracle.points[torch.randint(5, (n,), generator=g)]
    x0 = torch.randn(n, 2, generator=g, dtype=torch.float64)
    draw = path.draw(x0, x1, pf.TIMES["uniform"]()(n, g), g)
    left = path.target(draw, name) - oracle.evaluate((name,), draw.xt, draw.t)[0]
    left = path.target_weight(name, draw.t)[:, None].sqrt() * left
    for seen in (torch.ones_like(draw.t), draw.xt[:, 0], draw.xt[:, 1].sin(), (6 * draw.t).cos() * draw.xt[:, 0]):
        product = (left * seen[:, None]).sum(1)
        assert abs(float(product.mean())) < 4 * float(product.std()) / math.sqrt(n)


@pytest.mark.parametrize("name", ["velocity", "score"])
def test_losses_are_of_one_size_at_all_times(name):
    """The square of the velocity's target is 300 times larger at t = 1e-4 than at .5; weighted, it is not."""
    path, n = pf.Bridge(1.0), 50_000
    g = torch.Generator().manual_seed(0)
    x0, x1 = (torch.randn(n, 2, generator=g, dtype=torch.float64) for _ in range(2))
    zero = pf.Joint(lambda x, t, y: (torch.zeros_like(x), torch.zeros_like(x)), path)
    plain = Matching(name, lambda t, *rest: torch.ones_like(t))
    for t in (0.5, 1e-2, 1e-4, 1e-8, 1 - 1e-8):
        draw = path.draw(x0, x1, t, g)
        assert 0.5 < float(Matching(name)(zero, draw, None, g).mean()) < 2.5
    assert float(plain(zero, path.draw(x0, x1, 1e-4, g), None, g).mean()) > 300


def test_weights_of_a_bridge_are_those_of_its_noise():
    path, t = pf.Bridge(0.5), torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(default_weight(t, path, "score", randn(4, 2)), 0.25 * t * (1 - t))
    noise = 0.25 * (1 - 2 * 0.2) ** 2 / (4 * 0.2 * 0.8)
    torch.testing.assert_close(
        default_weight(t, path, "velocity", randn(4, 2)), torch.tensor([0, 1 / (1 + noise), 1, 0], dtype=torch.float64)
    )
    with pytest.raises(ValueError, match="affine paths only"):
        default_weight(t, path, "data", randn(4, 2))


def moments(x0, x):
    return x.mean(0), torch.cov(x.T), x0.T @ (x - x.mean(0)) / len(x)


def test_ode_and_sde_of_the_exact_bridge_end_in_its_law():
    """Ends of both have the law of the data; the diffusion's pairs that of the Schrodinger bridge, the flow's not."""
    n = 40_000
    x0 = randn(n, 2, seed=4)
    near = {"rtol": 0, "atol": 6 / math.sqrt(n)}
    flow = pf.integrate(EXACT, x0, stepper=pf.RK4(), steps=40).x[-1]
    sde = pf.integrate(EXACT, x0, stepper=pf.StochasticHeun(pf.reverse_sigma(EXACT.path)), steps=100, seed=1).x[-1]
    for x in (flow, sde):
        mean, covariance, _ = moments(x0, x)
        torch.testing.assert_close(mean, MEAN, **near)
        torch.testing.assert_close(covariance, END, **near)
    torch.testing.assert_close(moments(x0, sde)[2], CROSS, **near)
    assert float((moments(x0, flow)[2] - CROSS).abs().max()) > 0.1


@pytest.mark.parametrize("sigma", [0.3, 1.4])
def test_any_sigma_has_the_marginals_of_the_bridge(sigma):
    x0 = randn(20_000, 2, seed=5)
    x = pf.integrate(EXACT, x0, stepper=pf.StochasticHeun(sigma), steps=100, seed=1).x[-1]
    torch.testing.assert_close(moments(x0, x)[1], END, rtol=0, atol=0.04)


def test_reverse_sigma_of_a_bridge_is_its_own():
    t = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    assert torch.equal(pf.reverse_sigma(pf.Bridge(0.7), 0.5)(t), torch.full_like(t, 0.35))


def test_what_a_bridge_does_not_have_is_refused_with_the_way_out():
    path = pf.Bridge()
    with pytest.raises(ValueError, match=r"two heads learns both: pf.Joint, or --field joint"):
        pf.Learned(lambda x, t, y: x, path).score(randn(3, 2), 0.5)
    with pytest.raises(ValueError, match="affine paths only"):
        pf.Joint(lambda x, t, y: (x, x), path, ("data", "score"))
    with pytest.raises(ValueError, match="affine paths only"):
        path.target(path.draw(randn(3, 2), randn(3, 2), 0.5, torch.Generator()), "v")


def trained(steps):
    """Two heads on pairs of batches, as `pf.train` would with ``--path bridge --coupling schrodinger_bridge``."""
    g = torch.Generator().manual_seed(0)
    path, couple = pf.Bridge(SIGMA), pf.SchrodingerBridge(SIGMA)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TwoHeads(MLP((4,), 64, 2))
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    field = pf.Joint(net, path)
    for _ in range(steps):
        x1 = (torch.randn(256, 2, generator=g, dtype=torch.float64) @ LOWER.T + MEAN).float()
        x0, x1, _ = couple(torch.randn(256, 2, generator=g), x1, None, g)
        draw = path.draw(x0, x1, pf.TIMES["even"]()(256, g), g)
        loss = MultiMatching()(field, draw, None, g).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
    return field


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked", "one_thread")
def test_a_trained_bridge_follows_the_schrodinger_bridge():
    """[SF]2M: ends and pairs of its diffusion to a few hundredths, as are those of batches of 256."""
    field, x0 = trained(1000), randn(20_000, 2, seed=6).float()
    with torch.no_grad():
        flow = pf.integrate(field, x0, steps=30).x[-1].double()
        sde = pf.integrate(field, x0, steps=60, stepper=pf.StochasticHeun(pf.reverse_sigma(field.path))).x[-1].double()
    for x in (flow, sde):
        mean, covariance, _ = moments(x0.double(), x)
        torch.testing.assert_close(mean, MEAN, rtol=0, atol=0.06)
        torch.testing.assert_close(covariance, END, rtol=0, atol=0.08)
    torch.testing.assert_close(moments(x0.double(), sde)[2], CROSS, rtol=0, atol=0.06)


def test_a_run_on_bridges_with_two_heads_samples_by_its_diffusion(tmp_path):
    rows = (randn(400, 2, seed=7) @ LOWER.T + MEAN).float().numpy()
    config = Config(
        path=PathConfig(path="bridge:0.7", coupling="schrodinger_bridge:0.7"),
        objective=ObjectiveConfig(field="joint"),
        net=NetConfig(width=16, depth=1),
    )
    model = pf.train(rows, tmp_path / "run", config=config, steps=5)
    assert isinstance(model.field, pf.Joint)
    sampler = pf.Sampler(pf.StochasticHeun(pf.reverse_sigma(model.field.path)), steps=4)
    assert torch.as_tensor(model.sample(7, sampler=sampler)).isfinite().all()
    assert torch.as_tensor(model.sample(7, steps=4)).isfinite().all()


@pytest.mark.parametrize("flags", [("--path", "bridge:1"), ("--recipe", "sf2m")], ids=["velocity", "both"])
def test_every_command_takes_a_run_on_bridges(flags, tmp_path, capsys):
    """Evaluation and verification ended in errors: curves are random, and scores say nothing of velocities."""
    run = tmp_path / "run"

    def command(*args):
        cli.main([str(a) for a in args])
        return capsys.readouterr().out

    command("train", "moons", "--out", run, *flags, "--steps", "2", "--width", "8", "--depth", "1")
    command("evaluate", run, "-n", "60", "--out", tmp_path / "report")
    assert (tmp_path / "report" / "report.html").exists()
    assert ("score against the training set" in command("verify", run)) == ("sf2m" in flags)
    command("sample", run, "-n", "5", "--steps", "3", "-o", tmp_path / "x.csv")
    command("score", run, tmp_path / "x.csv", "--steps", "3", "-o", tmp_path / "scores.csv")
    if "sf2m" in flags:
        command("sample", run, "-n", "5", "--steps", "3", "--sigma", "reverse", "-o", tmp_path / "y.csv")
