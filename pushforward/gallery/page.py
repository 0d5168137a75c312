"""Write the gallery as a folder: pictures, and a page that shows them with the code that made them."""

from __future__ import annotations

import ast
import functools
import html
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, final

from pushforward import plot
from pushforward.errors import InputError
from pushforward.files.writing import written_whole
from pushforward.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Picture", "index", "script", "write"]

PALETTE = 256  # colors of a picture's file
READABLE = 0.4  # of a picture's size: letters of 9 pixels

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 0 1rem 4rem; }
img { display: block; max-width: 100%; height: auto; background: white; border-radius: 4px; margin: 0.5rem 0; }
p, summary { overflow-wrap: anywhere; }
pre { overflow-x: auto; font-size: 0.8rem; padding: 0.8rem; border: 1px solid #8888; border-radius: 4px; }
figure { margin: 2.5rem 0; }
figure > div { overflow-x: auto; }
""".strip()


@final
@dataclass(frozen=True)
class Picture:
    """A title, a caption of two lines, what draws it, and what makes it move; both are functions of ``scale``."""

    title: str
    caption: str
    draw: Callable[[float], Figure]
    move: Callable[[float], plot.Animation] | None = None


def script(picture: Picture, name: str) -> str:
    """Assemble a program that makes the files of a picture: its functions, what they use, and the imports."""
    imports, pieces, seen = {"from pushforward import plot"}, [], set()

    # a name of the gallery brings its definition, and every name in it; any other brings its import

    def take(module: ModuleType, name: str) -> None:
        if (module, name) in seen:
            return
        seen.add((module, name))
        text, body = parsed(module)
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) != name:
                        continue
                    source = getattr(node, "module", None) or ""
                    if source.startswith(f"{__package__}."):
                        take(sys.modules[source], name)
                    else:
                        imported = f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
                        imports.add(f"from {source} {imported}" if source else imported)
            elif name in defined(node):
                for other in sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name)}):
                    take(module, other)
                begin = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
                pieces.append("\n".join(text.splitlines()[begin - 1 : node.end_lineno]))

    # what the program ends with: one line that saves each file
    functions = {"png": picture.draw, "gif": picture.move}
    saves = []
    for ending, function in functions.items():
        if function is not None:
            take(sys.modules[function.__module__], function.__name__)
            option = f", colors={PALETTE}" if ending == "png" else ""
            saves.append(f'plot.save({function.__name__}(), "{name}.{ending}"{option})')
    # imports first, then definitions, then what is saved
    head = [
        "from __future__ import annotations",
        "",
        *sorted(i for i in imports if i != "from __future__ import annotations"),
    ]
    return "\n\n\n".join(["\n".join(head), *pieces, "\n".join(saves)]) + "\n"


@functools.cache
def parsed(module: ModuleType) -> tuple[str, list[ast.stmt]]:
    text = inspect.getsource(module)
    return text, ast.parse(text).body


def defined(node: ast.stmt) -> list[str]:
    """The names that a statement at the top of a module gives a value."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def write(
    pictures: dict[str, Picture],
    out: Path,
    scale: float = 1.0,
    progress: Progress | Callable[[float, str], None] | None = None,
) -> list[Path]:
    """Draw pictures into a folder, and an ``index.html`` that shows these and those already there; the files written.

    ``progress`` is called with the share done and what comes next. Raises InputError where ``out`` is not a folder.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: this is a file; name a folder for the pictures")
    out.mkdir(parents=True, exist_ok=True)
    files, report = [], Progress.of(progress)
    for i, (name, picture) in enumerate(pictures.items()):
        report(i / len(pictures), f"{name}: {picture.title}")
        plot.save(picture.draw(scale), out / f"{name}.png", PALETTE)
        files.append(out / f"{name}.png")
        if picture.move is not None:
            plot.save(picture.move(scale), out / f"{name}.gif")
            files.append(out / f"{name}.gif")
    report(1.0, f"{len(files)} pictures in {out}")
    return files


def _image(file: Path, title: str) -> str:
    """A picture that narrow screens shrink as far as its letters can be read, and scroll beyond that."""
    from PIL import Image

    with Image.open(file) as image:
        width, height = image.size
    size = f'width="{width}" height="{height}" style="min-width: {round(READABLE * width)}px"'
    return f'<div><a href="{file.name}"><img src="{file.name}" alt="{title}" {size} loading="lazy"></a></div>'


def index(pictures: dict[str, Picture], out: Path) -> Path:
    """Write ``index.html``: the pictures in the folder, with captions, commands and code; nothing from a network."""
    parts = []
    for name, picture in pictures.items():
        if not (out / f"{name}.png").is_file():
            continue
        title, first, second = (html.escape(line) for line in (picture.title, *picture.caption.split("\n")))
        files = [f for f in (f"{name}.png", f"{name}.gif") if (out / f).is_file()]
        images = "\n".join(_image(out / f, title) for f in files)
        code = html.escape(script(picture, name))
        parts.append(
            f'<figure id="{name}">\n<h2>{name.upper()} {title}</h2>\n{images}\n'
            f"<figcaption><p>{first}<br>{second}</p>\n"
            f"<details><summary><code>pushforward gallery OUT --only {name}</code>, or this program</summary>\n"
            f"<pre>{code}</pre></details></figcaption>\n</figure>"
        )
    file = out / "index.html"
    text = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>pushforward: gallery</title>\n<style>\n{STYLE}\n</style>\n<h1>Gallery</h1>\n"
        + "\n".join(parts)
        + "\n</html>\n"
    )
    with written_whole(file) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return file
