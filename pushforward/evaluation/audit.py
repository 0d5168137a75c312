"""Audit a model for its training rows: their losses, and those of held-out rows, at the same times and noises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pushforward.config import Components
from pushforward.metrics import Membership, membership

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.field import Field

__all__ = ["membership_audit", "row_losses"]

DRAWS = 64  # times and noises, the same for all rows
ROWS = 1000  # of either kind, at most
LEAST = 1e-30  # of a loss, of which there is a logarithm
CHUNK = 4096  # rows that are evaluated together


def row_losses(field: Field, parts: Components, x: Tensor, y: Tensor | None, seed: int, draws: int = DRAWS) -> Tensor:
    """Measure the log-loss of each row ``[n]``: the mean over ``draws`` times, evenly spaced, each with one noise.

    The logarithm, so that no time outweighs the others, and losses near 0, of rows that are known by heart, count.
    """
    import torch

    from pushforward.tensor import generator

    noise = generator(seed, "membership")
    source = parts.path.source.sample((draws, *x.shape[1:]), noise).to(x)
    total = torch.zeros(len(x), dtype=torch.float64)
    with torch.no_grad():
        for k in range(draws):
            t = torch.full((len(x),), (k + 0.5) / draws, dtype=x.dtype, device=x.device)
            losses = []
            for part, labels, times in zip(
                x.split(CHUNK), [None] * len(x) if y is None else y.split(CHUNK), t.split(CHUNK), strict=False
            ):
                begin = source[k].expand(len(part), *x.shape[1:])
                draw = parts.path.draw(begin, part, times, generator(seed, "membership curves", k))
                fixed = torch.Generator().manual_seed(seed)
                losses.append(parts.objective(field, draw, labels, fixed).double().cpu())
            total += torch.cat(losses).clamp_min(LEAST).log()
    return total / draws


def membership_audit(
    field: Field,
    parts: Components,
    trained: tuple[Tensor, Tensor | None],
    held_out: tuple[Tensor, Tensor | None],
    seed: int,
    evaluations: int,
) -> Membership:
    """Attack a field by its losses on training and on held-out rows ``(x, y)``: see `metrics.membership`.

    At most `ROWS` of either, as many as ``evaluations`` allow.
    """
    import torch

    from pushforward.tensor import generator

    n = min(ROWS, max(evaluations // (2 * DRAWS), 1))
    sides = []
    for i, (x, y) in enumerate((trained, held_out)):
        index = torch.randperm(len(x), generator=generator(seed, "membership rows", i))[:n].to(x.device)
        sides.append((x[index], None if y is None else y[index]))
    x = torch.cat([rows for rows, _ in sides])
    labels = [y for _, y in sides if y is not None]
    losses = row_losses(field, parts, x, torch.cat(labels) if len(labels) == 2 else None, seed)
    return membership(losses[: len(sides[0][0])], losses[len(sides[0][0]) :], seed)
