"""Files that are written whole or not at all, and read only if they are what was written."""

from pushforward.files.writing import (
    append_line,
    locked,
    no_links,
    numbered,
    scratch_folder,
    size_of,
    stays_inside,
    sweep,
    written_whole,
)

__all__ = [
    "append_line",
    "locked",
    "no_links",
    "numbered",
    "scratch_folder",
    "size_of",
    "stays_inside",
    "sweep",
    "written_whole",
]
