"""Damaged and hostile run files: a clear error or the very same answer; never a crash, a hang, or a file elsewhere."""

import json
import os
import shutil
import struct
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import edit, train_into
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import pushforward as pf
from pushforward import run
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.errors import InputError
from pushforward.training import SINGLE, Budget, Checkpoint, restore
from pushforward.training.weights import Flat

pytestmark = pytest.mark.usefixtures("unchecked")  # what a user's process does, who has no type checker
FUZZ = settings(
    max_examples=500,
    deadline=5000,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FORBIDDEN = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class", "socket.connect"}
watched = {"on": False, "folder": "", "seen": []}


def hook(event, args):
    """What happens while files are read: nothing is started, and nothing is written outside the folder."""
    if watched["on"]:
        if event in FORBIDDEN:
            watched["seen"].append((event, args))
        if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
            watched["seen"].append((event, args))


@pytest.fixture(scope="module", autouse=True)
def _audited():
    sys.addaudithook(hook)
    yield
    watched["on"] = False


@contextmanager
def nothing_happens():
    watched.update(on=True, seen=[])
    try:
        yield
    finally:
        watched["on"] = False
    assert watched["seen"] == []


def refused(action):
    """What ``action`` returns, or None if it was refused in one line."""
    with nothing_happens():
        try:
            return action()
        except InputError as error:
            assert str(error) and "\n" not in str(error) and len(str(error)) < 2000
            return None


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A tiny run, its answer, and its files' bytes."""
    folder = tmp_path_factory.mktemp("good") / "run"
    rows = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    config = Config(net=NetConfig(width=4, depth=1), train=TrainConfig(batch=8, warmup=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.callbacks, "preview", lambda *_: None)
        assert train_into(rows, folder, config, Budget(4, None), checkpoint_every=2, report_every=2)
    return folder


@pytest.fixture
def copy(good, tmp_path):
    shutil.copytree(good, tmp_path / "run")
    return tmp_path / "run"


NASTY = [None, -1, 0, 10**12, 2**63, 10**400, 1.5, float("nan"), True, "", "../../../etc/passwd", "x" * 500, [], {}]
JSON = st.recursive(
    st.sampled_from(NASTY) | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw, data):
    """Bytes near to ``data``: cut, flipped, doubled, shifted, filled, or something else."""
    kind = draw(st.sampled_from(["cut", "flip", "flip", "flip", "insert", "zero", "random", "append", "empty"]))
    if kind == "empty":
        return b""
    if kind == "random":
        return draw(st.binary(max_size=300))
    if kind == "append":
        return data + draw(st.binary(min_size=1, max_size=300))
    at = draw(st.integers(0, len(data) - 1))
    if kind == "cut":
        return data[:at]
    if kind == "insert":
        return data[:at] + draw(st.binary(min_size=1, max_size=9)) + data[at:]
    if kind == "zero":
        return data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :]
    flipped = bytearray(data)
    for where in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=3)):
        flipped[where] ^= 1 << draw(st.integers(0, 7))
    return bytes(flipped)


@st.composite
def altered(draw, file):
    """JSON near to ``file``: a value replaced, removed, moved or added, anywhere."""
    root = json.loads(json.dumps(file))
    for _ in range(draw(st.integers(1, 2))):
        inner = root
        while isinstance(inner, (dict, list)) and inner:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = draw(st.sampled_from(keys))
            if not (isinstance(inner[key], (dict, list)) and inner[key]) or draw(st.booleans()):
                break
            inner = inner[key]
        what = draw(st.sampled_from(["replace", "replace", "remove", "add", "deep"]))
        if what == "remove":
            del inner[key]
        elif what == "add" and isinstance(inner, dict):
            inner[draw(st.text(max_size=9))] = draw(JSON)
        elif what == "deep":
            inner[key] = json.loads("[" * 400 + "]" * 400)
        else:
            inner[key] = draw(JSON)
        if not root:
            break
    text = json.dumps(root)
    return text.replace("[" * 400, "[" * draw(st.sampled_from([400, 100_000]))).encode()


