"""Optimal transport within a batch: the shortest pairing, and its blurred relatives."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pushforward.coupling.base import Cost, Coupling, Pairs, Transport, check_rows
from pushforward.tensor import Points, time_dtype

__all__ = ["OptimalTransport", "SchrodingerBridge", "Sinkhorn", "Unbalanced", "assignment", "sinkhorn_potentials"]

LEVELS = (0.3, 0.05, 0.01)  # regularisations on the way to a small one, in units of the cost's spread
SWEEPS = 10  # iterations between two returns to the log domain
SMALL = 64  # below this many points the assignment is faster without prices
FLOOR = -50.0  # of the kernel's logarithm: an entry of 2e-22 weighs nothing, and nothing underflows


def _sweep(cost: Tensor, price: Tensor, reg: float, relax: float = math.inf) -> Tensor:
    """Sinkhorn iterations on the columns' potential, in scaling form about a kernel whose rows peak at 1."""
    logits = torch.add(price / reg, cost, alpha=-1 / reg)
    kernel = logits.sub_(logits.amax(1, keepdim=True)).clamp_(min=FLOOR).exp_()
    target, power = (-price / relax).exp(), 1 / (1 + reg / relax)
    across, gain = kernel.T, torch.ones_like(price)
    for _ in range(SWEEPS):
        gain = target / (across @ (kernel @ gain).reciprocal())
        if power != 1:
            gain = gain.pow(power)
    price = price + reg * gain.log()
    if relax == math.inf:
        return price
    # a shift of all prices leaves the plan alone; this one makes the relaxed masses sum to what the rows carry
    return price + relax * ((-price / relax).logsumexp(0) - math.log(len(price)))


def sinkhorn_potentials(cost: Tensor, unit: float, smallest: float, relax: float = math.inf) -> Tensor:
    """Rough potentials of the columns, by Sinkhorn's iteration at falling regularisation."""
    price = cost.new_zeros(cost.shape[1])
    for level in LEVELS:
        if level * unit > smallest:
            price = _sweep(cost, price, level * unit, relax)
    return price


def assignment(cost: Float[Tensor, "n n"]) -> Int[Tensor, "n"]:
    """The permutation p that minimises ``sum_i cost[i, p_i]``, exactly."""
    return solve_assignment(reduced_cost(cost))


def reduced_cost(cost: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """A cost with the same assignment, which is found sooner.

    Subtracting a number from a column changes no comparison of permutations, and with the potentials of a blurred plan
    subtracted nearly every row finds its column at once. That is 2 to 10 times faster than without them, and than a
    network simplex.
    """
    spread = float(cost.square().mean().sqrt())
    if len(cost) < SMALL or spread == 0:
        return cost
    rough = sinkhorn_potentials((cost / spread).to(torch.float32), 1.0, 0.0)
    return cost - spread * rough.to(time_dtype(cost.device))


def solve_assignment(cost: Float[Tensor, "n n"]) -> Int[Tensor, "n"]:
    """`assignment` by shortest augmenting paths (Crouse 2016, scipy), which lets other threads of Python run."""
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1])


@final
@dataclass(frozen=True, kw_only=True)
class OptimalTransport(Transport):
    """The pairing of least total ``|x_1 - x_0|^2``: a permutation of the source, no point doubled, none dropped.

    x1 and y stay in their order; x0 is permuted, within each class where y is given. Batches of n couple the data to
    the source with a bias of order n^(-1/2) and more in high dimensions: see `Semidiscrete` for one plan of all data.
    Not to be confused with the straight conditional paths that are also called "conditional OT".

    Tong et al. 2024, "Improving and generalizing flow-based generative models with minibatch optimal transport".
    """

    def regularization(self, unit: float) -> float:
        return 0.0

    def solve(self, cost: Cost, generator: torch.Generator) -> Callable[[], Pairs]:
        pairs = reduced_cost(cost.pairs)
        return lambda: (solve_assignment(pairs), torch.arange(len(pairs)))


