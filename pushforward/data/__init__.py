"""Data: any file, array or built-in name to standardised rows and back, with nothing lost on the way."""

from __future__ import annotations

from pushforward.data.builtin import BUILTIN
from pushforward.data.cells import drawn
from pushforward.data.columns import Coder, Column
from pushforward.data.dataset import ENDINGS, Dataset, Raw, load, numbered_classes, read_raw
from pushforward.data.report import Report, Summary, inspect
from pushforward.data.schema import Field, Schema, read_schema
from pushforward.data.transform import Transform, fit
from pushforward.data.write import save

__all__ = [
    "BUILTIN",
    "ENDINGS",
    "Coder",
    "Column",
    "Dataset",
    "Field",
    "Raw",
    "Report",
    "Schema",
    "Summary",
    "Transform",
    "drawn",
    "fit",
    "inspect",
    "load",
    "numbered_classes",
    "read_raw",
    "read_schema",
    "save",
]
