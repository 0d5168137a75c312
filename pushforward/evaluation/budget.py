"""What a report may ask of a network, so that a large one is reported on as soon as a small one.

The unit is the floating-point operation, not the second: the same run gets the same report on any machine. Two cores do
some 1e11 a second and more, so that the parts of a report take them a minute and a half together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = ["Allowance", "allowance"]

SAMPLES, CURVE, LIKELIHOOD, LOSS = 3e12, 8e11, 8e11, 3e11  # operations, at most, where the least of each allows
DEVICE = 100  # times as many anywhere but on a CPU
EVALUATIONS: tuple[int, ...] = (4, 8, 16, 32, 64)
DIFFUSIONS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)  # multiples of the reverse SDE's coefficient
DIFFUSION_STEPS = (32, 16)
POINTS = (100, 1000)  # samples for a point of a curve, at least and at most
ROWS = (16, 128)  # rows whose likelihood is measured
DRAWS = (256, 1024)  # of the losses, each evaluated four times
LEAST_STEPS = 8  # of a sample
SLOPES = 150  # evaluations that a log-likelihood by `SCORE_STEPS` steps costs, derivatives included
SCORE_STEPS = 8


@dataclass(frozen=True)
class Allowance:
    """How much of everything one run is asked for.

    ``steps`` of the samples, None for what `Model.sample` does by itself; ``evaluations`` and ``diffusions``, the
    points of the curves, and the samples for each; ``scored`` rows, with ``score_steps`` steps (None: adaptive);
    ``draws`` of the losses. ``note`` says what was cut short, if anything.
    """

    steps: int | None
    evaluations: tuple[int, ...]
    at_evaluations: int
    diffusions: tuple[float, ...]
    diffusion_steps: int
    at_diffusions: int
    scored: int
    score_steps: int | None
    draws: int
    note: str


def within(limits: tuple[int, int], most: float) -> int:
    """The whole number nearest to ``most`` within the limits."""
    return int(min(limits[1], max(limits[0], most)))


def allowance(model: Model, n: int, steps: int | None, default: int) -> Allowance:
    """What is affordable for ``n`` samples of ``steps`` steps (None: the tuned sampler, or ``default`` steps)."""
    cost = max(1, model.run.flops) / (1 if model.device == "cpu" else DEVICE)
    tuned = model.tuned_for(None)
    usual = tuned.nfe if tuned else default
    fewer = within((LEAST_STEPS, default), SAMPLES / (cost * n))
    cut = steps is None and fewer < usual
    evaluations = EVALUATIONS
    while len(evaluations) > 3 and POINTS[0] * sum(evaluations) * cost > CURVE:
        evaluations = evaluations[:-1]
    short = POINTS[0] * len(DIFFUSIONS) * DIFFUSION_STEPS[0] * cost > CURVE
    diffusions, each = (DIFFUSIONS[::2], DIFFUSION_STEPS[1]) if short else (DIFFUSIONS, DIFFUSION_STEPS[0])
    scored = within(ROWS, LIKELIHOOD / (2 * SLOPES * cost))
    return Allowance(
        fewer if cut else steps,
        evaluations,
        within(POINTS, CURVE / (sum(evaluations) * cost)),
        diffusions,
        each,
        within(POINTS, CURVE / (len(diffusions) * each * cost)),
        scored,
        None if scored == ROWS[1] else SCORE_STEPS,
        within(DRAWS, LOSS / (4 * cost)),
        f"samples were made with {fewer} evaluations instead of {usual}, which would take a network of this size long: "
        f"--steps {usual} asks for it"
        if cut
        else "",
    )
