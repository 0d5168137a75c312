"""Models exchanged through the Hugging Face Hub, or through a folder: safetensors, JSON and a model card, no code.

What goes up is written anew from the parts that were loaded, and only the names in `FILES` go up or come down. The
Hub's library (extra ``hub``) is imported when it is needed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward.errors import InputError, one_line
from pushforward.run.card import card
from pushforward.run.fetch import FILES, NAME, PREVIEW, library
from pushforward.run.folder import SamplerFile
from pushforward.run.model import Model, load

if TYPE_CHECKING:
    pass

__all__ = ["push"]


def push(
    run: str | Path,
    to: str | Path,
    *,
    private: bool = False,
    revision: str | None = None,
    license: str = "unknown",
    to_folder: bool = False,
) -> str:
    """Share a trained run on the Hub as ``org/name``, or as a folder with the same files; where it is now.

    ``to`` is a folder if it exists as one, begins with ``.``, ``/`` or ``~``, is a `Path`, or with ``to_folder``. A
    repository is made if there is none, ``private`` or not; ``revision`` is a branch of it. Averaged weights, the
    configuration without the path of the data, tuned samplers, the last preview and a model card go up; checkpoints,
    history and rows do not. InputError for a run that does not load, and where the destination holds other files.
    """
    home = Path(to).expanduser()
    local = to_folder or isinstance(to, Path) or home.is_dir() or str(to).startswith((".", "/", "~"))
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", license):
        raise InputError(f"--license {license}: write its name on the Hub, such as mit, apache-2.0 or cc-by-4.0")
    if local and (private or revision is not None):
        raise InputError(f"{to}: is a folder; --private and --revision are for the Hugging Face Hub")
    if not local and not NAME.fullmatch(str(to)):
        raise InputError(f"{to}: write org/name for the Hugging Face Hub, or ./folder")
    hub = None if local else library(f"{to}: to share a model on the Hugging Face Hub")
    model = load(run)
    with tempfile.TemporaryDirectory() as scratch:
        _write(model, Path(scratch), str(to), license)
        if hub is None:
            return _to_folder(Path(scratch), home)
        try:
            return _to_hub(hub.HfApi(), Path(scratch), str(to), private, revision)
        except InputError:
            raise
        except Exception as error:  # a network, an account or a disk, in the words of whichever library
            raise InputError(f"{to}: not shared ({one_line(error)})") from error


def _write(model: Model, folder: Path, name: str, license: str) -> None:
    """Every file that is shared, made from what was loaded and not copied."""
    from torch import nn

    from pushforward.field import Learned
    from pushforward.files import save_weights

    assert isinstance(model.field, Learned) and isinstance(model.field.net, nn.Module)
    # the path of the data on the author's machine is nobody's business
    file = model.run.model_copy(update={"data": model.run.data.model_copy(update={"source": model.run.data.name})})
    (folder / "config.json").write_text(file.model_dump_json(indent=1))
    save_weights(model.field.net.state_dict(), folder / "model.safetensors")
    if model.tuned:
        (folder / "sampler.json").write_text(SamplerFile(tuned=model.tuned).model_dump_json(indent=1))
    shown = _picture(model.folder, folder / PREVIEW)
    (folder / "README.md").write_text(card(model, name, license, shown), encoding="utf-8")


def _picture(run: Path, to: Path) -> bool:
    """The last preview of a run, its pixels alone; False if there is none."""
    from PIL import Image

    steps = [p for p in (run / "previews").glob("*.png") if re.fullmatch(r"(step-\d{1,15}|samples)\.png", p.name)]
    if not steps:
        return False
    last = max(steps, key=lambda path: int(re.sub(r"\D", "", path.name) or 0))
    to.parent.mkdir()
    try:
        with Image.open(last, formats=["PNG"]) as picture:
            picture.convert("RGB").save(to)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{last}: not a picture ({one_line(error)}); delete it and try again") from error
    return True


def _to_folder(made: Path, to: Path) -> str:
    """Put the files into a folder; InputError if it holds anything else, such as a run in training."""
    there = [p.relative_to(to).as_posix() for p in to.rglob("*") if p.is_symlink() or not p.is_dir()]
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise InputError(f"{to}: is not a folder")
    if other := sorted(set(there) - set(FILES)):
        raise InputError(f"{to}: holds {other[0]}, which is no part of a shared model; choose an empty folder")
    for name in FILES:
        if (made / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made / name, to / name)
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
