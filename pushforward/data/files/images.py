"""Pictures: a folder of them, IDX files, encoded ones in .parquet; decoded, made one size, with their labels."""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pushforward.data.files.arrays import Array
from pushforward.data.files.remote import File, reading, schema_of
from pushforward.errors import InputError

__all__ = [
    "ENDINGS",
    "Pictures",
    "Size",
    "encoded",
    "holds_pictures",
    "is_idx",
    "read_folder",
    "read_idx",
    "read_parquet",
    "read_size",
    "resized",
]

Size: TypeAlias = tuple[int, int]  # height and width in pixels
PIXELS = 1 << 26  # of one picture, at most
ENTRIES = 1 << 33  # of all of them
RATIO = 1040  # gzip never packs tighter
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error)
LABELS = ("label", "labels", "y", "class", "fine_label")


@dataclass(frozen=True, eq=False)
class Pictures:
    """Grey levels uint8 [n, h, w], or colours uint8 [n, h, w, 3]; labels [n], and what had to be left out."""

    rows: Array
    labels: Array | None = None
    classes: tuple[str, ...] = ()  # labels are numbers of these, if there are any
    notes: tuple[str, ...] = ()


def read_size(size: str | int | Sequence[int] | None) -> Size | None:
    """Height and width from ``32``, ``"32"``, ``"32x48"`` or ``(32, 48)``; InputError for anything else."""
    if size is None:
        return None
    words = size.lower().split("x") if isinstance(size, str) else [size] if isinstance(size, int) else list(size)
    if len(words) not in (1, 2) or not all(re.fullmatch(r"[1-9]\d{0,4}", str(word)) for word in words):
        raise InputError(f"size {size!r}: give pixels, as 32, or height x width, as 32x48")
    return int(words[0]), int(words[-1])


def read_folder(folder: Path, files: Sequence[Path], size: Size | None) -> Pictures:
    """The pictures of a folder, in the order of their names; its sub-folders, if all lie in such, are the classes.

    See `_decoded` for colours and sizes.
    """
    homes = [file.relative_to(folder).parts[:-1] for file in files]
    if any(homes) and not all(homes):
        loose = files[[bool(home) for home in homes].index(False)]
        raise InputError(
            f"{folder}: pictures lie beside the sub-folders, such as {loose.name}; put each into the sub-folder of its "
            "class, or all into one folder"
        )
    rows, kept, notes = _decoded(str(folder), [(str(file), file) for file in files], size)
    names = sorted({home[0] for home in homes if home})
    if len(names) < 2:
        return Pictures(rows, None, (), notes)
    labels = np.array([names.index(homes[i][0]) for i in kept])
    return Pictures(rows, labels, tuple(names), notes)


def is_idx(path: Path) -> bool:
    """Whether a file is named as IDX files are: ``train-images-idx3-ubyte.gz``, ``x.idx``."""
    return re.search(r"idx\d-|\.idx(\.gz)?$", path.name.lower()) is not None


def read_idx(path: Path) -> Pictures:
    """The array in an IDX file, ``.gz`` or not; labels from the file beside it whose name says labels and idx1."""
    rows = _idx(path)
    beside = path.with_name(re.sub("idx[2-9]", "idx1", path.name.replace("images", "labels")))
    if beside == path or not beside.is_file():
        return Pictures(rows)
    labels = _idx(beside)
    if labels.shape != rows.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(f"{beside}: labels of shape {labels.shape} for {len(rows)} rows in {path.name}")
    return Pictures(rows, labels)


def holds_pictures(path: File) -> bool:
    """Whether a .parquet file has a column of encoded pictures; False if it cannot be read."""
    import pyarrow as pa

    try:
        return encoded(schema_of(path)) is not None
    except (pa.ArrowException, OSError):
        return False


def encoded(kinds: Any) -> str | None:
    """The column of encoded pictures in an arrow schema: binary, or a struct with a field ``bytes``; None: no such."""
    import pyarrow as pa

    def holds(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(i).name == "bytes" and holds(kind.field(i).type) for i in range(kind.num_fields))
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    found = [field.name for field in kinds if holds(field.type)]
    return found[0] if len(found) == 1 else None


def read_parquet(files: Sequence[File], where: str, size: Size | None) -> Pictures:
    """The encoded pictures of .parquet files; labels from the column label (or labels, y, class)."""
    import pyarrow as pa
    from pyarrow import parquet

    def whole(path: File) -> Any:
        with reading(path) as opened:
            return parquet.read_table(opened)

    try:
        table = pa.concat_tables([whole(path) for path in files], promote_options="permissive")
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{where}: not a readable .parquet file: {str(error).splitlines()[0]}") from error
    column = encoded(table.schema)
    assert column is not None
    cells = table.column(column).to_pylist()
    data = [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]
    rows, kept, notes = _decoded(where, [(f"{where}, row {i + 1}", cell) for i, cell in enumerate(data)], size)
    name = next((name for name in LABELS if name in table.column_names and name != column), None)
    if name is None:
        return Pictures(rows, None, (), notes)
    label = table.column(name)
    if label.null_count or not (pa.types.is_integer(label.type) or pa.types.is_string(label.type)):
        raise InputError(f"{where}: column {name!r} must hold integers or text without gaps, found {label.type}")
    values = label.to_numpy() if pa.types.is_integer(label.type) else np.array(label.to_pylist())
    classes = _class_names(table.schema.metadata, name) if values.dtype.kind in "iu" else ()
    fits = bool(classes) and values.min() >= 0 and values.max() < len(classes)
    return Pictures(rows, values[kept], classes if fits else (), notes)


