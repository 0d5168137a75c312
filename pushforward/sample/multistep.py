"""Multistep samplers: one engine, every method a row of a table.

The exact step of an affine path is linear in the state and an integral of one prediction (`integrals`). A method
replaces the prediction by the polynomial through its last values in some variable; the coefficients are integrals of
Lagrange polynomials, done by Gauss-Legendre quadrature in float64 once per grid, so any grid is exact.

Where a node is at pure noise or pure data and its variable is infinite, the polynomial is taken in
``alpha/(alpha + beta)`` instead; where the linear part is singular (noise from alpha = 0, data from beta = 0), which is
in the first step only, the step is ``alpha_t D + beta_t eps``, exact to first order.

References: Zhang & Chen 2022 (DEIS), Liu et al. 2022 (iPNDM), Lu et al. 2022 (DPM-Solver++), Zhao et al. 2023 (UniPC),
Xue et al. 2023 (SA-Solver).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.sample.integrals import INTEGRALS, VARIABLES, Node, StepIntegral, Variable, flow_time
from pushforward.sample.stepper import ConditionedField, Noise, Stepper
from pushforward.schedule import CondOT, Schedule
from pushforward.tensor import Points

__all__ = [
    "Adams",
    "AdamsMoulton",
    "Multistep",
    "deis",
    "dpmpp_2m",
    "dpmpp_3m",
    "ipndm",
    "rho_ab",
    "sde_dpmpp_2m",
    "unip",
    "unipc",
]

# weights of the predictions from the log-SNRs of their nodes, newest first, and of the step's two ends
Rule = Callable[[Tensor, float, float], Sequence[float]]


class Table(NamedTuple):
    """Coefficients of every step: ``x' = keep x + sum_j weights_j F_j + kick z``, F newest first."""

    keep: Float[Tensor, "steps"]
    weights: Float[Tensor, "steps points"]
    kick: Float[Tensor, "steps"]

    def rolled(self) -> Table:
        """The next step's row first: no index that changes from step to step, which would be compiled each time."""
        return Table(*(column.roll(-1, 0) for column in self))


class MultistepState(NamedTuple):
    """What a step must remember."""

    predict: Table  # this step's row first
    correct: Table | None  # the last step's row last
    end: Float[Tensor, "2"]  # alpha, beta at the end of a first step on which the table is singular
    singular: bool
    before: Tensor  # the state at the last node, corrected
    past: tuple[Tensor, ...]  # predictions, newest first


