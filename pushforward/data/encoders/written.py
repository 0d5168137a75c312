"""Numbers and dates written in text, among words: which cells are some, what they mean, and how they are written."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushforward.data.files.cells import ArrowColumn, arrow_type, present
from pushforward.data.files.rows import Array

__all__ = ["as_text", "decimals_of", "kind_of_most", "marked", "read_written", "written"]

# as a number is written, without zeros or a plus before it; .5 and 1. too
NUMERIC = r"^-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?$"
DATE = r"^\d{4}-\d{2}-\d{2}$"
TIME = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(?::\d{2})?$"
LOOKED_AT = 1000  # cells, from which a kind is guessed


def as_text(cells: ArrowColumn) -> ArrowColumn:
    """Cells of any type as text; null where there is nothing."""
    import pyarrow as pa

    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    if pa.types.is_floating(cells.type):
        cells = cells.take(pa.array(np.arange(len(cells)), mask=~present(cells)))
    text = cells.cast(pa.string())
    return text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text


def marked(text: ArrowColumn, kind: str) -> Array:
    """Mark the cells that are numbers, or dates, of an arrow type among `SHAPES`; bool [n]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.fill_null(pc.match_substring_regex(text, SHAPES[kind]), False)
    mask = np.array(found.to_numpy(zero_copy_only=False), bool)
    try:
        text.filter(pa.array(mask)).cast(arrow_type(kind))
    except pa.ArrowInvalid:  # the 31st of February
        for i in np.flatnonzero(mask):
            mask[i] = _fits(text[int(i)], kind)
    return mask


def read_written(text: ArrowColumn, kind: str) -> ArrowColumn:
    """Cells that are marked as numbers, or dates, of an arrow type."""
    return text.cast(arrow_type(kind))


def written(values: ArrowColumn, digits: int | None) -> list[str]:
    """Write numbers, with so many digits after the point or as few as tell them apart, or dates."""
    import pyarrow as pa

    if not pa.types.is_floating(values.type):
        return [str(value) for value in values.cast(pa.string()).to_pylist()]
    if digits is not None:
        return [f"{value:.{digits}f}" for value in values.to_pylist()]
    return [f"{value:.15g}" if float(f"{value:.15g}") == value else repr(value) for value in values.to_pylist()]


def decimals_of(text: ArrowColumn) -> set[int | None]:
    """Count the digits after the point of written numbers: all counts there are, None for one with an exponent."""
    import pyarrow.compute as pc

    if pc.any(pc.match_substring_regex(text, "[eE]")).as_py():
        return {None}
    return set(pc.unique(pc.utf8_length(pc.replace_substring_regex(text, r"^[^.]*\.?", ""))).to_pylist())


def kind_of_most(text: ArrowColumn) -> str | None:
    """Guess the arrow type of most of the first cells, among `SHAPES`; None where most are words."""
    sample = text.drop_null()[:LOOKED_AT]
    shares = {kind: marked(sample, kind).mean() if len(sample) else 0.0 for kind in SHAPES}
    best = max(shares, key=lambda kind: shares[kind])
    return best if shares[best] >= 0.5 else None


def _fits(cell: Any, kind: str) -> bool:
    import pyarrow as pa

    try:
        cell.cast(arrow_type(kind))
    except pa.ArrowInvalid:
        return False
    return True


SHAPES = {"double": NUMERIC, "date32[day]": DATE, "timestamp[s]": TIME}  # arrow types that words may stand among
