"""The pages keep their word: every Python example runs as printed, and every relative link leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

FENCE = re.compile(r"^([ ]*)(```+|~~~+)[ ]*(\S*)[^\n]*\n(.*?)^\1\2[ ]*$", flags=re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", flags=re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^\s)>]+)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=\"([^\"]+)\"", flags=re.MULTILINE)


def examples(text: str) -> list[tuple[int, str]]:
    """Line at which each ```python block begins, and its code."""
    found = []
    for match in FENCE.finditer(text):
        if match[3] == "python":
            code = "\n".join(line.removeprefix(match[1]) for line in match[4].split("\n"))
            found.append((text[: match.start(4)].count("\n"), code))
    return found


def links(text: str) -> list[str]:
    """Relative targets of links and pictures, without their anchors; code is not looked at."""
    prose = INLINE.sub("", FENCE.sub("", text))
    targets = [next(filter(None, match.groups())) for match in LINK.finditer(prose)]
    return [t.partition("#")[0] for t in targets if not re.match(r"[a-z][a-z0-9+.-]*:|#|//", t, flags=re.IGNORECASE)]


@pages
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names = {"__name__": "__main__"}
    for line, code in examples(page.read_text(encoding="utf-8")):
        # leading blank lines, so that a traceback points at the line of the page
        exec(compile("\n" * line + code, str(page), "exec"), names)


@pages
def test_relative_links_exist(page):
    assert [t for t in links(page.read_text(encoding="utf-8")) if not (page.parent / t).exists()] == []


def test_examples_and_links_are_found():
    text = (
        "[a](one.md#part) ![b](two.png) [c](https://example.org) [d](#here) `[e](no.md)`\n\n"
        '[f]: three.md\n<img src="four.png">\n\n```python\nx = 1\n```\n\n```bash\n[g](no.md)\n```\n\n'
        '- item\n\n    ```python title="named"\n    if x:\n        y = 2\n    ```\n'
    )
    assert links(text) == ["one.md", "two.png", "three.md", "four.png"]
    assert examples(text) == [(6, "x = 1\n"), (16, "if x:\n    y = 2\n")]
