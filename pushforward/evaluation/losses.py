"""Measure the loss of a run beside what it cannot go below, the loss of the exact field of its rows.

A conditional loss has a floor, which only the field that knows every row by heart reaches. What is left above it is the
error against that field: it falls on training rows and on held-out rows while the law is learned, and rises again on
held-out rows when rows are learned by heart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pushforward.batches import BatchRecipe, feed_for
from pushforward.config import Components, Config
from pushforward.errors import InputError
from pushforward.registry import names

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.field import Field
    from pushforward.objective import Estimate
    from pushforward.path import Draw

__all__ = ["WORK", "Losses", "losses", "no_floor"]

WORK = 2**36  # multiplications that an exact field may take on a Gaussian path; 1/32 of it on others


@dataclass(frozen=True)
class Losses:
    """Losses of one field, their floors, and what is left above: ``excess = loss - floor`` on the same draws.

    ``note`` says why there is no floor, where there is none.
    """

    train: Estimate
    held_out: Estimate
    floor: Estimate | None
    excess: Estimate | None
    held_out_floor: Estimate | None
    held_out_excess: Estimate | None
    note: str
    derived: ClassVar = ("draws",)  # a property that stands in the JSON of a report too

    @property
    def draws(self) -> int:
        """How many draws the losses are means of."""
        return self.train.n

    def to_json(self) -> dict[str, float | str]:
        """Select floors and excesses by name, without those that are missing, for ``floor.jsonl``."""
        named = {name: getattr(self, name) for name in ("floor", "excess", "held_out_floor", "held_out_excess")}
        values = {name: estimate.value for name, estimate in named.items() if estimate is not None}
        return values | ({"floor_note": self.note} if self.note else {})


def no_floor(config: Config) -> str:
    """Say why a loss has no floor: it is of pairs of a coupling, or not known to be least at the exact field."""
    coupling, objective = config.path.coupling, config.objective.objective
    if coupling != "independent":
        return f"pairs of the coupling {coupling} have no exact field: the loss has no floor"
    if objective not in names("objective", "OBJECTIVES"):
        return f"objective {objective}: it is not known whether the exact field makes it least, so it has no floor"
    return ""


def losses(
    field: Field,
    parts: Components,
    config: Config,
    trained: tuple[Tensor, Tensor | None],
    held_out: tuple[Tensor, Tensor | None],
    seed: int,
    draws: int = 1024,
    work: int = WORK,
) -> Losses:
    """Measure the loss on training and on held-out rows ``(x, y)`` in model units, with the floors of either.

    Rows are taken without the noise that makes rounded values continuous. A network conditioned on classes gets all of
    them, one conditioned on columns gets none. The losses are means over ``draws`` draws, fewer where ``work``
    multiplications do not suffice for their floor. Beyond it, for other couplings than independent ones and for
    objectives that the oracle does not answer, there is no floor and ``note`` says so. InputError where the loss itself
    is not finite.
    """
    import torch

    from pushforward.coupling import FittedOnData
    from pushforward.objective import excess_loss, irreducible_loss
    from pushforward.oracle import EmpiricalField
    from pushforward.tensor import dimension

    if isinstance(parts.coupling, FittedOnData):
        raise InputError(f"a {config.path.coupling} plan would have to be fitted again for it: metrics.jsonl has it")
    device = trained[0].device
    allowed = work if parts.path.gaussian else work // 32
    size = max(len(trained[0]), len(held_out[0])) * dimension(trained[0])
    n = draws if draws * size <= allowed else draws // 4
    labelled = config.condition.condition == "labels"

    # the draws are those of training, and the same for the field and for the oracle
    def draw_pairs(rows: tuple[Tensor, Tensor | None], stream: int) -> tuple[Draw, Tensor | None]:
        y = rows[1] if labelled else None
        recipe = BatchRecipe(parts.path, parts.coupling, parts.times, min(n, len(rows[0])))
        draw, condition = feed_for(rows[0], y, recipe, seed + stream, ahead=1)(0)
        return draw.to(device), condition

    train_draws, held_out_draws = draw_pairs(trained, 0), draw_pairs(held_out, 1)
    train_loss = irreducible_loss(parts.matching, field, train_draws[0], y=train_draws[1], seed=seed)
    held_out_loss = irreducible_loss(parts.matching, field, held_out_draws[0], y=held_out_draws[1], seed=seed)

    def without_floor(note: str) -> Losses:
        return Losses(train_loss, held_out_loss, None, None, None, None, note)

    if note := no_floor(config):
        return without_floor(note)
    if n * size > allowed:
        return without_floor(
            f"{len(trained[0]):,} training rows are too many for their exact field: the loss has no floor"
        )

    # each set of rows has an exact field, and so a floor, of its own
    floors: list[tuple[Estimate, Estimate]] = []
    try:
        for (x, labels), (draw, y) in ((trained, train_draws), (held_out, held_out_draws)):
            with torch.no_grad():
                oracle = EmpiricalField(parts.path, x, labels=labels if labelled else None)
                floor = irreducible_loss(parts.matching, oracle, draw, y=y, seed=seed)
                floors.append((floor, excess_loss(parts.matching, field, oracle, draw, y=y, seed=seed)))
    except (InputError, ValueError) as error:
        return without_floor(f"the loss has no floor ({error})")
    return Losses(train_loss, held_out_loss, *floors[0], *floors[1], "")
