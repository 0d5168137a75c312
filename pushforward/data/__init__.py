"""Data: any file, array or built-in name to standardised rows and back, with nothing lost on the way."""

from __future__ import annotations

from pushforward.data.dataset import Dataset, load, numbered_classes, read_like
from pushforward.data.encoders.base import ColumnEncoder
from pushforward.data.encoders.numeric import NumericEncoder
from pushforward.data.files.builtin import BUILTIN
from pushforward.data.files.cells import plot_values
from pushforward.data.files.formats import ENDINGS, Format
from pushforward.data.files.read import DataSource, Raw, read_raw
from pushforward.data.files.rows import UserRows
from pushforward.data.files.write import save
from pushforward.data.fitting import fit
from pushforward.data.inspect import ColumnSummary, DataSummary, inspect
from pushforward.data.schema import ColumnSchema, Schema, read_schema
from pushforward.data.spec import DataSpec
from pushforward.data.transform import Transform

__all__ = [
    "BUILTIN",
    "ENDINGS",
    "ColumnEncoder",
    "ColumnSchema",
    "ColumnSummary",
    "DataSource",
    "DataSpec",
    "DataSummary",
    "Dataset",
    "Format",
    "NumericEncoder",
    "Raw",
    "Schema",
    "Transform",
    "UserRows",
    "fit",
    "inspect",
    "load",
    "numbered_classes",
    "plot_values",
    "read_like",
    "read_raw",
    "read_schema",
    "save",
]
