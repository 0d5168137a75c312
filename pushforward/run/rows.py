"""The rows of a run and the batches made of them: training and held-out rows, or the pairs of a reflow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward.batches import BatchRecipe, feed_for
from pushforward.config import Components
from pushforward.errors import writable
from pushforward.run.folder import RunFile, read
from pushforward.run.plan import fit_plan
from pushforward.run.reflow import make_pairs, paired
from pushforward.run.request import Execution, RowRequest, Watcher

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.data import Dataset
    from pushforward.path import Draw
    from pushforward.training import Feed

__all__ = ["RunBatches", "RunRows", "read_rows"]

HELD_OUT_ROWS = 2048


@dataclass(frozen=True, eq=False)
class RunRows:
    """A data set in model units, where it came from, and the source points of its rows, if they came in pairs.

    ``named`` says that the user has named ``source``, now or when the run that it is taken from was trained.
    """

    data: Dataset
    source: str
    partners: Tensor | None = None
    named: bool = True


def read_rows(request: RowRequest, folder: Path, seed: int, execution: Execution, watcher: Watcher) -> RunRows:
    """Read the rows of a request, or make its pairs, which are kept in ``folder``; InputError for bad data."""
    from pushforward.data import load

    if request.reflow is None:
        progress = watcher.preparing("data")
        data = load(
            request.data,
            request.schema,
            request.resize,
            folder,
            progress,
            header=request.header,
            layout=request.layout,
        )
        data = replace(data, name=writable(data.name))
        return RunRows(data, writable(str(request.data)) if isinstance(request.data, str | Path) else data.name)
    # made by the main process, and read back by the others
    read_pairs = partial(make_pairs, request.reflow, folder, seed, execution.device)
    made = execution.processes.on_main(lambda: read_pairs(watcher.preparing("pairs of the model"))) or read_pairs()
    record = read(request.reflow).data
    return RunRows(made.data, record.source, made.partners, record.named_here)


class RunBatches:
    """The batches of a run: `training` by their number, and one of `held_out` rows, always the same."""

    def __init__(
        self, rows: RunRows, parts: Components, record: RunFile, folder: Path, execution: Execution, watcher: Watcher
    ) -> None:
        config = record.config
        self.rows, self.parts, self.config, self.run, self.folder = rows, parts, config, record.checksum, folder
        self.execution, self.processes, self.watcher = execution, execution.processes, watcher
        self.train_index, self.held_out_index = rows.data.parts(config.train.held_out, config.train.seed)
        batch, transform = config.train.batch, rows.data.transform
        assert batch is not None  # resolved
        self.recipe = BatchRecipe(
            parts.path,
            parts.coupling if rows.partners is None else paired,
            parts.times,
            batch,
            config.path.pool,
            parts.draw_condition,
            None if rows.partners is not None or transform.continuous else transform.dequantize,
        )

    @property
    def planned(self) -> bool:
        """Whether a plan is fitted before the first step."""
        from pushforward.coupling import FittedOnData

        return isinstance(self.parts.coupling, FittedOnData)

    def training(self) -> Feed[tuple[Draw, Tensor | None]]:
        """The training batches; with mirror images, if the configuration has them."""
        data, index = self.rows.data, self.train_index
        if self.config.train.mirror:
            return self._feed("training", data.take(index).mirrored(), None, self.recipe, self.config.train.seed)
        return self._feed("training", data, index, self.recipe, self.config.train.seed)

    def held_out_feed(self) -> Feed[tuple[Draw, Tensor | None]]:
        """Batches of held-out rows, times and noise: the k-th is always the same, so that losses compare networks."""
        recipe = replace(self.recipe, batch=min(len(self.held_out_index), HELD_OUT_ROWS), pool=1)
        seed = self.config.train.seed + 1
        return self._feed("held-out", self.rows.data, self.held_out_index, recipe, seed, ahead=1)

    def _feed(
        self, name: str, data: Dataset, only: Tensor | None, recipe: BatchRecipe, seed: int, ahead: int | None = None
    ) -> Feed[tuple[Draw, Tensor | None]]:
        from pushforward.coupling import FittedOnData

        condition = {"none": None, "labels": data.y, "columns": data.x}[self.config.condition.condition]
        y: Any = condition if self.rows.partners is None else self.rows.partners
        if isinstance(recipe.coupling, FittedOnData):
            # fitted by the main process, and read back by the others
            index = slice(None) if only is None else only
            problem = recipe.coupling, data.x[index], None if y is None else y[index], seed
            fit = partial(fit_plan, recipe, *problem, self.folder / "plan" / name, self.run)
            progress = self.watcher.preparing(f"{name} plan")
            recipe = self.processes.on_main(lambda: fit(progress)) or fit(progress)
        return feed_for(data.x, y, recipe, seed, ahead, only)
