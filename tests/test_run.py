"""Training and its state: resuming is bit for bit the same, whatever stops it; nothing that was saved is ever lost."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import edit, train_into
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import pushforward as pf
from pushforward import cli, run
from pushforward.batches import BatchRecipe, feed_for, fingerprint
from pushforward.config import Config, NetConfig, TrainConfig, components, network
from pushforward.data import DataSpec
from pushforward.data import load as load_data
from pushforward.data.fitting import fit as fit_transform
from pushforward.errors import InputError
from pushforward.files import tensorfile, writing
from pushforward.nn import MLP
from pushforward.progress import Progress
from pushforward.training import Budget, Feed, OptimizerConfig, Stages, TrainingOptions, fit, latest
from pushforward.training.weights import flatten

CLOCK = ("seconds", "steps_per_second")  # what no second run can repeat
# nearly a line, in two very different units: there is something to learn in a few steps
ROWS = (np.random.default_rng(0).normal(size=(300, 2)) @ [[0.1, 20.0], [0.0, 0.2]] + [3.0, -50.0]).astype(np.float32)
CONFIG = Config(net=NetConfig(width=32, depth=1), train=TrainConfig(batch=64, warmup=10))


PREVIEW = run.preview


pytestmark = pytest.mark.usefixtures("one_thread_throughout", "no_previews")


def train(folder, steps=60, data=ROWS, config=CONFIG, **how):
    how = {"report_every": 10, "checkpoint_every": 20, "keep": 3} | how
    return train_into(data, Path(folder), config, Budget(steps, None), **how)


def metrics(folder, every=10):
    """The lines at whole reports, without what the clock said."""
    rows = [row for row in run.history(Path(folder)) if row["step"] % every == 0]
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]


def saved(folder, step=60):
    return load_file(Path(folder) / "checkpoints" / f"step-{step}" / "state.safetensors")


def assert_same_run(a, b, step=60):
    """Weights, average, optimiser and metrics, bit for bit."""
    first, second = saved(a, step), saved(b, step)
    assert first.keys() == second.keys() and {key.partition(".")[0] for key in first} == {
        "net",
        "ema",
        "optimiser",
        "sharp",
    }
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
    assert (Path(a) / "model.safetensors").read_bytes() == (Path(b) / "model.safetensors").read_bytes()
    assert metrics(a) == metrics(b)


def scratch_left(folder):
    return [path for path in Path(folder).rglob(".*")]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """60 steps without a stop."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.callbacks, "preview", lambda *_: None)
        assert train(folder)
    return folder


# ---- resuming


@pytest.mark.parametrize("stop", [30, 37], ids=["at-a-report", "between-reports"])
def test_stopped_by_ctrl_c_and_resumed_is_the_same_run(stop, straight, tmp_path, monkeypatch):
    ask, folder = Feed.__call__, tmp_path / "run"

    def interrupted(self, step):
        if step == stop - 1 and self.batch == 64:
            os.kill(os.getpid(), signal.SIGINT)
        return ask(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Feed, "__call__", interrupted)
        assert not train(folder)
    assert latest(folder / "checkpoints").name == f"step-{stop}"
    assert pf.load(folder).sample(3, steps=2).shape == (3, 2)
    assert train(folder)
    assert_same_run(straight, folder)


def test_stopped_in_a_report_and_by_sigterm(straight, tmp_path):
    def stop(progress):
        if progress.step == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    assert not train(tmp_path / "run", on_report=stop)
    assert latest(tmp_path / "run" / "checkpoints").name == "step-20"
    assert train(tmp_path / "run")
    assert_same_run(straight, tmp_path / "run")


@pytest.mark.parametrize("every", [20, 25], ids=["saved-at-reports", "saved-between-reports"])
def test_killed_and_resumed_is_the_same_run(every, straight, tmp_path):
    """A kill loses what came after the newest checkpoint, may cut the log's last line and leave a scratch folder."""
    folder = tmp_path / "run"
    assert train(folder, checkpoint_every=every)
    shutil.rmtree(folder / "checkpoints" / "step-60")
    (folder / "checkpoints" / f".step-60.{writing._host()}-999999999-k3x9" / "step-60").mkdir(parents=True)
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"step": 70, "lo')
    assert train(folder, checkpoint_every=every)
    assert_same_run(straight, folder)
    assert scratch_left(folder) == []


