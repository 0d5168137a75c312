"""Data: any file, array or built-in name to standardised rows and back, with nothing lost on the way."""

from __future__ import annotations

from pushforward.data.builtin import BUILTIN
from pushforward.data.dataset import ENDINGS, Dataset, Raw, Report, Summary, inspect, load, read_raw, save
from pushforward.data.transform import Column, Transform, fit

__all__ = [
    "BUILTIN",
    "ENDINGS",
    "Column",
    "Dataset",
    "Raw",
    "Report",
    "Summary",
    "Transform",
    "fit",
    "inspect",
    "load",
    "read_raw",
    "save",
]
