"""Arguments of public functions: one sentence for those in the wrong place or of the wrong type."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["check_type", "explained"]

P = ParamSpec("P")
R = TypeVar("R")


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function so that arguments beyond its positional ones are answered by one sentence.

    >>> @explained
    ... def integrate(field: object, x0: object, *, stepper: "complex | None" = None, steps: "int | None" = None): ...
    >>> integrate(1, 2, 3)
    Traceback (most recent call last):
    TypeError: integrate(field, x0, ...): give the int after them by its name, steps=3
    """
    parameters = inspect.signature(function).parameters.values()
    placed = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    named = {p.name: str(p.annotation) for p in parameters if p.kind is p.KEYWORD_ONLY}
    # a name for a type may be text itself, as that of conditions is
    spelled = {name: text for name, text in inspect.unwrap(function).__globals__.items() if isinstance(text, str)}
    named = {name: spelled.get(kind, kind) for name, kind in named.items()}

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > len(placed):
            odd = args[len(placed)]
            kinds = {kind.__name__ for kind in type(odd).__mro__} - {"object"}
            free = {name: kind for name, kind in named.items() if name not in kwargs}
            fitting = [name for name, kind in free.items() if kinds & set(re.findall(r"\w+", kind))]
            advice = f"its name, {fitting[0]}={_short(odd)}" if fitting else f"name: {', '.join(named)}"
            raise TypeError(
                f"{function.__name__}({', '.join(placed)}, ...): give the {type(odd).__name__} after them by {advice}"
            )
        return function(*args, **kwargs)

    return call


def check_type(where: str, name: str, value: object, kind: type, advice: str) -> None:
    """TypeError in one sentence unless ``value`` is None or of this type: what it is, and what to write."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{where}: {name} is a {type(value).__name__}; {advice}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 20 and "\n" not in text else "..."
