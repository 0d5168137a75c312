"""What the axes of an array are: steps, pixels or voxels, and channels; its rows as columns, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

import numpy as np

from pushforward.data.files.rows import Array, array_columns
from pushforward.errors import InputError, nearest

__all__ = ["Axes", "DataKind", "Layout", "read_layout"]

Layout: TypeAlias = Literal["sequence", "image", "volume", "vector"]
DataKind: TypeAlias = Literal["array", "image", "table", "sequence", "volume"]

COLORS = (1, 3, 4)  # channels of pictures
NARROW, LONG = 8, 4  # of a picture that may be none: pixels of its shorter side, and the ratio of its sides


def read_layout(layout: str | None) -> Layout | None:
    """Read the name of a layout; InputError for one that is none."""
    if layout is not None and layout not in get_args(Layout):
        raise InputError(f"--layout: {nearest(layout, get_args(Layout), 'layout')}")
    return cast("Layout | None", layout)


@dataclass(frozen=True)
class Axes:
    """What the axes of rows ``[n, *row_shape]`` are, as the user says (``layout``) or as they look.

    A row falls into columns with a mean and a scale each: every entry of an ``array`` is one, every channel of a
    ``sequence`` or a ``volume``, and an ``image`` is one as a whole.
    """

    kind: DataKind
    row_shape: tuple[int, ...]
    layout: Layout | None = None

    @staticmethod
    def of(shape: tuple[int, ...], layout: Layout | None, origin: str) -> Axes:
        """Take an array of a shape [n, ...] as the user says; InputError, which ``origin`` opens, for what it is not.

        Where nothing is said arrays [n] and [n, d] are rows of numbers, and those of more axes are images.
        """
        if layout is None:
            return Axes("image" if len(shape) > 2 else "array", shape[1:])
        if 0 in shape:
            raise InputError(
                f"{origin}: --layout {layout}: an axis of the array {list(shape)} has length 0; give an array with at "
                "least one entry on every axis"
            )
        if layout == "vector":
            return Axes("array", shape[1:], layout)
        if len(shape) - 1 - SPACE[layout] not in (0, 1):
            other = [name for name in SPACE if len(shape) - 1 - SPACE[name] in (0, 1)]
            names = " or ".join((*other, "vector"))
            raise InputError(
                f"{origin}: --layout {layout} is for arrays {TAKES[layout]}, and this one is {list(shape)}; reshape "
                f"it, or take --layout {names}"
            )
        return Axes(layout, shape[1:], layout)

    @property
    def valid(self) -> bool:
        """Whether kind, shape and layout go together as `of` makes them."""
        rank = len(self.row_shape)
        if self.layout is None:
            return self.kind in ("array", "image", "table") and (self.kind == "image") == (rank > 1)
        if self.layout == "vector":
            return self.kind == "array"
        return self.kind == self.layout and rank - SPACE[self.layout] in (0, 1)

    @property
    def channel_axis(self) -> int | None:
        """Which axis of a row counts channels, the first (0) or the last (-1); None for neither.

        Of images the last if it is 1, 3 or 4 long and the first is not; where the layout is said, the shorter one of
        them if neither is, and of volumes in any case.
        """
        space, rank = SPACE.get(self.kind), len(self.row_shape)
        if space is None or rank == space:
            return None
        if self.kind == "sequence":
            return -1
        if self.layout is None and rank > 3:
            return 0
        first, last = self.row_shape[0], self.row_shape[-1]
        colors = [size in COLORS for size in (first, last)]
        if self.kind == "volume" or (self.layout is not None and not any(colors)):
            return -1 if last < first else 0
        return -1 if colors == [False, True] else 0

    @property
    def channels(self) -> int:
        """How many channels there are, 1 without an axis of them."""
        return 1 if self.channel_axis is None else self.row_shape[self.channel_axis]

    @property
    def space(self) -> tuple[int, ...]:
        """The other axes of a row; none of an array, all of whose entries are columns."""
        if self.kind in ("array", "table"):
            return ()
        return {None: self.row_shape, 0: self.row_shape[1:], -1: self.row_shape[:-1]}[self.channel_axis]

    @property
    def count(self) -> int:
        """How many columns an array's row has."""
        return math.prod(self.row_shape) if self.kind in ("array", "table") else self._parts

    @property
    def _parts(self) -> int:
        return 1 if self.kind == "image" else self.channels

    @property
    def entries(self) -> int:
        """How many entries of a row share a column."""
        return math.prod(self.row_shape) // self._parts if self.space else 1

    def model_shape(self, varying: int) -> tuple[int, ...]:
        """Shape of a model row of which so many columns are not constant: channels first."""
        return (self.channels if self.kind == "image" else varying, *self.space)

    def columns(self, rows: Array) -> dict[str, Array]:
        """Split rows [n, *row_shape] into columns [n, *space] by name, an image's all channels in one."""
        if self.kind == "image":
            return {"x": rows}
        if self.kind == "array":
            return array_columns(rows)
        if self.channel_axis is None:
            return {"x": rows}
        by_channel = np.moveaxis(rows, 1 if self.channel_axis == 0 else -1, 0)
        return {f"x{i}": channel for i, channel in enumerate(by_channel)}

    def model_rows(self, columns: Sequence[Array]) -> Array:
        """Put columns [n, *space] together as model rows, channels first."""
        if self.kind == "image":
            return np.moveaxis(columns[0], -1, 1) if self.channel_axis == -1 else columns[0]
        return np.stack(columns, axis=1)

    def rows(self, columns: Sequence[Array]) -> Array:
        """Put columns together as rows [n, *row_shape]; those of an image are a model row."""
        n = len(columns[0])
        if self.kind == "image":
            image = np.moveaxis(columns[0], 1, -1) if self.channel_axis == -1 else columns[0]
            return image.reshape(n, *self.row_shape)
        return np.stack(columns, axis=-1 if self.channel_axis == -1 else 1).reshape(n, *self.row_shape)

    def describe(self) -> str:
        """Say what a row is, in a few words."""
        many = f"{self.channels} channels" if self.channels > 1 else "one channel"
        if self.layout == "vector":
            return f"vectors of {math.prod(self.row_shape)} numbers"
        if self.kind == "sequence":
            return f"sequences of {self.space[0]} steps of {many}"
        name = {2: "pictures", 3: "volumes"}.get(len(self.space), "arrays")
        twice = len(self.row_shape) > len(self.space) and self.row_shape[0] == self.row_shape[-1]
        place = ", the first axis" if twice and self.channels > 1 else ""
        return f"{name} of {' x '.join(map(str, self.space))} with {many}{place}"

    @property
    def note(self) -> str:
        """What the axes are taken for, a sentence: where the layout is said, and where a guess may be wrong."""
        if self.kind == "table" or not self.row_shape:
            return ""
        taken = f"arrays of {list(self.row_shape)} are taken as {self.describe()}"
        if self.layout is not None:
            return f"{taken} (--layout {self.layout})"
        if not self._doubtful:
            return ""
        # what else they could be
        candidates = [
            Axes("sequence", self.row_shape, "sequence"),
            Axes("image", self.row_shape, "image"),
            Axes("volume", self.row_shape, "volume"),
        ]
        different = [c for c in candidates if c.valid and (c.channel_axis, c.space) != (self.channel_axis, self.space)]
        others = {c.layout: c.describe() for c in different or [Axes("array", self.row_shape, "vector")]}
        return f"{taken}; say {' or '.join(f'--layout {name} for {words}' for name, words in others.items())}"

    @property
    def _doubtful(self) -> bool:
        """Whether an array that is taken for images as it looks may well be something else."""
        if self.kind != "image":
            return False
        first, last = self.row_shape[0], self.row_shape[-1]
        if len(self.row_shape) == 2:
            short, long = sorted(self.row_shape)
            return short < long and (short < NARROW or long >= LONG * short)
        if len(self.row_shape) == 3:
            return (first in COLORS) == (last in COLORS)
        return first not in COLORS or last in COLORS


SPACE = {"image": 2, "sequence": 1, "volume": 3}  # axes beside the channels
TAKES = {
    "sequence": "[n, length] or [n, length, channels]",
    "image": "[n, height, width], or four axes with the channels first or last",
    "volume": "[n, depth, height, width], or five axes with the channels first or last",
}
