"""``pushforward gallery``: the theory in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from pushforward.cli.terminal import progress_bar, say
from pushforward.errors import InputError, nearest

__all__ = ["gallery"]


def gallery(
    out: Annotated[Positional[Path], arg(metavar="OUT", help="folder for the pictures and their page, index.html")],
    only: Annotated[tuple[str, ...], arg(metavar="NAME", help="some of them: --only g7 g9")] = (),
) -> None:
    """Draw the theory, G1 to G11: pictures beside exact answers, with the code that made each."""
    from pushforward.gallery import PICTURES, index, write

    for name in only:
        if name.lower() not in PICTURES:
            raise InputError(f"--only: {nearest(name, PICTURES, 'picture')}")
    chosen = {name: PICTURES[name] for name in PICTURES if not only or name in [other.lower() for other in only]}
    with progress_bar("gallery") as bar:
        write(chosen, out, progress=bar)
    say(f"look at {index(PICTURES, out)}")
