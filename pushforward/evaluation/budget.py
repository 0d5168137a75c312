"""Bound what an evaluation asks of a network, so that a large one is reported on as soon as a small one.

The unit is the floating-point operation, not the second: the same run gets the same report on any machine. Two cores do
some 1e11 a second and more, so that the parts of a report take them a minute and a half together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = ["EvaluationBudget", "evaluation_budget"]

SAMPLES, CURVE, LIKELIHOOD, LOSS = 3e12, 8e11, 8e11, 3e11  # operations, at most, where the least of each allows
DEVICE = 100  # times as many anywhere but on a CPU
EVALUATIONS: tuple[int, ...] = (4, 8, 16, 32, 64)
DIFFUSIONS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)  # multiples of the reverse SDE's coefficient
DIFFUSION_STEPS = (32, 16)
POINTS = (100, 1000)  # samples for a point of a curve, at least and at most
ROWS = (16, 128)  # rows whose likelihood is measured
DRAWS = (256, 1024)  # of the losses, each evaluated four times
LEAST_STEPS = 8  # of a sample
SLOPES = 150  # evaluations that a log-likelihood by `LIKELIHOOD_STEPS` steps costs, derivatives included
LIKELIHOOD_STEPS = 8


@dataclass(frozen=True)
class EvaluationBudget:
    """How much of everything one run is asked for.

    ``steps`` of the samples, None for what `Model.sample` does by itself; ``evaluations`` and ``diffusions``, the
    points of the curves, and the samples for each; ``likelihood_rows``, with ``likelihood_steps`` (None: adaptive);
    ``loss_draws``. ``note`` says what was cut short, if anything.
    """

    steps: int | None
    evaluations: tuple[int, ...]
    evaluation_samples: int
    diffusions: tuple[float, ...]
    diffusion_steps: int
    diffusion_samples: int
    likelihood_rows: int
    likelihood_steps: int | None
    loss_draws: int
    note: str


def clamp(limits: tuple[int, int], value: float) -> int:
    """The whole number nearest to ``value`` within the limits."""
    return int(min(limits[1], max(limits[0], value)))


def evaluation_budget(model: Model, n: int, steps: int | None, default: int) -> EvaluationBudget:
    """Find what is affordable for ``n`` samples of ``steps`` steps (None: the tuned sampler, or ``default`` steps)."""
    cost = max(1, model.run.flops) / (1 if model.device == "cpu" else DEVICE)

    # steps that were asked for are made, whatever they cost
    tuned = model.tuned_for(None)
    usual = tuned.nfe if tuned else default
    fewer = clamp((LEAST_STEPS, default), SAMPLES / (cost * n))
    shortened = steps is None and fewer < usual

    # curves lose points before they lose samples: fewer than POINTS[0] would be noise
    evaluations = EVALUATIONS
    while len(evaluations) > 3 and POINTS[0] * sum(evaluations) * cost > CURVE:
        evaluations = evaluations[:-1]
    costly = POINTS[0] * len(DIFFUSIONS) * DIFFUSION_STEPS[0] * cost > CURVE
    diffusions, diffusion_steps = (DIFFUSIONS[::2], DIFFUSION_STEPS[1]) if costly else (DIFFUSIONS, DIFFUSION_STEPS[0])

    likelihood_rows = clamp(ROWS, LIKELIHOOD / (2 * SLOPES * cost))
    note = (
        f"samples were made with {fewer} evaluations instead of {usual}, which would take a network of this size long: "
        f"--steps {usual} asks for it"
    )
    return EvaluationBudget(
        steps=fewer if shortened else steps,
        evaluations=evaluations,
        evaluation_samples=clamp(POINTS, CURVE / (sum(evaluations) * cost)),
        diffusions=diffusions,
        diffusion_steps=diffusion_steps,
        diffusion_samples=clamp(POINTS, CURVE / (len(diffusions) * diffusion_steps * cost)),
        likelihood_rows=likelihood_rows,
        likelihood_steps=None if likelihood_rows == ROWS[1] else LIKELIHOOD_STEPS,
        loss_draws=clamp(DRAWS, LOSS / (4 * cost)),
        note=note if shortened else "",
    )
