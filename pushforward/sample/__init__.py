"""Sampling: one loop, many steppers."""

from collections.abc import Callable

from pushforward.registry import merged
from pushforward.sample.adaptive import DormandPrince
from pushforward.sample.ancestral import DDIM, Ancestral
from pushforward.sample.integrate import generate, integrate
from pushforward.sample.langevin import AnnealedLangevin, Langevin, PredictorCorrector
from pushforward.sample.multistep import Adams, AdamsMoulton, Multistep
from pushforward.sample.ode import RK4, Euler, Heun, Kutta3, Midpoint, Ralston, RungeKutta
from pushforward.sample.sampler import DEFAULT_STEPS, Sampler, default_grid, default_plan, default_stepper
from pushforward.sample.sde import Churn, EulerMaruyama, StochasticHeun, reverse_sigma
from pushforward.sample.stepper import Stepper, Trajectory
from pushforward.sample.tune import Trial, Tuned, equidistribution, tune
from pushforward.sample.unrolled import Unrolled

__all__ = [
    "DDIM",
    "DEFAULT_STEPS",
    "RK4",
    "STEPPERS",
    "Adams",
    "AdamsMoulton",
    "Ancestral",
    "AnnealedLangevin",
    "Churn",
    "DormandPrince",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "Kutta3",
    "Langevin",
    "Midpoint",
    "Multistep",
    "PredictorCorrector",
    "Ralston",
    "Sampler",
    "RungeKutta",
    "Stepper",
    "StochasticHeun",
    "Trajectory",
    "Trial",
    "Tuned",
    "Unrolled",
    "default_grid",
    "default_plan",
    "default_stepper",
    "equidistribution",
    "generate",
    "integrate",
    "reverse_sigma",
    "tune",
]

STEPPERS: dict[str, Callable[..., Stepper]] = merged("sample", "STEPPERS")
