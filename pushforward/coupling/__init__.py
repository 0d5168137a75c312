"""Couplings: which source point travels to which data point.

A coupling is called as ``(x0, x1, y, generator) -> (x0, x1, y)`` on a batch: x0 and x1 ``[n, *d]``, y None or any
tensor with n rows. Whole rows travel; each coupling's docstring says what it keeps exactly.
"""

from collections.abc import Callable

from pushforward.coupling.base import Coupling, FittedOnData, PendingPairs, Transport, TwoStage, independent
from pushforward.coupling.immiscible import Immiscible
from pushforward.coupling.semidiscrete import Semidiscrete, SemidiscretePlan
from pushforward.coupling.transport import OptimalTransport, SchrodingerBridge, Sinkhorn, Unbalanced
from pushforward.registry import merged

__all__ = [
    "COUPLINGS",
    "Coupling",
    "FittedOnData",
    "Immiscible",
    "OptimalTransport",
    "PendingPairs",
    "SchrodingerBridge",
    "Semidiscrete",
    "SemidiscretePlan",
    "Sinkhorn",
    "Transport",
    "TwoStage",
    "Unbalanced",
    "independent",
]

COUPLINGS: dict[str, Callable[..., Coupling]] = merged("coupling", "COUPLINGS")
