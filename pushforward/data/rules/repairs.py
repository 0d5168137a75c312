"""Rules that leave the model as it is and mend what it samples: bounds, and gaps that come together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pushforward.data.files.cells import ArrowColumn, arrow_type, present
from pushforward.data.files.rows import Array
from pushforward.data.rules.base import Cells, Filled, Numbers, Rule, finish, view
from pushforward.data.rules.expression import Expression, name_of

__all__ = ["Limits", "Gap"]


@dataclass(frozen=True)
class Limits(Rule):
    """A number within bounds that are reached: low <= target <= high, of which either may be None."""

    target: str
    type: str
    low: float | None
    high: float | None
    support: int = 0

    sources = ()
    optional = False

    @property
    def name(self) -> str:
        """As ``age >= 18``, ``age <= 99`` or ``18 <= age <= 99``."""
        low, high = (None if end is None else str(Expression("number", value=end)) for end in (self.low, self.high))
        if low is None or high is None:
            return f"{name_of(self.target)} >= {low}" if high is None else f"{name_of(self.target)} <= {high}"
        return f"{low} <= {name_of(self.target)} <= {high}"

    def _numbers(self, cells: Cells) -> Numbers:
        return view(cells[self.target], arrow_type(self.type), self.name, self.target)

    def _clip(self, values: Array) -> Array:
        low, high = (-np.inf if self.low is None else self.low), (np.inf if self.high is None else self.high)
        return np.clip(values, low, high)

    @property
    def reduces(self) -> bool:
        """The model sees the target as it is."""
        return False

    def reduce(self, cells: Cells) -> ArrowColumn:
        """The target as it is."""
        return cells[self.target]

    def restore(self, cells: Cells, filled: Filled) -> ArrowColumn:
        """Clip the target."""
        numbers = self._numbers(cells)
        clipped = self._clip(numbers.values)
        if not ((clipped != numbers.values) & numbers.there).any():
            return cells[self.target]
        return finish(clipped, numbers.there, arrow_type(self.type))

    def holds(self, cells: Cells) -> Array:
        """Compare with the bounds."""
        numbers = self._numbers(cells)
        return np.asarray((self._clip(numbers.values) == numbers.values) | ~numbers.there)

    def to_json(self) -> dict[str, Any]:
        """The fields, as ``kind`` bound."""
        keys = ("target", "type", "low", "high", "support")
        return {"kind": "limits"} | {key: getattr(self, key) for key in keys}


@dataclass(frozen=True)
class Gap(Rule):
    """A value that is missing just where another is (``together``), or just where it is not."""

    target: str
    type: str
    source: str
    together: bool
    support: int = 0

    optional = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The other column."""
        return (self.source,)

    @property
    def name(self) -> str:
        """As ``missing(end) = missing(start)``, or ``missing(end) = 1 - missing(start)``."""
        not_ = "" if self.together else "1 - "
        return f"missing({name_of(self.target)}) = {not_}missing({name_of(self.source)})"

    @property
    def reduces(self) -> bool:
        """The model sees the target as it is."""
        return False

    def reduce(self, cells: Cells) -> ArrowColumn:
        """The target as it is."""
        return cells[self.target]

    def _missing(self, cells: Cells) -> Array:
        """Where the target has to be missing."""
        return np.asarray(present(cells[self.source]) != self.together)

    def restore(self, cells: Cells, filled: Filled) -> ArrowColumn:
        """Leave the target out where it has to be missing, and put its value where it may not be."""
        import pyarrow as pa

        missing = self._missing(cells)
        if np.array_equal(missing, ~present(cells[self.target])):
            return cells[self.target]
        index = np.arange(len(missing))
        return filled(self.target).take(pa.array(index, mask=missing))

    def holds(self, cells: Cells) -> Array:
        """Compare the gaps."""
        return np.asarray(self._missing(cells) == ~present(cells[self.target]))

    def to_json(self) -> dict[str, Any]:
        """The fields, as ``kind`` gap."""
        keys = ("target", "type", "source", "together", "support")
        return {"kind": "gap"} | {key: getattr(self, key) for key in keys}
