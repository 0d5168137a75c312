"""The command line, `COMMANDS`: ``pushforward train | sample | tune | score | encode | evaluate | ...``.

Flags are made from the classes in `config`. Errors of the user's are one line on standard error and exit code 2.
Nothing here imports torch before a command needs it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, UseAppendAction, arg

from pushforward.cli.drawing import gallery
from pushforward.cli.evaluating import evaluate
from pushforward.cli.looking import info, inspect, verify
from pushforward.cli.plugin import plugged
from pushforward.cli.recipe import recipe_config, shown
from pushforward.cli.sampling import sample, tune
from pushforward.cli.scoring import encode, score
from pushforward.cli.sharing import export, push
from pushforward.cli.terminal import discard, progress_bar, say
from pushforward.cli.training import train
from pushforward.config import Config
from pushforward.errors import InputError, nearest
from pushforward.files.limits import allowing

__all__ = ["COMMANDS", "main", "progress_bar"]

Plugin = Annotated[
    UseAppendAction[tuple[Path, ...]],
    arg(metavar="FILE", help="Python of your own, run first: pf.SCHEDULES['mine'] = Mine makes --schedule mine known"),
]
Largest = Annotated[str | None, arg(metavar="SIZE", help="what a file may unpack to: 16GB (2 GiB, 100 times its size)")]


def parser_message(boxed: str) -> str:
    """Put the parser's boxed message on one line: what is wrong, and the nearest right word where it has one."""
    text = " ".join(re.sub("[╭╮╰╯│─]", " ", boxed).split())
    if match := re.search(r"Value error, (.*?) \[type=", text):
        return match[1]
    if match := re.search(r"(\w+) Input (should .*?) \[type=\w+, input_value=(\S+),", text):
        return f"--{match[1].replace('_', '-')} {match[3]}: {match[2]}"
    if match := re.search(r"Unrecognized(?: or misplaced)? options: ([^\s,]+)", text):
        near = re.search(r"Perhaps you meant: (--?[\w-]+)", text)
        if match[1].startswith("-"):
            hint = f"; did you mean {near[1]}?" if near and near[1] != match[1] else ""
            return f"unknown flag {match[1]}{hint} (see pushforward --help)"
        return nearest(match[1], COMMANDS, "command") if "Available subcommands" in text else f"unexpected {match[1]!r}"
    text = re.split(" For full helptext| Argument helptext", text)[0]
    return re.sub(r"^(Parsing error|Required options|Missing argument|Value error) ", "", text)


def main(args: list[str] | None = None) -> None:
    """Run the command line: the entry point of ``pushforward`` and ``python -m pushforward``."""
    try:
        try:
            run(args)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who reads the output, head say, has seen enough
        for stream in (sys.stdout, sys.stderr):
            discard(stream)
        raise SystemExit(1) from None


def run(args: list[str] | None) -> None:
    """Read ``args``, or the command line, and do what it says."""
    args = sys.argv[1:] if args is None else args
    if args == ["--version"]:
        from pushforward.version import __version__

        say(__version__)
        return
    try:
        if shown(args):
            return
        with plugged(args):
            parse_command(args)()
    except InputError as error:
        fail(str(error), error.is_spokesman)
    except BrokenPipeError:
        raise
    except OSError as error:  # a disk or a permission, where nobody had better words for it
        fail(f"{error.filename or 'cannot go on'}: {error.strerror or error}")
    except MemoryError as error:
        fail(f"not enough memory{f' ({error})' if str(error) else ''}; give fewer rows or a smaller network")
    except KeyboardInterrupt:
        fail("interrupted")


def parse_command(args: list[str]) -> Callable[[], None]:
    """The command that ``args`` say, with its arguments; leaves with the parser's message where they are none."""
    message, config = io.StringIO(), recipe_config(args)
    try:
        with contextlib.redirect_stderr(message):
            command: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(
                {name: deferred(function, config) for name, function in COMMANDS.items()},
                prog="pushforward",
                description="Flow matching and diffusion models: give it data, get a generative model.",
                args=args,
                config=(OmitArgPrefixes, OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if stop.code:
            fail(parser_message(message.getvalue()))
        raise
    return command


def deferred(function: Callable[..., None], config: Config) -> Callable[..., Callable[[], None]]:
    """Fill in the arguments of a command without running it, so that parsing errors are told apart from its own.

    Every command takes besides ``--largest``, how much a file may unpack to, and ``--plugin`` (`plugged`). The flags of
    a configuration begin with those of ``config``.
    """

    def prepare(*args: Any, largest: str | None = None, plugin: object = (), **options: Any) -> Callable[[], None]:
        def command() -> None:
            with contextlib.nullcontext() if largest is None else allowing(largest):
                function(*args, **options)

        return command

    more = [
        Parameter("largest", Parameter.KEYWORD_ONLY, default=None, annotation=Largest),
        Parameter("plugin", Parameter.KEYWORD_ONLY, default=(), annotation=Plugin),
    ]
    own = Signature.from_callable(function, eval_str=True).parameters.values()
    given = [*(p.replace(default=config) if p.annotation is Config else p for p in own), *more]
    prepare.__doc__ = function.__doc__
    prepare.__annotations__ = {p.name: p.annotation for p in given}
    prepare.__dict__["__signature__"] = Signature(given)
    prepare.__dict__.pop("__wrapped__", None)  # of a type checker around it, whose flags would be taken
    return prepare


def fail(message: str, is_spokesman: bool = False) -> NoReturn:
    """Print one line on standard error, from the main process of several or one that ``is_spokesman``; exit code 2."""
    if is_spokesman or os.environ.get("RANK", "0") == "0":
        say(f"pushforward: {' '.join(message.split())}", error=True)
    raise SystemExit(2)


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "sample": sample,
    "tune": tune,
    "score": score,
    "encode": encode,
    "evaluate": evaluate,
    "info": info,
    "inspect": inspect,
    "verify": verify,
    "gallery": gallery,
    "push": push,
    "export": export,
}
