"""Figures of the house, read from the code's own text: ``python tests/house.py``.

Circles of files, imports that run upward, the longest function bodies, the functions with most parameters, and public
names that several files define. ``tests/test_house.py`` holds them to their bounds.
"""

import ast
import collections
import sys
from pathlib import Path

from test_layout import PACKAGE, circles, reachable, upward

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(file):
    """Every function of a file, methods and inner ones included."""
    return [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, Function)]


def body_lines(function):
    """Lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def parameters(function):
    """How many parameters a function has, ``self`` and ``cls`` aside."""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def place(file, function):
    """``room/file.py:function``."""
    return f"{file.relative_to(PACKAGE) if file.is_relative_to(PACKAGE) else file.name}:{function.name}"


def longest(package=PACKAGE):
    """``(lines, place)`` of all function bodies, the longest first."""
    found = [(body_lines(f), place(file, f)) for file in package.rglob("*.py") for f in functions(file)]
    return sorted(found, reverse=True)


def most_parameters(package=PACKAGE):
    """``(number, place)`` of the parameters of all functions, the most first."""
    found = [(parameters(f), place(file, f)) for file in package.rglob("*.py") for f in functions(file)]
    return sorted(found, reverse=True)


def defined_twice(package=PACKAGE):
    """Public classes and functions of modules that several files define: ``name -> files``."""
    homes = collections.defaultdict(set)
    for file in package.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
                homes[node.name].add(str(file.relative_to(package)))
    return {name: sorted(files) for name, files in sorted(homes.items()) if len(files) > 1}


def lines(package=PACKAGE):
    """``(lines of code and text, lines that are comments)``."""
    text = [line for file in package.rglob("*.py") for line in file.read_text(encoding="utf-8").splitlines()]
    return len(text), sum(line.strip().startswith("#") for line in text)


def identifiers(package=PACKAGE):
    """Names of modules, classes, functions, parameters and attributes that are defined: ``name -> a place``."""
    found = {}
    for file in package.rglob("*.py"):
        found.setdefault(file.stem, str(file.relative_to(package)))
        for node in reachable(ast.parse(file.read_text(encoding="utf-8"))):
            name = node.name if isinstance(node, ast.ClassDef | Function) else getattr(node, "arg", None)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                name = node.attr
            if isinstance(name, str) and not isinstance(node, ast.keyword):
                found.setdefault(name, f"{file.relative_to(package)}:{node.lineno}")
    return found


def main():
    files = list(PACKAGE.rglob("*.py"))
    total, comments = lines()
    print(f"files {len(files)}, lines {total}, comment lines {comments}")
    print(f"circles of files {len(circles(PACKAGE))}, upward imports {len(upward(PACKAGE))}")
    print("longest bodies", *(f"{place} {n}" for n, place in longest()[:5]), sep="\n  ")
    print("most parameters", *(f"{place} {n}" for n, place in most_parameters() if n > 9), sep="\n  ")
    print("names in several files", *(f"{name}: {', '.join(f)}" for name, f in defined_twice().items()), sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