@dataclass(frozen=True, kw_only=True)
class _Entropic(Transport):
    """Couplings drawn from a plan ``exp((f + g - cost) / reg)``, iterated in float64 and in the log domain.

    Args: ``tolerance``, the mean relative error of the margin that is met by iteration (the other is met exactly);
    ``iterations``, at most. RuntimeError where they do not suffice, or the plan is not finite.
    """

    tolerance: float = 1e-2
    iterations: int = 20_000

    @abstractmethod
    def _joint(self, cost: Cost) -> Float[Tensor, "n n"]:
        """The plan times n, ``[data, source]``."""

    @final
    def plan(self, x0: Points, x1: Points) -> Float[Tensor, "n n"]:
        """The probability of each pair ``[source, data]`` in float64; conditions are not looked at."""
        check_rows(x0, x1, None)
        return self._joint(Cost.between(x0, x1, self.space)).T / len(x1)

    def _rows(self, cost: Tensor, unit: float, relax: float = math.inf) -> Float[Tensor, "n n"]:
        """A plan whose rows sum to 1 exactly, and its columns to 1 (or relaxed) within the tolerance."""
        reg, cost = self.regularization(unit), cost.to(time_dtype(cost.device))
        if reg == 0:  # all points in one place: no pairing is better than another
            return torch.full_like(cost, 1 / len(cost))
        price = sinkhorn_potentials(cost, unit, reg, relax)
        for _ in range(max(1, self.iterations // SWEEPS)):
            plan = ((price - cost) / reg).softmax(1)
            error = float((plan.sum(0) - (-price / relax).exp()).abs().mean())
            if error <= self.tolerance:
                return plan
            if not math.isfinite(error):
                raise RuntimeError(f"{self}: the plan is not finite; look at the data, or blur more")
            price = _sweep(cost, price, reg, relax)
        raise RuntimeError(f"{self}: margins are wrong by {error:.1e} after {self.iterations} iterations; blur more")


def _draw(plan: Float[Tensor, "n n"], generator: torch.Generator) -> Int[Tensor, "n"]:
    """One column for each row of a plan whose rows sum to 1."""
    return torch.multinomial(plan.to(generator.device), 1, generator=generator)[:, 0]


@dataclass(frozen=True, kw_only=True)
class _Balanced(_Entropic):
    """Both margins uniform. Every data point draws its partner from its row of the plan."""

    @final
    def _joint(self, cost: Cost) -> Float[Tensor, "n n"]:
        return self._rows(cost.pairs, cost.unit)

    @final
    def solve(self, cost: Cost, generator: torch.Generator) -> Callable[[], Pairs]:
        pairs = _draw(self._joint(cost), generator), torch.arange(len(cost.pairs))
        return lambda: pairs


@final
@dataclass(frozen=True)
class Sinkhorn(_Balanced):
    """Entropic transport, ``min <P, |x_1 - x_0|^2> + reg KL(P | uniform)``: `OptimalTransport` as reg -> 0.

    What is kept: x1 and y, exactly and in order, each row once. Each x1 draws one x0 from its row of the plan, so a
    source point can appear twice or not at all; its expected count is 1 (within ``tolerance``).

    Args: ``reg`` in units of the cost's spread, the rms of ``2 <x_0, x_1>`` over all pairs of the centred batch, so
    that it means the same in all units and dimensions: 0.05 is nearly exact, 10 nearly independent. Small reg needs
    many iterations, with conditions that are not classes most of all; `OptimalTransport` is faster there.

    Cuturi 2013, "Sinkhorn distances"; stabilised as in Schmitzer 2019.
    """

    reg: float = 0.05

    def _check(self) -> None:
        if not 0 < self.reg < math.inf:
            raise ValueError(f"Sinkhorn(reg={self.reg}): reg must be positive; without blur it is OptimalTransport()")

    def regularization(self, unit: float) -> float:
        return self.reg * unit


@final
@dataclass(frozen=True)
class SchrodingerBridge(_Balanced):
    """The static Schrodinger bridge of Brownian motion: entropic transport with regularisation ``2 sigma^2``.

    ``P ~ exp((f + g - |x_1 - x_0|^2) / (2 sigma^2))`` with both margins; with ``Bridge(sigma)`` as the path, the
    marginal flow is that of the Schrodinger bridge. What is kept: as for `Sinkhorn`. ``sigma`` is Bridge's own.

    Tong et al. 2024, "Simulation-free Schrodinger bridges via score and flow matching".
    """

    sigma: float = 1.0

    @property
    def bridge(self) -> float:
        """The sigma of the Brownian bridge that has to be the path of its pairs, for their flow to be the bridge's."""
        return self.sigma

    def _check(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"SchrodingerBridge(sigma={self.sigma}): sigma must be positive")

    def regularization(self, unit: float) -> float:
        return 2 * self.sigma**2


@final
@dataclass(frozen=True)
class Unbalanced(_Entropic):
    """Entropic transport that may leave data out: ``min <P, cost> + reg KL(P | uniform) + relax KL(P_1 | uniform)``.

    What is kept: x0, exactly, each row once (a sampler starts from all of the source, so its margin is not for
    relaxing). Data far from every source point is drawn less often, near data more: data point j has the mass
    ``exp(-g_j / relax) / n`` of its potential g. With y, the number of rows of a class stays. x1 comes in a new order,
    with y. As ``relax`` grows the plan is `Sinkhorn`'s; at 0 each x0 goes to its neighbours, wherever they are.

    Args: ``relax`` and ``reg``, both in units of the cost's spread (see `Sinkhorn`).

    Chizat et al. 2018, "Scaling algorithms for unbalanced optimal transport problems" (one margin relaxed).
    """

    relax: float = 1.0
    reg: float = 0.05

    def _check(self) -> None:
        if not (0 < self.relax < math.inf and 0 < self.reg < math.inf):
            raise ValueError(f"Unbalanced(relax={self.relax}, reg={self.reg}): both must be positive")

    def regularization(self, unit: float) -> float:
        return self.reg * unit

    def _joint(self, cost: Cost) -> Float[Tensor, "n n"]:
        return self._rows(cost.pairs.T + cost.marginal_cost(), cost.unit, self.relax * cost.unit).T

    def solve(self, cost: Cost, generator: torch.Generator) -> Callable[[], Pairs]:
        pairs = torch.arange(len(cost.pairs)), _draw(self._joint(cost).T, generator)
        return lambda: pairs


COUPLINGS: dict[str, Callable[..., Coupling]] = {
    "optimal_transport": OptimalTransport,
    "sinkhorn": Sinkhorn,
    "schrodinger_bridge": SchrodingerBridge,
    "unbalanced": Unbalanced,
}
