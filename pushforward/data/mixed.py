"""Columns that are carried by numbers: dates, decimals, gaps, and columns left out. Each is exact on the way back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pushforward.data.arrays import Array, Place
from pushforward.data.categorical import UNIFORM, categorical_from_json
from pushforward.data.cells import Cells, arrow_type, counts, is_time, present
from pushforward.data.columns import EDGE, ROOT, Coder, Column, column_from_json, mixture
from pushforward.data.ranked import Ranked, ranked_from_json
from pushforward.errors import InputError
from pushforward.tensor import Law

__all__ = ["Carried", "Dropped", "Nullable", "coder_from_json"]

RANGE = (1e-7, 1 - 1e-7)  # of a uniform number whose normal quantile is finite in float32
Reader: TypeAlias = Callable[[dict[str, Any], str], Coder]


@dataclass(frozen=True)
class Carried(Coder):
    """Dates, times and durations as the integers count / ``step``, and decimals as floats: an arrow type on numbers."""

    type: str  # arrow type
    step: int  # units of the type in one unit of the numbers: all training rows are multiples of it
    numbers: Column | Ranked

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the numbers."""
        return self.numbers.name

    @property
    def plain(self) -> Column:
        """The numbers as they are, without their ranks."""
        return self.numbers.column if isinstance(self.numbers, Ranked) else self.numbers

    @property
    def width(self) -> int:
        """As the numbers."""
        return self.numbers.width

    @property
    def jitter(self) -> list[float]:
        """One step, or one unit of the last decimal."""
        return self.numbers.jitter

    def laws(self, most: int) -> tuple[Law, ...]:
        """That of the numbers."""
        return self.numbers.laws(most)

    @property
    def log_scale(self) -> float:
        """In steps."""
        return self.numbers.log_scale

    @property
    def normal(self) -> bool:
        """As the numbers."""
        return self.numbers.normal

    def log_scales(self, x: Array) -> Array:
        """In steps."""
        return self.numbers.log_scales(x)

    def spread(self, x: Array, u: Array) -> Array:
        """As the numbers."""
        return self.numbers.spread(x, u)

    def encode(self, cells: Cells, where: str, place: Place) -> Array:
        """Model units [n, width]. InputError: what cannot be turned into the column's type, gaps."""
        import pyarrow as pa

        kind = arrow_type(self.type)
        try:
            cells = cells.cast(pa.float64() if pa.types.is_decimal(kind) else kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{where} has type {cells.type}, in training {self.type}; give that type") from error
        if pa.types.is_decimal(kind):
            return self.numbers.encode(cells, where, place)
        if cells.null_count:
            first = place(int(np.argmin(present(cells))))
            raise InputError(f"{where} has missing values, the first at {first}, and had none in training; drop them")
        count = counts(cells)
        steps = count // self.step if not (count % self.step).any() else count / self.step
        return self.numbers.encode(pa.array(steps), where, place)

    def decode(self, x: Array) -> Cells:
        """The numbers in the arrow type."""
        import pyarrow as pa

        kind, values = arrow_type(self.type), self.numbers.decode(x)
        if pa.types.is_decimal(kind):
            most = 10.0 ** (kind.precision - kind.scale) * (1 - 1e-15) - 10.0**-kind.scale
            return pa.array(np.clip(values.to_numpy(zero_copy_only=False), -most, most)).cast(kind, safe=False)
        values = pa.array(values.to_numpy(zero_copy_only=False) * self.step)
        return values.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)

    def describe(self) -> tuple[str, str, str]:
        """The range of the training rows."""
        import pyarrow as pa

        kind, c = arrow_type(self.type), self.plain
        if pa.types.is_decimal(kind):
            return self.name, self.type, c.describe()[2]
        ends = pa.array([c.low * self.step, c.high * self.step])
        low, high = (
            ends.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind).cast(pa.string()).to_pylist()
        )
        return self.name, self.type, f"{low} to {high}"

    def describe_step(self) -> str:
        """One step of dates or times, as 1 s, 60 s, 86400 s, ..."""
        unit = self.type.partition("[")[2][:2].strip("],")
        return f"{self.step} {unit}"

    def to_json(self) -> dict[str, Any]:
        """Type, step and numbers, as ``kind`` carried."""
        return {"kind": "carried", "type": self.type, "step": self.step, "numbers": self.numbers.to_json()}