def test_interrupted_for_good_by_an_exception_and_resumed(straight, tmp_path):
    def fail(progress):
        if progress.step == 50:
            raise MemoryError

    with pytest.raises(MemoryError):
        train(tmp_path / "run", on_report=fail)
    assert train(tmp_path / "run")
    assert_same_run(straight, tmp_path / "run")


def test_a_finished_run_is_left_as_it_is_and_more_steps_go_on(straight, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    reports = []
    assert train(folder, on_report=reports.append)
    assert reports == [] and before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert train(folder, steps=80, on_report=reports.append)
    assert [p.step for p in reports] == [70, 80]
    assert [row["step"] for row in run.history(folder)] == [10, 20, 30, 40, 50, 60, 70, 80]
    assert metrics(folder)[:6] == metrics(straight)
    assert not torch.equal(saved(folder, 80)["net.proj_out.weight"], saved(folder, 60)["net.proj_out.weight"])
    assert float(saved(folder, 80)["optimiser.step"]) == 80


def test_a_budget_of_minutes_counts_the_time_before_the_stop(tmp_path):
    folder = tmp_path / "run"
    train(folder, steps=20)
    seconds = json.loads((folder / "checkpoints" / "step-20" / "state.json").read_text())["seconds"]
    assert seconds > 0
    assert train_into(ROWS, folder, CONFIG, Budget(None, seconds / 60.001))  # spent already
    assert latest(folder / "checkpoints").name == "step-20"


def started(folder, rows, every=20, **how):
    """A training from the command line that does not end by itself, once it has saved a checkpoint."""
    np.save(rows, ROWS)
    flags = ["--width", "32", "--depth", "1", "--batch", "64", "--checkpoint-every", str(every), "--device", "cpu"]
    command = [sys.executable, "-m", "pushforward", "train", str(rows), "--out", str(folder), "--steps", "9000000"]
    process = subprocess.Popen([*command, *flags], text=True, **how)
    deadline = time.monotonic() + 120
    while not (folder / "model.safetensors").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_a_terminal_that_closes_ends_in_a_checkpoint(tmp_path):
    """SIGHUP saves as Ctrl-C does; under nohup it is ignored."""
    process = started(tmp_path / "run", tmp_path / "rows.npy", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "stopped" in out and "Traceback" not in err
    assert "same command" in out and pf.load(tmp_path / "run").sample(3, steps=1).shape == (3, 2)


def test_a_reader_that_goes_away_ends_in_a_checkpoint(tmp_path):
    """As ``2>&1 | head -1`` does: both ends of what is said are closed."""
    read, write = os.pipe()
    # reports come every 250 steps, checkpoints at other ones
    process = started(tmp_path / "run", tmp_path / "rows.npy", 399, stdout=write, stderr=write)
    os.close(write)
    os.close(read)
    try:
        assert process.wait(timeout=120) == 1
    finally:
        process.kill()
    assert int(latest(tmp_path / "run" / "checkpoints").name[5:]) % 399 and scratch_left(tmp_path / "run") == []


def test_one_trainer_at_a_time(tmp_path, capsys):
    """A second one is refused in one line while sampling goes on; a kill lets go, and the same command goes on."""
    folder, rows = tmp_path / "run", tmp_path / "rows.npy"
    first = started(folder, rows, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    flags = ["--width", "32", "--depth", "1", "--batch", "64", "--checkpoint-every", "20", "--device", "cpu"]
    again = ["train", str(rows), "--out", str(folder), *flags]
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main([*again, "--steps", "9000000"])
        assert stop.value.code == 2 and "another process trains here now" in capsys.readouterr().err
        assert pf.load(folder).sample(3, steps=1).shape == (3, 2)
    finally:
        first.kill()
        first.wait()
    step = int(latest(folder / "checkpoints").name[5:])
    cli.main([*again, "--steps", str(step + 1)])
    assert latest(folder / "checkpoints").name == f"step-{step + 1}"


def test_ctrl_c_in_a_terminal(tmp_path):
    folder = tmp_path / "run"
    flags = ["--width", "32", "--depth", "1", "--batch", "64", "--checkpoint-every", "20", "--device", "cpu"]
    np.save(tmp_path / "rows.npy", ROWS)
    data = str(tmp_path / "rows.npy")
    command = [sys.executable, "-m", "pushforward", "train", data, "--out", str(folder), "--steps", "9000000"]
    process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "model.safetensors").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "stopped" in out and "same command" in out and str(folder) in out
    assert "Traceback" not in err
    assert pf.load(folder).sample(4, steps=2).shape == (4, 2)
    assert scratch_left(folder) == []


# ---- the average of the weights


def test_average_moves_and_is_not_the_weights(straight):
    late, early = saved(straight, 60), saved(straight, 20)
    name = "proj_out.weight"
    assert not torch.equal(late[f"ema.{name}"], early[f"ema.{name}"])
    assert not torch.equal(late[f"ema.{name}"], late[f"net.{name}"])
    model = load_file(straight / "model.safetensors")
    assert all(torch.equal(value, late[f"ema.{key}"]) for key, value in model.items())


@pytest.mark.parametrize("gamma", [0.0, 7.0, 16.97])
def test_average_is_the_power_function_average(gamma):
    """ema_K = sum_k w_k (k^(g+1) - (k-1)^(g+1)) / K^(g+1), of the weights w_k after each step."""
    net, steps, seen = nn.Linear(3, 2), 50, []

    def weights(net):
        return torch.cat([p.detach().flatten() for p in net.parameters()]).double().numpy()

    def loss(net, x, generator):
        seen.append(weights(net))
        return (net(x) - 1).square().sum(1)

    rows = torch.randn(steps, 8, 3, generator=torch.Generator().manual_seed(0))
    optimizer = OptimizerConfig(lr=0.1, warmup=0, weight_decay=0.0, clip=1e9, ema=gamma)
    state, finished = fit(net, loss, rows.__getitem__, Budget(steps, None), optimizer)
    assert finished and state.step == steps
    w = np.stack([*seen[1:], weights(state.net)])  # the first look is before the first step
    k = np.arange(steps + 1, dtype=np.float64) ** (gamma + 1)
    np.testing.assert_allclose(weights(state.ema), np.diff(k) / k[-1] @ w, rtol=0, atol=2e-6 * np.abs(w).max())
    recursion = w[0]
    for i, now in enumerate(w, start=1):
        recursion = recursion + (now - recursion) * (1 - (1 - 1 / i) ** (gamma + 1))
    np.testing.assert_allclose(np.diff(k) / k[-1] @ w, recursion, rtol=1e-12, atol=1e-13)


# ---- a full disk, a damaged checkpoint, a loss that is not finite


def full_disk(monkeypatch, error, full):
    """``save_file`` leaves half a file and raises while ``full()``."""

    def write(tensors, path, metadata):
        if full():
            Path(path).write_bytes(b"half")
            raise error
        save_file(tensors, path, metadata)

    monkeypatch.setattr(tensorfile, "save_file", write)


FULL = [
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    OSError(errno.ENOSPC, "No space left on device"),
]


@pytest.mark.parametrize("error", FULL, ids=["safetensors", "oserror"])
def test_full_disk_for_a_while(error, straight, tmp_path, monkeypatch):
    folder, warnings, steps = tmp_path / "run", [], []
    full_disk(monkeypatch, error, lambda: steps[-1:] == [40])

    def check(progress):
        if progress.step == 50:  # after the refused checkpoint of step 40
            assert latest(folder / "checkpoints").name == "step-20"
            assert scratch_left(folder) == []
            model = load_file(folder / "model.safetensors")
            assert all(torch.equal(value, saved(folder, 20)[f"ema.{key}"]) for key, value in model.items())
            assert pf.load(folder).sample(2, steps=1).shape == (2, 2)
        steps.append(progress.step)

    assert train(folder, on_report=check, warn=warnings.append)
    told = [words for words in warnings if "averages of earlier steps were dropped" not in words]
    assert "step 40 could not be saved" in told[0] and "averages of step 50" in told[1] and len(told) == 2
    assert "the checkpoint before it is kept, step-20" in told[0]
    assert all("No space left" in words and "\n" not in words for words in told)
    assert_same_run(straight, folder)
    assert scratch_left(folder) == []


def test_full_disk_to_the_end_is_an_error_and_freeing_it_goes_on(straight, tmp_path, monkeypatch):
    """A command that says it is done has saved what it did."""
    folder, warnings, reports = tmp_path / "run", [], []
    with monkeypatch.context() as patch:
        full_disk(patch, FULL[0], lambda: len(reports) >= 4)
        with pytest.raises(InputError, match=r"step 60.*could not be saved.*No space left.*free some space"):
            train(folder, on_report=reports.append, warn=warnings.append)
    assert any("step 40 could not be saved" in words for words in warnings)
    assert latest(folder / "checkpoints").name == "step-20" and scratch_left(folder) == []
    assert pf.load(folder).sample(2, steps=1).shape == (2, 2)
    assert train(folder)
    assert_same_run(straight, folder)


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 2 MB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root and a kernel that allows it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_for_real(small_disk, straight):
    """What averages take makes room for the checkpoint of step 40; where there are none, step 20 is kept."""
    folder, warnings, filler = small_disk / "run", [], small_disk / "filler"
    without = small_disk / "without"

    def fill(progress, folder=folder, newest="step-40"):
        if progress.step == 30:
            if newest == "step-20":
                shutil.rmtree(folder / "averages")
            with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"0" * 4096)
        if progress.step == 50:
            assert latest(folder / "checkpoints").name == newest and scratch_left(folder) == []
            assert pf.load(folder).sample(2, steps=1).shape == (2, 2)
            filler.unlink()

    assert train(folder, on_report=fill, warn=warnings.append)
    assert any("averages of earlier steps were dropped to keep step 40" in words for words in warnings)
    shutil.rmtree(small_disk / "run" / "averages")
    assert train(without, on_report=lambda progress: fill(progress, without, "step-20"), warn=warnings.append)
    assert any("step 40 could not be saved" in words and "No space left" in words for words in warnings)
    for run_folder in (folder, without):
        first, second = saved(straight), saved(run_folder)
        assert all(torch.equal(value, second[key]) for key, value in first.items())
        assert scratch_left(run_folder) == []


def test_what_a_killed_process_left_beside_a_whole_checkpoint_is_removed(straight, tmp_path):
    folder = shutil.copytree(straight, tmp_path / "run")
    for place in ("checkpoints", "averages"):
        (folder / place / f".step-60.{writing._host()}-999999999-abc1" / "before").mkdir(parents=True)
    assert len(scratch_left(folder)) == 2
    train(folder, 61)
    assert scratch_left(folder) == []


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "missing", "another"])
def test_damaged_newest_checkpoint_is_named_and_the_one_before_goes_on(name, damage, straight, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    file = folder / "checkpoints" / "step-60" / name
    if damage == "missing":
        file.unlink()
    elif damage == "another":
        other = {"net.proj_in.weight": torch.zeros(2, 2)}
        save_file(other, file) if name.endswith("tensors") else file.write_text('{"step": 60}')
    else:
        file.write_bytes(file.read_bytes()[:-20] if damage == "cut" else b"\x00garbage")
    warnings, reports = [], []
    assert train(folder, warn=warnings.append, on_report=reports.append)
    assert len(warnings) == 1 and "damaged checkpoint" in warnings[0] and "\n" not in warnings[0]
    assert str(file.parent) in warnings[0] and reports[0].step == 50
    assert_same_run(straight, folder)


def test_no_checkpoint_that_is_whole_is_an_error(straight, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    for path in (folder / "checkpoints").iterdir():
        (path / "state.json").write_text("{}")
    warnings = []
    with pytest.raises(InputError, match=r"damaged.*delete .*checkpoints to begin again"):
        train(folder, steps=80, warn=warnings.append)
    assert len(warnings) == 3
    assert pf.load(folder).sample(2, steps=1).shape == (2, 2)


def finite(folder):
    for path in (Path(folder) / "checkpoints").iterdir():
        assert all(bool(v.isfinite().all()) for v in load_file(path / "state.safetensors").values()), path


def test_loss_that_is_not_finite_stops_with_advice(tmp_path):
    """Checkpoints at every step, reports almost never: still none may hold what is not finite."""
    wild = Config(net=CONFIG.net, train=TrainConfig(batch=64, lr=1e30, warmup=0))
    with pytest.raises(InputError, match=r"finite.*--lr.*inspect") as caught:
        train(tmp_path / "run", config=wild, checkpoint_every=1, report_every=1000)
    assert "\n" not in str(caught.value)
    assert latest(tmp_path / "run" / "checkpoints") is not None
    finite(tmp_path / "run")


@pytest.mark.parametrize("report_every", [7, 1000])
def test_last_good_checkpoint_is_kept(report_every, tmp_path):
    net = nn.Linear(2, 1)

    def loss(net, x, generator):
        return net(x).flatten() * (float("nan") if bool((x >= 25).all()) else 1.0)

    with pytest.raises(InputError, match=r"not finite in 10 steps in a row, up to step 34 .*checkpoint is .*step-20: "):
        fit(
            net,
            loss,
            lambda step: torch.full((4, 2), float(step)),
            Budget(100, None),
            OptimizerConfig(1e-3, 0, 0.0, 1.0, 7.0),
            options=TrainingOptions(folder=tmp_path / "checkpoints", report_every=report_every, checkpoint_every=10),
        )
    assert latest(tmp_path / "checkpoints").name == "step-20"
    finite(tmp_path)


# ---- the folder


def test_same_rows_in_other_units_are_other_data(straight, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    # a factor of two leaves every bit of the standardised rows as it was
    assert torch.equal(load_data(ROWS).x, load_data(2 * ROWS).x)
    assert fingerprint(load_data(ROWS)) != fingerprint(load_data(2 * ROWS))
    with pytest.raises(InputError, match="the data differ"):
        train(folder, data=2 * ROWS)


def test_metrics_are_what_they_say(straight):
    rows = run.history(straight)
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    assert [row["spent"] for row in rows] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(rows))
    assert rows[-1]["lr"] == pytest.approx(0, abs=1e-12)
    # a network that says 0 has E|x_1 - x_0|^2 / d = 2 on standardised rows, here to five standard errors
    assert rows[0]["loss"] == pytest.approx(2, abs=0.4)
    assert rows[-1]["held_out"] < rows[0]["held_out"]  # always of the same points, so any learning shows


def test_history_survives_lines_that_are_not_its_own(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n\xff\xfe\n[1]\n{"loss": 2}\n\n{"step": 2, "lo')
    assert run.history(tmp_path) == [{"step": 1}]
    assert run.history(tmp_path / "nowhere") == []


def test_previews_are_pictures_and_never_stop_training(tmp_path, monkeypatch):
    monkeypatch.setattr(run.callbacks, "preview", PREVIEW)
    assert train(tmp_path / "run", steps=5)
    with Image.open(tmp_path / "run" / "previews" / "step-5.png") as picture:
        assert min(picture.size) > 100 and len(picture.convert("RGB").getcolors(1 << 24)) > 2
    warnings = []
    with monkeypatch.context() as patch:
        patch.setattr(run.Model, "sample", lambda *a, **k: (_ for _ in ()).throw(InputError("the model diverged")))
        assert train(tmp_path / "run", steps=10, warn=warnings.append)
    assert len(warnings) == 1 and "preview" in warnings[0] and "diverged" in warnings[0]


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (("data", "shape"), [3], "shape"),
        (("data", "transform", "columns"), [], "transform"),
        (("config", "net", "width"), 0, "width"),
        (("config", "path", "schedule"), "vp:1,2,3,4", "vp"),
        (("config", "net", "depths"), 3, "depths"),
        (("format",), 2, "format"),
    ],
)
def test_damaged_run_file_is_one_line_that_names_it(where, value, words, straight, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    edit(folder, value, *where)
    with pytest.raises(InputError) as caught:
        pf.load(folder)
    message = str(caught.value)
    assert "config.json" in message and words in message and "\n" not in message


@pytest.mark.slow
def test_compiled_steps_are_those_of_the_network(tmp_path):
    for name, flags in (("plain", []), ("compiled", ["--compile"])):  # in a process without the tests' checks of shapes
        command = [sys.executable, "-m", "pushforward", "train", "moons", "--out", str(tmp_path / name), "--steps", "5"]
        done = subprocess.run([*command, "--size", "tiny", *flags], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    plain, fast = (saved(tmp_path / name, 5) for name in ("plain", "compiled"))
    assert plain.keys() == fast.keys()
    for key, value in plain.items():
        torch.testing.assert_close(fast[key], value, rtol=1e-3, atol=1e-5)
    assert pf.load(tmp_path / "compiled").sample(3, steps=2).shape == (3, 2)


def test_compiling_without_a_compiler_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"^--compile: .* needs a C\+\+ compiler"):
        train(tmp_path / "run", 1, compiled=True)
    assert not (tmp_path / "run").exists()


# ---- the feed


def feed_of(n, batch, seed=0, **how):
    """A feed whose batches are the rows themselves."""
    x = torch.arange(float(n))[:, None].repeat(1, 2)
    return Feed(x, how.pop("y", None), batch, seed, Stages(lambda x, y, g: list(x.split(batch))), **how)


def order(feed, batches):
    return torch.cat([feed(step)[:, 0] for step in range(batches)]).tolist()


@pytest.mark.parametrize(("n", "batch"), [(100, 8), (64, 64), (3, 8), (1, 5), (7, 7), (1000, 33)])
def test_feed_visits_every_row_once_per_epoch(n, batch):
    epochs = 3
    seen = order(feed_of(n, batch), -(-epochs * n // batch))
    for epoch in range(epochs):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))
    if n >= 64:
        assert seen[:n] != seen[n : 2 * n]


def test_feed_order_depends_on_the_seed_alone():
    assert order(feed_of(100, 8, seed=1), 30) == order(feed_of(100, 8, seed=1), 30)
    assert order(feed_of(100, 8, seed=1), 30) != order(feed_of(100, 8, seed=2), 30)


@pytest.mark.parametrize(("n", "batch"), [(100, 8), (5, 8)])
def test_any_batch_can_be_asked_for_first(n, batch):
    """Rows, noise, times and jitter of batch k do not depend on what was asked for before."""
    data = load_data(np.random.default_rng(1).integers(0, 9, (n, 3)))
    parts = components(CONFIG, DataSpec((3,)))

    def feed():
        recipe = BatchRecipe(parts.path, parts.coupling, parts.times, batch, dequantize=data.transform.dequantize)
        return feed_for(data.x, None, recipe, 4)

    one = feed()
    sequence = [one(step)[0] for step in range(200)]
    other = feed()
    for step in (199, 3, 130, 0, 64, 63, 199):
        draw, y = other(step)
        assert y is None and len(draw.t) == batch
        for name in ("t", "x0", "x1", "xt", "ut"):
            assert torch.equal(getattr(draw, name), getattr(sequence[step], name)), (step, name)


def test_feed_jitters_within_half_a_width_and_leaves_the_rows_alone():
    width = torch.tensor([0.5, 0.0])
    feed = feed_of(50, 10, dequantize=lambda x, u: x + (u - 0.5) * width)
    before = feed.x.clone()
    x = torch.cat([feed(step) for step in range(100)])
    rounded = x[:, 1]
    shift = x[:, 0] - rounded
    assert torch.equal(rounded, rounded.round())  # no jitter where the width is 0
    assert float(shift.min()) >= -0.25 and float(shift.max()) <= 0.25
    # uniform of width 1/2: mean 0, standard deviation 0.144, at 1000 draws within five standard errors
    assert abs(float(shift.mean())) < 5 * 0.1444 / 1000**0.5
    assert float(shift.std()) == pytest.approx(0.1444, rel=0.1)
    assert torch.equal(feed.x, before)
    assert len({round(float(s), 6) for s in shift}) > 900  # fresh at every visit


def test_semidiscrete_plan_is_fitted_once_and_kept(tmp_path, monkeypatch):
    """What goes on is what an uninterrupted run would be, without a second fit; a damaged plan is made again."""
    config = CONFIG.model_copy(update={"path": CONFIG.path.model_copy(update={"coupling": "semidiscrete:40"})})
    fits, fit_plan, said = [], pf.Semidiscrete.fit, []

    def fit(coupling, data, *args, **more):
        fits.append(len(data))
        return fit_plan(coupling, data, *args, **more)

    monkeypatch.setattr(pf.Semidiscrete, "fit", fit)

    def stop(progress):
        if progress.step in (20, 40):
            os.kill(os.getpid(), signal.SIGTERM)

    train(tmp_path / "whole", config=config, progress=Progress(lambda *call: said.append(call)))
    assert fits == [270, 30] and said[0] == (0.0, "training plan: 2%") and said[79] == (0.0, "held-out plan: 100%")
    assert [share for share, _ in said[80:]] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert said[-1][1].startswith("step 60  loss ")
    folder = tmp_path / "parts"
    assert not train(folder, config=config, on_report=stop)
    assert not train(folder, config=config, on_report=stop)
    assert len(fits) == 4
    file = folder / "plan" / "training" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert train(folder, config=config)
    assert len(fits) == 5
    assert_same_run(tmp_path / "whole", folder)
    (*_, last) = run.history(folder, "floor.jsonl")
    assert "coupling semidiscrete:40 have no exact field" in last["floor_note"]
    with pytest.raises(InputError, match=r"--minutes 1e-06: were over before the first step"):
        pf.train(ROWS, tmp_path / "late", config=config, minutes=1e-6)


def test_labels_stay_with_their_rows():
    y = torch.arange(30) * 10
    x = torch.arange(30.0)[:, None]

    def prepare(x, y, g):
        return list(zip(x.split(4), y.split(4), strict=True))

    feed = Feed(x, y, 4, 0, Stages(prepare))
    for step in range(40):
        rows, labels = feed(step)
        assert torch.equal(rows[:, 0] * 10, labels.float())


# ---- one buffer for all weights


def test_flatten_makes_views_and_changes_nothing_else():
    net = MLP((3,), 32, 2)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.01)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x, t = torch.randn(5, 3), torch.rand(5)
    said = net(x, t).detach()
    flat = flatten(net, gradients=True)
    after = net.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) and before[key].shape == after[key].shape for key in before)
    assert torch.equal(net(x, t), said)
    params = list(net.parameters())
    assert flat.numel() == sum(p.numel() for p in params)
    assert len({p.untyped_storage().data_ptr() for p in params} | {flat.untyped_storage().data_ptr()}) == 1
    net(x, t).square().sum().backward()
    assert torch.equal(torch.cat([p.grad.flatten() for p in params]), flat.grad)
    assert float(flat.grad.abs().max()) > 0
    with torch.no_grad():
        flat.mul_(2)
    assert all(torch.equal(net.state_dict()[key], 2 * before[key]) for key in before)
    net.load_state_dict(before)
    assert torch.equal(flat.detach(), torch.cat([value.flatten() for value in before.values()]))


