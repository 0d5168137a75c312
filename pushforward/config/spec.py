"""Parts written as text: parse ``name:3,0.5`` or ``name:key=value``, and build it by the signature of its entry.

The one place where the text of ``--schedule vp:0.1,20``, ``--stepper adams_moulton:3`` or ``--grid karras:rho=5`` is
read. What a number stands for, and whether it is a whole one, is said by the annotations of the entry in the registry.
Importing this module does not import torch.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Union, final, get_args, get_origin, get_type_hints

from pushforward.errors import InputError, nearest

__all__ = ["NOT_BY_NAME", "Spec", "make"]

NOT_BY_NAME = frozenset({"mixture", "empirical", "warped", "custom", "general_affine", "characteristics"})


class ArgumentReader(NamedTuple):
    """How an argument is read from text: ``read`` raises ValueError for what is not ``kind``."""

    kind: str
    read: Callable[[str], Any]


@final
@dataclass(frozen=True)
class Spec:
    """The text of a part taken apart: its name in a registry, and its arguments as they were written.

    >>> Spec.parse("karras:5,lowest=0.01", "grid")
    Spec(text='karras:5,lowest=0.01', name='karras', arguments=('5',), keywords=(('lowest', '0.01'),))
    """

    text: str
    name: str
    arguments: tuple[str, ...] = ()
    keywords: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def parse(text: str, part: str = "part") -> Spec:
        """Read ``name``, ``name:value,value``, ``name:key=value`` or first values and then keys.

        InputError for a value after a key, or a key that stands twice; ``part`` names its kind in messages.
        """
        name, _, rest = text.partition(":")
        given = [value.strip() for value in rest.split(",") if value.strip()]
        keyed = ["=" in value for value in given]
        arguments = tuple(given[: keyed.count(False)])
        keywords = tuple(
            (key.strip(), value.strip()) for key, _, value in (g.partition("=") for g in given if "=" in g)
        )
        if keyed != sorted(keyed):
            raise InputError(f"{part} {text!r}: write values without a name first, and name=value after them")
        if len({key for key, _ in keywords}) < len(keywords):
            raise InputError(f"{part} {text!r}: says one name twice")
        return Spec(text, name, arguments, keywords)

    @property
    def values(self) -> tuple[str, ...]:
        """All arguments as they were written, with a name or without."""
        return (*self.arguments, *(value for _, value in self.keywords))

    def build(self, registry: Mapping[str, Any], part: str, given: Mapping[str, Any] | None = None) -> Any:
        """Call the registry's entry with the arguments of the text, each cast as the entry's signature says.

        ``given`` are values for parameters of these names, which are then not for the text to say; those that the
        entry does not have are left out. InputError, with the signature, for an unknown name or arguments that do not
        fit, and for an entry that needs tensors or functions.
        """
        if self.name not in registry:
            raise InputError(nearest(self.name, registry, part))
        entry, given = registry[self.name], given or {}
        parameters = _parameters(entry)
        taken = {key: value for key, value in given.items() if key in parameters}
        named = self._arguments([p for key, p in parameters.items() if key not in taken], registry, part)
        try:
            return entry(**named, **taken)
        except InputError:
            raise
        except (ValueError, OverflowError) as error:
            raise InputError(f"{part} {self.text!r}: {error}") from error

    def _arguments(self, parameters: list[inspect.Parameter], registry: Mapping[str, Any], part: str) -> dict[str, Any]:
        """The values of the parameters that the text names; InputError with the signature where it does not fit."""
        readers = {p.name: _reader(p.annotation, registry, part) for p in parameters}
        writable = [p for p in parameters if readers[p.name] is not None]
        if any(p.default is p.empty for p in parameters if p not in writable):
            raise InputError(f"{part} {self.name!r} needs tensors or functions: use it from Python")

        def refuse(reason: str) -> InputError:
            usage = ",".join(f"{p.name}={_written(p.default)}" for p in writable)
            write = f"write {self.name}:{usage}" if writable else f"takes no arguments, write {self.name}"
            return InputError(f"{part} {self.text!r}: {'; '.join([reason, write] if writable else [write])}")

        # values without a name go to the parameters in their order, as in a call
        positional = [p.name for p in writable if p.kind is not p.KEYWORD_ONLY]
        if len(self.arguments) > len(positional):
            raise refuse(f"{len(self.arguments)} values without a name, where {len(positional)} go")
        named: dict[str, Any] = {}
        for key, text in [*zip(positional, self.arguments, strict=False), *self.keywords]:
            if key in named:
                raise refuse(f"{key} is given twice")
            if key not in readers:
                raise refuse(f"it has no {key}")
            reader = readers[key]
            if reader is None:
                raise InputError(f"{part} {self.text!r}: {key} needs tensors or functions: use it from Python")
            try:
                named[key] = reader.read(text)
            except InputError:
                raise
            except ValueError:
                raise refuse(f"{key} is {reader.kind}, not {text!r}") from None
        return named


def make(registry: Mapping[str, Any], text: str, part: str, given: Mapping[str, Any] | None = None) -> Any:
    """Build the part that a text such as ``vp:0.1,20`` names, as `Spec.build`; InputError as there."""
    return Spec.parse(text, part).build(registry, part, given)


def _parameters(entry: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a callable, with their types in the place of annotations as text."""
    try:  # of a class and not of its __init__: a field may be declared in another file
        hints = get_type_hints(entry)
    except NameError:  # a name that only type checkers see: annotations stay as they are written
        hints = {}
    parameters = inspect.signature(entry).parameters
    return {key: p.replace(annotation=hints.get(key, p.annotation)) for key, p in parameters.items()}


