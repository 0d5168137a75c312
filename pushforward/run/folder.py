"""What a run folder says in JSON: its configuration and data, its history, its tuned samplers. Nothing is executed."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from pushforward.config import Config, Section
from pushforward.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.data import DataSpec, Transform

__all__ = ["DataRecord", "RunFile", "SamplerFile", "TunedSampler", "history", "read", "read_tuned"]

CONVENTION = "t=0 source (noise), t=1 data; x_t = alpha_t data + beta_t noise; log-densities in nats"
LARGEST = 2**28  # bytes of JSON: a table's categories and quantiles fit in many times over


class DataRecord(Section):
    """What the run knows of its data."""

    source: str
    name: str
    rows: int
    shape: tuple[int, ...]
    fingerprint: str
    transform: dict[str, Any]
    classes: tuple[str, ...] = ()
    """names of the classes, if the rows have labels"""
    shares: tuple[float, ...] = ()
    """how frequent each class is"""
    pairs: bool = False
    """whether the rows came in pairs with their source points (--reflow)"""

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
    parameters: int
    flops: int = 0
    """of one evaluation at one point"""
    config: Config
    data: DataRecord


class TunedSampler(Section):
    """One answer of `tune`: a method by name, its times, and how well it did (see `sample.Tuned`)."""

    nfe: int
    stepper: str
    grid: tuple[float, ...]
    error: float
    best_untuned: float
    distance: float
    floor: float

    def times(self) -> Tensor:
        """The grid as a tensor."""
        import torch

        return torch.tensor(self.grid, dtype=torch.float64)


class SamplerFile(Section):
    """``sampler.json``."""

    format: Literal[1] = 1
    tuned: tuple[TunedSampler, ...] = ()


def read(folder: Path) -> RunFile:
    """The run in a folder; InputError with one line if there is none or its ``config.json`` is damaged."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: no run here (there is no config.json); make one with: pushforward train DATA --out RUN"
        )
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"has {path.stat().st_size:,} bytes, more than any run file")
        return RunFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path}: not a valid run file: {where}: {' '.join(first['msg'].split())}") from error
    except (OSError, InputError) as error:
        raise InputError(f"{path}: {error}") from error


def read_tuned(folder: Path) -> tuple[TunedSampler, ...]:
    """The answers of `tune` for a run, none if it was not tuned; InputError if ``sampler.json`` is damaged."""
    path = folder / "sampler.json"
    if not path.is_file():
        return ()
    try:
        if path.stat().st_size > LARGEST:
            raise InputError("too large")
        return SamplerFile.model_validate_json(path.read_bytes()).tuned
    except (ValidationError, OSError, InputError) as error:
        raise InputError(f"{path}: damaged; delete it, or make it again with: pushforward tune {folder}") from error


def history(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, float]]:
    """The lines of ``metrics.jsonl``, or of ``floor.jsonl``; a last line cut short by a crash is left out."""
    path, rows = folder / name, []
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict) and "step" in row:
                rows.append(row)
    return rows