@final
@dataclass(frozen=True, eq=False)
class Multistep(Stepper):
    """A row of the family: one evaluation a step, the polynomial through the last ``points`` predictions.

    Args:
        predicts: what is interpolated: data, noise, flow (data - noise) or velocity (in the path's own time).
        variable: in which it is taken for a polynomial, a key of `VARIABLES` or a function of a `Node`.
        points: how many values it goes through; the first steps have fewer.
        order: the declared order of accuracy.
        corrector: do each step again once the prediction at its end is known, with that among the nodes ("always"),
            or only the first ``points - 1`` steps, so that the start does not limit the order ("start"), or never.
            Costs no evaluation: the network is asked at the uncorrected point.
        tau: stochasticity, 0 the flow, 1 the reverse SDE; data and noise predictions only. The weak order is then 1.
        lower_final: on a grid that ends in pure data, fewer points in the last steps, 1 in the last.
        rules: for a number of points, weights to use in place of the integrals of Lagrange polynomials.
        table: the user's own coefficients ``[steps, 1 + points]``: of the state, then of the predictions, newest first.

    Raises ValueError for an unknown prediction, noise where there is no such form, or a table that does not fit.
    """

    name: str
    predicts: Literal["data", "noise", "flow", "velocity"]
    variable: str | Variable
    points: int
    order: float
    corrector: Literal["never", "start", "always"] = "never"
    tau: float = 0.0
    lower_final: bool = False
    rules: tuple[tuple[int, Rule], ...] = ()
    table: Float[Tensor, "steps columns"] | None = None

    def __post_init__(self) -> None:
        if self.predicts not in INTEGRALS:
            raise ValueError(f"{self.name}: predicts {self.predicts!r}, which is none of {', '.join(INTEGRALS)}")
        if self.points < 1:
            raise ValueError(f"{self.name}: points = {self.points}, at least 1")
        if self.tau < 0 or (self.tau > 0 and (self.predicts not in ("data", "noise") or self.corrector != "never")):
            raise ValueError(f"{self.name}: tau = {self.tau:g} needs data or noise predictions and no corrector")

    def __repr__(self) -> str:
        return self.name

    def tables(self, schedule: Schedule, grid: Float[Tensor, "times"]) -> tuple[Table, Table | None]:
        """The coefficients of the steps, and of the same steps corrected."""
        steps = len(grid) - 1
        if self.table is not None:
            if self.table.shape != (steps, 1 + self.points):
                raise ValueError(
                    f"{self.name}: the table has shape {tuple(self.table.shape)}; a grid of {steps} steps and "
                    f"{self.points} points need {(steps, 1 + self.points)}"
                )
            own = self.table.to("cpu", torch.float64)
            return Table(own[:, 0], own[:, 1:], torch.zeros(steps, dtype=torch.float64)), None
        nodes = Node.at(schedule, grid)
        parts = [INTEGRALS[self.predicts](schedule, nodes.pick(i), nodes.pick(i + 1), self.tau) for i in range(steps)]
        into_data = self.lower_final and float(nodes.beta[-1]) == 0
        points = [min(self.points, i + 1, steps - i if into_data else self.points) for i in range(steps)]
        predict = self._rows(nodes, parts, [list(range(i, i - p, -1)) for i, p in enumerate(points)])
        if self.corrector == "never":
            return predict, None
        return predict, self._rows(nodes, parts, [list(range(i + 1, i - p, -1)) for i, p in enumerate(points)])

    def _rows(self, nodes: Node, parts: list[StepIntegral], using: list[list[int]]) -> Table:
        """One row per step; ``using[i]`` are the nodes whose predictions it goes through."""
        rows = torch.zeros(len(parts), max(map(len, using)), dtype=torch.float64)
        for i, (part, indices) in enumerate(zip(parts, using, strict=True)):
            rows[i, : len(indices)] = part.prediction * self._weights(
                nodes.pick(indices), nodes.pick(slice(i, i + 2)), part
            )
        keep, kick = (torch.tensor([p[k] for p in parts], dtype=torch.float64) for k in (0, 2))
        return Table(keep, rows, kick)

    def _weights(self, known: Node, ends: Node, part: StepIntegral) -> Float[Tensor, "points"]:
        """The weights of the predictions at the known nodes; they sum to 1."""
        points = len(known.t)
        if points == 1:
            return torch.ones(1, dtype=torch.float64)
        rule = dict(self.rules).get(points)
        if rule is not None and bool(known.log_snr.isfinite().all() & ends.log_snr.isfinite().all()):
            return torch.tensor(rule(known.log_snr, *ends.log_snr.tolist()), dtype=torch.float64)
        variable = VARIABLES[self.variable] if isinstance(self.variable, str) else self.variable
        u, v = variable(known), variable(part.at)
        if not bool(u.isfinite().all() & v.isfinite().all()):
            u, v = flow_time(known), flow_time(part.at)
        others = [[k for k in range(points) if k != j] for j in range(points)]
        basis = [torch.stack([(v - u[k]) / (u[j] - u[k]) for k in others[j]]).prod(0) for j in range(points)]
        return torch.stack(basis) @ part.weights

    @property
    def stochastic(self) -> bool:
        """True with tau."""
        return self.tau > 0

    @property
    def one_way(self) -> bool:
        """True with tau."""
        return self.tau > 0

    @property
    def multistep(self) -> bool:
        """True: it remembers earlier predictions."""
        return True

    @property
    def uses(self) -> tuple[str, ...]:
        """What it interpolates; data and noise where it is not the velocity, for a singular first step."""
        return ("velocity",) if self.predicts == "velocity" else ("data", "noise")

    @property
    def needs(self) -> tuple[str, ...]:
        """An affine path, but for velocities, which any path has."""
        return ("euclidean",) if self.predicts == "velocity" else ("affine", "euclidean")

    def init(self, field: ConditionedField, x: Points, grid: Float[Tensor, "times"]) -> MultistepState:
        # the linear part of a step in the velocity needs no schedule
        schedule = field.path.affine_schedule() if field.path.predictions else CondOT()
        predict, correct = (None if v is None else Table(*(c.to(x) for c in v)) for v in self.tables(schedule, grid))
        assert predict is not None
        singular = not bool(predict.keep[0].isfinite() & predict.weights[0].isfinite().all())
        end = torch.stack(schedule(grid[1])).to(x)
        return MultistepState(predict, correct, end, singular, x, ())

    def step(
        self, field: ConditionedField, x: Points, t: Tensor, s: Tensor, state: MultistepState, noise: Noise
    ) -> tuple[Points, MultistepState]:
        done = len(state.past)  # steps, up to ``points``
        if self.predicts == "flow" or (done == 0 and state.singular):
            data, eps = field.evaluate(("data", "noise"), x, t)
            new = {"data": data, "noise": eps, "flow": data - eps}[self.predicts]
        else:
            (new,) = field.evaluate((self.predicts,), x, t)
        past = (new, *state.past)
        again = self.corrector == "always" or (self.corrector == "start" and done < self.points)
        if state.correct is not None and again and done > int(state.singular):
            x = combine(state.correct, -1, state.before, past)
        if done == 0 and state.singular:
            out = state.end[0] * data + state.end[1] * eps
        else:
            out = combine(state.predict, 0, x, past)
            out = out + state.predict.kick[0] * noise() if self.tau else out
        correct = None if state.correct is None else state.correct.rolled()
        kept = past[: self.points]
        return out, MultistepState(state.predict.rolled(), correct, state.end, state.singular, x, kept)