def resized(rows: Array, size: Size, where: str) -> Array:
    """Pictures [n, h, w] or [n, h, w, 3] of 8 bits in another size: scaled to cover it, and cut to it at the centre."""
    from PIL import Image

    if rows.dtype != np.uint8 or rows.shape[3:] not in ((), (3,)) or rows.ndim < 3:
        shape = f"{rows.dtype} of shape {rows.shape}"
        raise InputError(
            f"{where}: only pictures of 8 bits, [n, h, w] or [n, h, w, 3], are given a size, found {shape}"
        )
    if rows.shape[1:3] == size:
        return rows
    out = np.empty((len(rows), *size, *rows.shape[3:]), np.uint8)
    for i, row in enumerate(rows):
        out[i] = _fitted(Image.fromarray(row), size)
    return out


def _decoded(
    where: str, sources: Sequence[tuple[str, Path | bytes | None]], size: Size | None
) -> tuple[Array, list[int], tuple[str, ...]]:
    """The pictures, the numbers of those that could be decoded, and a line on the others.

    Grey if all are, otherwise RGB with transparency laid on white; turned as the camera says; 8 bits. Of a moving
    picture the first frame. With ``size`` each is scaled to cover it, and cut to it at the centre; without, all must
    have one size.
    """
    grey, kept = True, []
    shapes: dict[Size, str] = {}
    bad: list[tuple[int, str]] = []
    for i, (name, source) in enumerate(sources):  # sizes and colours are in the headers; nothing is decoded yet
        try:
            with _opened(source) as image:
                grey &= image.mode in ("1", "L")
                turned = image.getexif().get(0x0112, 1) >= 5
                shapes.setdefault((image.width, image.height) if turned else (image.height, image.width), name)
                kept.append(i)
        except UNREADABLE as error:
            bad.append((i, f"{name} ({error})"))
    if kept and size is None and len(shapes) > 1:
        listed = ", ".join(
            f"{h}x{w} ({name.removeprefix(where).lstrip('/, ')})" for (h, w), name in [*shapes.items()][:3]
        )
        raise InputError(
            f"{where}: pictures of {len(shapes)} sizes (height x width): {listed}; make them one with --resize, as in "
            "--resize 64 or --resize 48x64: each is scaled to cover it and cut to it at the centre"
        )
    height, width = size or next(iter(shapes), (0, 0))
    if len(kept) * height * width * (1 if grey else 3) > ENTRIES:
        raise InputError(f"{where}: {len(kept):,} pictures of {height}x{width} do not fit in memory; give a --resize")
    rows = np.empty((len(kept), height, width, *(() if grey else (3,))), np.uint8)
    done: list[int] = []
    for i in kept:
        name, source = sources[i]
        try:
            with _opened(source) as image:
                rows[len(done)] = _fitted(_plain(image, grey), (height, width))
            done.append(i)
        except UNREADABLE as error:
            bad.append((i, f"{name} ({error})"))
    if not done:
        reason = f", the first: {min(bad)[1]}" if bad else ""
        raise InputError(f"{where}: no picture could be decoded{reason}")
    note = f"{len(bad)} of {len(sources)} pictures could not be decoded and were left out, the first: "
    return rows[: len(done)], done, (f"{where}: {note}{min(bad)[1]}",) if bad else ()


@contextmanager
def _opened(source: Path | bytes | None) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    if source is None:
        raise ValueError("an empty cell")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        except UnidentifiedImageError as error:
            raise ValueError("not a picture") from error
        except Image.DecompressionBombError as error:
            raise ValueError("its pixels are too many") from error
        with image:
            if image.width * image.height > PIXELS:
                raise ValueError(f"{image.height}x{image.width} pixels are too many")
            if image.mode in ("F", "I") or image.mode.startswith("I;"):
                raise ValueError("more than 8 bits per pixel; save such pictures in an .npy file")
            yield image


def _plain(image: Any, grey: bool) -> Any:
    """Turned as the camera says; grey, or RGB with transparency laid on white."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if grey:
        return image.convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _fitted(image: Any, size: Size) -> Array:
    from PIL import Image, ImageOps

    height, width = size
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _idx(path: Path) -> Array:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    most = path.stat().st_size * (RATIO if packed else 1)
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            return _idx_stream(stream, most, path)
    except (EOFError, gzip.BadGzipFile, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged or cut short; fetch the file again") from error


def _idx_stream(stream: Any, most: int, path: Path) -> Array:
    """One IDX file that is no longer than ``most`` bytes; its sizes are judged before any data are read."""
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX or not start[3]:
        raise InputError(f"{path}: not an IDX file (it begins with {start.hex()})")
    shape = np.frombuffer(stream.read(4 * start[3]), ">u4").tolist()
    dtype = np.dtype(IDX[start[2]])
    length = math.prod(shape) * dtype.itemsize
    data = stream.read(length) if len(shape) == start[3] and length <= most else b""
    if len(data) < length or len(shape) < start[3] or stream.read(1):
        raise InputError(f"{path}: damaged or cut short: it should hold {'x'.join(map(str, shape))} numbers")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """The names that the datasets library leaves beside a column of class numbers."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    plain: Iterable[Any] = names if isinstance(names, list) else ()
    return tuple(map(str, plain))


ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
IDX: dict[int, str] = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
