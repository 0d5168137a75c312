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

from pushforward.errors import InputError
from pushforward.run.model import Model, load
from pushforward.run.record import LARGEST, SamplerFile, history, read

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FILES", "card", "fetch", "on_hub", "push"]

PREVIEW = "previews/samples.png"
FILES = ("README.md", "config.json", "model.safetensors", "sampler.json", PREVIEW)
SMALL = 2**25  # bytes of a card or a picture
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
SHOWN = 40  # columns and classes named in a card


def on_hub(name: str | Path) -> bool:
    """Whether ``name`` is text like ``org/name`` and no folder here; a `Path` is always a folder."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None and not Path(name).exists()


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder, in the Hub's own cache, of the model ``org/name``; without a network, of what is there already.

    ``revision`` is a branch, tag or commit. InputError if there is no such model, if it is not one of this package's,
    and, before the download, if a file is larger than what it can be.
    """
    hub = _library(f"{name}: there is no such folder; to fetch a model of that name from the Hugging Face Hub")
    try:
        found = hub.HfApi().repo_info(name, revision=revision, files_metadata=True)
    except (hub.errors.HfHubHTTPError, ValueError) as error:  # not there, not allowed, not a revision
        where = name if revision is None else f"{name} (revision {revision})"
        raise InputError(
            f"{where}: neither a folder here nor a model on the Hugging Face Hub that you may read ({_brief(error)})"
        ) from error
    except Exception as error:  # no network, in the words of whichever library: the cache may do
        try:
            return Path(
                hub.snapshot_download(name, revision=revision, allow_patterns=list(FILES), local_files_only=True)
            )
        except Exception:
            raise InputError(f"{name}: the Hugging Face Hub cannot be reached ({_brief(error)})") from error
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    if missing := {"config.json", "model.safetensors"} - sizes.keys():
        raise InputError(f"{name}: no model of this package: the Hub has no {sorted(missing)[0]} there")
    _allow(name, sizes, {"config.json": LARGEST, "sampler.json": LARGEST, "README.md": SMALL, PREVIEW: SMALL})
    try:
        first = Path(hub.snapshot_download(name, revision=revision, allow_patterns=["config.json"]))
        _allow(name, sizes, {"model.safetensors": 8 * read(first).parameters + 2**24})
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: the download failed ({_brief(error)}); try again") from error


