"""Sampling: one loop, many steppers."""

from pushforward.sample.loop import Stepper, Trajectory, generate, integrate
from pushforward.sample.ode import RK4, STEPPERS, Euler, Heun, Midpoint, RungeKutta

__all__ = [
    "RK4",
    "STEPPERS",
    "Euler",
    "Heun",
    "Midpoint",
    "RungeKutta",
    "Stepper",
    "Trajectory",
    "generate",
    "integrate",
]