@st.composite
def hostile_tensors(draw, data):
    """A safetensors file whose header lies: sizes, offsets, types, names, nesting, length."""
    size = struct.unpack("<Q", data[:8])[0]
    header, payload = json.loads(data[8 : 8 + size]), data[8 + size :]
    kind = draw(st.sampled_from(["shape", "offsets", "dtype", "name", "missing", "long", "nested", "json", "digest"]))
    names = [name for name in header if name != "__metadata__"]
    name = draw(st.sampled_from(names))
    huge = st.sampled_from([-1, 0, 1, 7, 2**31, 2**62, 2**63, 2**64, 10**30])
    if kind == "shape":
        header[name]["shape"] = draw(st.lists(huge, max_size=5))
    elif kind == "offsets":
        header[name]["data_offsets"] = draw(st.lists(huge, min_size=1, max_size=3))
    elif kind == "dtype":
        header[name]["dtype"] = draw(st.sampled_from(["F64", "I8", "BOOL", "F8_E4M3", "os.system", 3, None]))
    elif kind == "name":
        header[draw(st.sampled_from(["../../up", "/etc/x", "", name + "x"]))] = header.pop(name)
    elif kind == "missing":
        del header[name]
    elif kind == "digest":
        header["__metadata__"] = draw(st.sampled_from([{"blake2b": "0" * 32}, {"blake2b": 3}, [], {"blake2b": ""}]))
    text = json.dumps(header).encode()
    if kind == "nested":
        text = b'{"a":' * draw(st.sampled_from([200, 50_000])) + b"1"
    if kind == "json":
        text = draw(st.binary(max_size=60))
    length = draw(huge.filter(lambda n: 0 <= n < 2**64)) if kind == "long" else len(text)
    return struct.pack("<Q", length) + text + payload


def swapped(folder):
    """Bytes of the run's other files."""
    return st.sampled_from(sorted(str(p) for p in folder.rglob("*") if p.is_file())).map(lambda p: Path(p).read_bytes())


def sampled(folder):
    return pf.load(folder).sample(3, steps=1)


def begun(net):
    """The state of a training of ``net`` that has not begun."""
    weights = Flat(net, SINGLE)
    return Checkpoint(weights, torch.optim.AdamW(weights.parts, fused=True))


@FUZZ
@given(data=st.data())
def test_model_file(good, copy, data):
    """Whatever is in it, the answer is that of the file as it was written, or there is none."""
    file = copy / "model.safetensors"
    right = (good / "model.safetensors").read_bytes()
    file.write_bytes(data.draw(damaged(right) | hostile_tensors(right) | swapped(good)))
    model = refused(lambda: pf.load(copy))
    if model is not None:
        saved = load_file(good / "model.safetensors")
        assert all(torch.equal(value, saved[name]) for name, value in model.field.net.state_dict().items())


@FUZZ
@given(data=st.data())
def test_run_file(good, copy, data):
    """Damage is told by the checksum; who alters a file and knows of it gets what the file says, or one line."""
    right = (good / "config.json").read_bytes()
    if data.draw(st.booleans()):
        (copy / "config.json").write_bytes(data.draw(damaged(right) | swapped(good)))
        model = refused(lambda: pf.load(copy))
        assert model is None or model.run == run.read(good)
        return
    (copy / "config.json").write_bytes(data.draw(altered(json.loads(right) | {"checksum": ""})))
    if (model := refused(lambda: pf.load(copy))) is not None:
        refused(lambda: model.sample(3, steps=1))


@FUZZ
@given(data=st.data())
def test_checkpoint(good, copy, data):
    """Restored bit for bit, or refused with everything as it was."""
    newest = copy / "checkpoints" / "step-4"
    for name in data.draw(st.lists(st.sampled_from(sorted(p.name for p in newest.iterdir())), min_size=1, max_size=2)):
        right = (good / "checkpoints" / "step-4" / name).read_bytes()
        bad = damaged(right) | swapped(good)
        bad = bad | (hostile_tensors(right) if name.endswith("tensors") else altered(json.loads(right)))
        (newest / name).write_bytes(data.draw(bad))
    net = pf.load(good).field.net.requires_grad_(True)
    state = begun(net)
    (flat,) = state.weights.parts
    with torch.no_grad():
        flat.fill_(7.0)

    def resumed():
        restore(state, newest)
        return True

    right = load_file(good / "checkpoints" / "step-4" / "state.safetensors")
    if refused(resumed):
        assert state.step == 4 and all(torch.equal(value, right[name]) for name, value in state.tensors().items())
    else:
        assert state.step == 0 and bool((flat == 7.0).all())
    for path in newest.iterdir():
        path.write_bytes((good / "checkpoints" / "step-4" / path.name).read_bytes())


