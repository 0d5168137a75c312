"""Registries: a part is registered by one word at the foot of the file that defines it.

Every file of a room may end in a dict under the registry's name, ``{"heun": Heun, ...}``. `merged` puts those of a room
together, for its ``__init__``; `names` reads them from the text, for the command line, which knows all names before
anything is imported.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["configurable", "known", "merged", "names", "on_first_use"]

PACKAGE = Path(__file__).parent


def merged(room: str, name: str) -> dict[str, Any]:
    """The entries of the registry ``name`` in all files of a room, as ``data/files``, in the order of the files' names.

    Raises ValueError for a name that two files register.
    """
    found: dict[str, Any] = {}
    package = ".".join(["pushforward", *room.split("/")])
    for module in _modules(room):
        entries = getattr(importlib.import_module(f"{package}.{module}"), name, {})
        if twice := found.keys() & entries.keys():
            raise ValueError(f"{room}/{module}.py: {name} has {sorted(twice)[0]!r} already, from another file")
        found |= entries
    return found


@functools.cache
def names(room: str, name: str) -> tuple[str, ...]:
    """The names of a registry, in the order of `merged`, read from the text of a room's files or of a single file."""
    files = [f"{room}/{file}.py" for file in _modules(room)] or [f"{room}.py"]
    return tuple(entry for file in files for entry in _keys(file, name))


def known(room: str, name: str) -> tuple[str, ...]:
    """The names of a registry, and after them those that a user has added to it, ``pf.SCHEDULES["mine"] = Mine``."""
    module = sys.modules.get(f"pushforward.{room.replace('/', '.')}")  # without it nothing can have been added
    return tuple(dict.fromkeys([*names(room, name), *getattr(module, name, {})]))


def on_first_use(package: str) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """``__all__``, ``__getattr__`` and ``__dir__`` of a package whose names are imported when they are first used.

    The names are those that its ``__init__.py`` imports for type checkers alone, ``from module import name as name``;
    its own files are attributes too, whatever was imported before.
    """
    module = sys.modules[package]
    homes = {
        alias.name: node.module
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if alias.asname == alias.name
    }
    files = {entry.name for entry in pkgutil.iter_modules(module.__path__) if entry.name[0] != "_"}

    def get(name: str) -> Any:
        if name in files:
            return importlib.import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(module, name, value)
        return value

    return sorted(homes), get, lambda: sorted({*vars(module), *homes, *files})


def configurable(function: Callable[..., Any], given: int) -> Callable[..., Any]:
    """A builder of ``function`` with the parameters after its first ``given`` ones set: what a registry holds.

    ``configurable(logit_normal, 3)(0.5, 1.2)`` is the time law ``logit_normal(n, generator, schedule, 0.5, 1.2)``. The
    builder has the signature of those parameters, by which words of the command line are cast.
    """
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())[given:]
    signature = inspect.Signature(parameters)

    def build(*values: Any, **named: Any) -> Callable[..., Any]:
        chosen = signature.bind(*values, **named).arguments
        return functools.partial(function, **chosen) if chosen else function

    functools.update_wrapper(build, function)
    build.__signature__ = signature  # type: ignore[attr-defined]
    return build


def _modules(room: str) -> list[str]:
    """The names of a room's files but for ``__init__``, on a disk or in a zip archive; none if it is a file itself."""
    return sorted(file.name for file in pkgutil.iter_modules([str(PACKAGE / room)]) if not file.ispkg)


def _keys(file: str, name: str) -> list[str]:
    """The literal keys of the dict assigned to ``name`` in a file of the package."""
    text = (pkgutil.get_data("pushforward", file) or b"").decode()
    # registries stand at the foot, so that what follows the name is all that needs to be parsed
    start = text.find(f"\n{name}")
    for node in ast.parse(text[start + 1 :]).body if start >= 0 else []:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = getattr(node, "value", None)
            keys = value.keys if isinstance(value, ast.Dict) else []
            return [str(key.value) for key in keys if isinstance(key, ast.Constant)]
    return []
