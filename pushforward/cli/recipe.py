"""``train --recipe NAME``: the settings of a published method as the defaults of all flags; ``--show`` prints them."""

from __future__ import annotations

from collections.abc import Sequence

from pushforward.cli.terminal import flag_values, say
from pushforward.config import RECIPES, Config
from pushforward.errors import InputError, nearest

__all__ = ["recipe_config", "shown"]

FLAG, SHOW = "--recipe", "--show"


def _name(args: Sequence[str]) -> str | None:
    """The recipe that ``train`` is told, wherever the flag stands; InputError for two of them or an unknown one."""
    if list(args[:1]) != ["train"]:
        return None
    names = flag_values(args, FLAG)
    if len(names) > 1:
        raise InputError(f"{FLAG}: give one of {', '.join(names)}")
    if names and names[0] not in RECIPES:
        raise InputError(nearest(names[0], RECIPES, "recipe"))
    return names[0] if names else None


def recipe_config(args: Sequence[str]) -> Config:
    """The configuration that flags begin with: that of the recipe, or the defaults."""
    name = _name(args)
    return Config() if name is None else RECIPES[name].config


def shown(args: Sequence[str]) -> bool:
    """Print the settings of the recipe if ``--show`` asks for them; whether it does."""
    if list(args[:1]) != ["train"] or SHOW not in args:
        return False
    name = _name(args)
    if name is None:
        raise InputError(f"{SHOW}: prints the settings of a recipe; give {FLAG} with {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    say(f"{name}: {recipe.reference}")
    for line in recipe.formulas:
        say(f"  {line}")
    say(f"the same as: pushforward train DATA --out RUN {recipe.flags}")
    return True
