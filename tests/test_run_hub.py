"""Models for others: what is shared is the same model and nothing else; one file that runs without the package."""

from __future__ import annotations

import fnmatch
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import huggingface_hub
import numpy as np
import pyarrow as pa
import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError
from PIL import Image
from safetensors.torch import load_file, save_file

import pushforward as pf
from pushforward import run
from pushforward.cli import main
from pushforward.config import Config, NetConfig, PathConfig, TrainConfig
from pushforward.data.fitting import fit
from pushforward.errors import InputError
from pushforward.files.tensorfile import save_tensors
from pushforward.run.export import ABOUT, Units
from pushforward.run.fetch import FILES, fetch
from pushforward.sample import STEPPERS
from pushforward.tensor import per_sample

RNG = np.random.default_rng(0)
TABLE = pa.table({"secret <b>height</b>": RNG.normal(170, 10, 60), "n": RNG.integers(0, 9, 60)})


pytestmark = pytest.mark.usefixtures("one_thread_throughout")


def trained(folder, data, **sections):
    """A run whose weights are of some size: those of a short training are nearly 0."""
    config = Config(**({"net": NetConfig(width=16, depth=1), "train": TrainConfig(batch=32)} | sections))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.callbacks, "preview", lambda *_: None)
        pf.train(data, folder, config=config, steps=1)
    net, g = pf.load(folder).field.net, torch.Generator().manual_seed(1)
    for value in net.parameters():
        value.copy_(0.3 * torch.randn(value.shape, generator=g))
    save_tensors(net.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A run of a table, with a preview, and with what must not be shared beside what is."""
    import pyarrow.csv

    home = tmp_path_factory.mktemp("private_home")
    pyarrow.csv.write_csv(TABLE, home / "people.csv")
    folder = trained(home / "run", home / "people.csv")
    for step, colour in ((5, "red"), (40, "blue")):
        Image.new("RGB", (4, 4), colour).save(folder / "previews" / f"step-{step}.png")
    (folder / "weights.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("digits") / "run", "digits")


def files_in(folder):
    return {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if not p.is_dir()}


# ---- sharing


def test_a_folder_holds_the_same_model_and_nothing_else(table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["push", str(table), "org/people", "--to-folder", "--license", "mit"])
    assert "org/people" in capsys.readouterr().out
    there = tmp_path / "org" / "people"
    assert files_in(there) == set(FILES) - {"sampler.json"}  # it was not tuned
    here, back = pf.load(table), pf.load("org/people")  # the folder of that name, not the Hub
    assert back.sample(5, steps=2, seed=3).equals(here.sample(5, steps=2, seed=3))
    everything = b"".join((there / name).read_bytes() for name in files_in(there))
    assert b"private_home" not in everything and str(table.parent).encode() not in everything
    # of the rows, the ends of a column only
    heights = sorted(TABLE.column(0).to_pylist())
    assert [h for h in heights if repr(h).encode() in everything] == [heights[0], heights[-1]]
    with Image.open(there / FILES[-1]) as picture:
        assert picture.getpixel((0, 0)) == (0, 0, 255)  # the last one
    text = (there / "README.md").read_text()
    head = huggingface_hub.ModelCard(text).data
    assert (head.license, head.library_name, head.pipeline_tag) == ("mit", "pushforward", None)
    assert "tabular" in head.tags and "<b>" not in text and "pf.load('org/people')" in text
    # again, over itself; what is gone there goes here
    (there / "sampler.json").write_text("{}")
    run.push(there, there.parent / "other")
    main(["push", str(table), "org/people"])
    assert files_in(there) == set(FILES) - {"sampler.json"}
    assert "not been chosen" in (there / "README.md").read_text()


def test_the_card_of_pictures(digits, tmp_path):
    card = huggingface_hub.ModelCard(Path(run.push(digits, tmp_path / "d"), "README.md").read_text())
    assert card.data.license == "unknown" and "images" in card.data.tags
    assert card.data.pipeline_tag is None  # it is told classes
    code = card.text.split("```python\n")[1].split("```")[0]
    names = {}
    exec(code.replace("sample(100, ", "sample(2, steps=1, "), names)
    assert names["rows"].shape == (2, 8, 8)
    plain = Config(net=NetConfig(width=16, depth=1)).model_copy(
        update={"condition": Config().condition.model_copy(update={"condition": "none"})}
    )
    pf.train(np.asarray(RNG.integers(0, 255, (20, 4, 4)), np.uint8), tmp_path / "p", config=plain, steps=1)
    card = huggingface_hub.ModelCard(Path(run.push(tmp_path / "p", tmp_path / "q"), "README.md").read_text())
    assert card.data.pipeline_tag == "unconditional-image-generation"


@pytest.mark.parametrize(
    ("to", "flags", "words"),
    [
        ("RUN", [], ["holds", "empty folder"]),
        ("FILE", ["--to-folder"], ["not a folder"]),
        ("./new", ["--private"], ["--private", "Hub"]),
        ("./new", ["--revision", "v1"], ["--revision", "Hub"]),
        ("just-a-name", [], ["org/name", "./folder"]),
        ("org/name/more", [], ["org/name", "./folder"]),
        ("org/na me", [], ["org/name", "./folder"]),
        ("./new", ["--license", "MIT\nx: y"], ["--license", "apache-2.0"]),
    ],
    ids=["a-run", "a-file", "private-folder", "branch-of-a-folder", "name", "deep", "space", "license"],
)
def test_what_cannot_be_shared_is_one_line(to, flags, words, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    before = files_in(tmp_path)
    to = {"RUN": str(table), "FILE": "file"}.get(to, to)
    with pytest.raises(SystemExit) as stop:
        main(["push", str(table), to, *flags])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert all(word in error for word in words), error
    assert files_in(tmp_path) == before


def test_without_the_library_it_says_what_to_install(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: run.push(table, "org/name"), lambda: pf.load("org/name")):
        with pytest.raises(InputError, match="pip install huggingface_hub"):
            call()
    run.push(table, tmp_path / "folder")  # which does not need it


# ---- the Hub, played by a folder; calls are checked against the true signatures


class Hub:
    """Repositories under ``root``, and a cache."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache, self.private, self.branches, self.down = root, cache, False, [], None
        self.sizes: dict[str, int] = {}
        self.api = mock.create_autospec(huggingface_hub.HfApi, instance=True)
        self.api.create_repo.side_effect = self.create
        self.api.create_branch.side_effect = lambda name, branch, exist_ok: self.branches.append(branch)
        self.api.upload_folder.side_effect = self.upload
        self.api.repo_info.side_effect = self.info
        self.asked: list[str | None] = []

    def create(self, name, private, exist_ok):
        if not (self.root / name).exists():
            (self.root / name).mkdir(parents=True)
            self.private = bool(private)
        return f"https://huggingface.co/{name}"

    def upload(self, repo_id, folder_path, revision, commit_message, allow_patterns, delete_patterns):
        there = self.root / repo_id
        for name in files_in(there):
            if any(fnmatch.fnmatch(name, pattern) for pattern in delete_patterns):
                (there / name).unlink()
        self.copy(Path(folder_path), there, allow_patterns)

    @staticmethod
    def copy(frm, to, patterns):
        for name in files_in(frm):
            if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(frm / name, to / name)

    def info(self, name, revision=None, files_metadata=False):
        self.asked.append(revision)
        if self.down:
            raise self.down
        if not (self.root / name).is_dir():
            raise RepositoryNotFoundError("404 Client Error.\nRepository Not Found", response=mock.MagicMock())
        sizes = {n: (self.root / name / n).stat().st_size for n in files_in(self.root / name)} | self.sizes
        siblings = [SimpleNamespace(rfilename=n, size=size) for n, size in sizes.items()]
        return SimpleNamespace(private=self.private, siblings=siblings)

    def download(self, name, *, revision=None, allow_patterns=None, local_files_only=False):
        there = self.cache / name
        if local_files_only and not there.exists():
            raise OfflineModeIsEnabled("no network")
        if not local_files_only:
            assert not self.down
            self.copy(self.root / name, there, allow_patterns)
        return str(there)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Hub(tmp_path / "hub", tmp_path / "cache")
    download = mock.create_autospec(huggingface_hub.snapshot_download, side_effect=made.download)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made.api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return made


def test_up_and_down_by_name(table, hub, capsys):
    main(["push", str(table), "org/people", "--private", "--revision", "v1"])
    assert "https://huggingface.co/org/people/tree/v1" in capsys.readouterr().out
    assert hub.private and hub.branches == ["v1"]
    assert files_in(hub.root / "org/people") == set(FILES) - {"sampler.json"}
    # a stranger's additions stay there
    (hub.root / "org/people/model.pkl").write_bytes(b"cos\nsystem\n")
    (hub.root / "org/people/modeling.py").write_text("raise SystemExit")
    model = pf.load("org/people", revision="v1")
    assert hub.asked[-1] == "v1" and files_in(hub.cache / "org/people") == set(FILES) - {"sampler.json"}
    assert model.sample(3, steps=2).equals(pf.load(table).sample(3, steps=2))
    # a second push takes away what this model has not, and leaves what is not its own
    (hub.root / "org/people/sampler.json").write_text("{}")
    run.push(table, "org/people")
    assert files_in(hub.root / "org/people") == {*FILES, "model.pkl", "modeling.py"} - {"sampler.json"}
    # no network: what is there already
    hub.down = OfflineModeIsEnabled("offline")
    assert pf.load("org/people").folder == hub.cache / "org/people"
    with pytest.raises(InputError, match=r"org/other: .* cannot be reached \(offline\)"):
        pf.load("org/other")


def test_what_is_meant_to_be_private_does_not_go_to_a_public_place(table, hub):
    run.push(table, "org/people")
    hub.api.upload_folder.reset_mock()
    with pytest.raises(InputError, match="public"):
        run.push(table, "org/people", private=True)
    assert not hub.api.upload_folder.called
    hub.api.create_repo.side_effect = PermissionError("403 Forbidden\nyou have no rights here")
    with pytest.raises(InputError, match=r"org/people: not shared \(403 Forbidden you have"):
        run.push(table, "org/people")


def test_what_is_no_model_is_not_fetched(table, hub):
    with pytest.raises(InputError, match=r"runs/typo: neither a folder here nor a model on the Hugging Face Hub"):
        pf.load("runs/typo")
    run.push(table, "org/people")
    for name, size in (("config.json", 2**29), ("model.safetensors", 2**40), ("sampler.json", 2**29)):
        hub.sizes = {name: size}
        with pytest.raises(InputError, match=f"org/people: {name} has .* not fetched"):
            pf.load("org/people")
        assert not (hub.cache / "org/people/model.safetensors").exists()
    hub.sizes = {}
    (hub.root / "org/people/model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model of this package: the Hub has no model\.safetensors"):
        pf.load("org/people")
    save_file({"other": torch.zeros(3)}, hub.root / "org/people/model.safetensors")
    with pytest.raises(InputError, match="cannot be read"):  # the loader looks at what it is, as at any run
        pf.load("org/people")


def test_folders_and_paths_are_never_asked_for_on_the_hub(table, hub):
    for folder in (Path("org/people"), "./org/people", str(table.parent / "none")):
        with pytest.raises(InputError, match="no run here"):
            pf.load(folder)
    with pytest.raises(InputError, match="revision"):
        pf.load(table, revision="v1")
    assert hub.asked == []
    with pytest.raises(InputError, match="neither"):
        fetch("org/none", "v2")


# ---- one file


READ = """
import sys
class Block:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] == "pushforward":
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import torch
from safetensors.torch import load_file, save_file
given = load_file("given.safetensors")
extra = {"pushforward.json": ""}
sampler = torch.export.load("sampler.pt2", extra_files=extra).module()
net = torch.export.load("net.pt2").module()
plain = torch.export.load("plain.pt2").module()
save_file({
    "one": sampler(given["x0"][:1], given["y"][:1]),
    "all": sampler(given["x0"], given["y"]),
    "net": net(given["x0"], given["t"], given["y"]),
    "plain": plain(given["x0"][:, 0, 0, :2]),
}, "found.safetensors")
open("about.json", "w").write(extra["pushforward.json"])
"""


def test_one_file_samples_without_the_package(digits, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["export", str(digits), "-o", "sampler.pt2", "--steps", "2", "--guidance", "2"])
    main(["export", str(digits), "-o", "net.pt2", "--only-net"])
    main(["export", str(table), "-o", "plain.pt2", "--steps", "3"])
    model, n = pf.load(digits), 5
    y, t = torch.tensor([0, 3, 9, -1, 5]), torch.linspace(0, 1, n)
    field = pf.ClassifierFreeGuidance(model.field, 2.0)
    x = pf.generate(field, n, (1, 8, 8), steps=2, seed=7, y=y)
    x0 = per_sample(lambda k, g: torch.randn(k, 1, 8, 8, generator=g), 0, n, 7, "source")  # the noise of seed 7
    save_file({"x0": x0, "y": y, "t": t}, "given.safetensors")
    subprocess.run([sys.executable, "-I", "-c", READ], check=True, cwd=tmp_path)
    found, about = load_file("found.safetensors"), json.loads(Path("about.json").read_text())
    assert found["all"].dtype == torch.uint8 and torch.equal(found["one"], found["all"][:1])
    assert np.array_equal(found["all"].numpy(), model.transform.inverse(x)) and found["all"].max() > 0
    torch.testing.assert_close(found["net"], model.field.net(x0, t, y), rtol=0, atol=1e-5)
    rows = pf.load(table)  # in model units
    exact = pf.integrate(rows.field, x0[:, 0, 0, :2], sampler=rows.default_sampler(3)).x[-1]
    torch.testing.assert_close(found["plain"], exact, rtol=0, atol=1e-5)
    assert about["classes"] == list(model.run.data.classes) and about["inputs"] == ["x0", "y"]
    assert about["guidance"] == 2 and len(about["grid"]) == 3 and about["source"] == "Normal()"
    assert str(Path(pf.__file__).parent).encode() not in Path("sampler.pt2").read_bytes()


ROWS = RNG.normal(size=(40, 2)).astype(np.float32)
PICTURES = RNG.normal(size=(40, 3, 8, 8)).astype(np.float32)
FILES_OF = {
    "dit": (PICTURES, {"net": NetConfig(net="dit", width=16, depth=1)}, {"stepper": pf.Euler(), "steps": 1}),
    "unet": (PICTURES, {"net": NetConfig(net="unet", width=16, depth=1)}, {"stepper": pf.Euler(), "steps": 1}),
    "heun": (ROWS, {}, {"stepper": pf.Heun(), "steps": 2}),
    "vp-multistep": (ROWS, {"path": PathConfig(schedule="vp")}, {"stepper": STEPPERS["unipc_2"](), "steps": 2}),
    "uniform-fixed-batch": (ROWS, {"path": PathConfig(source="uniform:-1,1")}, {"steps": 1, "batch": 4}),
}


@pytest.mark.parametrize("case", FILES_OF)
def test_the_file_is_what_the_model_does(case, tmp_path):
    data, sections, how = FILES_OF[case]
    model = pf.load(trained(tmp_path / "run", data, **sections))
    about = pf.export(model, tmp_path / "m.pt2", **({"steps": 2} | how))
    file = torch.export.load(tmp_path / "m.pt2", extra_files=(extra := {ABOUT: ""})).module()
    assert json.loads(extra[ABOUT]) == about
    x0 = model.field.path.source.sample((4, *model.transform.shape), torch.Generator().manual_seed(0), torch.float32)
    asked = {"steps": how.get("steps", 2), "stepper": how.get("stepper")}
    x = pf.integrate(model.field, model.field.path.initial_state(x0), **asked).x[-1]
    assert about["output"] == "the units of the data"
    x = torch.as_tensor(model.transform.inverse(x))
    torch.testing.assert_close(file(x0), x, rtol=1e-5, atol=1e-5)
    if how.get("batch"):
        with pytest.raises((AssertionError, RuntimeError)):
            file(x0[:3])
    else:
        torch.testing.assert_close(file(x0[:3]), x[:3], rtol=1e-5, atol=1e-5)


SHAPED = {
    "float32": RNG.normal(3, 20, (30, 3)).astype(np.float32),
    "rank-1": RNG.normal(3, 20, 30),
    "constant-column": np.stack([RNG.normal(size=30), np.full(30, 4.5), RNG.normal(size=30)], 1),
    "integers": RNG.integers(-500, 2_000_000_000, (30, 2)),
    "int8": RNG.integers(-128, 127, (30, 2)).astype(np.int8),
    "bool": RNG.integers(0, 2, (30, 2)).astype(bool),
    "uint16": RNG.integers(0, 2**16, (30, 2)).astype(np.uint16),
    "grey": RNG.integers(5, 200, (30, 4, 5)).astype(np.uint8),
    "channels-last": RNG.integers(5, 200, (30, 4, 5, 3)).astype(np.uint8),
    "channels-first": RNG.normal(size=(30, 3, 4, 5)).astype(np.float32),
}


@pytest.mark.parametrize("case", SHAPED)
def test_units_are_those_of_the_transform(case):
    transform = fit(SHAPED[case])
    x = 3 * torch.randn(50, *transform.shape, generator=torch.Generator().manual_seed(0))  # beyond the training range
    x[0] = 1e6
    found, exact = Units(transform)(x).numpy(), transform.inverse(x)
    assert Units.fits(transform) and found.shape == exact.shape
    assert found.dtype == (np.int64 if case == "uint16" else exact.dtype)
    assert np.array_equal(found, exact)


def test_units_that_are_not_plain_stay_the_models(table):
    assert not Units.fits(pf.load(table).transform)
    assert not Units.fits(fit(np.array([2**60, 2**60 + 5])))


def test_what_was_tuned_is_in_the_file(digits, tmp_path):
    copy = shutil.copytree(digits, tmp_path / "run")
    tuned = run.folder.TunedSampler(
        nfe=2, stepper="heun", grid=(0.0, 0.3, 1.0), error=0, best_untuned=0, distance=0, floor=0
    )
    (copy / "sampler.json").write_text(run.folder.SamplerFile(tuned=(tuned,)).model_dump_json())
    about = pf.export(pf.load(copy), tmp_path / "m.pt2")
    assert about["stepper"] == "heun" and about["grid"] == [0.0, 0.3, 1.0]
    assert pf.load(run.push(copy, tmp_path / "shared")).tuned == (tuned,)
    # one that draws numbers cannot be
    drawn = tuned.model_copy(update={"stepper": "ancestral"})
    (copy / "sampler.json").write_text(run.folder.SamplerFile(tuned=(drawn,)).model_dump_json())
    about = pf.export(pf.load(copy), tmp_path / "m.pt2", steps=2)
    assert about["stepper"] == "adams_moulton_2" and len(about["grid"]) == 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-o", "m.onnx"], ["m.onnx", ".pt2"]),
        (["-o", "none/m.pt2"], ["none/m.pt2", "folder"]),
        (["-o", "m.pt2", "--stepper", "heunn"], ["heunn", "did you mean 'heun'?"]),
        (["-o", "m.pt2", "--stepper", "ancestral"], ["random numbers", "heun"]),
        (["-o", "m.pt2", "--stepper", "sde_dpmpp_2m"], ["random numbers", "heun"]),
        (["-o", "m.pt2", "--stepper", "dormand_prince"], ["adapts", "heun"]),
        (["-o", "m.pt2", "--steps", "0"], ["--steps 0"]),
        (["-o", "m.pt2", "-n", "0"], ["batch 0"]),
        (["-o", "m.pt2", "--only-net", "--steps", "3"], ["network alone"]),
        (["-o", "m.pt2", "--guidance", "2"], ["guidance"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("-") else "",
)
def test_what_cannot_be_one_file_is_one_line(flags, words, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["export", str(table), *flags])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not Path("m.pt2").exists()
