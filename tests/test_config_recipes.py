"""Recipes: losses and samplers equal what their papers print, written out here; and how a run is made of one."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from laws import randn

import pushforward as pf
from pushforward import cli
from pushforward.config import RECIPES, Config, components
from pushforward.data import DataSpec
from pushforward.run.sampling import default_sampler
from pushforward.sample.stepper import ConditionedField

STEPS, N = 5, 4


class Net(torch.nn.Module):
    """A smooth function of point and time, of one or two answers."""

    def __init__(self, answers=1):
        super().__init__()
        self.answers = answers

    def forward(self, x, t, y=None):
        t = t.to(x)[:, None]
        out = [torch.sin((k + 1) * x + t) + 0.3 * x.flip(1) * torch.cos(3 * t) for k in range(self.answers)]
        return out[0] if self.answers == 1 else tuple(out)


def parts_of(name):
    return components(RECIPES[name].config, DataSpec((2,)))


def field_of(name):
    return parts_of(name).field_of(Net(2 if name == "sf2m" else 1))


class Kicks:
    """Noise that both implementations share: one draw for a step and one for each corrector."""

    def __init__(self, step):
        self.step = step

    def __call__(self):
        return randn(N, 2, seed=100 + self.step)

    def fresh(self, k):
        return randn(N, 2, seed=200 + self.step + 50 * k)


def abar_of(steps=1000):
    return torch.cat([torch.ones(1).double(), (1 - torch.linspace(1e-4, 0.02, steps).double()).cumprod(0)])


def all_of(value, like):
    return torch.full((len(like),), float(value), dtype=torch.float64)


# losses: (net, x0, x1, t, eps) -> loss [n], as printed


def edm_denoiser(net, x, sigma):
    """Table 1 with sigma_data = 1."""
    s = sigma[:, None]
    skip, out, inner = 1 / (s**2 + 1), s / (s**2 + 1).sqrt(), 1 / (s**2 + 1).sqrt()
    return skip * x + out * net(inner * x, sigma.log() / 4)


def edm_loss(net, draw):
    sigma = (160 ** (1 / 7) * (1 - draw.t)) ** 7  # the clock of the schedule edm:0,160
    weight = (sigma**2 + 1) / sigma**2
    denoised = edm_denoiser(net, draw.x1 + sigma[:, None] * draw.x0, sigma)
    return weight * (denoised - draw.x1).square().mean(1)


def ddpm_loss(net, draw):
    k = (1000 * (1 - draw.t)).round().long()
    abar = abar_of()[k][:, None]
    x = abar.sqrt() * draw.x1 + (1 - abar).sqrt() * draw.x0
    return (draw.x0 - net(x, draw.t)).square().mean(1)


def rectified_flow_loss(net, draw):
    t = draw.t[:, None]
    return (net((1 - t) * draw.x0 + t * draw.x1, draw.t) - (draw.x1 - draw.x0)).square().mean(1)


def ve_sigma(t):
    """With the variance at the data end taken off, as in the transition kernel of the paper's equation 29."""
    return (0.04**2 * ((200 / 0.04) ** (2 * (1 - t)) - 1)).sqrt()


def score_sde_loss(net, draw):
    sigma = ve_sigma(draw.t)[:, None]
    x = draw.x1 + sigma * draw.x0
    score = -net(x, draw.t) / sigma
    return sigma[:, 0] ** 2 * (score + draw.x0 / sigma).square().mean(1)


def sf2m_loss(net, draw):
    t = draw.t[:, None]
    mean, variance = (1 - t) * draw.x0 + t * draw.x1, t * (1 - t)
    velocity = (1 - 2 * t) / (2 * variance) * (draw.xt - mean) + draw.x1 - draw.x0
    u, s = net(draw.xt, draw.t)
    noise = (1 - 2 * draw.t) ** 2 / (4 * draw.t * (1 - draw.t))
    flow = (u - velocity).square().mean(1) / (1 + noise)
    return flow + variance[:, 0] * (s + (draw.xt - mean) / variance).square().mean(1)


LOSSES = {
    "edm": edm_loss,
    "ddpm": ddpm_loss,
    "ddim-vp": ddpm_loss,
    "rectified-flow": rectified_flow_loss,
    "score-sde-ve": score_sde_loss,
    "sf2m": sf2m_loss,
}


@pytest.mark.parametrize("name", RECIPES)
def test_losses_are_those_of_the_papers(name):
    parts, g = parts_of(name), torch.Generator().manual_seed(0)
    x0, x1 = randn(64, 2, seed=1), randn(64, 2, seed=2)
    draw = parts.path.draw(x0, x1, parts.times(64, g).clamp(1e-3, 1 - 1e-3), g)
    if "discrete" in RECIPES[name].config.objective.times:
        draw = parts.path.draw(x0, x1, parts.times(64, g), g)
    field = field_of(name)
    torch.testing.assert_close(
        parts.objective(field, draw, None, g), LOSSES[name](field.net, draw), rtol=1e-5, atol=1e-6
    )


