"""A figure that a notebook shows by itself. Imported with the first figure, so that importing plots is quick."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["InlineFigure"]


class InlineFigure(Figure):
    """A matplotlib Figure with the one method that a bare Figure lacks: its own picture.

    IPython draws bare figures only after ``%matplotlib inline`` or an import of pyplot; this one it draws always.
    """

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        FigureCanvasAgg(self).print_png(file)  # type: ignore[no-untyped-call]
        return file.getvalue()