def push(
    run: str | Path,
    to: str | Path,
    *,
    private: bool = False,
    revision: str | None = None,
    licence: str = "unknown",
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
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", licence):
        raise InputError(f"--license {licence}: write its name on the Hub, such as mit, apache-2.0 or cc-by-4.0")
    if local and (private or revision is not None):
        raise InputError(f"{to}: is a folder; --private and --revision are for the Hugging Face Hub")
    if not local and not NAME.fullmatch(str(to)):
        raise InputError(f"{to}: write org/name for the Hugging Face Hub, or ./folder")
    hub = None if local else _library(f"{to}: to share a model on the Hugging Face Hub")
    model = load(run)
    with tempfile.TemporaryDirectory() as scratch:
        _write(model, Path(scratch), str(to), licence)
        if hub is None:
            return _to_folder(Path(scratch), home)
        try:
            return _to_hub(hub.HfApi(), Path(scratch), str(to), private, revision)
        except InputError:
            raise
        except Exception as error:  # a network, an account or a disk, in the words of whichever library
            raise InputError(f"{to}: not shared ({_brief(error)})") from error


def _library(purpose: str) -> Any:
    """``huggingface_hub``; InputError with the command that installs it."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise InputError(f"{purpose}: pip install huggingface_hub") from error
    return huggingface_hub


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _allow(name: str, sizes: dict[str, int], limits: dict[str, int]) -> None:
    for file, most in limits.items():
        if sizes.get(file, 0) > most:
            raise InputError(f"{name}: {file} has {sizes[file]:,} bytes, where {most:,} at most belong; not fetched")


def _write(model: Model, folder: Path, name: str, licence: str) -> None:
    """Every file that is shared, made from what was loaded and not copied."""
    from torch import nn

    from pushforward.field import Learned
    from pushforward.train.files import save_weights

    assert isinstance(model.field, Learned) and isinstance(model.field.net, nn.Module)
    # the path of the data on the author's machine is nobody's business
    file = model.run.model_copy(update={"data": model.run.data.model_copy(update={"source": model.run.data.name})})
    (folder / "config.json").write_text(file.model_dump_json(indent=1))
    save_weights(model.field.net.state_dict(), folder / "model.safetensors")
    if model.tuned:
        (folder / "sampler.json").write_text(SamplerFile(tuned=model.tuned).model_dump_json(indent=1))
    shown = _picture(model.folder, folder / PREVIEW)
    (folder / "README.md").write_text(card(model, name, licence, shown), encoding="utf-8")


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
        raise InputError(f"{last}: not a picture ({_brief(error)}); delete it and try again") from error
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


def card(model: Model, name: str, licence: str, shown: bool = False) -> str:
    """The model card: a YAML head for the Hub, then what the model is, knows of its data, and does not promise."""
    run, config, kind = model.run, model.run.config, model.transform.kind
    data, net, train, told = run.data, config.net, config.train, config.condition.condition
    tags = [
        "flow-matching",
        "diffusion",
        "generative-model",
        {"array": "arrays", "image": "images"}.get(kind, "tabular"),
    ]
    head = [f"license: {licence}", "library_name: pushforward", "tags:", *(f"- {tag}" for tag in tags)]
    if kind == "image" and told != "labels" and len(data.shape) == 3:
        head.append("pipeline_tag: unconditional-image-generation")
    what = {"array": "rows of numbers", "image": "pictures", "table": "rows of a table"}[kind]
    lines = [line for line in history(model.folder) if "loss" in line]
    last = lines[-1] if lines else None
    options = f", y={data.classes[0]!r}" if told == "labels" else ""
    given = {
        "labels": " The class of each sample can be asked for (`y`).",
        "columns": " What is known of some columns can be given (`where`), and the rest follows.",
    }.get(told, "")
    classes = ", ".join(_plain(c) for c in data.classes[:SHOWN]) + ", ..." * (len(data.classes) > SHOWN)
    columns = [(_plain(name), kind) for name, kind, _ in model.transform.describe()]
    parts: Sequence[str | None] = [
        "---",
        *head,
        "---",
        f"# {_plain(name.rpartition('/')[2] or name)}",
        "",
        f"A flow-matching or diffusion model that makes new {what} like those of the data set {_plain(data.name)}, "
        f"trained with the PyTorch package pushforward.{given}",
        "",
        *(["![samples of the model](previews/samples.png)", ""] if shown else []),
        "## Use",
        "",
        "```python",
        "import pushforward as pf",
        "",
        f"model = pf.load({name!r})",
        f"rows = model.sample(100, seed=0{options})  # in the units of the data",
        "```",
        "",
        "The files are JSON and safetensors: nothing is executed when they are loaded.",
        "",
        "## Data",
        "",
        f"- {data.rows:,} rows, of shape {data.shape} in the model, {100 * train.held_out:g}% of them held out",
        f"- classes: {classes}" if data.classes else None,
        *([f"- column `{name}`: {type}" for name, type in columns[:SHOWN]] if kind == "table" else []),
        f"- ... and {len(columns) - SHOWN} more columns" if kind == "table" and len(columns) > SHOWN else None,
        "",
        "No training rows are in these files. `config.json` does hold what turns samples into the units of the data:",
        "names and types of columns, their ranges (smallest and largest value), means, how frequent numbers are, all",
        "categories and classes with their shares, and a fingerprint of the data.",
        "",
        "## Model",
        "",
        f"- network: {net.net}, width {net.width}, depth {net.depth}; {run.parameters:,} parameters",
        f"- path: {model.field.path}, predicts {config.objective.predicts}",
        f"- convention: {run.convention}",
        *(f"- tuned sampler: {t.stepper}, {t.nfe} evaluations" for t in model.tuned),
        "",
        "## Training",
        "",
        f"- objective {config.objective.objective}, coupling {config.path.coupling}, times {config.objective.times}",
        f"- batch {train.batch}, learning rate {train.lr}, seed {train.seed}, {train.precision}",
        "- weights: power-function average over training",
        f"- {last['step']:,} steps; loss {last['loss']:.4f}, on held-out rows {last['held_out']:.4f}" if last else None,
        f"- pushforward {run.pushforward}, torch {run.torch}",
        "",
        "## Limits",
        "",
        "- This card was written by a program, from the files of the run; nobody has judged the model for any purpose.",
        "- It holds no measure of quality: `pushforward evaluate` compares samples with the data, if you have them.",
        "- Samples follow the data, with their errors and biases, and may come close to training rows; whether any is",
        "  a copy, and whether what was learned from private data may be shared, is for the author to check.",
        "- A licence has not been chosen: ask the author before you use it." if licence == "unknown" else None,
        "",
    ]
    return "\n".join(part for part in parts if part is not None)


def _plain(text: str) -> str:
    """A name from the data as text of a card: on one line, and not read as Markdown or HTML."""
    return re.sub(r"[\\`*_\[\]<>|#!&]", lambda mark: f"&#{ord(mark[0])};", " ".join(text.split())[:80])
