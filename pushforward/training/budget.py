"""How long to train: a number of steps, minutes, or whichever ends first."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

__all__ = ["Budget", "TimeBudget"]

DISK = 2e8  # bytes per second: how long a save is taken to last before one was timed


@dataclass(frozen=True)
class Budget:
    """How long to train, whichever comes first: optimizer ``steps``, ``minutes`` of training time, or both."""

    steps: int | None
    minutes: float | None

    def spent(self, step: int, seconds: float) -> float:
        """The share of the budget that is used up, 1 when training is over."""
        by_steps = 0.0 if self.steps is None else step / self.steps
        by_time = 0.0 if self.minutes is None else seconds / (60 * self.minutes)
        return min(1.0, max(by_steps, by_time))


class TimeBudget:
    """Measure training time, and the share of a budget of minutes that is used so that the last step and save fit in.

    As long as neither was timed, ``size`` bytes are taken to be saved, and looking at the network to last as long as
    ``closing_cost`` steps.
    """

    def __init__(self, budget: Budget, before: float, size: int, closing_cost: float = 0.0) -> None:
        self.limit = math.inf if budget.minutes is None else 60 * budget.minutes
        self.began = time.monotonic() - before
        self.pace, self.reporting, self.size, self.closing_cost = 0.0, 0.0, size, closing_cost
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
        saving = self.size / DISK + self.closing_cost * self.pace if self.saving is None else self.saving
        usable = self.limit - saving - self.reporting
        if now + self.pace > usable:
            return max(self.limit, now)
        return now if math.isinf(usable) else now * self.limit / usable

    def resume(self) -> None:
        """What went by since the last step was no step."""
        self._last = self.seconds