@FUZZ
@given(data=st.data())
def test_side_files(good, copy, data):
    """The history is what can be read of it; tuned samplers and snapshots are right or refused."""
    lines = (good / "metrics.jsonl").read_bytes()
    (copy / "metrics.jsonl").write_bytes(data.draw(damaged(lines) | swapped(good)))
    assert all("step" in row for row in run.history(copy))
    sampler = {"format": 1, "tuned": [{"nfe": 2, "stepper": "heun", "grid": [0.0, 1.0], "error": 0.1}]}
    sampler["tuned"][0] |= {"best_untuned": 0.1, "distance": 0.1, "floor": 0.1}
    right = json.dumps(sampler).encode()
    (copy / "sampler.json").write_bytes(data.draw(damaged(right) | altered(sampler)))
    refused(lambda: run.read_tuned(copy))
    (copy / "sampler.json").unlink()
    snapshot = copy / "averages" / "step-2" / "state.safetensors"
    right = (good / "averages" / "step-2" / "state.safetensors").read_bytes()
    snapshot.write_bytes(data.draw(damaged(right) | hostile_tensors(right)))
    same = snapshot.read_bytes() == right
    assert (refused(lambda: pf.load(copy, ema=0.1)) is None) == (not same)


def test_files_that_are_consistent_and_hostile(copy):
    """With their own checksums in order: another network's tensors, a step that is not the folder's, a huge number."""
    from pushforward.files.tensorfile import write_folder

    net = pf.load(copy).field.net.requires_grad_(True)
    state = begun(net)
    target, tensors, counters = copy / "checkpoints" / "step-4", state.tensors(), state.counters() | {"step": 4}
    write_folder(target, tensors, counters)
    restore(state, target)
    for change in ({"step": 5}, {"seconds": -1.0}, {"seconds": "3"}, {"good": True}, {"loss": 1e999}, {"reported": 9}):
        write_folder(target, tensors, counters | change)
        with pytest.raises(InputError, match="damaged checkpoint"):
            restore(state, target)
    for change in ({"sharp": torch.zeros(10**6)}, {"optimiser.exp_avg": torch.zeros(3)}, {"more": torch.zeros(1)}):
        write_folder(target, tensors | change, counters)
        with pytest.raises(InputError, match="damaged checkpoint"):
            restore(state, target)


def test_a_network_larger_than_its_weights_is_refused_before_memory_is_asked_for(copy):
    for net in ({"width": 30_000, "depth": 1}, {"width": 1, "depth": 10**9}, {"width": 4, "depth": 10**5}):
        edit(copy, net, "config", "net")
        with pytest.raises(InputError, match=r"config\.json: .*larger network"):
            pf.load(copy)


def test_a_file_of_a_terabyte_is_refused_by_its_size(copy):
    with (copy / "model.safetensors").open("r+b") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(InputError, match="bytes where"):
        pf.load(copy)
    with (copy / "config.json").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match=r"unpacks to 1\.1 TB"):
        pf.load(copy)


def test_pipes_are_not_waited_for(copy):
    for name in ("state.safetensors", "state.json", "manifest.json"):
        path = copy / "checkpoints" / "step-4" / name
        path.unlink()
        os.mkfifo(path)
    (copy / "model.safetensors").unlink()
    os.mkfifo(copy / "model.safetensors")
    with pytest.raises(InputError, match="no weights"):
        pf.load(copy)
    state = begun(nn.Linear(1, 1))
    with pytest.raises(InputError, match="not a plain file"):
        restore(state, copy / "checkpoints" / "step-4")


@pytest.mark.parametrize("name", ["checkpoints", "averages", "previews", "metrics.jsonl", "config.json"])
def test_training_follows_no_link_out_of_its_folder(name, copy, tmp_path):
    outside = tmp_path / "outside"
    (copy / "previews").mkdir(exist_ok=True)
    shutil.move(copy / name, outside)
    (copy / name).symlink_to(outside)
    before = sorted((p, p.stat().st_mtime_ns) for p in [outside, *outside.rglob("*")])
    rows = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    config = Config(net=NetConfig(width=4, depth=1), train=TrainConfig(batch=8, warmup=2))
    with pytest.raises(InputError, match="is a link"):
        pf.train(rows, copy, config=config, steps=8, checkpoint_every=2, report_every=2)
    assert sorted((p, p.stat().st_mtime_ns) for p in [outside, *outside.rglob("*")]) == before


def test_weights_without_a_digest_are_taken_as_they_are(copy):
    """Those that another program wrote."""
    tensors = load_file(copy / "model.safetensors")
    save_file(tensors, copy / "model.safetensors")
    assert pf.load(copy).sample(3, steps=1).shape == (3, 2)
