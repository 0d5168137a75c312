"""``--plugin FILE``: a Python file of the user's own, run before a command, whose parts are then known by name."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from pushforward.cli.terminal import flag_values
from pushforward.errors import InputError, one_line

__all__ = ["FLAG", "plugged"]

FLAG = "--plugin"


@contextmanager
def plugged(args: Sequence[str]) -> Iterator[None]:
    """Run the files that ``--plugin`` names on a command line, and provide the parts of their ``PARTS``.

    InputError for a file that is missing or fails, with the line in it.
    """
    parts: dict[str, object] = {}
    for file in flag_values(args, FLAG):
        parts |= _run(Path(file))
    if not parts:  # and nothing else needs to be imported
        yield
        return
    from pushforward.config import OwnParts, providing

    with providing(OwnParts.of(parts)):
        yield


def _run(path: Path) -> dict[str, object]:
    """Import a file as a module of its name, and return its ``PARTS``, if it has any."""
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"{FLAG} {path}: give a Python file that is there, my_parts.py say")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # of a file that ends in .py
    before, module = sys.modules.get(path.stem), module_from_spec(spec)
    if before is not None and Path(str(getattr(before, "__file__", ""))).resolve() != path.resolve():
        raise InputError(f"{FLAG} {path}: the name {path.stem} is that of another module already; rename the file")
    if before is not None:  # run already, in this process
        return dict(getattr(before, "PARTS", {}))
    sys.modules[path.stem] = module  # where dataclasses look for it
    if (folder := str(path.resolve().parent)) not in sys.path:  # of which it may import other files
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[path.stem]
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        line = error.lineno if isinstance(error, SyntaxError) else inside[-1] if inside else None
        where = f", line {line}" if line else ""
        raise InputError(f"{FLAG} {path}{where}: {type(error).__name__}: {one_line(error)}") from error
    parts = getattr(module, "PARTS", {})
    if not isinstance(parts, dict):
        raise InputError(f'{FLAG} {path}: PARTS is a dict, {{"net": MyNet()}}, not {type(parts).__name__}')
    return dict(parts)
