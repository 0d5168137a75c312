"""Sampling: one loop, many steppers."""

from collections.abc import Callable

from pushforward.sample.adaptive import DormandPrince
from pushforward.sample.ancestral import DDIM, Ancestral
from pushforward.sample.integrate import DEFAULT_STEPS, default_grid, default_stepper, generate, integrate
from pushforward.sample.langevin import AnnealedLangevin, Langevin, PredictorCorrector
from pushforward.sample.multistep import (
    Adams,
    AdamsMoulton,
    Multistep,
    deis,
    dpmpp_2m,
    dpmpp_3m,
    ipndm,
    rho_ab,
    sde_dpmpp_2m,
    unip,
    unipc,
)
from pushforward.sample.ode import RK4, Euler, Heun, Kutta3, Midpoint, Ralston, RungeKutta
from pushforward.sample.sde import Churn, EulerMaruyama, StochasticHeun, reverse_sigma
from pushforward.sample.stepper import Stepper, Trajectory
from pushforward.sample.tune import Trial, Tuned, equidistribution, tune

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
    "RungeKutta",
    "Stepper",
    "StochasticHeun",
    "Trajectory",
    "Trial",
    "Tuned",
    "default_grid",
    "default_stepper",
    "equidistribution",
    "generate",
    "integrate",
    "reverse_sigma",
    "tune",
]

STEPPERS: dict[str, Callable[..., Stepper]] = {
    "adams_moulton": AdamsMoulton,
    "adams_moulton_3": lambda: AdamsMoulton(3),
    "euler": Euler,
    "midpoint": Midpoint,
    "heun": Heun,
    "ralston": Ralston,
    "kutta3": Kutta3,
    "rk4": RK4,
    "dormand_prince": DormandPrince,
    "adams_2": lambda: Adams(2),
    "adams_3": lambda: Adams(3),
    "ddim": DDIM,
    "unip_2": lambda: unip(2),
    "unip_3": lambda: unip(3),
    "unipc_2": lambda: unipc(2),
    "unipc_3": lambda: unipc(3),
    "deis_2": lambda: deis(2),
    "deis_3": lambda: deis(3),
    "rho_ab_2": lambda: rho_ab(2),
    "rho_ab_3": lambda: rho_ab(3),
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_3m": dpmpp_3m,
    "ipndm": ipndm,
    "churn": Churn,
    "euler_maruyama": EulerMaruyama,
    "stochastic_heun": StochasticHeun,
    "sde_dpmpp_2m": sde_dpmpp_2m,
    "ancestral": Ancestral,
    "ancestral_forward": lambda: Ancestral("forward"),
    "langevin": Langevin,
    "annealed_langevin": AnnealedLangevin,
    "predictor_corrector": PredictorCorrector,
}
