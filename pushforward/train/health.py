"""What training watches: losses and gradients that are not finite, losses that jump, and the time that is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from pushforward.errors import InputError

__all__ = ["Budget", "Clock", "Health"]

PATIENCE = 10  # steps in a row that are not finite, before training is stopped
SETTLED, SPIKE = 50, 20.0  # losses seen before one is called a spike; mean absolute deviations above the mean
DISK = 2e8  # bytes per second: how long a save is taken to last before one was timed


@dataclass(frozen=True)
class Budget:
    """How long to train, whichever comes first: optimiser ``steps``, ``minutes`` of training time, or both."""

    steps: int | None
    minutes: float | None

    def spent(self, step: int, seconds: float) -> float:
        """The share of the budget that is used up, 1 when training is over."""
        by_steps = 0.0 if self.steps is None else step / self.steps
        by_time = 0.0 if self.minutes is None else seconds / (60 * self.minutes)
        return min(1.0, max(by_steps, by_time))


class Clock:
    """Training time, and how much of a budget of minutes is used when the last step and the last save must fit in.

    ``size`` bytes are saved and ``ending`` steps' worth of time is spent on looking at the network, as long as neither
    was timed.
    """

    def __init__(self, budget: Budget, before: float, size: int, ending: float = 0.0) -> None:
        self.limit = math.inf if budget.minutes is None else 60 * budget.minutes
        self.began = time.monotonic() - before
        self.pace, self.reporting, self.size, self.ending = 0.0, 0.0, size, ending
        self.saving: float | None = None
        self._last = self.seconds

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a stop included."""
        return time.monotonic() - self.began

    def used(self) -> float:
        """Seconds out of ``limit``, after a step: all of them when another step and a save would not fit in."""
        now = self.seconds
        self.pace, self._last = max(0.9 * self.pace, now - self._last), now
        saving = self.size / DISK + self.ending * self.pace if self.saving is None else self.saving
        usable = self.limit - saving - self.reporting
        if now + self.pace > usable:
            return max(self.limit, now)
        return now if math.isinf(usable) else now * self.limit / usable

    def resume(self) -> None:
        """What went by since the last step was no step."""
        self._last = self.seconds


@dataclass
class Health:
    """Losses and gradient norms of the last steps, looked at now and then so that no step waits for the device.

    A step whose loss or gradient is not finite was skipped by the optimiser; ten in a row are an InputError. A loss far
    above those before it is told to ``warn``.
    """

    warn: Callable[[str], None]
    total: float  # of the losses since the last report
    good: int  # how many they are
    skipped: int  # steps, of all
    saved: Callable[[], str]  # names the last good checkpoint
    streak: int = 0
    norm: float = 0.0
    _pending: list[Tensor | tuple[float, float]] = field(default_factory=list)
    _seen: int = 0
    _mean: float = 0.0
    _spread: float = 0.0
    _spike: int = -1000

    def note(self, loss_and_norm: Tensor | tuple[float, float]) -> None:
        """The loss and gradient norm of a step; ``[2]`` where they are still on a device."""
        self._pending.append(loss_and_norm)

    @property
    def due(self) -> bool:
        """Whether enough steps are waiting to be looked at."""
        return len(self._pending) >= PATIENCE

    def look(self, step: int) -> None:
        """Read what was noted up to ``step``."""
        if not self._pending:
            return
        values = [seen if isinstance(seen, tuple) else seen.tolist() for seen in self._pending]
        for number, (loss, norm) in enumerate(values, start=step - len(values)):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                self.skipped, self.streak = self.skipped + 1, self.streak + 1
                if self.streak == 1:
                    self.warn(f"step {number} was skipped: its loss is {loss:.4g}, its gradient norm {norm:.4g}")
                if self.streak >= PATIENCE:
                    raise InputError(
                        f"the loss or its gradient was not finite in {PATIENCE} steps in a row, up to step {number} "
                        f"(loss {loss:.4g}, gradient norm {norm:.4g}); {self.saved()}: lower --lr or look "
                        "at the data (pushforward inspect)"
                    )
                continue
            self.total, self.good, self.streak, self.norm = self.total + loss, self.good + 1, 0, norm
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
