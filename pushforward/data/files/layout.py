"""Where the table lies in a sheet: its rows and columns among titles, notes and gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pushforward.data.files.rows import Array

__all__ = ["Layout", "find_layout"]

WIDE = 3  # columns of a table below which a row of one cell is a note


@dataclass(frozen=True, eq=False)
class Layout:
    """Numbers of rows and columns of a sheet, from 0."""

    rows: Array  # of the table, without empty ones; the first may name the columns
    columns: Array  # those with a cell in one of these rows
    above: Array  # rows left out
    below: Array
    gaps: int  # empty rows among those of the table


def find_layout(filled: Array, text: Array) -> Layout:
    """Find the table among the cells of a sheet, ``filled`` or not and ``text`` or not, bool [n, d].

    It begins with the first row after a gap that is full and of text, if no row before is as wide; otherwise with the
    first row of which more than half is filled, or all but its first cell (a column of row numbers has no name). After
    its last gap, rows of one cell do not belong to it.
    """
    counts = filled.sum(axis=1)
    rows, width = np.flatnonzero(counts), counts.max()
    opens = np.r_[True, np.diff(rows) > 1]  # whether a gap, or nothing, is above
    widest = int(np.argmax(counts[rows] == width))
    heads = opens[widest] and np.array_equal(filled[rows[widest]], text[rows[widest]])
    unnamed = (counts[rows] == width - 1) & ~filled[rows, np.argmax(filled.any(axis=0))]
    start = widest if heads else int(np.argmax((2 * counts[rows] > width) | unnamed))

    stop, ends = len(rows), np.flatnonzero(opens)
    for begin in ends[::-1]:
        if begin <= start or width < WIDE or (counts[rows[begin:stop]] > 1).any():
            break
        stop = int(begin)
    inside = rows[start:stop]
    gaps = int(inside[-1] - inside[0] + 1 - len(inside))
    return Layout(inside, np.flatnonzero(filled[inside].any(axis=0)), rows[:start], rows[stop:], gaps)
