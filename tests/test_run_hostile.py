"""What a stranger may put into a run or a file, one kind each, that once ended in a traceback, a hang, or worse."""

import io
import json
import os
import shutil
import struct
import zipfile

import fuzz
import numpy as np
import pyarrow as pa
import pytest
from helpers import edit
from PIL import Image
from pyarrow import parquet

import pushforward as pf
from pushforward import run as runs
from pushforward.cli import main
from pushforward.config import Config, NetConfig, PathConfig, TrainConfig
from pushforward.data import load
from pushforward.errors import InputError, printable
from pushforward.files.tensorfile import write_folder

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread", "no_previews")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A tuned run of a table, and its rows; columns 0 whole numbers, 1 floats, 2 text, 3 floats with gaps."""
    folder = tmp_path_factory.mktemp("hostile")
    return folder, fuzz.good_run(folder)


@pytest.fixture
def copy(good, tmp_path):
    shutil.copytree(good[0] / "run", tmp_path / "run")
    (tmp_path / "out").mkdir()
    return tmp_path / "run", good[1], tmp_path / "out"


def column(copy, number, **values):
    """Alter fields of a column of the transform; of the column inside where it has one."""
    run = copy[0]
    entry = json.loads((run / "config.json").read_text())["data"]["transform"]["columns"][number]
    inner = entry
    while not values.keys() <= inner.keys():
        inner = inner.get("inner") or inner.get("numbers") or inner["column"]
    inner.update(values)
    edit(run, entry, "data", "transform", "columns", number)


def test_the_commands_of_the_fuzzer_do_what_they_say(copy):
    """On a good run each ends well, so that its mutants are about the run and not about a flag."""
    for name, args in fuzz.commands(*copy).items():
        code, _, said = fuzz.ended(args)
        assert code in (0, None) or (name == "verify" and code == 1), (name, said)


