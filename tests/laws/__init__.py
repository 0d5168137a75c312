"""Exact statements, each asked of everything in a registry: what is added there is tested before anyone writes a test.

A registry entry that needs arguments gets them in ARGUMENTS below; one that is missing there and cannot be built
without arguments fails the run, so nothing slips through.
"""

import math

import pytest
import torch
from conftest import draw_mixture

import pushforward as pf
from pushforward.source import Source

ARGUMENTS = {
    "warped": lambda: pf.Warped(pf.Cosine(), lambda t: t / (t + 3 * (1 - t))),
    "general_affine": lambda: pf.GeneralAffine(lambda z, t: t * t * z, lambda t: 1 - t),
    "characteristics": lambda: pf.Characteristics(
        lambda x, z, t: z + (x - z) * (1 - t) ** -(1 + 0.5 * torch.tanh(z)), elementwise=True
    ),
    "custom": lambda: pf.CustomSchedule(lambda t: t * t, lambda t: (1 - t) * (1 + t / 2)),
    "mixture": lambda: pf.Mixture(torch.tensor([[-1.0, 0.5], [1.0, 0.0]]).double(), torch.tensor([0.5, 0.8]).double()),
    "empirical": lambda: pf.Empirical(torch.randn(50, 2, dtype=torch.float64)),
}

SOURCES: dict[str, Source] = {name: ARGUMENTS.get(name, make)() for name, make in pf.SOURCES.items()}
SCHEDULES = {name: ARGUMENTS.get(name, make)() for name, make in pf.SCHEDULES.items()}
DENSITIES = {name: s for name, s in SOURCES.items() if name != "empirical"}
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)
# (alpha_0, beta_0) of the schedules whose noise end is not (0, 1) by definition
_vp, _ddpm = math.exp(-(0.1 + 20) / 4), math.prod(1 - (1e-4 + (0.02 - 1e-4) * k / 999) for k in range(1000))
START = {
    "vp": (_vp, math.sqrt(1 - _vp**2)),
    "subvp": (_vp, 1 - _vp**2),
    "ve": (1.0, math.sqrt(50.0**2 - 0.01**2)),
    "edm": (1.0, 80.0),
    "ddpm": (math.sqrt(_ddpm), math.sqrt(1 - _ddpm)),
}


def inner(schedule):
    """Seven times between the ends, at the same signal-to-noise ratios for every schedule."""
    return schedule.time_of_log_snr(torch.tensor([-3.8, -2.0, -0.7, 0.03, 1.2, 2.5, 4.0], dtype=torch.float64))


schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)

predictions = pytest.mark.parametrize("name", pf.PREDICTIONS)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian_flow(schedule, mean, std):
    """Field and exact flow of N(mean, std^2 I) data: ``x_t = alpha m + (s_t/s_0)(x_0 - alpha_0 m)``."""
    field = pf.MixtureField(pf.Affine(schedule), mean[None], torch.tensor([std], dtype=torch.float64))

    def flow(x, t, s):
        (a, b), (c, e) = (schedule(torch.tensor(when, dtype=torch.float64)) for when in (t, s))
        return c * mean + ((c * std) ** 2 + e**2).sqrt() / ((a * std) ** 2 + b**2).sqrt() * (x - a * mean)

    return field, flow


def slope(steps, errors):
    """Of log error against log step size, by least squares."""
    logs = torch.tensor([[math.log(1 / n), math.log(e)] for n, e in zip(steps, errors, strict=True)]).T
    return float(torch.cov(logs)[0, 1] / logs[0].var())


def drawn(field, n, rng):
    """Draws of a mixture's path, away from its ends."""
    x1, x0 = draw_mixture(field, n, rng), torch.randn(n, 2, generator=rng, dtype=torch.float64)
    return field.path.draw(x0, x1, 0.05 + 0.85 * torch.rand(n, generator=rng, dtype=torch.float64))


def beside(field, theta):
    """The exact velocity, and theta of something else."""
    return pf.Learned(lambda x, t, y: field.velocity(x, t) + theta * torch.cos(x), field.path)
