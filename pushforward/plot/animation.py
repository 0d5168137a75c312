"""Animations, and how figures and animations become files."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pushforward.errors import InputError
from pushforward.plot import layers
from pushforward.plot.style import array, axis, blank, color, span, whole

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["Animation", "flow", "save"]

SHADES = 48  # colors in a GIF: flat shades and a few blends compress well


@final
@dataclass(frozen=True, eq=False)
class Animation:
    """A figure and what each frame changes in it: ``draw(i)`` for i = 0 .. length - 1, ``rate`` frames a second.

    A notebook shows it as a GIF that repeats; `save` writes ``.gif`` or ``.mp4``.
    """

    figure: Figure
    draw: Callable[[int], None]
    length: int
    rate: int = 12

    def canvas(self) -> FigureCanvasAgg:
        """Lay the figure out for its first frame, and so for all: axes do not move with the letters around them."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(self.figure)
        self.draw(0)
        canvas.draw()  # type: ignore[no-untyped-call]
        self.figure.set_layout_engine("none")
        return canvas

    def frames(self) -> Iterator[Image]:
        """Draw each frame, at the figure's size in pixels."""
        from PIL import Image

        canvas = self.canvas()
        for i in range(self.length):
            self.draw(i)
            canvas.draw()  # type: ignore[no-untyped-call]
            yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]

    def gif(self) -> bytes:
        """Encode the whole animation as a GIF: one palette for all frames, the last one stays for a second."""
        from PIL import Image

        frames = list(self.frames())
        width, height = frames[0].size
        column = Image.new("RGB", (width, height * len(frames)))
        for i, frame in enumerate(frames):
            column.paste(frame, (0, i * height))
        column = _reduced(column, SHADES)
        flat = [column.crop((0, i * height, width, (i + 1) * height)) for i in range(len(frames))]
        file = io.BytesIO()
        durations = [round(1000 / self.rate)] * (len(flat) - 1) + [1000]
        flat[0].save(file, "GIF", save_all=True, append_images=flat[1:], duration=durations, loop=0)
        return file.getvalue()

    def _repr_html_(self) -> str:
        return f'<img src="data:image/gif;base64,{base64.b64encode(self.gif()).decode()}">'

    def __repr__(self) -> str:
        return f"Animation({self.length} frames, {self.rate} a second)"


def flow(x: Float[Tensor, "k n 2"], t: Float[Tensor, "k"], tail: int = 4, rate: int = 12) -> Animation:
    """Animate points in the plane, one frame per state, each dragging a tail of its last few states.

    ``x [k, n, 2]`` are the states at times ``t [k]``, as `Trajectory` holds them. Limits hold every finite point.

    Raises InputError for points of another shape, or times that are not one per state.
    """
    if len(t) != len(x) or x.ndim != 3 or x.shape[2] != 2 or x.numel() == 0:
        raise InputError(f"states of shape {list(x.shape)} and {len(t)} times; [k, n, 2] and k times are needed")
    states, times = array(x), array(t)
    figure = blank(4.2, 4.4)
    ax = figure.add_subplot()
    axis(ax, "$x_1$", "$x_2$")
    for limit, i in ((ax.set_xlim, 0), (ax.set_ylim, 1)):
        low, high = span(states[..., i])
        limit(low - 0.04 * (high - low), high + 0.04 * (high - low))
    ax.set_aspect("equal", adjustable="box")
    lines = layers.lines(ax, x[:1], alpha=0.5)
    dots = layers.points(ax, x[0], color(0), alpha=min(0.8, max(0.15, 12 / math.sqrt(x.shape[1]))))
    title = ax.set_title("", fontsize=13)

    def draw(i: int) -> None:
        recent = states[max(0, i - tail) : i + 1]
        lines.set_segments(list(np.where(np.isfinite(recent), recent, np.nan).swapaxes(0, 1)[: layers.LINES]))
        dots.set_offsets(states[i])
        title.set_text(f"t = {times[i]:.2f}")

    return Animation(figure, draw, len(states), rate)


def save(picture: Figure | Animation, path: str | os.PathLike[str], colors: int | None = None) -> None:
    """Write a figure as ``.png``, an animation as ``.gif`` or ``.mp4``, whole or not at all.

    With ``colors`` (2 to 256) a figure has no more than these, the best for it, and its file is a third of the size.

    Raises InputError for another ending, a folder that does not exist, and for ``.mp4`` where there is no ffmpeg.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with whole(path, (".gif", ".mp4") if isinstance(picture, Animation) else (".png",)) as temporary:
        if not isinstance(picture, Animation):
            with temporary.open("wb") as file:
                FigureCanvasAgg(picture).print_png(file)  # type: ignore[no-untyped-call]
            if colors is not None:
                _reduce(temporary, colors)
        elif temporary.suffix.lower() == ".gif":
            temporary.write_bytes(picture.gif())
        else:
            _mp4(picture, path, temporary)


def _reduce(file: Path, colors: int) -> None:
    from PIL import Image

    with Image.open(file) as image:
        full = image.convert("RGB")
    _reduced(full, colors).save(file, "PNG", optimize=True)


def _reduced(image: Image, colors: int) -> Image:
    """Quantize an image to the colors that suit it best; that of its ground, at the corner, stays what it was."""
    flat = image.quantize(colors)
    entries = np.reshape(flat.getpalette() or [0, 0, 0], (-1, 3))
    entries[np.asarray(flat)[0, 0]] = np.asarray(image)[0, 0]
    flat.putpalette(entries.flatten().tolist())
    return flat


def _mp4(animation: Animation, path: str | os.PathLike[str], temporary: Path) -> None:
    from matplotlib.animation import FFMpegWriter

    if not FFMpegWriter.isAvailable():
        raise InputError(f"{path}: .mp4 needs the program ffmpeg, which is not installed; write a .gif instead")
    animation.canvas()
    writer = FFMpegWriter(fps=animation.rate)
    with writer.saving(animation.figure, temporary, animation.figure.dpi):
        for i in range(animation.length):
            animation.draw(i)
            writer.grab_frame()