def test_flat_gradients_are_the_ordinary_ones():
    torch_net, flat_net = MLP((3,), 32, 1), MLP((3,), 32, 1)
    flat_net.load_state_dict(torch_net.state_dict())
    flatten(flat_net, gradients=True)
    x, t = torch.randn(5, 3), torch.rand(5)
    for net in (torch_net, flat_net):
        (net(x, t) - x).square().sum().backward()
    for (name, a), b in zip(torch_net.named_parameters(), flat_net.parameters(), strict=True):
        assert torch.equal(torch.zeros_like(b) if a.grad is None else a.grad, b.grad), name


# ---- sampling a run


def test_row_i_depends_on_the_seed_and_i_alone(straight):
    model = pf.load(straight)
    rows = model.sample(50, steps=5, seed=3)
    assert np.array_equal(rows, model.sample(50, steps=5, seed=3))
    assert not np.array_equal(rows, model.sample(50, steps=5, seed=4))
    # other batch sizes may add the same products in another order: float32 rounding, and nothing more
    scale = rows.std(0)
    np.testing.assert_allclose(model.sample(5, steps=5, seed=3) / scale, rows[:5] / scale, rtol=1e-5, atol=1e-5)
    late = model.sample(20, steps=5, seed=3, first=30)
    np.testing.assert_allclose(late / scale, rows[30:] / scale, rtol=1e-5, atol=1e-5)


