"""Models from the Hugging Face Hub: which names are those of models there, and their download."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pushforward.errors import InputError, one_line
from pushforward.run.folder import LARGEST, read

__all__ = ["FILES", "NAME", "PREVIEW", "fetch", "library", "on_hub"]

PREVIEW = "previews/samples.png"
FILES = ("README.md", "config.json", "model.safetensors", "sampler.json", PREVIEW)
SMALL = 2**25  # bytes of a card or a picture
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def on_hub(name: str | Path) -> bool:
    """Whether ``name`` is text like ``org/name`` and no folder here; a `Path` is always a folder."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None and not Path(name).exists()


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder, in the Hub's own cache, of the model ``org/name``; without a network, of what is there already.

    ``revision`` is a branch, tag or commit. InputError if there is no such model, if it is not one of this package's,
    and, before the download, if a file is larger than what it can be.
    """
    hub = library(f"{name}: there is no such folder; to fetch a model of that name from the Hugging Face Hub")
    try:
        repository = hub.HfApi().repo_info(name, revision=revision, files_metadata=True)
    except (hub.errors.HfHubHTTPError, ValueError) as error:  # not there, not allowed, not a revision
        origin = name if revision is None else f"{name} (revision {revision})"
        raise InputError(
            f"{origin}: neither a folder here nor a model on the Hugging Face Hub that you may read ({one_line(error)})"
        ) from error
    except Exception as error:  # no network, in the words of whichever library: the cache may do
        try:
            return Path(
                hub.snapshot_download(name, revision=revision, allow_patterns=list(FILES), local_files_only=True)
            )
        except Exception:
            raise InputError(f"{name}: the Hugging Face Hub cannot be reached ({one_line(error)})") from error
    sizes = {file.rfilename: file.size or 0 for file in repository.siblings or ()}
    if missing := {"config.json", "model.safetensors"} - sizes.keys():
        raise InputError(f"{name}: no model of this package: the Hub has no {sorted(missing)[0]} there")
    check_sizes(name, sizes, {"config.json": LARGEST, "sampler.json": LARGEST, "README.md": SMALL, PREVIEW: SMALL})
    try:
        first = Path(hub.snapshot_download(name, revision=revision, allow_patterns=["config.json"]))
        check_sizes(name, sizes, {"model.safetensors": 8 * read(first).parameters + 2**24})
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: the download failed ({one_line(error)}); try again") from error


def library(purpose: str) -> Any:
    """``huggingface_hub``; InputError with the command that installs it."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise InputError(f"{purpose}: pip install huggingface_hub") from error
    return huggingface_hub


def check_sizes(name: str, sizes: dict[str, int], limits: dict[str, int]) -> None:
    """InputError for a file that is larger than what it can be."""
    for file, most in limits.items():
        if sizes.get(file, 0) > most:
            raise InputError(f"{name}: {file} has {sizes[file]:,} bytes, where {most:,} at most belong; not fetched")
