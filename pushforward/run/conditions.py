"""Conditions in the user's words, as a network takes them: classes by their labels, columns that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from pushforward.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.data import Transform
    from pushforward.data import UserRows as Rows
    from pushforward.data.rules.observed import ObservedRows
    from pushforward.field import Field
    from pushforward.run.folder import RunFile

__all__ = ["ClassSpec", "Guidance", "class_numbers", "drawn_classes", "encode_partial_rows", "guided"]

ClassSpec: TypeAlias = "str | int | Sequence[str | int] | Tensor | None"
Guidance: TypeAlias = "float | Callable[[Field], Field] | None"


def class_numbers(run: RunFile, y: ClassSpec, n: int) -> Tensor | None:
    """Number the classes of ``n`` rows, ``[n]``: one for all rows, or one for each; None for none.

    A class is known by its label as it stands in the data, or, where no label is a number, by its number too. -1 is no
    class, unless it is the label of one. InputError for a class that the data do not have, and for another count.
    """
    import torch

    if y is None:
        return None
    names = run.data.classes
    if run.config.condition.condition != "labels":
        raise InputError(f"y {y!r}: this model was trained without classes; for columns of a table, say where")
    number = {name: i for i, name in enumerate(names)}
    if not any(name.lstrip("-").isdigit() for name in names):
        number |= {str(i): i for i in range(len(names))}
    plain = y.tolist() if hasattr(y, "tolist") else y  # of tensors, arrays and their numbers
    labels = [plain] if isinstance(plain, (str, int)) else list(plain)
    for label in labels:
        if str(label) not in number and label != -1:
            raise InputError(nearest(str(label), names, "class"))
    numbers = torch.tensor([number.get(str(label), -1) for label in labels])
    if len(numbers) not in (1, n):
        raise InputError(f"y: {len(numbers)} classes for {n} rows; give one for all, or one for each")
    return numbers.expand(n) if len(numbers) == 1 else numbers


def drawn_classes(run: RunFile, n: int, seed: int, first: int) -> Tensor | None:
    """Draw classes ``[n]`` as frequent as in the training data, that of row i by (seed, first + i); None without."""
    import torch

    from pushforward.tensor import per_sample

    if run.config.condition.condition != "labels":
        return None
    shares = torch.tensor(run.data.shares, dtype=torch.float64)
    return per_sample(lambda k, g: torch.multinomial(shares, k, True, generator=g), first, n, seed, "class")


def encode_partial_rows(
    transform: Transform, run: RunFile, rows: Rows, origin: str, gaps: bool
) -> tuple[ObservedRows, Tensor]:
    """Encode rows of which some columns are known, in model units, NaN for the rest (see `encode_partial`).

    InputError for a model that has not learned to be told columns; ``origin`` names the rows in errors.
    """
    if run.config.condition.condition != "columns":
        raise InputError(
            f"{origin}: this model has not learned to be told columns; train it on a table with --condition columns"
        )
    from pushforward.data.partial import encode_partial, given_rows

    given = given_rows(transform, rows, origin, gaps)
    return given, encode_partial(transform, given, origin)


def guided(field: Field, run: RunFile, guidance: Guidance) -> Field:
    """Put a field under guidance; InputError with the reason where it was not trained for it."""
    from pushforward.guidance import ClassifierFreeGuidance

    if guidance is None:
        return field
    if callable(guidance):
        return guidance(field)
    if not math.isfinite(guidance):
        raise InputError(f"guidance {guidance:g}: must be a finite number (0 unconditional, 1 conditional)")
    condition, drop = run.config.condition.condition, run.config.condition.cond_drop
    if condition == "none":
        raise InputError(
            "guidance: this model was trained without conditions, so that there is nothing to guide towards"
        )
    if not drop and guidance != 1:
        raise InputError(
            "guidance: this model was trained with --cond-drop 0 and has never learned the law without a condition; "
            "train it with conditions dropped at random (the default)"
        )
    return ClassifierFreeGuidance(field, guidance)
