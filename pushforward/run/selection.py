"""The average of the weights that a run ends with: of those that were kept, the best on held-out rows."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pushforward.files.jsonfile import checked_line
from pushforward.files.writing import numbered, written_whole
from pushforward.run.folder import history

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pushforward.path import Draw
    from pushforward.run.callbacks import RunCallbacks
    from pushforward.training import Feed

__all__ = ["SELECTION", "Selection", "keep_best", "read_selection"]

SELECTION = "selection.jsonl"
POINTS = 8192  # of the loss of one average, at most
FEWEST = 256  # at least, or the last average is kept
SHARE = 0.03  # of the training, which the choice may take
STEP = 3  # evaluations that a step of training takes for a row, forwards and backwards


@dataclass(frozen=True)
class Selection:
    """Held-out losses of the averages of some steps, on the same points, and which of them is kept.

    ``differences`` are those from the last average, ``errors`` their standard errors over the points.
    """

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    differences: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def best(self) -> int:
        """Position of the least loss, if it is below the last one by more than its standard error; else the last."""
        i = min(range(len(self.steps)), key=self.losses.__getitem__)
        return i if self.differences[i] < -self.errors[i] else len(self.steps) - 1

    def describe(self) -> str:
        """Say in a sentence which average is kept, and what the last one would be."""
        i, last = self.best, len(self.steps) - 1
        kept = f"average of step {self.steps[i]:,}, held-out loss {self.losses[i]:.4f}"
        if i == last:
            return f"{kept}: the best of {last + 1} averages"
        return (
            f"{kept}: the best of {last + 1} averages; the last one has {-self.differences[i]:.4f} +- "
            f"{self.errors[i]:.4f} more (--weights last keeps it)"
        )


def read_selection(folder: Path) -> Selection | None:
    """The choice that a run ended with; None where the last average was kept without one."""
    lines = [row for row in history(folder, SELECTION) if {"held_out", "difference", "error"} <= row.keys()]
    if not lines:
        return None
    columns = [[float(row[key]) for row in lines] for key in ("held_out", "difference", "error")]
    return Selection(tuple(int(row["step"]) for row in lines), *map(tuple, columns))


def keep_best(
    net: nn.Module, callbacks: RunCallbacks, held_out: Feed[tuple[Draw, Tensor | None]], steps: int
) -> Selection | None:
    """Give the run's weights the best of its averages over ``steps`` steps; None where the last one is kept unseen.

    The loss of each is measured on the same ``held_out`` rows, times and noises: `POINTS` of them, as far as that takes
    no more than `SHARE` of what the training took.
    """
    import torch

    from pushforward.files.tensorfile import load_weights, save_tensors
    from pushforward.training.average import read_snapshot

    folder, config = callbacks.folder, callbacks.record.config.train
    assert config.batch is not None  # resolved
    affordable = int(SHARE * STEP * steps * config.batch)  # points of all averages together; the first are left out
    chosen = numbered(folder / "averages")[-max(affordable // FEWEST, 1) :]
    points = min(POINTS, affordable // max(len(chosen), 1))
    (folder / SELECTION).unlink(missing_ok=True)
    if config.weights == "last" or len(chosen) < 2 or points < FEWEST:
        return None

    # every average on the same points, the last one last
    weights, run = folder / "model.safetensors", callbacks.record.checksum
    average = copy.deepcopy(net).eval()
    load_weights(average, weights, run)
    params = [p for p in average.parameters() if p.requires_grad]
    like = torch.cat([p.detach().flatten() for p in params])
    tensors = [read_snapshot(path, like.cpu(), run)["ema"] for path in chosen[:-1]] + [like.cpu()]
    losses = []
    with torch.no_grad():
        rows = len(held_out(0)[0].t)
        batches = [held_out(k) for k in range(math.ceil(points / rows))]
        for vector in tensors:
            torch.nn.utils.vector_to_parameters(vector.to(like), params)
            noise = torch.Generator().manual_seed(config.seed)
            losses.append(torch.cat([callbacks.loss(average, batch, noise).double().cpu() for batch in batches]))
    table = torch.stack(losses)[:, :points]
    off = table - table[-1]
    selection = Selection(
        tuple(int(path.name[5:]) for path in chosen),
        tuple(table.mean(1).tolist()),
        tuple(off.mean(1).tolist()),
        tuple((off.std(1) / math.sqrt(off.shape[1])).tolist()),
    )

    # written down, and kept
    lines = zip(selection.steps, selection.losses, selection.differences, selection.errors, strict=True)
    keys = ("step", "held_out", "difference", "error")
    with written_whole(folder / SELECTION) as scratch:
        scratch.write_text("".join(checked_line(dict(zip(keys, line, strict=True))) + "\n" for line in lines))
    if selection.best < len(tensors) - 1:
        torch.nn.utils.vector_to_parameters(tensors[selection.best].to(like), params)
        save_tensors(average.state_dict(), weights, run)
    return selection