def combine(table: Table, row: int, x: Points, past: Sequence[Tensor]) -> Points:
    """``keep x + sum_j weights_j F_j``."""
    out = table.keep[row] * x
    for j, f in enumerate(past[: table.weights.shape[1]]):
        out = out + table.weights[row, j] * f
    return out


def at_middle(known: Tensor, start: float, end: float) -> list[float]:
    """The line through two predictions in log-SNR, at the middle of the step: DPM-Solver++'s and UniPC's weights."""
    share = ((start + end) / 2 - float(known[0])) / float(known[1] - known[0])
    return [1 - share, share]


def half_taylor(known: Tensor, start: float, end: float) -> list[float]:
    """DPM-Solver++(3M) as widely implemented: its second difference has half of Taylor's weight, so its order is 2."""
    h = end - start
    r0, r1 = float(known[0] - known[1]) / h, float(known[1] - known[2]) / h
    # divided differences of the three values, newest first
    single = torch.float32  # whatever torch's default is
    near, far = (torch.tensor(w, dtype=single) for w in ([1 / r0, -1 / r0, 0.0], [0.0, 1 / r1, -1 / r1]))
    first, second = near + r0 / (r0 + r1) * (near - far), (near - far) / (r0 + r1)
    phi1 = math.expm1(-h)
    phi2 = phi1 / h + 1
    weights = torch.tensor([1.0, 0.0, 0.0], dtype=single) - phi2 / phi1 * first + (phi2 / h - 0.5) / phi1 * second
    return [float(w) for w in weights]


