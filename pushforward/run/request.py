"""What a training is asked for beside its configuration: rows, a machine, and who watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward.progress import SILENT, Progress

if TYPE_CHECKING:
    from pushforward.distributed import Processes
    from pushforward.training import TrainingStatus

__all__ = ["Execution", "RowRequest", "Watcher", "single_process"]


def single_process() -> Processes:
    """This process alone."""
    from pushforward.distributed import SINGLE

    return SINGLE


@dataclass(frozen=True, eq=False)
class RowRequest:
    """The rows to train on: ``data`` as of `data.load`, or pairs that the run ``reflow`` makes (`pairs`).

    ``schema`` says of the columns of a table what is not to be inferred, ``resize`` is the size of pictures,
    ``header`` whether the first line of a text file names the columns, and ``layout`` what the axes of an array are.
    """

    data: Any | None
    schema: str | Path | Mapping[str, Any] | None = None
    resize: str | int | Sequence[int] | None = None
    reflow: Path | None = None
    header: bool | None = None
    layout: str | None = None


@dataclass(frozen=True)
class Execution:
    """How a step is computed: on a device, by how many processes, in how many parts.

    A batch is shared out among ``processes`` (`process_group`), and there among ``accumulate`` parts one after the
    other. With ``shard`` each process holds a part of the weights and of all that goes with them (FSDP2). ``compiled``
    trains through torch.compile.
    """

    device: str = "cpu"
    processes: Processes = field(default_factory=single_process)
    accumulate: int = 1
    shard: bool = False
    compiled: bool = False


@dataclass(frozen=True)
class Watcher:
    """Who is told how a training goes, by the main process.

    ``on_report`` gets every report, ``warn`` a sentence where something went wrong and training goes on, ``note`` one
    that is good to know, and ``tracker`` ("tensorboard", "wandb" or "mlflow") the lines of ``metrics.jsonl``.
    """

    progress: Progress = SILENT
    on_report: Callable[[TrainingStatus], None] | None = None
    warn: Callable[[str], None] | None = None
    tracker: str | None = None
    note: Callable[[str], None] | None = None

    def preparing(self, name: str) -> Progress:
        """The progress of what is done before the first step, of which no share of the budget is known."""
        return Progress(lambda share, _: self.progress(0.0, f"{name}: {share:.0%}"))
