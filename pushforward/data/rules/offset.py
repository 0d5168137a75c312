"""A number or a date that is a formula of other columns, or lies above or below one: target = formula + rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from pushforward.data.files.cells import ArrowColumn, arrow_type, is_time
from pushforward.data.files.rows import Array
from pushforward.data.rules.base import Cells, Filled, Numbers, Rule, finish, view
from pushforward.data.rules.expression import Expression, name_of

__all__ = ["Offset"]

SLACK = 1e-9  # of the terms that are added, by which float64 numbers that were computed may differ
SLACK32 = 1e-5


@dataclass(frozen=True)
class Offset(Rule):
    """target = formula + rest, with low <= rest <= high: 0 and 0 if the formula is all of it, 0 and none for >=.

    The formula is rounded as the target is, and the rest has the ``places`` that both have. Where a source is missing
    the rest is counted from ``reference``. ``follows``: the target is missing just where a source is. Where the formula
    would fall below ``least``, as no target does, its sources are lowered (`lowered`). ``clips``: the model sees the
    target as it is, because its values repeat and what is left of them does not; samples are clipped to the formula.
    """

    target: str
    type: str
    formula: Expression
    low: float | None
    high: float | None
    strict: bool = False  # > and <
    decimals: int | None = None  # of the target
    places: int | None = None  # of the rest
    reference: float = 0.0
    follows: bool = False
    least: float | None = None
    clips: bool = False
    support: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns of the formula."""
        return self.formula.names

    @property
    def exact(self) -> bool:
        """Whether the formula is all of the target."""
        return self.low == self.high == 0

    @property
    def reduces(self) -> bool:
        """Whether the model sees the rest, and not the target itself, of which samples are clipped."""
        return not self.clips

    @property
    def optional(self) -> bool:
        """Whether nothing is left of the target."""
        return self.exact and self.follows

    @property
    def name(self) -> str:
        """As ``total = a + b`` or ``end >= start``."""
        sign = "=" if self.exact else ">=" if self.high is None else "<=" if self.low is None else "="
        sign = sign[0] if self.strict else sign
        near = "" if self.exact or None in (self.low, self.high) else f" (to {self.high:.6g})"
        return f"{name_of(self.target)} {sign} {self.formula}{near}"

    @cached_property
    def kind(self) -> Any:
        """Arrow type of the target."""
        return arrow_type(self.type)

    def _views(self, cells: Cells) -> dict[str, Numbers]:
        return {name: view(cells[name], self.kind, self.name, name) for name in self.sources}

    def base(self, cells: Cells) -> Numbers:
        """Compute the formula [n], rounded as the target is if it is all of it; the reference where it is not known."""
        views = self._views(cells)
        return self.base_of(views, len(next(iter(views.values())).values))

    def base_of(self, views: dict[str, Numbers], n: int) -> Numbers:
        """The same from columns that are numbers already."""
        known = np.logical_and.reduce([one.there for one in views.values()])
        values = np.broadcast_to(self.formula.evaluate({name: one.values for name, one in views.items()}), (n,))
        if values.dtype.kind == "f":
            known = known & np.isfinite(values)
            values = np.where(known, values, self.reference)
            if self.high is not None and self.low is not None and self.decimals is not None:
                values = np.round(values, self.decimals)
            return Numbers(values, known)
        return Numbers(np.where(known, values, int(self.reference)), known)

    def reduce(self, cells: Cells) -> ArrowColumn:
        """Compute target - formula: dates as durations where arrow has them, counts of days otherwise."""
        import pyarrow as pa

        if self.clips:
            return cells[self.target]
        base = self.base(cells)
        if self.optional:
            return pa.array(np.zeros(len(base.values), np.int8))
        target = view(cells[self.target], self.kind, self.name, self.target)
        rest = target.values - base.values
        rest = rest if self.places is None or rest.dtype.kind == "i" else np.round(rest, self.places)
        rest = np.where(base.there, np.clip(rest, self.low, self.high), rest)
        return finish(rest, target.there, self.rest_type)

    @property
    def rest_type(self) -> Any:
        """Arrow type of the rest."""
        import pyarrow as pa

        if pa.types.is_timestamp(self.kind) or pa.types.is_duration(self.kind):
            return pa.duration(self.kind.unit)
        return pa.int64() if is_time(self.kind) or (self.places == 0 and self.decimals == 0) else pa.float64()

    def restore(self, cells: Cells, filled: Filled) -> ArrowColumn:
        """Compute formula + rest, the rest within its bounds, rounded to the target's decimals without leaving them."""
        kind = self.kind if self.clips else self.rest_type
        base, rest = self.base(cells), view(cells[self.target], kind, self.name, self.target)
        there = base.there if self.follows and not self.clips else rest.there
        added = np.zeros_like(base.values) if self.optional else rest.values - self.clips * base.values
        added = np.where(base.there, np.clip(added, self.low, self.high), added)
        values = base.values + added
        if values.dtype.kind == "f" and self.decimals is not None:
            values = np.round(values, self.decimals)
        if self.low is None or self.high is None:
            values = np.where(base.there, self._within(values, base.values), values)
        return finish(values, there, self.kind)

    def _within(self, values: Array, base: Array) -> Array:
        """Move values that rounding has put on the wrong side of the formula back to the first on the right side."""
        up = self.high is None
        if values.dtype.kind == "i":
            edge = base + (1 if up else -1) * self.strict
        elif self.decimals is None:
            edge = np.nextafter(base, np.inf if up else -np.inf) if self.strict else base
        else:
            unit = 10.0**-self.decimals
            near = np.round(base / unit)  # in units, where a whole number may be a little off one
            away = np.abs(base / unit - near) > 1e-6
            side = np.ceil if up else np.floor
            steps = np.where(away, side(base / unit), near + (1 if up else -1) * self.strict)
            edge = np.round(steps * unit, self.decimals)
        return np.asarray(np.maximum(values, edge) if up else np.minimum(values, edge))

    def lowered(self, cells: Cells, fixed: set[str]) -> dict[str, ArrowColumn]:
        """Lower sources, but for the fixed ones, where the formula falls below the least target: the first that can be.

        As of 1 - a - b with a = b = 1, or 100 - a - b with a = 60 and b = 50.
        """
        out: dict[str, ArrowColumn] = {}
        if self.least is None or fixed & set(self.sources):
            return out
        for name in self.sources:
            now = {**cells, **out}
            base, views = self.base(now), self._views(now)
            low = base.there & (base.values < self.least)
            if not low.any():
                break
            values = {other: one.values for other, one in views.items()}
            solved = self.formula.solve(name, np.full(len(low), self.least), values)
            if solved is not None:
                moved = low & np.isfinite(solved) & (solved < values[name]) & (values[name] > 0)
                lowered = np.where(moved, np.maximum(solved, 0), values[name])
                out[name] = finish(lowered, views[name].there, now[name].type)
        return out

    def holds(self, cells: Cells) -> Array:
        """Compare the target with the formula, to the last digit that it has."""
        base, target = self.base(cells), view(cells[self.target], self.kind, self.name, self.target)
        complete = base.there & target.there
        views = {name: one.values for name, one in self._views(cells).items()}
        size = np.broadcast_to(self.formula.size(views), base.values.shape).astype(np.float64)
        return ~complete | self.fits(target.values - base.values, np.where(complete, size, 0.0))

    def fits(self, rest: Array, size: Array) -> Array:
        """Mark rests [n] that are within the bounds, by the ``size`` of the terms that were added."""
        if rest.dtype.kind == "i" or self.places is not None:
            slack = 1e-6 * 10.0 ** -(self.places or 0) + 1e-15 * size
        else:
            slack = (SLACK32 if self.type in ("float", "halffloat") else SLACK) * size
        slack = np.zeros_like(slack) if rest.dtype.kind == "i" else slack
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        inside = (rest >= low - slack) & (rest <= high + slack)
        return np.asarray(inside & (rest != 0) if self.strict else inside)

    def to_json(self) -> dict[str, Any]:
        """The fields, the formula as text, as ``kind`` offset."""
        keys = [field.name for field in fields(self) if field.name != "formula"]
        return {"kind": "offset", "formula": str(self.formula)} | {key: getattr(self, key) for key in keys}