def bashforth(known: Tensor, start: float, end: float) -> list[float]:
    """The weights of Adams and Bashforth for equal steps, whatever the steps are: iPNDM."""
    return {2: [3 / 2, -1 / 2], 3: [23 / 12, -16 / 12, 5 / 12], 4: [55 / 24, -59 / 24, 37 / 24, -9 / 24]}[len(known)]


def Adams(order: int = 2) -> Multistep:
    """Adams-Bashforth on the velocity in the path's own time, steps of any size; any path."""
    return Multistep(f"adams_{order}", "velocity", "time", order, order, "start" if order > 2 else "never")


def AdamsMoulton(points: int = 2, predicts: Literal["flow", "velocity"] = "flow") -> Multistep:
    """Adams-Bashforth predictor, Adams-Moulton corrector (PEC) on the straight flow; the default for sampling.

    One evaluation a step, of order 3 (the start allows no more), indifferent to the schedule. Affine paths. With
    ``predicts = "velocity"`` on the velocity in the path's own time, on any path.
    """
    name, variable = {"flow": ("adams_moulton", "flow_time"), "velocity": ("adams_moulton_velocity", "time")}[predicts]
    return Multistep(f"{name}_{points}", predicts, variable, points, min(points + 1, 3), "always")


def unip(order: int = 3) -> Multistep:
    """UniP: data predictions, polynomial in log-SNR (Zhao et al. 2023); the exact Lagrange integrals."""
    return Multistep(f"unip_{order}", "data", "log_snr", order, order, "start" if order > 2 else "never", 0.0, True)


def unipc(order: int = 3) -> Multistep:
    """UniPC with ``B(h) = e^h - 1``: UniP and its corrector (Zhao et al. 2023)."""
    rules = ((2, at_middle),)
    return Multistep(f"unipc_{order}", "data", "log_snr", order, 3, "always", 0.0, True, rules)


def dpmpp_2m() -> Multistep:
    """DPM-Solver++(2M) (Lu et al. 2022)."""
    return Multistep("dpmpp_2m", "data", "log_snr", 2, 2, "never", 0.0, True, ((2, at_middle),))


def dpmpp_3m() -> Multistep:
    """DPM-Solver++(3M) as in common toolboxes, for comparison: of order 2, see `half_taylor`. Prefer `unip`."""
    return Multistep("dpmpp_3m", "data", "log_snr", 3, 2, "never", 0.0, True, ((2, at_middle), (3, half_taylor)))


def deis(order: int = 3) -> Multistep:
    """DEIS tAB: noise predictions, polynomial in the time of the VP path (Zhang & Chen 2022)."""
    return Multistep(f"deis_{order}", "noise", "vp_time", order, order, "start" if order > 2 else "never")


def rho_ab(order: int = 3) -> Multistep:
    """DEIS rhoAB: noise predictions, polynomial in the noise-to-signal ratio (Zhang & Chen 2022)."""
    return Multistep(f"rho_ab_{order}", "noise", "noise_to_signal", order, order, "start" if order > 2 else "never")


def ipndm() -> Multistep:
    """iPNDM-4: noise predictions with weights for equal steps (Liu et al. 2022); of order 2 on smooth uneven grids."""
    rules = tuple((k, bashforth) for k in (2, 3, 4))
    return Multistep("ipndm", "noise", "noise_to_signal", 4, 2, rules=rules)


def sde_dpmpp_2m(tau: float = 1.0) -> Multistep:
    """SDE-DPM-Solver++(2M): the stochastic exponential integrator (Lu et al. 2022, appendix)."""
    return Multistep("sde_dpmpp_2m", "data", "log_snr", 2, 1, "never", tau, True, ((2, at_middle),))


STEPPERS: dict[str, Callable[..., Stepper]] = {
    "adams_2": lambda: Adams(2),
    "adams_3": lambda: Adams(3),
    "adams_moulton": AdamsMoulton,
    "adams_moulton_3": lambda: AdamsMoulton(3),
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
    "sde_dpmpp_2m": sde_dpmpp_2m,
}