ARRAYS = {
    "float64": np.random.default_rng(2).normal(size=(80, 3)),
    "int16": np.random.default_rng(2).integers(-5, 500, (80, 2)).astype(np.int16),
    "rank 1": np.random.default_rng(2).normal(1e6, 1e3, 80),
    "images": np.random.default_rng(2).integers(0, 256, (40, 4, 5, 3)).astype(np.uint8),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_samples_of_arrays_have_their_type_and_shape(name, tmp_path):
    rows = ARRAYS[name]
    train(tmp_path / "run", steps=3, data=rows)
    new = pf.load(tmp_path / "run").sample(6, steps=2)
    assert isinstance(new, np.ndarray) and new.dtype == rows.dtype and new.shape == (6, *rows.shape[1:])
    if name == "images":
        assert new.min() >= rows.min() and new.max() <= rows.max()


def test_samples_of_tables_have_their_schema(tmp_path):
    rng = np.random.default_rng(3)
    table = pa.table(
        {
            "weight, kg": rng.normal(70, 10, 90),
            "count": rng.integers(0, 9, 90).astype(np.int32),
            "same": np.full(90, 7, dtype=np.int64),
            "flag": rng.random(90) < 0.3,
            "half": rng.normal(size=90).astype(np.float32),
        }
    )
    train(tmp_path / "run", steps=3, data=table)
    new = pf.load(tmp_path / "run").sample(11, steps=2)
    assert isinstance(new, pa.Table) and new.num_rows == 11
    assert new.schema.equals(table.schema)
    assert set(new["same"].to_pylist()) == {7} and set(new["flag"].to_pylist()) <= {True, False}


# ---- no hidden randomness


def test_global_streams_of_random_numbers_are_left_alone(tmp_path):
    before = torch.get_rng_state(), np.random.get_state()
    network(CONFIG, DataSpec((2,)))
    train(tmp_path / "run", steps=5)
    model = pf.load(tmp_path / "run")
    model.sample(5, steps=2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1][1], np.random.get_state()[1]) and before[1][2] == np.random.get_state()[2]