NESTED = "dictionary<values=" * 3000 + "string" + ", indices=int8, ordered=0>" * 3000
TWICE = "dictionary<values=dictionary<values=string, indices=int8, ordered=0>, indices=int8, ordered=1>"
COLUMNS = {
    "nested types": (2, {"type": NESTED, "dictionary": ["a", "b", "c"]}),
    "types in types": (2, {"type": TWICE, "dictionary": ["a", "b", "c"]}),
    "no such zone": (2, {"type": "timestamp[s, tz=Nowhere/X]", "categories": [1, 2, 3]}),
    "times beyond the day": (2, {"type": "time64[ns]", "categories": [10**9, -(2**40), 2**62]}),
    "weights of nothing": (0, {"weight": [1e-300] * 7}),
    "decimals beyond": (3, {"decimals": 15, "low": -1e308, "high": 1e308}),
    "scale beyond": (3, {"scale": 1.7e308, "mean": 1.7e308}),
    "scale beyond the range": (1, {"scale": 1e6}),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_that_no_fit_gives(kind, copy):
    number, values = COLUMNS[kind]
    column(copy, number, **values)
    for name, args in fuzz.commands(*copy).items():
        if name not in ("tune", "train", "push"):
            assert fuzz.fault(args, copy[0].parent) is None, name


FIELDS = {
    "no shares": (("data", "shares"), [0.5, 0.5]),
    "schedule of nothing": (("config", "path", "schedule"), "edm:1"),
    "polynomial": (("config", "path", "schedule"), "polynomial:1e300"),
    "weighting": (("config", "objective", "weighting"), "edm:1.7e308"),
    "time law": (("config", "objective", "times"), "logit_normal:1e308,1e308"),
    "average": (("config", "train", "ema"), 1e300),
    "costs": (("flops",), 10**400),
}


@pytest.mark.parametrize("kind", FIELDS)
def test_fields_that_no_training_writes(kind, copy):
    where, value = FIELDS[kind]
    edit(copy[0], value, *where)
    for name in ("info", "sample", "tuned", "score", "evaluate", "verify"):
        assert fuzz.fault(fuzz.commands(*copy)[name], copy[0].parent) is None, name


@pytest.mark.parametrize("stepper", ["annealed_langevin:0.1,1e300", "predictor_corrector:rounds=1000000", "heun_x"])
def test_steppers_that_tune_does_not_choose(stepper, copy):
    """Such as those that never end."""
    file = copy[0] / "sampler.json"
    said = json.loads(file.read_text())
    said["tuned"][0]["stepper"] = stepper
    file.write_text(json.dumps(said | {"checksum": ""}))
    code, _, said = fuzz.ended(("sample", copy[0], "-n", 3, "-o", copy[2] / "x.csv"))
    assert code == 2 and "sampler.json: damaged" in said


def test_a_history_takes_no_more_than_is_allowed(tmp_path, monkeypatch):
    from pushforward.files import limits

    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1} | {f"a{i}": 1 for i in range(34)}) + "\n")
    assert len(runs.history(tmp_path)) == 1
    with limits.allowing(4000), pytest.raises(InputError, match="unpacks to"):
        runs.history(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_a_preview_that_is_no_plain_file_is_not_shared(kind, copy):
    """A pipe is not waited for; a link would share another picture of the user's."""
    run, _, out = copy
    shutil.rmtree(run / "previews", ignore_errors=True)
    (out / "private").mkdir()
    Image.new("RGB", (3, 3), "red").save(out / "private" / "step-99.png")
    if kind == "folder":
        (run / "previews").symlink_to(out / "private")
    else:
        (run / "previews").mkdir()
        last = run / "previews" / "step-99.png"
        os.mkfifo(last) if kind == "pipe" else last.symlink_to(out / "private" / "step-99.png")
    assert fuzz.fault(("push", run, out / "shared", "--to-folder"), run.parent) is None
    assert (out / "shared" / "config.json").is_file() and not (out / "shared" / "previews").exists()


def test_a_model_card_quotes_everything(copy):
    evil = "<script>alert(1)</script>[x](javascript:1)\n# T\x1b[2J\u202e"
    for where in (("convention",), ("pushforward",), ("torch",), ("data", "name")):
        edit(copy[0], evil, *where)
    main(["push", str(copy[0]), str(copy[2] / "shared"), "--to-folder"])
    card = (copy[2] / "shared" / "README.md").read_text()
    assert "<script" not in card and "](javascript" not in card and "\n# T" not in card
    assert not set(card) & {"\x1b", "\u202e"}


def test_names_that_no_file_can_hold(tmp_path, capsys):
    """Paths that are not UTF-8, and halves of characters in the names of classes."""
    for stem in (b"\xff.csv", b"\xff.parquet", b"\xff.npy"):
        path = tmp_path / os.fsdecode(stem)
        rows = RNG.normal(size=(60, 2))
        if path.suffix == ".npy":
            with path.open("wb") as file:
                np.save(file, rows)
        elif path.suffix == ".csv":
            path.write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in rows))
        else:
            with path.open("wb") as file:
                parquet.write_table(pa.table({"a": rows[:, 0], "b": rows[:, 1]}), file)
        main(["inspect", str(path)])
        main(["train", str(path), "--out", str(tmp_path / path.suffix), "--steps", "2", *map(str, fuzz.FLAGS)])
        assert runs.read(tmp_path / path.suffix).data.source.endswith(f"\\udcff{path.suffix}")
    for kind in (b"\xff\xfe", b"ok"):
        folder = tmp_path / "pics" / os.fsdecode(kind)
        folder.mkdir(parents=True)
        for i in range(3):
            Image.fromarray(RNG.integers(0, 255, (4, 4)).astype(np.uint8)).save(folder / f"{i}.png")
    assert set(load(tmp_path / "pics").classes) == {"\\udcff\\udcfe", "ok"}
    capsys.readouterr()
    assert printable("\u200e\u200f\u061c\ud800") == "\\u200e\\u200f\\u061c\\ud800"


def npz_labels(folder, y):
    np.savez(folder / "x.npz", x=RNG.normal(size=(40, 2)), y=y)
    return folder / "x.npz"


def test_labels_of_bytes_and_of_no_characters(tmp_path):
    assert load(npz_labels(tmp_path, np.array([b"caf\xc3\xa9", b"b"] * 20))).classes == ("b", "café")
    broken = np.array(["ab", "cd"] * 20)
    broken.view(np.uint32)[3] = 0x7FFFFFFF
    half = np.array(["ab", "cd"] * 20)
    half.view(np.uint32)[1] = 0xD800
    for y in (np.array([b"\xff\xfe", b"b"] * 20), broken, half):
        with pytest.raises(InputError, match="not Unicode"):
            load(npz_labels(tmp_path, y))


