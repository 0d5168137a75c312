"""Changing the schedule after training, other libraries' conventions, and DDPM's chain against diffusers."""

import json
from pathlib import Path

import pytest
import torch
from conftest import mixture
from laws import SCHEDULES, inner, randn

import pushforward as pf
from pushforward import adapters

PEER = json.loads((Path(__file__).parent / "golden_peers" / "diffusers_ddpm.json").read_text())
GAUSSIAN = {name: s for name, s in SCHEDULES.items() if name not in ("warped", "custom")}


@pytest.mark.parametrize("old", GAUSSIAN.values(), ids=GAUSSIAN)
@pytest.mark.parametrize("new", GAUSSIAN.values(), ids=GAUSSIAN)
def test_rescheduled_field_is_the_field_of_the_new_path(old, new):
    field = pf.Rescheduled(mixture(pf.Affine(old)), pf.Affine(new))
    exact, x = mixture(pf.Affine(new)), randn(7, 2, seed=50)
    t = inner(new)
    x = exact.path.draw(randn(7, 2, seed=51), x, t).xt
    for name in pf.PREDICTIONS:
        torch.testing.assert_close(getattr(field, name)(x, t), getattr(exact, name)(x, t), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("new", GAUSSIAN.values(), ids=GAUSSIAN)
def test_rescheduled_field_at_both_ends(new):
    # CondOT reaches every signal-to-noise ratio, so the ends of any other path are exact too
    field = pf.Rescheduled(mixture(pf.Affine()), pf.Affine(new))
    exact, x = mixture(pf.Affine(new)), randn(7, 2, seed=52)
    for t in (0.0, 1.0):
        for name in pf.PREDICTIONS:
            torch.testing.assert_close(getattr(field, name)(x, t), getattr(exact, name)(x, t), rtol=1e-6, atol=1e-6)


def test_rescheduling_needs_gaussian_paths():
    with pytest.raises(ValueError, match="Normal source"):
        pf.Rescheduled(mixture(), pf.Affine(source=pf.Uniform()))


CHAIN = pf.DDPMSchedule.linear(50, 1e-3, 0.3)
ADAPTERS = {
    "data first": (adapters.to_data_first, adapters.from_data_first),
    "diffusers flow": (adapters.to_diffusers_flow, adapters.from_diffusers_flow),
    "edm": (adapters.to_edm, adapters.from_edm),
    "ddpm": (lambda f: adapters.to_ddpm(f, CHAIN), lambda n: adapters.from_ddpm(n, CHAIN)),
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("start", ["condot", "vp", "edm"])
def test_adapters_round_trip(name, start):
    to, back = ADAPTERS[name]
    field = mixture(pf.Affine(SCHEDULES[start]))
    there = back(to(field))
    exact = mixture(there.path)
    ks = torch.tensor([2, 5, 12, 20, 26, 31, 40])
    t = CHAIN.time_of(ks) if name == "ddpm" else inner(there.path.schedule)
    x = there.path.draw(randn(7, 2, seed=53), randn(7, 2, seed=54), t).xt
    for quantity in ("velocity", "data", "score"):
        got = getattr(there, quantity)(x, t)
        torch.testing.assert_close(got, getattr(exact, quantity)(x, t), rtol=1e-5, atol=1e-5)


def test_foreign_networks_have_their_own_signs_and_clocks():
    # the exact answers for data N(m, s^2 I), written in each library's own terms
    m, s = 1.5, 0.4
    field = pf.MixtureField(pf.Affine(), torch.full((1, 2), m).double(), torch.tensor([s], dtype=torch.float64))
    x, sigma = randn(5, 2, seed=55), torch.tensor([0.1, 0.5, 1.0, 5.0, 20.0], dtype=torch.float64)
    denoised = m + s**2 / (s**2 + sigma[:, None] ** 2) * (x - m)
    torch.testing.assert_close(adapters.to_edm(field)(x, sigma, None), denoised, rtol=1e-7, atol=1e-7)
    t = torch.tensor([0.1, 0.4, 0.5, 0.7, 0.9], dtype=torch.float64)
    total = ((1 - t) * s) ** 2 + t**2
    residual = (x - (1 - t[:, None]) * m) / total[:, None]
    noise, data = t[:, None] * residual, m + (1 - t[:, None]) * s**2 * residual
    torch.testing.assert_close(adapters.to_data_first(field)(x, t, None), noise - data, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(adapters.to_diffusers_flow(field)(x, 1000 * t, None), noise - data, rtol=1e-7, atol=1e-7)


# -- DDPM's chain against diffusers' DDPMScheduler, recorded by benchmarks/fixtures/diffusers_ddpm.py ------------------


def chain(entry):
    n = entry["num_train_timesteps"]
    if entry["schedule"] == "squaredcos_cap_v2":
        return pf.DDPMSchedule.cosine(n)
    make = {"linear": pf.DDPMSchedule.linear, "scaled_linear": pf.DDPMSchedule.scaled_linear}[entry["schedule"]]
    return make(n, entry["beta_start"], entry["beta_end"])


def close(a, b):
    torch.testing.assert_close(a, torch.tensor(b, dtype=torch.float64), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("entry", PEER["float64"]["ddpm"], ids=lambda e: f"{e['schedule']}-{e['num_train_timesteps']}")
def test_discrete_schedule_is_diffusers_ddpm(entry):
    schedule, inputs = chain(entry), PEER["inputs"]
    index = torch.tensor(entry["index"])
    close(schedule.betas[index], entry["betas"])
    t = schedule.time_of(index + 1)
    close(schedule(t)[0].square(), entry["alphas_cumprod"])
    torch.testing.assert_close(schedule.index(t), index.double() + 1, rtol=0, atol=1e-9)
    x0, noise, eps = (torch.tensor(inputs[key], dtype=torch.float64) for key in ("x0", "noise", "eps"))
    path = pf.Affine(schedule)
    for step in entry["steps"]:
        k = torch.tensor([step["k"] + 1, step["k"] + 1])
        t = schedule.time_of(k)
        xk = path.draw(noise, x0, t).xt
        close(xk, step["x_k"])
        predicted = pf.convert(eps, xk, t, path, "noise", "data")
        torch.testing.assert_close(predicted, torch.tensor(step["predicted_x0"]).double(), rtol=1e-7, atol=1e-9)
        a, b, c = schedule.posterior(k)
        mean = a[:, None] * predicted + b[:, None] * xk
        torch.testing.assert_close(mean, torch.tensor(step["mean"]).double(), rtol=1e-7, atol=1e-9)
        # diffusers replaces a posterior variance of 0 by 1e-20
        assert float(c[0]) == pytest.approx(step["variance_fixed_small"], rel=1e-9, abs=1e-19)


def test_posterior_is_bayes_rule():
    # q(x_{k-1} | x_k, data) from q(x_k | x_{k-1}) q(x_{k-1} | data), both normal, by completing the square
    schedule, k = pf.DDPMSchedule.linear(20, 0.01, 0.4), torch.tensor([1, 2, 10, 20])
    a, b, c = schedule.posterior(k)
    beta, before = schedule.betas[k - 1], schedule(schedule.time_of(k - 1))[0].square()
    precision = (1 - beta) / beta + 1 / (1 - before)
    torch.testing.assert_close(c, 1 / precision)
    torch.testing.assert_close(b, (1 - beta).sqrt() / beta * c)
    torch.testing.assert_close(a[1:], (before.sqrt() / (1 - before) * c)[1:])
    assert a[0] == 1 and b[0] == 0 and c[0] == 0  # k = 1 goes to the data itself
    with pytest.raises(ValueError, match=r"1 \.\. 20"):
        schedule.posterior(torch.tensor([0]))
