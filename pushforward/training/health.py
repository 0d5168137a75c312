"""What training watches: losses and gradients that are not finite, losses that jump, and the time that is left."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from pushforward.errors import InputError

__all__ = ["LossMonitor"]

PATIENCE = 10  # steps in a row that are not finite, before training is stopped
SETTLED, SPIKE = 50, 20.0  # losses seen before one is called a spike; mean absolute deviations above the mean


@dataclass
class LossMonitor:
    """Watch losses and gradient norms, which are read now and then so that no step waits for the device.

    A step whose loss or gradient is not finite was skipped by the optimizer; ten in a row are an InputError. A loss far
    above those before it is a reason to ``warn``.
    """

    warn: Callable[[str], None]
    total: float  # of the losses since the last report
    good: int  # how many they are
    skipped: int  # steps, of all
    saved: Callable[[], str]  # names the last good checkpoint
    bad_in_a_row: int = 0
    norm: float = 0.0
    _pending: list[Tensor | tuple[float, float]] = field(default_factory=list)
    _seen: int = 0
    _mean: float = 0.0
    _spread: float = 0.0
    _spike: int = -1000

    def record(self, loss_and_norm: Tensor | tuple[float, float]) -> None:
        """Take in the loss and gradient norm of a step; ``[2]`` where they are still on a device."""
        self._pending.append(loss_and_norm)

    @property
    def pending(self) -> bool:
        """Whether enough steps are waiting to be looked at."""
        return len(self._pending) >= PATIENCE

    def flush(self, step: int) -> None:
        """Read the losses and norms recorded up to ``step``; InputError for ten in a row that are not finite."""
        if not self._pending:
            return
        values = [pair if isinstance(pair, tuple) else pair.tolist() for pair in self._pending]
        for number, (loss, norm) in enumerate(values, start=step - len(values)):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                self.skipped, self.bad_in_a_row = self.skipped + 1, self.bad_in_a_row + 1
                if self.bad_in_a_row == 1:
                    self.warn(f"step {number} was skipped: its loss is {loss:.4g}, its gradient norm {norm:.4g}")
                if self.bad_in_a_row >= PATIENCE:
                    raise InputError(
                        f"the loss or its gradient was not finite in {PATIENCE} steps in a row, up to step {number} "
                        f"(loss {loss:.4g}, gradient norm {norm:.4g}); {self.saved()}: lower --lr or look "
                        "at the data (pushforward inspect)"
                    )
                continue
            self.total, self.good, self.bad_in_a_row, self.norm = self.total + loss, self.good + 1, 0, norm
            self._watch(number, loss)
        self._pending.clear()

    def _watch(self, number: int, loss: float) -> None:
        ceiling = self._mean + SPIKE * self._spread + 1e-3 * abs(self._mean)
        if self._seen >= SETTLED and loss > ceiling:
            if number - self._spike >= 100:
                self.warn(f"step {number}: the loss jumped to {loss:.4g}, from a mean of {self._mean:.4g}")
            self._spike, loss = number, ceiling  # no single loss may move the mean far
        self._seen += 1
        share = max(0.02, 1 / self._seen)
        self._spread += share * (abs(loss - self._mean) - self._spread) if self._seen > 1 else 0.0
        self._mean += share * (loss - self._mean)