def test_an_archive_that_lies_of_its_own_size(tmp_path):
    """2.4 GB of zeros in a few MB, beside a member that says it takes 4 GB there."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 600)})
    file = tmp_path / "lie.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
            for _ in range(24):
                member.write(bytes(10**8))
        archive.writestr("zz.npy", b"")
    data = bytearray(file.read_bytes())
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 20 : entry + 24] = struct.pack("<I", 4_000_000_000)
    file.write_bytes(data)
    with pytest.raises(InputError, match="--largest 3GB"):
        load(file)


TIMES = {
    "far": pa.array([2**62 + i for i in range(40)], pa.timestamp("us")),
    "far ms": pa.array([2**60 + 977 * i for i in range(40)], pa.timestamp("ms")),
    "no zone": pa.array(range(40), pa.timestamp("us", "Nowhere/X")),
    "far days": pa.array([2**31 - 1 - i for i in range(40)], pa.date32()),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_beyond_what_python_writes(kind, tmp_path):
    parquet.write_table(pa.table({"t": TIMES[kind], "v": RNG.normal(size=40)}), tmp_path / "t.parquet")
    for command in (("inspect",), ("train", "--out", tmp_path / "run", "--steps", 2, *fuzz.FLAGS)):
        assert fuzz.fault((command[0], tmp_path / "t.parquet", *command[1:]), tmp_path) is None


def test_text_that_is_no_text_and_pictures_in_pictures(tmp_path):
    raw = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(struct.pack("<iii", 0, 2, 3)), pa.py_buffer(b"\xff\xfea")]
    )
    parquet.write_table(pa.table({"a": raw, "b": [1.0, 2.0]}), tmp_path / "a.parquet")
    file = io.BytesIO()
    Image.new("L", (3, 3)).save(file, "PNG")
    cells = [{"bytes": {"bytes": file.getvalue()}}] * 4
    parquet.write_table(pa.table({"p": cells, "b": [1.0, 2.0, 3.0, 4.0]}), tmp_path / "b.parquet")
    for name in ("a", "b"):
        for command in (("inspect",), ("train", "--out", tmp_path / "run", "--steps", 2, *fuzz.FLAGS)):
            args = (command[0], tmp_path / f"{name}.parquet", *command[1:])
            assert fuzz.fault(args, tmp_path) is None, args


def test_an_orientation_that_is_text(tmp_path):
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 1) + struct.pack(">HHII", 0x0112, 2, 4, 0x61626364) + bytes(4)
    for i in range(3):
        picture = Image.fromarray(RNG.integers(0, 255, (6, 4)).astype(np.uint8))
        picture.save(tmp_path / f"{i}.jpg", exif=exif)
    assert fuzz.fault(("inspect", tmp_path), tmp_path) is None


def test_bounds_beyond_all_numbers(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(30)))
    (tmp_path / "s.json").write_text('{"a": {"bounds": [0, 1' + "0" * 400 + "]}}")
    code, _, said = fuzz.ended(("inspect", tmp_path / "x.csv", "--schema", tmp_path / "s.json"))
    assert code == 2 and "bounds" in said


def test_a_plan_of_another_run_is_fitted_again(tmp_path):
    """And one that is whole, of this run, and no plan."""
    rows = RNG.normal(size=(64, 2)).astype(np.float32)

    def train(folder, steps=4, seed=0):
        config = Config(
            path=PathConfig(coupling="semidiscrete"),
            net=NetConfig(width=8, depth=1),
            train=TrainConfig(batch=16, warmup=2, seed=seed),
        )
        return pf.train(rows, folder, config=config, steps=steps)

    for steps in (4, 8):
        train(tmp_path / "straight", steps)
    train(tmp_path / "other", seed=1)
    for kind in ("other", "nan"):
        train(tmp_path / kind / "run")
        plan = tmp_path / kind / "run" / "plan" / "training"
        if kind == "other":
            shutil.rmtree(plan)
            shutil.copytree(tmp_path / "other" / "plan" / "training", plan)
        else:
            from safetensors.torch import load_file

            potentials = load_file(plan / "state.safetensors")["potentials"].fill_(float("nan"))
            write_folder(plan, {"potentials": potentials}, {})
        train(tmp_path / kind / "run", 8)
        files = [tmp_path / place / "model.safetensors" for place in ("straight", f"{kind}/run")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_every_path_can_be_verified(tmp_path):
    """A run on bridges, whose curves are random, ended in a traceback."""
    for path in ("bridge:0.5", "affine"):
        main(["train", "moons", "--path", path, "--out", str(tmp_path / path), "--steps", "2", *map(str, fuzz.FLAGS)])
        code, out, said = fuzz.ended(("verify", tmp_path / path))
        assert code in (0, 1, None) and "divergence" in out, said


def test_an_average_that_is_too_short(copy):
    with pytest.raises(InputError, match="between 1e-06 and"):
        pf.load(copy[0], ema=1e-300)
