"""A secret of this user on this machine, which signs what the user has said.

A run names the path of its data, and may come from a stranger. That path is opened later only where the run bears the
signature of the user who named it in training.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from pathlib import Path

__all__ = ["is_signed", "sign"]

BYTES = 32


def sign(text: str) -> str:
    """An HMAC of a text by this user's secret, which is made on first use."""
    return hmac.new(_secret(), text.encode(), hashlib.sha256).hexdigest()


def is_signed(text: str, signature: str) -> bool:
    """Whether `sign` gave this signature of the text, to this user on this machine."""
    return hmac.compare_digest(sign(text).encode(), signature.encode())


@functools.cache
def _secret() -> bytes:
    """The secret in ``$XDG_STATE_HOME/pushforward/key`` (``~/.local/state``), or one of this process alone."""
    try:
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        file = Path(home) / "pushforward" / "key"
        if not file.exists():
            _keep_new_secret(file)
        if (key := _read_secret(file)) is not None:
            return key
    except (OSError, RuntimeError):  # no home, or none that can be written to: what is signed now is known now
        pass
    return secrets.token_bytes(BYTES)


def _keep_new_secret(file: Path) -> None:
    """Write a secret that only this user can read; of two processes that do so at once the first decides."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, scratch = tempfile.mkstemp(dir=file.parent)  # readable by this user alone
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(secrets.token_bytes(BYTES))
        os.link(scratch, file)
    except FileExistsError:
        pass
    finally:
        os.unlink(scratch)


def _read_secret(file: Path) -> bytes | None:
    """The secret of a file; None for one that others can read or change, or that is none."""
    status = file.stat()
    open_to_others = os.name == "posix" and status.st_mode & 0o077
    if not stat.S_ISREG(status.st_mode) or status.st_size != BYTES or open_to_others:
        return None
    return file.read_bytes()
