"""Models exchanged through the Hugging Face Hub, or through a folder: safetensors, JSON and a model card, no code.

What goes up is written anew from the parts that were loaded, and only the names in `FILES` go up or come down. The
Hub's library (extra ``hub``) is imported when it is needed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward.errors import InputError, one_line
from pushforward.files.writing import size_of
from pushforward.run.card import card
from pushforward.run.fetch import FILES, NAME, PREVIEW, SMALL, library
from pushforward.run.folder import SamplerFile, read, write_record

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = ["Destination", "share"]


@dataclass(frozen=True)
class Destination:
    """Where a model is shared: a folder, or a repository of the Hub and a branch of it.

    ``to`` is a folder if it exists as one, begins with ``.``, ``/`` or ``~``, is a `Path`, or with ``to_folder``.
    InputError for what is neither, and for what a folder does not have.
    """

    to: str | Path
    private: bool = False
    revision: str | None = None
    to_folder: bool = False

    def __post_init__(self) -> None:
        if self.local and (self.private or self.revision is not None):
            raise InputError(f"{self.to}: is a folder; --private and --revision are for the Hugging Face Hub")
        if not self.local and not NAME.fullmatch(str(self.to)):
            raise InputError(f"{self.to}: write org/name for the Hugging Face Hub, or ./folder")

    @property
    def folder(self) -> Path:
        """The folder, if it is one."""
        return Path(self.to).expanduser()

    @property
    def local(self) -> bool:
        """Whether it is a folder."""
        named = isinstance(self.to, Path) or str(self.to).startswith((".", "/", "~"))
        return self.to_folder or named or self.folder.is_dir()


def share(model: Model, destination: Destination, license: str = "unknown") -> str:
    """Share a model on the Hub, or as a folder with the same files; where it is now.

    A repository is made if there is none. Averaged weights, the configuration without the path of the data, tuned
    samplers, the last preview and a model card go up; checkpoints, history and rows do not. InputError where the
    destination holds other files.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", license):
        raise InputError(f"--license {license}: write its name on the Hub, such as mit, apache-2.0 or cc-by-4.0")
    name = str(destination.to)
    hub = None if destination.local else library(f"{name}: to share a model on the Hugging Face Hub")
    with tempfile.TemporaryDirectory() as scratch:
        _write(model, Path(scratch), name, license)
        if hub is None:
            return _to_folder(Path(scratch), destination.folder)
        try:
            return _to_hub(hub.HfApi(), Path(scratch), name, destination.private, destination.revision)
        except InputError:
            raise
        except Exception as error:  # a network, an account or a disk, in the words of whichever library
            raise InputError(f"{name}: not shared ({one_line(error)})") from error


def _write(model: Model, scratch: Path, name: str, license: str) -> None:
    """Every file that is shared, made from what was loaded and not copied."""
    from pushforward.files.tensorfile import save_tensors

    # the path of the data on the author's machine is nobody's business
    data = model.run.data.model_copy(
        update={"source": model.run.data.name, "signature": "", "notes": model.transform.notes}
    )
    file = model.run.model_copy(update={"data": data})
    write_record(scratch / "config.json", file)
    save_tensors(model.net.state_dict(), scratch / "model.safetensors", read(scratch).checksum)
    if model.tuned:
        write_record(scratch / "sampler.json", SamplerFile(tuned=model.tuned))
    pictured = _picture(model.folder, scratch / PREVIEW)
    (scratch / "README.md").write_text(card(model, name, license, pictured), encoding="utf-8")


def _picture(run: Path, to: Path) -> bool:
    """The last preview of a run, its pixels alone; False if there is none."""
    from PIL import Image

    previews = run / "previews"
    named = [p for p in previews.glob("*.png") if re.fullmatch(r"(step-\d{1,15}|samples)\.png", p.name)]
    # a link would share another picture of the user's
    steps = [p for p in named if p.is_file() and not p.is_symlink() and not previews.is_symlink()]
    if not steps:
        return False
    last = max(steps, key=lambda path: int(re.sub(r"\D", "", path.name) or 0))
    to.parent.mkdir()
    try:
        size_of(last, SMALL)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(last, formats=["PNG"]) as picture:
                picture.convert("RGB").save(to)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"{last}: not a picture ({one_line(error)}); delete it and try again") from error
    return True


def _to_folder(made: Path, to: Path) -> str:
    """Put the files into a folder; InputError if it holds anything else, such as a run in training."""
    from pushforward.files.writing import written_whole

    present = [p.relative_to(to).as_posix() for p in to.rglob("*") if p.is_symlink() or not p.is_dir()]
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise InputError(f"{to}: is not a folder")
    if other := sorted(set(present) - set(FILES)):
        raise InputError(f"{to}: holds {other[0]}, which is no part of a shared model; choose an empty folder")
    for name in FILES:
        if (made / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            with written_whole(to / name, to) as scratch:
                shutil.copyfile(made / name, scratch)
        else:
            (to / name).unlink(missing_ok=True)
    return str(to)


def _to_hub(api: Any, made: Path, name: str, private: bool, revision: str | None) -> str:
    """Upload the files as one commit; InputError rather than put what is meant to be private into a public place."""
    url = api.create_repo(name, private=private or None, exist_ok=True)
    if private and not api.repo_info(name).private:
        raise InputError(f"{name}: is public on the Hub already; make it private there, or leave out --private")
    if revision is not None:
        api.create_branch(name, branch=revision, exist_ok=True)
    api.upload_folder(
        repo_id=name,
        folder_path=made,
        revision=revision,
        commit_message="Share a model with pushforward",
        allow_patterns=list(FILES),
        delete_patterns=list(FILES),  # those that this model has not; what is uploaded stays
    )
    return f"{url}" if revision is None else f"{url}/tree/{revision}"
