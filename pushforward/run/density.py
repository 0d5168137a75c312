"""Log-densities of rows in the user's units: dequantization, the change of units, and processes that share the rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pushforward.errors import InputError
from pushforward.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.distributed import Processes
    from pushforward.likelihood import Divergence, Likelihood
    from pushforward.run.model import Model

__all__ = ["DensityOptions", "row_likelihood"]

NATS = 0.01  # tolerance of a log-density: networks are wrong by more
EXACT = 128  # dimensions up to which divergences are exact


@dataclass(frozen=True, eq=False)
class DensityOptions:
    """How a log-density is computed: see `Model.log_likelihood`."""

    method: str | Divergence
    steps: int | None
    tol: float | None
    draws: int
    seed: int

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise InputError(f"draws {self.draws}: at least 1")


def row_likelihood(
    model: Model, x: Tensor, y: Tensor | None, options: DensityOptions, progress: Progress
) -> Likelihood:
    """Compute ``log p(row) = log p_model(x) + log |det dx / d row|`` of model rows ``x [n, *d]``, in nats.

    The density of rounded rows is a mean over points of the cells that they stand for.
    """
    import torch

    from pushforward.likelihood import Likelihood, log_likelihood
    from pushforward.tensor import per_sample

    # what the options leave to the data
    transform, rounded = model.transform, not model.transform.continuous
    method = options.method
    if method == "auto":
        method = "exact" if x[0].numel() <= EXACT else "hutchinson"
    tol = NATS if options.steps is None and options.tol is None else options.tol

    # rounded values are a cell each, whose density is a mean over points in it
    parts: list[Likelihood] = []
    log_dets: list[Tensor] = []
    draws = options.draws if rounded else 1
    for k in range(draws):
        point = x
        if rounded:
            noise = per_sample(
                lambda n, g: torch.rand(n, *x.shape[1:], generator=g, dtype=torch.float32),
                0,
                len(x),
                options.seed,
                "jitter",
                k,
            )
            point = transform.dequantize(x, noise)
        log_dets.append(transform.log_dets(point))
        likelihood = partial(
            log_likelihood,
            model.field,
            method=method,
            steps=options.steps,
            tol=tol,
            seed=options.seed,
            progress=progress.part(k / draws, (k + 1) / draws),
        )

        with torch.no_grad():
            parts.append(_shared_out(model.processes, likelihood, point.to(model.device), y))

    # the mean density; its error, of independent directions, by the shares of the draws
    logs = torch.stack([p.log_prob.double() + d.to(p.log_prob.device) for p, d in zip(parts, log_dets, strict=True)])
    share, errors = logs.softmax(0), torch.stack([p.std_error.double() for p in parts])
    log_prob = logs.logsumexp(0) - math.log(len(parts))
    step_error = torch.stack([p.step_error for p in parts]).amax(0)
    error = (share * errors).square().sum(0).sqrt()
    # rows so far out that the network overflows are not lost either: their density is below every number
    overflown = log_prob.isnan() & ~log_prob.isnan().all()
    log_prob = log_prob.masked_fill(overflown, -math.inf)
    step_error = step_error.masked_fill(overflown, math.inf)
    return Likelihood(log_prob, error, step_error, parts[0].x0, sum(p.nfe for p in parts))


def _shared_out(processes: Processes, likelihood: Callable[..., Likelihood], x: Tensor, y: Tensor | None) -> Likelihood:
    """The log-likelihood of points ``x [n, *d]`` of which each process takes some; all get all answers."""
    import torch

    from pushforward.likelihood import Likelihood

    if processes.count == 1:
        return likelihood(x, y=y)
    nfe = []

    def part(start: int, count: int) -> Tensor:
        rows = slice(start, start + count)
        answer = likelihood(x[rows], y=None if y is None else y[rows], first=start)
        nfe.append(answer.nfe)
        numbers = torch.stack([answer.log_prob, answer.std_error, answer.step_error], 1)
        return torch.cat([numbers.double(), answer.x0.flatten(1).double()], 1)

    columns = processes.map_rows(len(x), part)
    log_prob, std_error, step_error = columns[:, :3].to(x.dtype).unbind(1)
    return Likelihood(log_prob, std_error, step_error, columns[:, 3:].reshape(x.shape).to(x), max(nfe))
