"""The shape of the tree: arrows point downward, files stay short, and its pictures in the documentation are true.

Imports are read, never run: those inside functions count, those under ``if TYPE_CHECKING`` do not.

``python tests/test_layout.py`` redraws the trees of README.md and docs/architecture.md: lines of files that are gone
are removed, new files stand at the end of their folder with the first line of their docstring; order and words of all
others are kept.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pushforward"

# Bottom to top. A room imports rooms on lower lines and its own files; rooms on one line do not import each other.
LEVELS = """
    version errors progress registry arguments signature
    tensor
    files distributed
    schedule
    space
    source
    path
    coupling times condition
    field
    oracle guidance adapters
    sample
    likelihood
    objective
    equations
    training
    batches
    gallery
    config
    evaluation
    report
    run
    cli
    __main__
"""
# Rooms that know nothing of the mathematics and import these only.
FOUNDATION = {"version", "errors", "progress", "registry", "arguments", "signature", "tensor", "files", "distributed"}
SIDE = {"nn", "data", "metrics", "plot"}
HANDED = {"training"}  # stands in the ladder above, but is handed its net and its loader
PRACTICE = {
    "gallery",
    "config",
    "evaluation",
    "report",
    "run",
    "cli",
    "__main__",
}  # the only rooms that may open a side room

LEVEL = {room: i for i, line in enumerate(LEVELS.split("\n")) for room in line.split()}
ROOMS = LEVEL.keys() | SIDE

LINES_BELOW = 350
GLOBAL_RANDOMNESS = {
    f"{library}.{call}"
    for library, calls in {
        "torch": ("manual_seed", "seed", "random.manual_seed", "cuda.manual_seed", "cuda.manual_seed_all"),
        "np.random": ("seed", "set_state"),
        "numpy.random": ("seed", "set_state"),
        "random": ("seed",),
    }.items()
    for call in calls
}
UNPICKLERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"}
UNSAFE_ARGUMENTS = {("weights_only", False), ("allow_pickle", True)}


def allowed(room: str) -> set[str]:
    """The rooms that this one may import."""
    if room in SIDE | HANDED:
        return FOUNDATION | {room}
    below = {other for other in LEVEL if LEVEL[other] < LEVEL[room]} | {room}
    return below | SIDE if room in PRACTICE else below


def room_of(module: str) -> str:
    """``pushforward.sample.ode`` belongs to ``sample``; the package's own ``__init__`` to no room."""
    return module.split(".")[1] if "." in module else ""


