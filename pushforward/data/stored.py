"""Rows in model units that are too many for memory: in a file, from which single rows are read."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data.files.rows import Array
from pushforward.errors import InputError, one_line

__all__ = ["DiskRows", "materialize"]

HOLD = 1 << 28  # bytes of rows that stay in memory


class DiskRows:
    """Float32 rows [n, d] in a file without a name, which ends with this object: ``rows[index]`` reads some of them.

    ``index`` as for a tensor of one axis: numbers of rows, a slice, or one number. Nothing that was read is kept.
    """

    def __init__(self, file: io.BufferedRandom, width: int) -> None:
        self._file, self._lock = file, threading.Lock()
        weakref.finalize(self, file.close)
        self.shape = torch.Size([file.seek(0, 2) // (4 * width), width])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice | int) -> Tensor:
        if isinstance(index, int):
            return self[index : index + 1][0]
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._read([start], max(0, stop - start))
            index = torch.arange(start, stop, step)
        return self._read(index.tolist(), 1)

    def _read(self, starts: list[int], count: int) -> Tensor:
        """``count`` rows from each of the numbers on."""
        out = np.empty((len(starts), count, self.shape[1]), np.float32)
        # not mapped into memory: each row would bring its neighbours along, which count as memory, too
        with self._lock:  # a thread may prepare the next batches
            for i in sorted(range(len(starts)), key=starts.__getitem__):
                self._file.seek(starts[i] * out.itemsize * self.shape[1])
                self._file.readinto(out[i].data)
        return torch.from_numpy(out).flatten(0, 1)


def materialize(blocks: Iterable[Array], scratch: Path | None) -> Tensor | DiskRows:
    """Join blocks of rows: in memory, or, with ``scratch`` (a folder), from 256 MB on in a file there.

    InputError: the file system of ``scratch`` refuses.
    """
    waiting, size = [], 0
    blocks = iter(blocks)
    for block in blocks:
        waiting.append(block)
        size += block.nbytes
        if scratch is not None and size > HOLD:
            return _write_blocks(waiting, blocks, scratch)
    out = np.empty((sum(map(len, waiting)), waiting[0].shape[1]), np.float32) if len(waiting) > 1 else waiting.pop()
    row = len(out)
    while waiting:  # each is let go of when it is copied
        block = waiting.pop()
        out[row - len(block) : row] = block
        row -= len(block)
    return torch.from_numpy(out)


def _write_blocks(first: list[Array], others: Iterable[Array], scratch: Path) -> DiskRows:
    folder: Any = next((p for p in (scratch, *scratch.absolute().parents) if p.is_dir()), None)
    width = first[0].shape[1]
    try:
        with contextlib.ExitStack() as undo:
            file = undo.enter_context(tempfile.TemporaryFile(dir=folder))
            while first:
                file.write(first.pop(0).data)
            for block in others:
                file.write(block.data)
            file.flush()
            undo.pop_all()  # it stays open as long as the rows are used
    except OSError as error:
        raise InputError(
            f"{folder}: cannot hold the rows, which are too many for memory: {one_line(error)}; choose --out elsewhere"
        ) from error
    return DiskRows(file, width)