def test_global_streams_have_no_say(straight, tmp_path):
    torch.rand(17)
    assert train(tmp_path / "run")
    assert_same_run(straight, tmp_path / "run")


def test_weights_are_a_function_of_the_seed():
    def weights(seed):
        net = network(Config(net=CONFIG.net, train=TrainConfig(seed=seed)), DataSpec((2,)))
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))


# ---- densities in the user's units


def test_density_changes_by_the_scale_of_the_units_and_integrates_to_one(straight):
    model = pf.load(straight)
    rows = ROWS[:20].astype(np.float64)
    # the same rows in other units, under a transform fitted to those: the model sees the same points
    scale, shift = np.array([1e3, 0.01]), np.array([5.0, -7.0])
    other = dataclasses.replace(model, transform=fit_transform(ROWS.astype(np.float64) * scale + shift))
    here, there = (m.log_prob(r, steps=15) for m, r in ((model, rows), (other, rows * scale + shift)))
    np.testing.assert_allclose(there - here, np.full(20, -math.log(1e3 * 0.01)), atol=2e-4)
    # a trained model's density over the plane, in model units
    edge = torch.arange(-7, 7, 0.1) + 0.05
    points = torch.cartesian_prod(edge, edge)
    total = pf.log_prob(model.field, points, steps=10).double().exp().sum() * 0.1**2
    assert float(total) == pytest.approx(1, abs=0.01)
    codes = model.encode(ROWS[:5])
    np.testing.assert_allclose(model.decode(codes), ROWS[:5], rtol=1e-3, atol=5e-2)
