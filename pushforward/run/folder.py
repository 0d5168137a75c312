"""What a run folder says in JSON: its configuration and data, its history, its tuned samplers. Nothing is executed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from pushforward.config import Config, Section
from pushforward.errors import InputError, one_line, printable
from pushforward.files.jsonfile import checked_lines, read_sealed, sealed
from pushforward.files.writing import size_of, written_whole
from pushforward.signature import is_signed, sign

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.data import DataSpec, Transform

__all__ = ["DataRecord", "RunFile", "SamplerFile", "TunedSampler", "history", "read", "read_tuned", "write_record"]

CONVENTION = "t=0 source (noise), t=1 data; x_t = alpha_t data + beta_t noise; log-densities in nats"
REPORTED = {"seconds", "loss", "held_out"}  # of a line of metrics.jsonl
FLOORS = {"floor", "excess", "held_out_floor", "held_out_excess"}  # of a line of floor.jsonl, unless there is a note
STEPS = 10_000  # of a tuned sampler, at most
LARGEST = 2**28  # bytes of a history, and of what the Hub may send: categories and quantiles fit many times over


class DataRecord(Section):
    """What the run knows of its data."""

    source: str
    name: str
    rows: Annotated[int, Field(ge=1, lt=2**53)]
    shape: tuple[Annotated[int, Field(ge=1, lt=2**53)], ...]
    fingerprint: str
    transform: dict[str, Any]
    classes: tuple[str, ...] = ()
    """names of the classes, if the rows have labels"""
    shares: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    """how frequent each class is"""
    pairs: bool = False
    """whether the rows came in pairs with their source points (--reflow)"""
    notes: tuple[str, ...] = ()
    """what was guessed or left out of the data, a line each"""
    signature: str = ""
    """of the user who named ``source`` in training (`pushforward.signature`)"""

    @model_validator(mode="after")
    def _one_share_for_each_class(self) -> DataRecord:
        if len(self.shares) != len(self.classes) or (self.shares and abs(sum(self.shares) - 1) > 1e-3):
            raise ValueError("shares: one for each class, of sum 1")
        return self

    def signed(self) -> DataRecord:
        """The record with the signature of this user, who has named its source."""
        return self.model_copy(update={"signature": sign(self._claim)})

    @property
    def named_here(self) -> bool:
        """Whether this user, on this machine, has named the source in training."""
        return is_signed(self._claim, self.signature)

    @property
    def _claim(self) -> str:
        return json.dumps([self.source, self.fingerprint])

    def readable_source(self) -> str:
        """The source, if it may be opened on the word of the run: a built-in set, or a local path that is signed.

        InputError for anything else: a run may come from a stranger, and opening what a stranger names can send
        requests or show files. Whoever wants it opened names it.
        """
        from pushforward.data import BUILTIN
        from pushforward.data.files.remote import is_url

        if is_url(self.source):
            raise InputError(f"{self.source[:200]!r} is a URL, and none is followed on the word of a run")
        if self.named_here or (self.source in BUILTIN and not Path(self.source).exists()):
            return self.source
        raise InputError(f"{self.source[:200]!r} is not opened on the word of a run that was not trained here by you")

    def spec(self, transform: Transform) -> DataSpec:
        """What the network of the run was built from, with the configuration: the one place that says so."""
        whole = transform.spec(len(self.classes))
        return replace(whole, marginals=()) if self.pairs else whole


class RunFile(Section):
    """``config.json``."""

    format: Literal[1] = 1
    pushforward: str
    torch: str
    convention: str = CONVENTION
    parameters: Annotated[int, Field(ge=0, lt=2**53)]
    flops: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """of one evaluation at one point"""
    config: Config
    data: DataRecord
    parts: dict[str, str] = Field(default_factory=dict)
    """what of it is not the package's, and where that comes from: module and class, never imported on its word"""
    checksum: str = ""
    """of the file before it, by which checkpoints and weights know their run (`write_record`)"""


