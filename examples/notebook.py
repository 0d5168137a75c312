"""The tour as a notebook: ``python examples/notebook.py`` writes ``tour.ipynb`` from ``docs/tutorials/tour.md``.

Prose becomes text cells; sessions become code cells, which end where the page shows what is printed.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tutorials" / "tour.md"
NOTEBOOK = Path(__file__).parent / "tour.ipynb"
SESSION = re.compile(r"^```pycon\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
PROMPT = re.compile(r"(?:>>>|\.\.\.)(?: (.*))?$")


def code(session: str) -> list[str]:
    """What was typed in a session, cut where something was printed, which is left out."""
    pieces: list[list[str]] = [[]]
    for line in session.splitlines():
        if match := PROMPT.match(line):
            pieces[-1].append(match[1] or "")
        elif pieces[-1]:
            pieces.append([])
    return ["\n".join(piece) for piece in pieces if piece]


def cells(page: str) -> list[dict[str, object]]:
    """The cells of a page, in its order."""
    made: list[dict[str, object]] = []
    for i, part in enumerate(SESSION.split(page)):
        if i % 2:
            empty = {"cell_type": "code", "execution_count": None, "outputs": []}
            made += [{**empty, "source": piece} for piece in code(part)]
        elif text := re.sub(r"\]\(\.\./", "](../docs/", part.strip()):
            made.append({"cell_type": "markdown", "source": text})
    return [{"id": f"cell-{i}", "metadata": {}, **cell} for i, cell in enumerate(made)]


def notebook(page: str) -> str:
    """The notebook of a page, as JSON."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells(page), "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
