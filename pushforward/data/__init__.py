"""Data: any file, array or built-in name to standardised rows and back, with nothing lost on the way."""

from __future__ import annotations

from pushforward.data.dataset import Dataset, load, numbered_classes
from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.numeric import NumericEncoder
from pushforward.data.files.builtin import BUILTIN
from pushforward.data.files.cells import drawn
from pushforward.data.files.read import ENDINGS, Raw, read_raw
from pushforward.data.files.write import save
from pushforward.data.inspect import Report, Summary, inspect
from pushforward.data.schema import Field, Schema, read_schema
from pushforward.data.spec import DataSpec
from pushforward.data.transform import Transform, fit

__all__ = [
    "BUILTIN",
    "ENDINGS",
    "ColumnEncoder",
    "DataSpec",
    "Dataset",
    "Field",
    "NumericEncoder",
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
