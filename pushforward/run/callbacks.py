"""What a run writes down while it is trained: losses and their floors, weights, previews."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward.errors import InputError
from pushforward.evaluation.losses import losses, no_floor
from pushforward.files.jsonfile import checked_line
from pushforward.run.drawing import PREVIEW, preview
from pushforward.run.folder import RunFile, history
from pushforward.run.model import Model
from pushforward.run.request import Execution, Watcher
from pushforward.run.rows import RunBatches

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pushforward.path import Draw
    from pushforward.training import Hooks, TrainingStatus

__all__ = ["RunCallbacks"]

RISING, MARGIN = 1 / 3, 0.005  # of the budget, and of the loss: what makes a warning
FLOOR_DRAWS, FLOOR_WORK = 512, 2**33  # about a second of an exact field, at each checkpoint


@dataclass(eq=False)
class RunCallbacks:
    """The loss of a run and the hooks of its training, which keep its files.

    ``held_out_batch`` is what the held-out loss is of; ``track`` gets the lines of ``metrics.jsonl``.
    """

    folder: Path
    record: RunFile
    batches: RunBatches
    held_out_batch: tuple[Draw, Tensor | None]
    execution: Execution
    watcher: Watcher
    track: Callable[[dict[str, Any]], None] = lambda values: None
    reported: set[int] = field(default_factory=set)  # steps of which metrics.jsonl has a line
    floor_steps: set[int] = field(default_factory=set)  # and floor.jsonl
    resumed: int = -1  # the step that training goes on from
    lowest: tuple[float, float, int] = (math.inf, 0.0, 0)  # held-out loss so far, with the budget spent and the step
    risen: bool = False  # whether that was warned of

    def hooks(self) -> Hooks:
        """The hooks of a training; their cost is counted in evaluations, of which a step takes three for each row."""
        from pushforward.training import Hooks

        batch = self.record.config.train.batch
        assert batch is not None  # resolved
        evaluations = len(self.held_out_batch[0].t) + 2 * FLOOR_DRAWS + PREVIEW
        return Hooks(
            self.held_out,
            self.on_resume,
            self.on_report,
            self.on_checkpoint,
            self.on_preview,
            self.warn,
            evaluations / (3 * batch),
        )

    def warn(self, message: str) -> None:
        """Tell the user that something went wrong, and that training goes on."""
        if self.watcher.warn is not None:
            self.watcher.warn(message)

    def note(self, message: str) -> None:
        """Tell the user what is good to know."""
        if self.watcher.note is not None:
            self.watcher.note(message)

    def loss(self, net: nn.Module, batch: tuple[Draw, Tensor | None], generator: torch.Generator) -> Tensor:
        """The objective at the points of a batch, ``[n]``."""
        import torch

        (draw, y), parts, device = batch, self.batches.parts, torch.device(self.execution.device)
        return parts.objective(parts.field_of(net), draw.to(device), None if y is None else y.to(device), generator)

    def held_out(self, ema: nn.Module) -> float:
        """The mean loss of the average on held-out rows."""
        import torch

        with torch.no_grad():
            noise = torch.Generator().manual_seed(self.record.config.train.seed)
            return float(self.loss(ema, self.held_out_batch, noise).mean())

    def on_resume(self, step: int) -> None:
        """Cut the logs to what was reported up to ``step``: what a crash lost will be measured again."""
        from pushforward.files.writing import written_whole

        self.resumed = step
        for name in ("metrics.jsonl", "floor.jsonl"):
            lines = [row for row in history(self.folder, name, self.warn) if row["step"] <= step]
            known = self.floor_steps if name == "floor.jsonl" else self.reported
            known.update(int(row["step"]) for row in lines)
            with written_whole(self.folder / name) as scratch:
                scratch.write_text("".join(checked_line(row) + "\n" for row in lines))

    def on_report(self, status: TrainingStatus) -> None:
        """Append a line to ``metrics.jsonl``, unless it has one, and tell the tracker and whoever watches."""
        from pushforward.files.writing import append_line

        if status.step in self.reported:
            return
        self.reported.add(status.step)
        try:
            append_line(self.folder / "metrics.jsonl", checked_line(asdict(status)))
        except OSError as error:
            self.warn(f"step {status.step} could not be written to metrics.jsonl ({error})")
        self._look_back(status)
        self.track(asdict(status))
        if self.watcher.on_report is not None:
            self.watcher.on_report(status)
        self.watcher.progress(status.spent, status.describe())

    def _look_back(self, status: TrainingStatus) -> None:
        """Warn once where the held-out loss has risen for a third of the budget."""
        if status.held_out is None or self.risen:
            return
        if status.held_out <= self.lowest[0]:
            self.lowest = status.held_out, status.spent, status.step
        elif status.spent - self.lowest[1] >= RISING and status.held_out > (1 + MARGIN) * self.lowest[0]:
            self.risen = True
            self.warn(
                f"the held-out loss has risen since step {self.lowest[2]:,} ({self.lowest[0]:.4f}, now "
                f"{status.held_out:.4f}): the rows are learned by heart; fewer steps or a smaller network will do"
            )

    def on_checkpoint(self, weights: dict[str, Tensor], step: int) -> None:
        """Keep the average of the weights, from which the run is loaded."""
        from pushforward.files.tensorfile import save_tensors

        save_tensors(weights, self.folder / "model.safetensors", self.record.checksum)

    def on_preview(self, ema: nn.Module, step: int) -> None:
        """Measure the floor of the loss and draw samples, by all processes: each may hold but a part of the network."""
        from pushforward.files.writing import append_line

        folder, main = self.folder, self.execution.processes.main
        file = folder / "previews" / f"step-{step}.png"
        if not self.execution.processes.any(main and (step != self.resumed or not file.is_file())):
            return  # shown before the training that goes on was killed
        field = self.batches.parts.field_of(ema)
        model = Model(field, self.batches.rows.data.transform, self.record, folder, self.execution.device)
        line = self._floor(ema, step)
        try:
            if main and line:
                append_line(folder / "floor.jsonl", line)
        finally:  # the picture is the last, by which it is known that this step was shown
            self._draw(model, file if main else None, step)

    def _draw(self, model: Model, file: Path | None, step: int) -> None:
        """Draw samples by all processes, into the file of the main one."""
        from pushforward.files.writing import stays_inside

        try:
            if file is not None:
                with suppress(OSError):  # which the picture will meet again, after its samples are made
                    file.parent.mkdir(exist_ok=True)
                stays_inside(file, self.folder)
            preview(model, file)
        except InputError as error:  # samples that are not finite may become so: no reason to stop
            self.warn(f"no preview of step {step}: {error}")

    def _floor(self, ema: nn.Module, step: int) -> str:
        """The loss beside its floor, as a line of JSON; empty where there is none, which `info` says then."""
        rows, config, parts = self.batches.rows, self.record.config, self.batches.parts
        work = len(self.batches.train_index) * rows.data.x[0].numel() * FLOOR_DRAWS
        if rows.partners is not None or work > 4 * FLOOR_WORK:
            return ""
        if self.execution.processes.any(step in self.floor_steps):
            return ""
        self.floor_steps.add(step)
        if note := no_floor(config):
            return checked_line({"step": step, "floor_note": note})
        try:
            both = self._rows(self.batches.train_index), self._rows(self.batches.held_out_index)
            result = losses(parts.field_of(ema), parts, config, *both, config.train.seed, FLOOR_DRAWS, FLOOR_WORK)
        except (InputError, ValueError) as error:
            self.warn(f"no floor at step {step}: {error}")
            return ""
        return checked_line({"step": step} | result.to_json())

    def _rows(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows and their labels, on the device."""
        data, device = self.batches.rows.data, self.execution.device
        return data.x[index].to(device), None if data.y is None else data.y[index].to(device)
