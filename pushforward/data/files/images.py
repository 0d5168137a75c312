"""Pictures: a folder of them, decoded, made one size, with their labels."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.files.formats import Contents, FileSet, Format, Size
from pushforward.data.files.rows import Array
from pushforward.errors import InputError
from pushforward.files.limits import allow

__all__ = ["FOLDER", "decode_pictures", "looks_like_picture", "read_picture_folder", "read_size", "resize"]

PIXELS = 1 << 26  # of one picture, at most
ENTRIES = 1 << 33  # of all of them
UNREADABLE = (OSError, ValueError, TypeError, SyntaxError, EOFError, MemoryError, struct.error, zlib.error)


def read_size(size: str | int | Sequence[int] | None) -> Size | None:
    """Parse height and width from ``32``, ``"32"``, ``"32x48"`` or ``(32, 48)``; InputError for anything else."""
    if size is None:
        return None
    sides = size.lower().split("x") if isinstance(size, str) else [size] if isinstance(size, int) else list(size)
    if len(sides) not in (1, 2) or not all(re.fullmatch(r"[1-9]\d{0,4}", str(side)) for side in sides):
        raise InputError(f"size {size!r}: give pixels, as 32, or height x width, as 32x48")
    return int(sides[0]), int(sides[-1])


def read_picture_folder(source: FileSet) -> Contents:
    """Decode the pictures of a folder, in the order of their names; its sub-folders, if all lie in such, are classes.

    Grey levels uint8 [n, h, w], or colours uint8 [n, h, w, 3]; see `decode_pictures`.
    """
    files = [file for file in source.files if isinstance(file, Path)]
    folder = source.folder or files[0].parent
    homes = [file.relative_to(folder).parts[:-1] for file in files]
    if any(homes) and not all(homes):
        loose = files[[bool(home) for home in homes].index(False)]
        raise InputError(
            f"{folder}: pictures lie beside the sub-folders, such as {loose.name}; put each into the sub-folder of its "
            "class, or all into one folder"
        )
    rows, kept, notes = decode_pictures(str(folder), [(str(file), file) for file in files], source.size)
    names = sorted({home[0] for home in homes if home})
    if len(names) < 2:
        return Contents(rows, None, (), notes)
    labels = np.array([names.index(homes[i][0]) for i in kept])
    return Contents(rows, labels, tuple(names), notes)


def looks_like_picture(data: bytes) -> bool:
    """Whether bytes begin as those of a picture do, in any of the formats that are read."""
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
    if data.startswith(starts) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return True
    # two letters may begin a text, too
    bitmap = data[:2] == b"BM" and data[14:18] in [bytes([n, 0, 0, 0]) for n in (12, 16, 40, 52, 56, 64, 108, 124)]
    return bitmap or re.match(rb"P[1-6]\s+(\d|#)", data) is not None


def resize(rows: Array, size: Size, origin: str) -> Array:
    """Resize pictures [n, h, w] or [n, h, w, 3] of 8 bits: scale them to cover the size, and cut them at the centre."""
    from PIL import Image

    if rows.dtype != np.uint8 or rows.shape[3:] not in ((), (3,)) or rows.ndim < 3:
        shape = f"{rows.dtype} of shape {rows.shape}"
        raise InputError(
            f"{origin}: only pictures of 8 bits, [n, h, w] or [n, h, w, 3], are given a size, found {shape}"
        )
    if rows.shape[1:3] == size:
        return rows
    out = np.empty((len(rows), *size, *rows.shape[3:]), np.uint8)
    for i, row in enumerate(rows):
        out[i] = _fitted(Image.fromarray(row), size)
    return out


def decode_pictures(
    origin: str, sources: Sequence[tuple[str, Path | bytes | None]], size: Size | None
) -> tuple[Array, list[int], tuple[str, ...]]:
    """Decode named pictures into one array; return also the numbers of those that could be, and a line on the others.

    Grey if all are, otherwise RGB with transparency laid on white; turned as the camera says; 8 bits. Of a moving
    picture the first frame. With ``size`` each is scaled to cover it, and cut to it at the centre; without, all must
    have one size.
    """
    grey, readable = True, []
    shapes: dict[Size, str] = {}
    bad: list[tuple[int, str]] = []

    # sizes and colours are in the headers: the array is refused, or has its place, before anything is decoded
    for i, (name, source) in enumerate(sources):
        try:
            with _opened(source) as image:
                grey &= image.mode in ("1", "L")
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                shapes.setdefault((image.width, image.height) if turned else (image.height, image.width), name)
                readable.append(i)
        except UNREADABLE as error:
            bad.append((i, f"{name} ({error})"))
    if readable and size is None and len(shapes) > 1:
        listed = ", ".join(
            f"{h}x{w} ({name.removeprefix(origin).lstrip('/, ')})" for (h, w), name in [*shapes.items()][:3]
        )
        raise InputError(
            f"{origin}: pictures of {len(shapes)} sizes (height x width): {listed}; make them one with --resize, as in "
            "--resize 64 or --resize 48x64: each is scaled to cover it and cut to it at the centre"
        )
    height, width = size or next(iter(shapes), (0, 0))
    if len(readable) * height * width * (1 if grey else 3) > ENTRIES:
        raise InputError(
            f"{origin}: {len(readable):,} pictures of {height}x{width} do not fit in memory; give a --resize"
        )
    packed = sum(_packed_size(sources[i][1]) for i in readable)
    allow(len(readable) * height * width * (1 if grey else 3), packed, origin)

    # a picture with a good header may still be cut short: the array is filled from above, and its end cut off
    rows = np.empty((len(readable), height, width, *(() if grey else (3,))), np.uint8)
    kept: list[int] = []
    for i in readable:
        name, source = sources[i]
        try:
            with _opened(source) as image:
                rows[len(kept)] = _fitted(_plain(image, grey), (height, width))
            kept.append(i)
        except UNREADABLE as error:
            bad.append((i, f"{name} ({error})"))
    if not kept:
        reason = f", the first: {min(bad)[1]}" if bad else ""
        raise InputError(f"{origin}: no picture could be decoded{reason}")
    note = f"{len(bad)} of {len(sources)} pictures could not be decoded and were left out, the first: "
    return rows[: len(kept)], kept, (f"{origin}: {note}{min(bad)[1]}",) if bad else ()


def _packed_size(source: Path | bytes | None) -> int:
    return len(source or b"") if not isinstance(source, Path) else source.stat().st_size


@contextmanager
def _opened(source: Path | bytes | None) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    Image.init()  # without it formats that are named are sought among the commonest five
    if source is None:
        raise ValueError("an empty cell")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=PICTURES)
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


# an EPS would start Ghostscript, whatever its ending says
PICTURES = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
FOLDER = Format("picture", read_picture_folder)
READ_ONLY = {
    ".png": FOLDER,
    ".jpg": FOLDER,
    ".jpeg": FOLDER,
    ".bmp": FOLDER,
    ".gif": FOLDER,
    ".webp": FOLDER,
    ".tif": FOLDER,
    ".tiff": FOLDER,
    ".pgm": FOLDER,
    ".ppm": FOLDER,
}