# samplers: (net, x) -> x, as printed, with the noises of `Kicks`


def edm_sampler(net, x):
    """Algorithm 1 of the paper, N = STEPS."""
    i = torch.arange(STEPS).double()
    sigma = (160 ** (1 / 7) + i / (STEPS - 1) * (0.004 ** (1 / 7) - 160 ** (1 / 7))) ** 7
    sigma = [*sigma.tolist(), 0.0]
    for a, b in pairwise(sigma):
        d = (x - edm_denoiser(net, x, all_of(a, x))) / a
        ahead = x + (b - a) * d
        if b:
            d = (d + (ahead - edm_denoiser(net, ahead, all_of(b, x))) / b) / 2
        x = x + (b - a) * d
    return x


def ddpm_sampler(net, x):
    """Algorithm 2 with a chain of 1,000 steps, of which the last ones are taken."""
    abar, betas = abar_of(), torch.linspace(1e-4, 0.02, 1000).double()
    for i, k in enumerate(range(STEPS, 0, -1)):
        beta = betas[k - 1]
        eps = net(x, all_of(1 - k / 1000, x))
        mean = (x - beta / (1 - abar[k]).sqrt() * eps) / (1 - beta).sqrt()
        x = mean + beta.sqrt() * Kicks(i)() if k > 1 else mean
    return x


def ddim_sampler(net, x):
    abar = abar_of(1000)
    chain = [1000 - round(1000 * i / STEPS) for i in range(STEPS + 1)]
    for k, j in pairwise(chain):
        eps = net(x, all_of(1 - k / 1000, x))
        x = abar[j].sqrt() * (x - (1 - abar[k]).sqrt() * eps) / abar[k].sqrt() + (1 - abar[j]).sqrt() * eps
    return x


def euler_sampler(net, x):
    for i in range(STEPS):
        x = x + net(x, all_of(i / STEPS, x)) / STEPS
    return x


def predictor_corrector_sampler(net, x):
    """Algorithm 2 with reverse diffusion and one corrector of r = 0.16, but at pure data."""
    t = torch.linspace(0, 1, STEPS + 1).double()
    sigma = ve_sigma(t)
    for i in range(STEPS):
        score = -net(x, all_of(t[i], x)) / sigma[i]
        change = sigma[i] ** 2 - sigma[i + 1] ** 2
        x = x + change * score
        if i < STEPS - 1:
            x = x + change.sqrt() * Kicks(i)()
            step = 2 * (0.16 * sigma[i + 1]) ** 2
            score = -net(x, all_of(t[i + 1], x)) / sigma[i + 1]
            x = x + step * score + (2 * step).sqrt() * Kicks(i).fresh(0)
    return x


def bridge_sampler(net, x):
    for i in range(STEPS):
        u, s = net(x, all_of(i / STEPS, x))
        x = x + (u + s / 2) / STEPS + math.sqrt(1 / STEPS) * Kicks(i)()
    return x


SAMPLERS = {
    "edm": edm_sampler,
    "ddpm": ddpm_sampler,
    "ddim-vp": ddim_sampler,
    "rectified-flow": euler_sampler,
    "score-sde-ve": predictor_corrector_sampler,
    "sf2m": bridge_sampler,
}


@pytest.mark.usefixtures("unchecked")  # a noise of the test's own
@pytest.mark.parametrize("name", RECIPES)
def test_samplers_are_those_of_the_papers(name):
    field = field_of(name)
    steps = 1000 if name == "ddpm" else STEPS
    grid, stepper = default_sampler(field, "array", steps, RECIPES[name].config.sample).plan(field)
    grid = grid[-STEPS - 1 :]  # of DDPM's chain the end
    start = field.path.begin(N, (2,), seed=3, dtype=torch.float64)
    asked = ConditionedField(field, None)
    x, state = start, stepper.init(asked, start, grid)
    for i in range(len(grid) - 1):
        x, state = stepper.step(asked, x, grid[i], grid[i + 1], state, Kicks(i))
    torch.testing.assert_close(x, SAMPLERS[name](field.net, start), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_how_many_steps(name):
    said = RECIPES[name].config.sample
    grid, _ = default_sampler(field_of(name), "array", None, said).plan(field_of(name))
    assert len(grid) == said.sample_steps + 1 and grid[0] == 0 and grid[-1] == 1


def test_noise_levels_of_edm_are_those_of_the_paper():
    parts = parts_of("edm")
    ratio = -parts.path.schedule.log_snr(parts.times(200_000, torch.Generator().manual_seed(0)))
    half = ratio - math.log(2)  # in units in which the data have a spread of 1/2
    assert abs(float(half.mean()) + 1.2) < 0.02 and abs(float(half.std()) - 1.2) < 0.02


def test_discrete_times_are_those_of_a_chain():
    t = pf.TIMES["discrete"](4)(40_000, torch.Generator().manual_seed(0))
    values, counts = t.unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([0.0, 0.25, 0.5, 0.75], dtype=torch.float64))
    assert bool((counts / 10_000 - 1).abs().max() < 0.05)
    with pytest.raises(ValueError, match="a whole number of steps"):
        pf.TIMES["discrete"](2.5)(3, torch.Generator())