def module_name(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def reachable(node: ast.AST) -> Iterator[ast.AST]:
    """A syntax tree without what only type checkers see."""
    yield node
    checking = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    for child in node.orelse if checking else ast.iter_child_nodes(node):
        yield from reachable(child)


def imports(file: Path, package: Path = PACKAGE) -> list[tuple[int, str]]:
    """Line and name of every import from the package, relative ones spelled out.

    ``from pushforward import tensor`` is that room; ``from pushforward import Affine``, or ``pushforward.Affine`` after
    ``import pushforward``, a way round the table.
    """
    name, found, roots = module_name(file, package), [], set()
    home = name if file.name == "__init__.py" else name.rpartition(".")[0]
    nodes = list(reachable(ast.parse(file.read_text(encoding="utf-8"))))
    for node in nodes:
        if isinstance(node, ast.Import):
            roots |= {alias.asname or alias.name for alias in node.names if alias.name == package.name}
            found += [(node.lineno, alias.name) for alias in node.names if alias.name != package.name]
        elif isinstance(node, ast.ImportFrom):
            above = home.split(".")[: len(home.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # a name is a file of the package, or something in the file before it
            found += [(node.lineno, f"{base}.{a.name}") for a in node.names]
    for node in nodes:
        if isinstance(node, ast.Attribute) and dotted(node.value) in roots:
            found.append((node.lineno, f"{package.name}.{node.attr}"))
    return [(line, target) for line, target in found if target.split(".")[0] == package.name]


def upward(package: Path) -> list[str]:
    """What is wrong with the arrows of a package laid out like this one."""
    wrong = []
    for file in sorted(package.rglob("*.py")):
        room, where = room_of(module_name(file, package)), file.relative_to(package.parent)
        if room and room not in ROOMS:
            wrong.append(f"{where}: which room is this? Give {room!r} its place in tests/test_layout.py")
            continue
        for line, target in imports(file, package):
            if room_of(target) not in (allowed(room) if room else {"version", "registry"}):
                wrong.append(f"{where}:{line}: {room or '__init__'} may not import {target}")
    return wrong


def circles(package: Path) -> list[list[str]]:
    """Files that import each other, directly or by way of others; imports inside functions count."""
    files = {module_name(file, package): file for file in package.rglob("*.py")}
    graph = {name: {owner(target, files) for _, target in imports(file, package)} for name, file in files.items()}
    reach = {name: set(targets) for name, targets in graph.items()}
    for middle in files:  # Warshall's closure
        for targets in reach.values():
            if middle in targets:
                targets |= reach[middle]
    return sorted(
        {
            tuple(sorted(other for other in reach[name] if name in reach.get(other, ())))
            for name in files
            if name in reach[name]
        }
    )


def owner(target: str, files: dict[str, Path]) -> str:
    """The file that an imported name is or stands in; its room's ``__init__`` where the room does not tell."""
    while target and target not in files:
        target = target.rpartition(".")[0]
    return target


def dotted(node: ast.AST) -> str:
    """``torch.random.manual_seed`` of a chain of attributes on a name; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    base = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{base}.{node.attr}" if base else ""


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in body:
        private = getattr(node, "name", "").startswith("_") and not getattr(node, "name", "").endswith("__")
        if isinstance(node, ast.ClassDef) and not private:
            yield from public_functions(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not private:
            yield node


def registries(tree: ast.Module) -> list[int]:
    """Positions in the module of its registries: dicts under a public name in capitals."""
    found = []
    for i, node in enumerate(tree.body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
        table = annotation.startswith("dict[") or isinstance(getattr(node, "value", None), ast.Dict | ast.DictComp)
        if table and any(name.isupper() and not name.startswith("_") for name in names):
            found.append(i)
    return found


def faults(file: Path) -> list[str]:
    """House rules that one file breaks."""
    text = file.read_text(encoding="utf-8")
    tree, wrong = ast.parse(text), []
    if (lines := text.count("\n")) >= LINES_BELOW:
        wrong.append(f"has {lines} lines; keep it under {LINES_BELOW}, split it")
    wrong += [f"**{f.args.kwarg.arg} in public {f.name}()" for f in public_functions(tree.body) if f.args.kwarg]
    for node in ast.walk(tree):
        here = f"line {getattr(node, 'lineno', 0)}:"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            wrong += [f"{here} unpickling with {m}" for m in modules if m.split(".")[0] in UNPICKLERS]
            if isinstance(node, ast.ImportFrom):
                wrong += [f"{here} global seed" for n in names if f"{node.module}.{n}" in GLOBAL_RANDOMNESS]
        elif isinstance(node, ast.Call):
            if dotted(node.func) == "print" and "cli" not in (file.stem, file.parent.name):
                wrong.append(f"{here} print() outside cli")
            if dotted(node.func) in GLOBAL_RANDOMNESS:
                wrong.append(f"{here} {dotted(node.func)}: hand in a torch.Generator or a seed")
            arguments = {(k.arg, k.value.value) for k in node.keywords if isinstance(k.value, ast.Constant)}
            wrong += [f"{here} {name}={value}" for name, value in UNSAFE_ARGUMENTS & arguments]
    tables = registries(tree)
    foot = range(len(tree.body) - len(tables), len(tree.body))
    if tables != list(foot):
        moved = ast.unparse(tree.body[tables[0]]).split(":")[0].split(" =")[0]
        wrong.append(f"line {tree.body[tables[0]].lineno}: the registry {moved} belongs at the foot of the file")
    return wrong


def drawn_tree(text: str, page: str) -> list[str]:
    """Paths in a page's fenced block that opens with ``pushforward/``; a line out of format is a ValueError."""
    blocks = re.findall(r"^```[^\n]*\npushforward/[^\n]*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    if len(blocks) != 1:
        raise ValueError(f"{page} has {len(blocks)} fenced blocks whose first line is pushforward/, expected 1")
    folders, paths = [], []
    for line in blocks[0].splitlines():
        match = re.fullmatch(r"((?:  )+)([\w.]+(?:/|\.\w+))(?:\s+\S.*)?", line)
        depth = len(match[1]) // 2 if match else 0
        if not match or depth > len(folders) + 1 or (match[2][-1] != "/" and match[0].strip() == match[2]):
            raise ValueError(f"{page}: not a line `  name.py   words` of the tree, two spaces a level: {line!r}")
        folders = folders[: depth - 1]
        paths.append("".join([*folders, match[2]]))
        if match[2].endswith("/"):
            folders.append(match[2])
    return paths


def files_and_folders(package: Path) -> tuple[set[str], set[str]]:
    """What a tree of this package draws: its files, but for ``__init__.py`` and ``py.typed``, and their folders."""
    files = {
        str(file.relative_to(package))
        for file in package.rglob("*")
        if file.is_file() and file.name not in ("__init__.py", "py.typed") and "__pycache__" not in file.parts
    }
    return files, {f"{parent}/" for file in files for parent in list(Path(file).parents)[:-1]}


def tree_faults(drawn: list[str], there: set[str]) -> list[str]:
    """What a drawn tree lacks, what it has too much, and what it has twice."""
    return [
        *[f"draw {path}" for path in sorted(there - set(drawn))],
        *[f"remove {path}" for path in sorted(set(drawn) - there)],
        *[f"twice: {path}" for path in sorted({path for path in drawn if drawn.count(path) > 1})],
    ]


def summary(path: Path) -> str:
    """The beginning of the docstring of a module or a folder, up to the first full stop or colon."""
    path = path / "__init__.py" if path.is_dir() else path
    module = path.suffix == ".py" and path.is_file()
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if module else None
    words = (text or "?").split("\n")[0].split(": ")[0].split(". ")[0].rstrip(".")
    return words[:1].lower() + words[1:]


def redrawn(text: str, page: str, there: set[str], package: Path) -> str:
    """The page with its tree brought up to date."""
    drawn = drawn_tree(text, page)
    start = text.index("\npushforward/\n") + len("\npushforward/\n")
    lines = text[start : text.index("\n```", start)].splitlines()
    known = dict(zip(drawn, lines, strict=True))
    out = []

    def folder(name: str, depth: int) -> None:
        inside = [p for p in [*known, *sorted(there - set(known))] if p in there and p.startswith(name)]
        for path in inside:
            short = path[len(name) :]
            if short and "/" not in short.rstrip("/"):
                new = f"{'  ' * depth}{short.ljust(17 - 2 * depth)}  {summary(package / path)}"
                out.append(known.get(path, new))
                folder(path, depth + 1) if path.endswith("/") else None

    folder("", 1)
    return text[:start] + "\n".join(out) + text[start + len("\n".join(lines)) :]


def rooms_and_all() -> dict[Path, set[str]]:
    """What is drawn where: every room in the README, every file and folder on the page of the architecture."""
    files, folders = files_and_folders(PACKAGE)
    rooms = {path for path in files | folders if "/" not in path.rstrip("/")}
    return {ROOT / "README.md": rooms, ROOT / "docs" / "architecture.md": files | folders}


def test_arrows_point_downward():
    assert upward(PACKAGE) == []


def test_no_files_import_each_other_in_a_circle():
    assert circles(PACKAGE) == []


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_file_keeps_the_house_rules(file):
    assert faults(file) == []


def test_the_ladder_of_the_documentation_is_true():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.search(r"```text\n(  __main__\n.*?)```", page, re.S)[1]
    assert [line.split() for line in drawn.splitlines()] == [line.split() for line in LEVELS.split("\n")[-2:0:-1]]


@pytest.mark.parametrize("page", rooms_and_all(), ids=lambda page: page.name)
def test_trees_of_the_documentation_are_true(page):
    faults = tree_faults(drawn_tree(page.read_text(encoding="utf-8"), page.name), rooms_and_all()[page])
    assert faults == [], "python tests/test_layout.py redraws them"


# -- the checks themselves: each finds what it is for ------------------------------------------------------------------

ARROWS = {
    "path.py": ("from pushforward.schedule import CondOT", True),
    "schedule.py": ("from pushforward.path import Affine", False),
    "times.py": ("import pushforward.coupling", False),
    "sample/stepper.py": ("def f():\n    from pushforward.objective import Matching", False),
    "objective/matching.py": ("def f():\n    from ..sample.ode import Heun", True),
    "sample/ode.py": ("from .loop import integrate", True),
    "oracle.py": ("from pushforward import guidance", False),
    "field.py": ("if TYPE_CHECKING:\n    from pushforward.cli import main", True),
    "likelihood.py": ("if TYPE_CHECKING:\n    pass\nelse:\n    from pushforward.cli import main", False),
    "training/loop.py": ("from pushforward.field import Field", False),
    "nn/unet.py": ("from pushforward.path import Affine", False),
    "nn/mlp.py": ("from pushforward.nn.embed import Fourier", True),
    "metrics.py": ("from pushforward.plot import scatter", False),
    "equations.py": ("from pushforward.metrics import mmd", False),
    "config.py": ("from pushforward import nn, training", True),
    "run.py": ("from pushforward import load", False),
    "cli.py": ("from pushforward.version import __version__\nprint(__version__)", True),
    "run.py ": ("import pushforward\nprint(pushforward.__version__)", False),
    "gallery.py": ("import pushforward as pf\npf.integrate", False),
    "__init__.py": ("from pushforward.tensor import bcast", False),
    "helpers.py": ("", False),
}


@pytest.mark.parametrize("name", ARROWS)
def test_arrows_are_judged_by_the_table(name, tmp_path):
    text, good = ARROWS[name]
    file = tmp_path / "pushforward" / name.strip()
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert (upward(tmp_path / "pushforward") == []) == good


def test_circles_are_found_inside_functions_and_across_rooms(tmp_path):
    texts = {
        "__init__.py": "",
        "a.py": "def f():\n    from pushforward.b import g",
        "b.py": "from pushforward.room import h",
        "room/__init__.py": "",
        "room/c.py": "import pushforward.a",
        "d.py": "if TYPE_CHECKING:\n    from pushforward.e import x",
        "e.py": "from pushforward.d import y",
    }
    for name, text in texts.items():
        file = tmp_path / "pushforward" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert circles(tmp_path / "pushforward") == []
    (tmp_path / "pushforward" / "room" / "__init__.py").write_text("from pushforward.room.c import h")
    assert circles(tmp_path / "pushforward") == [
        ("pushforward.a", "pushforward.b", "pushforward.room", "pushforward.room.c")
    ]


RULES = {
    "x = 1\n" * 349: True,
    "x = 1\n" * 350: False,
    "def f(*args): ...": True,
    "def f(**options): ...": False,
    "class C:\n    def __init__(self, **options): ...": False,
    "def _f(**options): ...": True,
    "console.print('done')": True,
    "print('done')": False,
    "torch.Generator().manual_seed(0)": True,
    "torch.manual_seed(0)": False,
    "from torch import manual_seed": False,
    "np.random.default_rng(0)": True,
    "np.random.seed(0)": False,
    "from pickle import load": False,
    "torch.load(file, weights_only=False)": False,
    "np.load(file, allow_pickle=False)": True,
    "np.load(file, allow_pickle=True)": False,
    "class A: ...\n\nA_S: dict[str, type] = {'a': A}\nB_S = {'b': A}": True,
    "A_S = {'a': 1}\nclass A: ...": False,
    "A_S: dict[str, int] = one | two\nclass A: ...": False,
    "LIMIT = 3\nclass A: ...": True,
}


@pytest.mark.parametrize("text", RULES, ids=lambda text: text[:30])
def test_house_rules_find_what_they_are_for(text, tmp_path):
    file = tmp_path / "room.py"
    file.write_text(text)
    assert (faults(file) == []) == RULES[text]


def test_drawn_tree_is_read_with_its_folders():
    lines = ["words", "```text", "pushforward/", "  path.py    curves", "  sample/    one loop"]
    text = "\n".join([*lines, "    ode.py   steppers", "  cli.py  doors", "```", ""])
    assert drawn_tree(text, "page.md") == ["path.py", "sample/", "sample/ode.py", "cli.py"]
    for bad in (" path.py   curves", "  path.py", "   path.py  curves", "    ode.py   too deep", "  -- a heading --"):
        with pytest.raises(ValueError, match=r"page\.md"):
            drawn_tree(f"```\npushforward/\n{bad}\n```\n", "page.md")


def test_trees_are_compared_both_ways():
    assert tree_faults(["a.py", "b/"], {"a.py", "b/"}) == []
    assert tree_faults(["a.py", "b/", "b/"], {"a.py", "c.py"}) == ["draw c.py", "remove b/", "twice: b/"]


def test_a_tree_is_redrawn_with_its_words(tmp_path):
    for name, words in {
        "a.py": "Old.",
        "b/__init__.py": "Room.",
        "b/new.py": "New one: more.",
        "c.py": "Words. More.",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'"""{words}"""')
    files, folders = files_and_folders(tmp_path)
    tree = "  c.py             kept\n  b/               a room\n    gone.py        gone\n"
    page = f"x\n```text\npushforward/\n{tree}```\ny\n"
    new = redrawn(page, "page.md", files | folders, tmp_path)
    assert new.splitlines()[3:-2] == [
        "  c.py             kept",
        "  b/               a room",
        "    new.py         new one",
        "  a.py             old",
    ]
    assert redrawn(new, "page.md", files | folders, tmp_path) == new
    assert tree_faults(drawn_tree(new, "page.md"), files | folders) == []


HOUSE = {"api", "docs", "golden", "house", "layout", "packaging", "recipe", "unchanged"}  # tests of the whole


def test_tests_are_named_after_the_rooms_that_they_ask():
    """``test_room.py`` and ``test_room_subject.py``; the laws of each kind of part are in ``laws/``."""
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    for file in (ROOT / "tests").glob("test_*.py"):
        name = file.stem.removeprefix("test_")
        assert name in HOUSE or any(name == room or name.startswith(f"{room}_") for room in rooms), file.name


if __name__ == "__main__":
    for page, there in rooms_and_all().items():
        page.write_text(redrawn(page.read_text(encoding="utf-8"), page.name, there, PACKAGE), encoding="utf-8")
