"""One process or many: who writes, who has which rows, and what all must agree on.

Processes are started by ``torchrun``; accelerate reads its environment, picks backend and device, and connects them. A
single process needs none of this and imports none of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Any, TypeVar

import torch
from torch import Tensor

from pushforward.errors import InputError, one_line

__all__ = ["SINGLE", "LostProcess", "Processes", "count_rows", "partition", "process_group", "slice_batch"]

Batch = TypeVar("Batch")
T = TypeVar("T")


SPEAKS = "pushforward: the main process speaks"  # a key in the store in which processes meet
PATIENCE = 3  # seconds in which the main process is to say that it is alive


class LostProcess(InputError):
    """Another process of the job does not answer any more."""


def partition(n: int, rank: int, count: int) -> slice:
    """Cut ``n`` rows into ``count`` parts that differ in size by one at most; part number ``rank``."""
    return slice(n * rank // count, n * (rank + 1) // count)


def _leaves(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif dataclasses.is_dataclass(batch):
        yield from _leaves([getattr(batch, field.name) for field in dataclasses.fields(batch)])
    elif isinstance(batch, dict):
        yield from _leaves(list(batch.values()))
    elif isinstance(batch, (tuple, list)):
        for part in batch:
            yield from _leaves(part)


def count_rows(batch: Any) -> int:
    """Count the rows of a batch: the length of the first tensor in it."""
    return len(next(_leaves(batch)))


def slice_batch(batch: Batch, rows: slice) -> Batch:
    """Take some rows of a batch: of every tensor in it, through tuples, lists, dicts and dataclasses."""
    part: Any = batch
    if isinstance(batch, Tensor):
        part = batch[rows] if batch.ndim else batch
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        part = type(batch)(*(slice_batch(getattr(batch, field.name), rows) for field in dataclasses.fields(batch)))
    elif isinstance(batch, dict):
        part = {key: slice_batch(value, rows) for key, value in batch.items()}
    elif isinstance(batch, (tuple, list)):
        part = type(batch)(slice_batch(value, rows) for value in batch)
    return part  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Processes:
    """The processes of a job as one of them sees it; collective methods are called by all, in the same order."""

    rank: int = 0
    count: int = 1
    device: str | None = None

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def sum_(self, values: Tensor) -> None:
        """The sum over processes, in place; LostProcess if one does not answer."""
        if self.count > 1:
            with self.watched(sure=True):
                torch.distributed.all_reduce(values)

    def broadcast_(self, tensors: list[Tensor]) -> None:
        """The main process's values everywhere, in place."""
        for values in tensors if self.count > 1 else ():
            with self.watched(sure=True):
                torch.distributed.broadcast(values, 0)

    def gathered(self, values: Tensor) -> list[Tensor] | None:
        """The values of all processes, by rank, in the main one; None in the others."""
        parts = [torch.empty_like(values) for _ in range(self.count)] if self.main else None
        with self.watched(sure=True):
            torch.distributed.gather(values, parts, dst=0)
        return parts

    def any(self, vote: bool) -> bool:
        """Whether any process votes for it."""
        votes = torch.tensor(float(vote), device=self.device)
        self.sum_(votes)
        return bool(votes)

    def on_main(self, action: Callable[[], T]) -> T | None:
        """Do an action in the main process, and return its result there and None elsewhere; its InputError ends all."""
        result, error = None, None
        if self.main:
            try:
                result = action()
            except InputError as caught:
                error = caught
        failed = self.any(error is not None)
        if error is not None:
            raise error
        if failed:
            raise InputError("the main process says why")
        return result

    def map_rows(self, n: int, make: Callable[[int, int], Tensor]) -> Tensor:
        """Make ``n`` rows, of which each process makes a part, ``make(first, count)``, and gather them in all."""
        mine = partition(n, self.rank, self.count)
        part = make(mine.start, mine.stop - mine.start) if mine.stop > mine.start else None
        if self.count == 1:
            assert part is not None
            return part
        size = -(-n // self.count)
        like = part if part is not None else make(0, 1)
        padded = like.new_zeros(size, *like.shape[1:])
        if part is not None:
            padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        with self.watched(sure=True):
            torch.distributed.all_gather(parts, padded)
        sizes = [partition(n, rank, self.count) for rank in range(self.count)]
        return torch.cat([p[: s.stop - s.start] for p, s in zip(parts, sizes, strict=True)])

    @contextmanager
    def watched(self, sure: bool = False) -> Iterator[None]:
        """LostProcess where processes cannot be reached any more; ``sure`` if nothing else can go wrong in the block.

        One process is to tell the user: the main one, or the first of the others to notice when it is the one lost.
        """
        try:
            yield
        except RuntimeError as error:
            if not (sure or _of_the_network(error)):
                raise
            lost = LostProcess(
                f"another process of this job was lost ({one_line(error)}); what was saved is whole: give the same "
                "command again to go on"
            )
            lost.is_spokesman = _speaks(self.main)
            raise lost from error


def _of_the_network(error: RuntimeError) -> bool:
    """Whether it is of the connection between processes, not of what they compute."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def _speaks(main: bool) -> bool:
    """Whether it falls to this process to tell of a loss: the main one, or the first of the others if that is gone."""
    try:
        store: Any = torch.distributed.distributed_c10d._get_default_store()  # torchrun's own: it outlives processes
        store.set_timeout(timedelta(seconds=PATIENCE))
        if main:
            store.set(SPEAKS, "1")
            return True
        for _ in range(10 * PATIENCE):
            if store.check([SPEAKS]):
                return False
            time.sleep(0.1)
        return bool(store.add(f"{SPEAKS} no more", 1) == 1)
    except RuntimeError:  # the store is gone too: better told twice than never
        return True


@contextmanager
def process_group(device: str = "cpu") -> Iterator[Processes]:
    """Connect the processes that torchrun started while the block runs; one alone without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SINGLE
        return
    import torch.distributed.nn  # its defaults would hold a group that is there when it is imported: see _let_go
    from accelerate import PartialState

    before = torch.distributed.is_initialized()
    state: Any = PartialState(cpu=device == "cpu")
    try:
        yield Processes(state.process_index, state.num_processes, str(state.device))
    finally:
        if not before:
            _let_go()
            torch.distributed.destroy_process_group()
            PartialState._reset_state()


CACHES = (  # by module; not every release of torch has all
    ("debug", "_clear_sharding_prop_cache"),
    ("_redistribute", "clear_redistribute_planner_cache"),
    ("_redistribute", "_gen_transform_infos.cache_clear"),
    ("_collective_utils", "MeshTopoInfo.build_from_mesh.cache_clear"),
)


def _let_go() -> None:
    """Drop every reference to the process group before it is destroyed.

    Otherwise its threads outlive it, and a tensor that one of them frees as the interpreter ends aborts the process.
    """
    if "torch.distributed.tensor" in sys.modules:  # which keeps every mesh that it has seen, and a mesh its group
        for module, clear in CACHES:
            with contextlib.suppress(ImportError, AttributeError):
                attrgetter(clear)(importlib.import_module(f"torch.distributed.tensor.{module}"))()
    for _ in range(3):  # what one frees may have held what the next does
        gc.collect()


SINGLE = Processes()