def _reader(annotation: Any, registry: Mapping[str, Any], part: str) -> ArgumentReader | None:
    """How text becomes a value of this type; None for what no text can say, a tensor or a function."""
    if isinstance(annotation, str):
        return _first(ARGUMENT_READERS.get(word.strip()) for word in annotation.split("|"))
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return ArgumentReader(" or ".join(map(str, choices)), lambda text: choices[choices.index(text)])
    if get_origin(annotation) in (Union, types.UnionType):
        return _first(_reader(option, registry, part) for option in get_args(annotation))
    if get_origin(annotation) is not None or not isinstance(annotation, type):  # list[int] is both in Python 3.10
        return None
    if annotation.__name__ in ARGUMENT_READERS:
        return ARGUMENT_READERS[annotation.__name__]
    kin = any(isinstance(entry, type) and issubclass(entry, annotation) for entry in registry.values())
    if kin and inspect.isabstract(annotation):  # a Stepper, say, that another one is made from
        return ArgumentReader(f"the name of a {part}", lambda text: _named(text, annotation, registry, part))
    return None


def _first(readers: Iterable[ArgumentReader | None]) -> ArgumentReader | None:
    return next((reader for reader in readers if reader is not None), None)


def _named(text: str, kind: type, registry: Mapping[str, Any], part: str) -> Any:
    """The part of the same registry that a part is made from, by its name alone."""
    if text not in registry:
        raise ValueError(text)
    made = Spec(text, text).build(registry, part)
    if not isinstance(made, kind):
        raise ValueError(text)
    return made


def _whole(text: str) -> int:
    """A whole number, which may be written as 1e3."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def _number(text: str) -> float:
    number = float(text)
    if math.isnan(number):
        raise ValueError(text)
    return number


def _truth(text: str) -> bool:
    if text.lower() not in TRUTHS:
        raise ValueError(text)
    return TRUTHS[text.lower()]


def _written(default: Any) -> str:
    """A default as it would be written; NAME for what has no short text."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, int | float) else default if isinstance(default, str) else "NAME"


TRUTHS = {"true": True, "1": True, "false": False, "0": False}
ARGUMENT_READERS: dict[str, ArgumentReader] = {
    "int": ArgumentReader("a whole number", _whole),
    "float": ArgumentReader("a number", _number),
    "bool": ArgumentReader("true or false", _truth),
    "str": ArgumentReader("a word", str),
}
