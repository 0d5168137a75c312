"""The pages keep their word: every Python example runs as printed, and every relative link leads somewhere."""

import doctest
import re
import runpy
from pathlib import Path

import pytest

from pushforward import cli
from pushforward.data.files import builtin

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


def sessions(text: str) -> str:
    """The ```pycon blocks of a page, each on its own lines and everything else blank."""
    lines = [""] * (text.count("\n") + 1)
    for match in FENCE.finditer(text):
        if match[3] == "pycon":
            first = text[: match.start(4)].count("\n")
            lines[first : first + match[4].count("\n")] = match[4].splitlines()
    return "\n".join(lines)


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
def test_sessions_give_what_is_printed(page, tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    text = sessions(page.read_text(encoding="utf-8"))
    session = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, page.name, str(page), 0)
    printed = []
    doctest.DocTestRunner(verbose=False).run(session, out=printed.append)
    assert not printed, "".join(printed)


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
    assert sessions("a\n\n```pycon\n>>> 1 + 1\n2\n```\n").splitlines()[3:5] == [">>> 1 + 1", "2"]


def test_readme_commands_run(tmp_path, monkeypatch):
    # every `pushforward ...` line of the README's shell blocks, in order, with a smaller budget and fewer moons
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtin, "PLANAR_ROWS", 1500)
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    lines = [line.split("#")[0].split() for block in blocks for line in block.splitlines()]
    commands = [line[1:] for line in lines if line and line[0] == "pushforward"]
    assert {command[0] for command in commands} >= {"inspect", "train", "info", "sample", "verify"}
    for command in commands:
        if command[0] == "verify" and len(command) == 1:
            continue  # the whole of it is test_equations' slow test
        cli.main(
            [("20" if before == "--steps" else word) for before, word in zip(["", *command], command, strict=False)]
        )
    assert (tmp_path / "moons.csv").stat().st_size > 0 and (tmp_path / "moons.png").stat().st_size > 0
    targets = {line[1] for line in lines if line and line[0] == "make"}
    assert targets <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))


def test_demo_writes_its_pictures_and_figures(tmp_path, capsys):
    runpy.run_path(str(ROOT / "examples" / "demo.py"))["main"](tmp_path / "demo", minutes=0.02)
    for name in ("samples.png", "trajectories.png", "loss.png", "model.safetensors"):
        assert (tmp_path / "demo" / name).stat().st_size > 0
    out = capsys.readouterr().out
    training, generated, noise = (
        float(re.search(rf"{name} (\d+\.\d+)", out)[1]) for name in ("training digits", "generated digits", "noise")
    )
    assert 0 < training < generated < noise


def test_tour_gets_near_the_exact_answers(tmp_path, one_thread):
    found = runpy.run_path(str(ROOT / "examples" / "tour.py"))["main"](tmp_path / "tour.png", steps=100, n=400)
    assert (tmp_path / "tour.png").stat().st_size > 0
    assert 0 < found["excess"] < 0.2 * found["floor"]
    assert max(found["ode"], found["sde"], found["data"]) < 0.4 and found["nats"] < 1.5