class TunedSampler(Section):
    """One answer of `tune`: a method by name, its times, and how well it did (see `sample.Tuned`).

    The times rise from 0 to 1, at most `STEPS` of them: anyone may have written the file.
    """

    nfe: Annotated[int, Field(ge=1, le=STEPS)]
    stepper: str
    grid: Annotated[tuple[float, ...], Field(min_length=2, max_length=STEPS + 1)]
    error: float
    best_untuned: float
    distance: float
    floor: float

    @field_validator("grid")
    @classmethod
    def _rises(cls, grid: tuple[float, ...]) -> tuple[float, ...]:
        if grid[0] != 0 or grid[-1] != 1 or not all(a < b for a, b in pairwise(grid)):
            raise ValueError("times rise from 0 to 1")
        return grid

    def times(self) -> Tensor:
        """The grid as a tensor."""
        import torch

        return torch.tensor(self.grid, dtype=torch.float64)


class SamplerFile(Section):
    """``sampler.json``."""

    format: Literal[1] = 1
    tuned: tuple[TunedSampler, ...] = ()
    checksum: str = ""


def read(folder: Path) -> RunFile:
    """The run in a folder; InputError with one line if there is none or its ``config.json`` is damaged."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: no run here (there is no config.json); make one with: pushforward train DATA --out RUN"
        )
    try:
        return read_sealed(path, RunFile)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        said = f"{printable(where)[:200]}: {' '.join(first['msg'].split())}"
        raise InputError(f"{path}: not a valid run file: {said}") from error
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {one_line(error)}") from error


def write_record(path: Path, file: RunFile | SamplerFile) -> None:
    """Write ``config.json`` or ``sampler.json`` whole or not at all, with its checksum; OSError as the disk says."""
    with written_whole(path) as scratch:
        scratch.write_text(sealed(file))


def read_tuned(folder: Path) -> tuple[TunedSampler, ...]:
    """The answers of `tune` for a run, none if it was not tuned; InputError if ``sampler.json`` is damaged."""
    path = folder / "sampler.json"
    if not path.is_file():
        return ()
    try:
        return read_sealed(path, SamplerFile).tuned
    except (OSError, ValueError) as error:
        said = "" if isinstance(error, ValidationError) else f" ({one_line(error)})"
        advice = f"delete it, or make it again with: pushforward tune {folder}"
        raise InputError(f"{path}: damaged{said}; {advice}") from error


def history(
    folder: Path, name: str = "metrics.jsonl", warn: Callable[[str], None] | None = None
) -> list[dict[str, float]]:
    """The lines of ``metrics.jsonl``, or of ``floor.jsonl``; a last line cut short by a crash is left out.

    So is a line that training did not write, or that was changed since, of which ``warn`` is told. InputError for a
    file that is larger than any history.
    """
    path = folder / name
    if not path.is_file():
        return []
    try:
        size_of(path.resolve(), LARGEST)
    except ValueError as error:
        raise InputError(f"{path}: {error}; delete it") from error
    rows = [row if _is_report(row, name) else None for row in checked_lines(path)]
    if None in rows and warn is not None:
        count, first = rows.count(None), rows.index(None) + 1
        warn(f"{path}: {count} of {len(rows)} lines were changed since they were written, the first line {first}")
    return [row for row in rows if row is not None]


def _is_report(row: Any, name: str) -> bool:
    """Whether a line of a history is one that training writes: numbers by name, and notes."""
    if not isinstance(row, dict) or type(row.get("step")) is not int or not 0 <= row["step"] < 2**53:
        return False
    has = row.keys()
    if ("loss" in has and not has >= REPORTED) or ("floor" in has and not has >= FLOORS):
        return False
    if name == "floor.jsonl" and not has & {"floor", "floor_note"}:
        return False
    return all(_fits(key, value) for key, value in row.items())


def _fits(key: str, value: Any) -> bool:
    """Whether a value of a history is of its kind: a note, a number to print, or a loss that was not measured."""
    if key.endswith("_note"):
        return isinstance(value, str)
    if value is None:
        return key == "held_out"
    return type(value) is float or (type(value) is int and abs(value) < 2**63)