@dataclass(frozen=True)
class Nullable(Coder):
    """A column with gaps: its entries, 0 where the value is missing, and one more that says whether it is.

    ``share`` of the training rows was missing. A missing value is null on the way back, whatever it was before. In
    training the entry of a missing value is noise: standard normal, beside values that are standard normal too.
    """

    inner: Column | Carried | Ranked
    share: float

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the inner column."""
        return self.inner.name

    @property
    def scale(self) -> float:
        """Standard deviation of the indicator, noise included."""
        return math.sqrt(self.share * (1 - self.share) + UNIFORM)

    @property
    def width(self) -> int:
        """One more than without gaps."""
        return self.inner.width + 1

    @property
    def pieces(self) -> tuple[int, ...]:
        """The value, and whether it is missing."""
        return (*self.inner.pieces, 1)

    @property
    def jitter(self) -> list[float]:
        """As inside, and that of a category for the indicator."""
        return [*self.inner.jitter, EDGE / self.scale]

    def laws(self, most: int) -> tuple[Law, ...]:
        """The inner law beside that of what stands in the place of missing values; two points for the indicator."""
        told = (np.arange(2) - self.share) / self.scale
        flag = mixture(told, np.full(2, self.jitter[-1] * ROOT), np.array([1 - self.share, self.share]))
        inner = self.inner.laws(most)
        if not inner:
            return (flag,)
        means, stds, weights = (part.numpy() for part in inner[0])
        gap = 1.0 if self.inner.normal else self.inner.jitter[0] * ROOT
        return (
            mixture(np.append(means, 0.0), np.append(stds, gap), np.append(weights * (1 - self.share), self.share)),
            flag,
        )

    @property
    def log_scale(self) -> float:
        """Of both."""
        return self.inner.log_scale + math.log(self.scale / EDGE)

    def log_scales(self, x: Array) -> Array:
        """Of both; of noise in the place of a missing value its own density, so that the two make a probability."""
        inner = self.inner.log_scales(x[:, :-1])
        if self.inner.normal:
            noise = -0.5 * x[:, 0].astype(np.float64) ** 2 - 0.5 * math.log(2 * math.pi)
            inner = np.where(self._missing(x), noise, inner)
        return np.asarray(inner + math.log(self.scale / EDGE))

    def spread(self, x: Array, u: Array) -> Array:
        """Of both; see above for missing values."""
        from scipy.special import ndtri

        inner = self.inner.spread(x[:, :-1], u[:, :-1])
        if self.inner.normal:
            inner = np.where(self._missing(x)[:, None], ndtri(np.clip(u[:, :-1], *RANGE)), inner)
        told = x[:, -1:] + (u[:, -1:] - 0.5) * (EDGE / self.scale)
        return np.concatenate([inner, told], axis=1).astype(np.float32)

    def _missing(self, x: Array) -> Array:
        return np.asarray(x[:, -1] * self.scale + self.share > 0.5)

    def encode(self, cells: Cells, where: str, place: Place) -> Array:
        """Model units [n, width]."""
        import pyarrow as pa

        there = present(cells)
        index = np.flatnonzero(there)
        x = np.zeros((len(cells), self.width), np.float32)
        if len(index):
            x[there, :-1] = self.inner.encode(cells.filter(pa.array(there)), where, lambda row: place(int(index[row])))
        x[:, -1] = (~there - self.share) / self.scale
        return x

    def partial(self, cells: Cells, where: str, place: Place) -> Array:
        """A gap is a value that is there but unknown."""
        x = super().partial(cells, where, place)
        x[:, -1] = -self.share / self.scale
        return x

    def decode(self, x: Array) -> Cells:
        """The inner values, null where the indicator says so."""
        import pyarrow as pa

        return self.inner.decode(x[:, :-1]).take(pa.array(np.arange(len(x)), mask=self._missing(x)))

    def describe(self) -> tuple[str, str, str]:
        """As inside, and how many are missing."""
        name, kind, words = self.inner.describe()
        return name, kind, f"{words}; {self.share:.2%} missing"

    def to_json(self) -> dict[str, Any]:
        """Both parts, as ``kind`` nullable."""
        return {"kind": "nullable", "inner": self.inner.to_json(), "share": self.share}


@dataclass(frozen=True)
class Dropped(Coder):
    """A column that the schema leaves out: neither looked at nor part of the output."""

    name: str
    width = 0
    log_scale = 0.0

    @property
    def jitter(self) -> list[float]:
        """Nothing."""
        return []

    def encode(self, cells: Cells, where: str, place: Place) -> Array:
        """Nothing, for each row."""
        return np.zeros((len(cells), 0), np.float32)

    def decode(self, x: Array) -> None:
        """Not part of the output."""

    def describe(self) -> tuple[str, str, str]:
        """That it is left out."""
        return self.name, "", "dropped"

    def to_json(self) -> dict[str, Any]:
        """The name, as ``kind`` dropped."""
        return {"kind": "dropped", "name": self.name}


def coder_from_json(entry: Any, where: str) -> Coder:
    """The inverse of ``to_json`` of any column; InputError, which ``where`` opens, for what no fit gives.

    An object without ``kind`` is a column of numbers, as in every run made before there were others.
    """
    import pyarrow as pa

    if not isinstance(entry, dict) or "kind" not in entry:
        return column_from_json(entry, where)
    keys, read = READERS.get(str(entry["kind"]), ((), None))
    if read is None or set(entry) != {"kind", *keys}:
        wanted = f"the keys kind, {', '.join(keys)}" if read else f"a kind among {', '.join(READERS)}"
        raise InputError(f"{where} must be an object with {wanted}")
    try:  # the arrow type is known and takes the values
        found = read(entry, where)
        found.decode(np.zeros((1, found.width)))
    except (pa.ArrowException, LookupError, OverflowError, TypeError, AttributeError) as error:
        raise InputError(f"{where} has a type that does not take its values; restore the file") from error
    return found


def _carried(entry: dict[str, Any], where: str) -> Carried:
    if not isinstance(entry["type"], str) or type(entry["step"]) is not int or not 0 < entry["step"] < 2**63:
        raise InputError(f"{where} has a type or a step that no fit gives; restore the file")
    if not (is_time(kind := arrow_type(entry["type"])) or str(kind).startswith("decimal")):
        raise InputError(f"{where} has a type that numbers do not carry; restore the file")
    numbers = coder_from_json(entry["numbers"], where)
    if not isinstance(numbers, Column | Ranked):
        raise InputError(f"{where} is carried by what are no numbers; restore the file")
    return Carried(entry["type"], entry["step"], numbers)


def _nullable(entry: dict[str, Any], where: str) -> Nullable:
    inner, share = coder_from_json(entry["inner"], where), entry["share"]
    if not isinstance(inner, Column | Carried | Ranked) or type(share) not in (int, float) or not 0 < share < 1:
        raise InputError(f"{where} has missing values that no fit gives; restore the file")
    return Nullable(inner, float(share))


def _dropped(entry: dict[str, Any], where: str) -> Dropped:
    if not isinstance(entry["name"], str):
        raise InputError(f"{where} must have a name that is text")
    return Dropped(entry["name"])


READERS: dict[str, tuple[tuple[str, ...], Reader]] = {
    "categorical": (("name", "type", "categories", "shares", "dictionary"), categorical_from_json),
    "carried": (("type", "step", "numbers"), _carried),
    "nullable": (("inner", "share"), _nullable),
    "dropped": (("name",), _dropped),
    "ranked": (("column", "first", "last", "weight"), ranked_from_json),
}
