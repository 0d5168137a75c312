"""Parts that a run was given as objects, where its configuration says ``own``, and where each of them comes from."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pushforward.config.sections import Config
from pushforward.config.spec import Spec
from pushforward.errors import InputError, nearest
from pushforward.registry import names

if TYPE_CHECKING:
    from torch import nn

    from pushforward.coupling import Coupling
    from pushforward.objective import Objective
    from pushforward.path import Path
    from pushforward.schedule import Schedule
    from pushforward.source import Source

__all__ = ["OWN", "OwnParts", "current_parts", "describe_places", "providing", "replaced"]

OWN = "own"  # what a configuration says in the place of a part's name


@dataclass(frozen=True, eq=False)
class OwnParts:
    """Objects in the place of registered names: what a researcher wrote, and a run is trained and loaded with.

    Args:
        net: a module ``net(x, t, y)`` whose weights are where training begins; it is copied, never changed.
        path: with its own schedule and source.
        schedule, source: of the path that the configuration names.
        coupling: ``(x0, x1, y, generator) -> (x0, x1, y)``.
        objective: ``(field, draw, y, generator) -> loss [n]``.
        times: ``(n, generator, schedule) -> t [n]`` in [0, 1).
    """

    net: nn.Module | None = None
    path: Path | None = None
    schedule: Schedule | None = None
    source: Source | None = None
    coupling: Coupling | None = None
    objective: Objective | None = None
    times: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.net is not None and not hasattr(self.net, "state_dict"):
            raise InputError(f"net: a torch.nn.Module, whose weights can be saved, not {type(self.net).__name__}")
        for name, part in self.given().items():
            if isinstance(part, type):
                raise InputError(f"{name}: is a class; give an object, {part.__name__}(...)")

    @staticmethod
    def of(parts: Mapping[str, Any]) -> OwnParts:
        """The parts of a dict by their names; InputError for a name that is none of theirs."""
        for name in parts:
            if name not in SECTIONS:
                raise InputError(nearest(str(name), SECTIONS, "part"))
        return OwnParts(**parts)

    def given(self) -> dict[str, Any]:
        """Those that there are, by name."""
        parts = {name: getattr(self, name) for name in SECTIONS}
        return {name: part for name, part in parts.items() if part is not None}

    def fitting(self, config: Config) -> OwnParts:
        """Those that a configuration calls own; InputError, naming them, where one is missing."""
        asked = [name for name, section in SECTIONS.items() if getattr(getattr(config, section), name) == OWN]
        given = self.given()
        if missing := [name for name in asked if name not in given]:
            those = ", ".join(f'"{name}": ...' for name in missing)
            raise InputError(
                f"{', '.join(missing)}: the author's own; give the same again, parts={{{those}}}, or --plugin FILE "
                "with a Python file that has them in its PARTS"
            )
        return OwnParts(**{name: given[name] for name in asked})

    def places(self, config: Config) -> dict[str, str]:
        """Where each part of a run comes from that is not the package's: ``name -> module.class``, as it can be read.

        Those that were given, and those that were registered under a name.
        """
        found = {name: _place(part) for name, part in self.given().items()}
        for section in SECTIONS.values():
            for name, field in type(getattr(config, section)).model_fields.items():
                extra: Any = field.json_schema_extra or {}
                if (registered := extra.get("named")) is None:
                    continue
                room, registry, part = registered[:3]
                word = Spec.parse(getattr(getattr(config, section), name), part).name
                entries = getattr(import_module(f"pushforward.{room.replace('/', '.')}"), registry)
                if word in entries and word not in names(room, registry):
                    found[name] = f"{word}: {_place(entries[word])}"
        return found


def replaced(config: Config, parts: Mapping[str, Any]) -> tuple[Config, OwnParts]:
    """A configuration with these parts in it, each an object of its own or the text that names a registered one."""
    objects = {name: part for name, part in parts.items() if part is not None and not isinstance(part, str)}
    own = OwnParts.of(objects)
    words = {name: part if isinstance(part, str) else OWN for name, part in parts.items() if part is not None}
    if own.path is not None:  # which has its own schedule and source, whatever the configuration says
        if beside := [name for name in ("schedule", "source") if name in words]:
            raise InputError(f"{beside[0]}: the path that was given has its own; leave it out")
        words |= {"schedule": "condot", "source": "normal"}
    sections: dict[str, Any] = {}
    for name, word in words.items():
        section = SECTIONS[name]
        before = sections.get(section, getattr(config, section))
        try:  # validated again: the text may be wrong
            sections[section] = type(before).model_validate(before.model_dump() | {name: word})
        except ValidationError as error:
            raise InputError(str(error.errors()[0]["ctx"]["error"])) from error
    return config.model_copy(update=sections), own


def describe_places(places: Mapping[str, str]) -> str:
    """Parts and where they come from, in words."""
    return ", ".join(f"{name} ({place})" for name, place in places.items())


def current_parts() -> OwnParts:
    """The parts of `providing`, where no others are given."""
    return _PROVIDED.get() or OwnParts()


@contextmanager
def providing(parts: OwnParts) -> Iterator[None]:
    """Parts for whatever run is trained or loaded within: those of ``--plugin``."""
    token = _PROVIDED.set(parts)
    try:
        yield
    finally:
        _PROVIDED.reset(token)


def _place(part: Any) -> str:
    """``module.name`` of a class or function, and the fields of a dataclass."""
    kind = part if hasattr(part, "__qualname__") else type(part)
    name = getattr(kind, "__qualname__", kind.__name__).replace("<locals>.", "")
    fields = repr(part) if dataclasses.is_dataclass(part) and not isinstance(part, type) else ""
    module = getattr(sys.modules.get(kind.__module__), "__name__", kind.__module__)
    # a repr with an address says nothing, and is another one each time
    described = fields.startswith(f"{kind.__name__}(") and " at 0x" not in fields and len(fields) < 300
    return f"{module}.{name}{fields[len(kind.__name__) :] if described else ''}"


_PROVIDED: ContextVar[OwnParts | None] = ContextVar("own parts", default=None)

# part -> the section of the configuration that names it
SECTIONS = {
    "net": "net",
    "path": "path",
    "schedule": "path",
    "source": "path",
    "coupling": "path",
    "objective": "objective",
    "times": "objective",
}
