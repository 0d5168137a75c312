"""Refusals: what is wrong with a training, said before a folder is claimed and before anything is computed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pushforward.config import Config, Section
from pushforward.errors import InputError
from pushforward.run.folder import RunFile, read, write_record
from pushforward.run.reflow import PAIRS

if TYPE_CHECKING:
    from pushforward.run.request import Execution, RowRequest

__all__ = ["check", "check_counts", "check_request", "claimed", "differences"]

FOLDERS = ("checkpoints", "averages", "previews", "plan")  # of a run, in which files are written


def check_counts(
    steps: int | None = None, minutes: float | None = None, checkpoint_every: int = 1, accumulate: int = 1
) -> None:
    """InputError for numbers of steps, minutes or parts that are none."""
    if steps is not None and steps < 1:
        raise InputError(f"--steps {steps}: at least 1")
    if minutes is not None and not minutes > 0:
        raise InputError(f"--minutes {minutes}: must be positive")
    if checkpoint_every < 1:
        raise InputError(f"--checkpoint-every {checkpoint_every}: at least 1")
    if accumulate < 1:
        raise InputError(f"--accumulate {accumulate}: at least 1")


def check_request(request: RowRequest, config: Config) -> None:
    """InputError where it is not clear what to train on, before anything is read."""
    if request.reflow is None and request.data is None:
        raise InputError("nothing to train on: give DATA, or --reflow RUN")
    paired = config.path.coupling != "independent" or config.objective.objective not in ("auto", "flow")
    if request.reflow is not None and (request.data is not None or paired):
        raise InputError("--reflow: takes its own pairs, without DATA, --coupling and --objective")
    if request.reflow is not None and request.layout is not None:
        raise InputError(f"--layout {request.layout}: --reflow takes the layout of its run; leave it out")


def check(config: Config, execution: Execution, kind: str = "array", pairs: bool = False) -> None:
    """InputError for a resolved configuration that cannot be trained in this way.

    On rows of a ``kind`` (`DataKind`), which came in ``pairs`` with their source points or did not.
    """
    batch, parts = config.train.batch, execution.accumulate * execution.processes.count
    assert batch is not None  # resolved
    if batch < parts:
        raise InputError(f"--batch {batch}: less than one row for each of {parts} parts")
    if config.train.mirror and (pairs or kind != "image"):
        raise InputError("--mirror: only pictures have a mirror image, and pairs of --reflow have none")
    if execution.shard and execution.processes.count == 1:
        raise InputError(
            "--shard: shares the network out among processes, and here is one; start several with torchrun"
        )
    if execution.shard and (flag := _unsharded(config)):
        raise InputError(f"--shard: does not go with {flag}, which takes derivatives inside the network; leave out one")
    if execution.compiled and (execution.shard or not _compiles(execution.device)):
        raise InputError("--compile: does not go with --shard, and needs a C++ compiler on a CPU; leave it out")


def _unsharded(config: Config) -> str:
    """The flag that rules out ``--shard``, as its derivatives bypass FSDP's gathering of weights; "" if none does."""
    if config.objective.field == "energy":
        return "--field energy"
    return "--objective maximum_likelihood" if config.objective.objective == "maximum_likelihood" else ""


def _compiles(device: str) -> bool:
    """Whether torch.compile finds what it needs for a device."""
    on_cpu = device.partition(":")[0] == "cpu"
    return not on_cpu or any(map(shutil.which, ("c++", "g++", "clang++")))


@contextmanager
def claimed(folder: Path, run: RunFile) -> Iterator[RunFile]:
    """Start a run in ``folder``, or check that the one there is this very run, and hold it against other trainers.

    Yields the run as it is written there. InputError for anything else there, and for a folder that another process
    trains in.
    """
    from pushforward.files.writing import locked, sweep

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; choose another --out")
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder))
            for inner in (folder, *(folder / name for name in FOLDERS)):
                sweep(inner)
            written = _begin_or_go_on(folder, run)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
        yield written


def _begin_or_go_on(folder: Path, run: RunFile) -> RunFile:
    """Write the record of a new run, or compare it with the one that is there; as it is there now."""
    from pushforward.files.writing import no_links

    no_links(folder)
    if (folder / "config.json").exists():
        before = read(folder)
        changed = differences(before.config, run.config)
        changed += _other_parts(before.parts, run.parts)
        if before.data.fingerprint != run.data.fingerprint:
            then, now = before.data, run.data
            changed.insert(0, f"the data differ ({then.source}: {then.rows} rows, now {now.source}: {now.rows})")
            said = [record.transform.get("layout") for record in (then, now)]
            if said[0] != said[1]:
                changed.insert(1, f"--layout was {said[0]}, is {said[1]}")
        if changed:
            raise InputError(
                f"{folder} holds a run of another configuration: {'; '.join(changed)}. Choose another --out, or give "
                "the same settings to go on with this one"
            )
        return before
    if any(file.name != PAIRS for file in folder.iterdir()):
        raise InputError(f"{folder} exists and holds no run; choose another --out, or empty it")
    write_record(folder / "config.json", run)
    return read(folder)


def _other_parts(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """List the parts of an author's own that are of another class, or have other fields; their module may move."""

    def without_module(place: str) -> str:
        name, bracket, fields = place.partition("(")
        return name.rpartition(".")[2] + bracket + fields

    both = [(name, old[name], new[name]) for name in old if name in new]
    return [f"{name} was {a}, is {b}" for name, a, b in both if without_module(a) != without_module(b)]


def differences(old: Section, new: Section) -> list[str]:
    """List ``--flag was a, is b`` for every field in which two configurations differ."""
    out: list[str] = []
    for name in type(old).model_fields:
        a, b = getattr(old, name), getattr(new, name)
        if isinstance(a, Section):
            out += differences(a, b)
        elif a != b:
            out.append(f"--{name.replace('_', '-')} was {a}, is {b}")
    return out