# the command line


def command(*args):
    cli.main([str(a) for a in args])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_printed_with_the_flags_that_say_the_same(name, capsys):
    command("train", "--recipe", name, "--show")
    out = capsys.readouterr().out
    assert RECIPES[name].reference in out and RECIPES[name].flags in out and len(out.splitlines()) >= 4


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_of_a_recipe_is_the_run_of_its_flags(name, tmp_path):
    np.save(tmp_path / "x.npy", randn(80, 2, seed=4).float().numpy())
    small = ("--steps", "2", "--width", "8", "--depth", "1", "--batch", "16")
    command("train", tmp_path / "x.npy", "--out", tmp_path / "a", "--recipe", name, *small)
    command("train", tmp_path / "x.npy", "--out", tmp_path / "b", *RECIPES[name].flags.split(), *small)
    a, b = (pf.load(tmp_path / run) for run in "ab")
    assert a.run.config == b.run.config and a.run.config.sample == RECIPES[name].config.sample
    np.testing.assert_array_equal(a.sample(3, steps=4), b.sample(3, steps=4))


def test_other_flags_change_a_recipe(tmp_path):
    np.save(tmp_path / "x.npy", randn(80, 2, seed=4).float().numpy())
    small = ("--steps", "2", "--width", "8", "--depth", "1", "--batch", "16")
    command("train", tmp_path / "x.npy", f"--out={tmp_path / 'a'}", "--recipe=ddpm", "--times", "uniform", *small)
    config = pf.load(tmp_path / "a").run.config
    assert config.objective.times == "uniform" and config.objective.predicts == "noise"
    assert pf.load(tmp_path / "a").resolve_sampler(pf.Sampler(steps=3)).stepper == pf.STEPPERS["ancestral_forward"]()


def test_a_recipe_is_a_configuration_in_python(tmp_path):
    model = pf.train(randn(80, 2).float().numpy(), tmp_path / "run", config=pf.RECIPES["edm"].config, steps=2)
    assert isinstance(model.field, pf.Preconditioned)
    assert len(model.resolve_sampler(pf.Sampler()).plan(model.field)[0]) == 19


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--recipe", "edn"), ["unknown recipe 'edn'", "did you mean 'edm'"]),
        (("--recipe", "edm", "--recipe=ddpm"), ["--recipe: give one of edm, ddpm"]),
        (("--show",), ["--show: prints the settings of a recipe", "--recipe"]),
        (("--recipe", "ddpm", "--path", "bridge"), ["--path bridge"]),
        (("--path", "bridge", "--sample-stepper", "ddim"), ["--sample-stepper ddim", "affine paths only"]),
        (("--sample-grid", "karras:-1"), ["--sample-grid karras:-1", "rho > 0"]),
        (("--sample-stepper", "eulr"), ["unknown stepper 'eulr'", "'euler'"]),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(flags, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        command("train", "moons", "--out", tmp_path / "run", *flags, "--steps", "2")
    message = capsys.readouterr().err
    assert stop.value.code == 2 and "Traceback" not in message and not (tmp_path / "run").exists()
    assert all(word in message for word in words), message


def test_a_combination_that_trains_badly_is_warned_of_with_its_recipe(tmp_path, capsys):
    for schedule, recipe in (("edm", "edm"), ("ve", "score-sde-ve")):
        command("train", "moons", "--out", tmp_path / schedule, "--schedule", schedule, "--steps", "1")
        message = capsys.readouterr().err
        assert "the loss begins at" in message and f"--recipe {recipe} has" in message
    for flags in (("--schedule", "vp"), ("--path", "bridge"), ("--recipe", "edm"), ("--recipe", "score-sde-ve")):
        command("train", "moons", "--out", tmp_path / "-".join(flags), *flags, "--steps", "1")
        assert "the loss begins at" not in capsys.readouterr().err


def test_configurations_of_before_are_read_with_the_defaults():
    assert Config.model_validate({"path": {"schedule": "vp"}}).sample == Config().sample
