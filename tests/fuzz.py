"""Damaged and hostile runs and data files by the thousand: ``python tests/fuzz.py runs|files COUNT [SEED]``.

Each mutant goes through commands of the command line, which end well or in one line; what else they do is a fault:
a traceback, a hang, memory beyond 2 GB, a file written elsewhere. ``tests/test_fuzz.py`` has a few hundred at each run.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import traceback
import zipfile
from pathlib import Path

import numpy as np
import torch

import pushforward as pf
from pushforward.cli import main
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.signature import sign

SECONDS, BYTES = 20, 2 * 10**9
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CONFIG = Config(net=NetConfig(width=8, depth=1), train=TrainConfig(batch=16, warmup=2))
FLAGS = ("--width", 8, "--depth", 1, "--batch", 16, "--warmup", 2, "--checkpoint-every", 2, "--device", "cpu")
NASTY = [
    *(None, True, False, -1, 0, 1, 3, 2**31, 2**53, 2**63, 10**12, 10**30, 10**400, 1.5, -0.0, 1e-300, 1e300, 0.5, 1.0),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "../../../etc/passwd",
        "http://127.0.0.1:9/x.csv",
        "\x1b[2J",
        "a\nb",
        "[red]",
    ),
    *("x" * 10**5, "\ud800", [], {}, [[]], [0.0] * 10**4, {"x": 1}, [None], "vp:1e308,1e308", "dormand_prince:1e-300"),
]
outside = {"root": "", "seen": []}  # what was written elsewhere


def watch(event, args):
    """What is opened to be written, made, moved or started, anywhere but below ``outside["root"]``."""
    if not outside["root"]:
        return
    if event == "open":
        path, mode, flags = args
        wants = set(mode) & set("wax+") if isinstance(mode, str) else isinstance(flags, int) and flags & WRITING
        if wants and isinstance(path, str | bytes):
            path = os.path.realpath(os.fsdecode(path))
            if not path.startswith((outside["root"], "/dev/")) and "__pycache__" not in path:
                outside["seen"].append((event, path))
    elif event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class", "socket.connect"):
        outside["seen"].append((event, str(args)[:200]))


class Late(BaseException):
    """A command that does not come to its end."""


def late(number, frame):
    """Raise `Late`, from a signal."""
    raise Late


@contextlib.contextmanager
def bounded():
    """Let this process have so much time, and so much memory more than it has now."""
    before, soft = signal.signal(signal.SIGALRM, late), resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, soft[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, soft)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def full_disk(room):
    """No file grows beyond so many bytes while the block runs."""
    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)


def ended(args):
    """The exit code of a command, and what it printed on standard output and on standard error."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(arg) for arg in args])
    except SystemExit as stop:
        code = stop.code
    return code, out.getvalue(), err.getvalue()


def fault(args, root):
    """What is wrong with the way in which a command ends; None if nothing is."""
    outside.update(root=os.path.realpath(root), seen=[])
    tempfile.tempdir = str(root)
    try:
        with bounded():
            code, out, text = ended(args)
    except Late:
        return "takes too long"
    except BaseException:
        return traceback.format_exc()[-1500:]
    finally:
        outside["root"], tempfile.tempdir = "", None
    lines = [line for line in text.splitlines() if line.startswith("pushforward:")]
    if outside["seen"]:
        return f"did elsewhere: {outside['seen']}"
    if code not in (0, None, 1, 2) or (code == 2 and len(lines) != 1) or "Traceback" in text:
        return f"exit code {code}: {text[-500:]!r}"
    if "not enough memory" in text:
        return text
    if set(out + text) & {"\x1b", "\x07"}:
        return "a terminal would obey"
    return None


# ---- runs


def good_run(folder):
    """A small run of a table with classes of every kind of column, tuned, and the file of its rows."""
    rng = np.random.default_rng(0)
    values = enumerate(rng.normal(size=240))
    lines = [
        f"{i % 7},{x:.4f},{'abc'[i % 3]},{'' if i % 5 else f'{x * x:.6}'},ID-{i:04d},{i},{f'{x:.2f}' if i % 9 else 'T'}"
        # what others say: a sum, a category, one never below another, gaps that come together, bounds
        f",{i % 7 + round(x, 4):.4f},{'uvu'[i % 3]},{x + i % 11 / 4:.4f},{'' if i % 5 else i % 13},{min(i % 40, 20)}"
        for i, x in values
    ]
    data = folder / "rows.csv"
    data.write_text("\n".join(["n,x,c,g,id,key,mixed,total,kind,top,h,part", *lines]) + "\n")
    model = pf.train(data, folder / "run", config=CONFIG, steps=4, checkpoint_every=2, report_every=2)
    model.tune(2)
    return data


def commands(run, data, out):
    """Every command that takes a run, by its name."""
    return {
        "info": ("info", run),
        "sample": ("sample", run, "-n", 3, "--steps", 2, "-o", out / "rows.csv"),
        "tuned": ("sample", run, "-n", 3, "-o", out / "rows.parquet"),
        "where": ("sample", run, "-n", 3, "--steps", 2, "--where", "c=a", "-o", out / "where.csv"),
        "fill": ("sample", run, "--fill", data, "--steps", 2, "-o", out / "filled.csv"),
        "score": ("score", run, data, "--steps", 2, "-o", out / "scores.csv"),
        "encode": ("encode", run, data, "-o", out / "codes.npy"),
        "tune": ("tune", run, "--nfe", 2),
        "evaluate": ("evaluate", run, "--against", data, "-n", 30, "--steps", 2, "--quick"),
        "verify": ("verify", run, data),
        "push": ("push", run, out / "shared", "--to-folder"),
        "train": ("train", data, "--out", run, "--steps", 6, *FLAGS),
    }


def damaged(rng, data):
    """Bytes near to ``data``: cut, flipped, doubled, filled, or something else."""
    kind = rng.choice(["cut", "flip", "flip", "flip", "insert", "zero", "random", "append", "empty", "twice"])
    at = rng.randrange(len(data)) if data else 0
    if kind == "empty":
        return b""
    if kind == "random":
        return rng.randbytes(rng.randrange(400))
    if kind == "append":
        return data + rng.randbytes(rng.randrange(1, 300))
    if kind == "twice":
        return data + data
    if kind == "cut":
        return data[:at]
    if kind == "insert":
        return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
    if kind == "zero":
        return data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :]
    flipped = bytearray(data)
    for _ in range(rng.randrange(1, 4) if data else 0):
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def altered(rng, value, deep=2):
    """A JSON value near to another: something in it replaced, removed, doubled, moved or added."""
    root = [json.loads(json.dumps(value))]
    for _ in range(rng.randrange(1, deep + 1)):
        inner, key = root, 0
        while isinstance(inner[key], dict | list) and inner[key] and rng.random() < 0.85:
            inner = inner[key]
            key = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
        what = rng.choice(["replace", "replace", "replace", "remove", "add", "double", "number", "number"])
        if what == "remove" and inner is not root:
            del inner[key]
        elif what == "add" and isinstance(inner, dict):
            inner[rng.choice(["x", "", "kind", "format", "\x1b[1m"])] = rng.choice(NASTY)
        elif what == "double" and isinstance(inner, list) and inner is not root:
            inner.insert(key, inner[key])
        elif what == "number" and type(inner[key]) in (int, float) and abs(inner[key]) < 1e300:
            inner[key] = rng.choice([inner[key] + 1, -inner[key], inner[key] * 10**6, inner[key] / 3, 0, 1e308])
        else:
            inner[key] = rng.choice(NASTY)
    return root[0]


def mutate(rng, path, others):
    """Damage a file of a run: its bytes, what it is, or what it says, with its checksums in order."""
    kind = rng.choice(
        ["bytes", "bytes", "says", "says", "says", "says", "swap", "gone", "folder", "pipe", "link", "large"]
    )
    data = path.read_bytes()
    if kind == "says" and path.suffix == ".json":
        value = altered(rng, json.loads(data))
        if isinstance(value, dict) and "checksum" in value:
            value["checksum"] = ""
        path.write_text(json.dumps(value))
        manifest = path.with_name("manifest.json")
        if path.name == "state.json" and manifest.is_file():
            from pushforward.files.tensorfile import _file_digest

            said = json.loads(manifest.read_text())
            said[path.name] = {"bytes": path.stat().st_size, "blake2b": _file_digest(path)}
            manifest.write_text(json.dumps(said))
    elif kind == "says" and path.suffix == ".jsonl":
        lines = data.decode().splitlines()
        i = rng.randrange(len(lines))
        value = json.loads(lines[i])
        value.pop("check", None)
        lines[i] = json.dumps(altered(rng, value))
        path.write_text("\n".join(lines) + "\n")
    elif kind == "says" and path.suffix == ".safetensors":
        size = struct.unpack("<Q", data[:8])[0]
        header = json.dumps(altered(rng, json.loads(data[8 : 8 + size]))).encode()
        path.write_bytes(struct.pack("<Q", rng.choice([len(header)] * 9 + [2**62])) + header + data[8 + size :])
    elif kind == "swap":
        path.write_bytes(rng.choice(others).read_bytes())
    elif kind in ("gone", "folder", "pipe", "link"):
        path.unlink()
        if kind == "folder":
            path.mkdir()
        if kind == "pipe":
            os.mkfifo(path)
        if kind == "link":
            path.symlink_to("/etc/hostname")
    elif kind == "large":
        os.truncate(path, rng.choice([10**8, 10**10, 10**12]))
    else:
        path.write_bytes(damaged(rng, data))
    return f"{path.name} {kind}"


def run_faults(count, seed, root, names=()):
    """Faults of ``count`` mutants of a run, each by a command: what was done, with which seed, and what came."""
    data = good_run(root)
    good, files = root / "run", sorted(p for p in (root / "run").rglob("*") if p.is_file())
    found = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            run, out = Path(scratch) / "run", Path(scratch) / "out"
            shutil.copytree(good, run)
            out.mkdir()
            weights = [6 if file.suffix in (".json", ".jsonl") else 1 for file in files]
            done = []
            chosen = dict.fromkeys(rng.choices(files, weights, k=rng.choice([1, 1, 1, 2])))
            # a manifest last: what another file says is signed in a whole one
            for file in sorted(chosen, key=lambda file: file.name == "manifest.json"):
                done.append(mutate(rng, run / file.relative_to(good), files))
            all_commands = commands(run, data, out)
            for name in names or rng.sample(sorted(all_commands), 2):
                if (wrong := fault(all_commands[name], root)) is not None:
                    found.append(f"seed {seed} mutant {number}, {', '.join(done)}, {name}: {wrong}")
    return found


# ---- data files


def good_files(folder):
    """A small file of every format."""
    import pyarrow as pa
    from PIL import Image
    from pyarrow import feather, parquet

    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    table = pa.table({"a": x[:, 0], "b": rng.integers(0, 9, 40), "c": list("abcd" * 10), "d": [None, 1.5] * 20})
    text = ["a;b;c,d", *(f"{i},{x[i, 0]:.3f},{'xyz'[i % 3]},2020-01-{i % 28 + 1:02d}" for i in range(40))]
    (folder / "t.csv").write_text("\n".join(["a,b,c,d", *text[1:]]))
    (folder / "t.tsv").write_text("\n".join(["a\tb", *(f'{i}\t"q{i % 3}"' for i in range(40))]))
    parquet.write_table(table, folder / "t.parquet", write_page_checksum=True)
    feather.write_feather(table, str(folder / "t.feather"))
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, table.to_pylist())))
    plain = (folder / "t.csv").read_bytes()
    for ending, module in (("gz", gzip), ("bz2", bz2), ("xz", lzma)):
        (folder / f"t.csv.{ending}").write_bytes(module.compress(plain))
    with zipfile.ZipFile(folder / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", plain)
    np.save(folder / "x.npy", x)
    np.savez_compressed(folder / "x.npz", x=x, y=np.arange(40) % 3)
    idx = b"\0\0\x08\x03" + struct.pack(">III", 40, 4, 4) + rng.integers(0, 255, 640).astype(np.uint8).tobytes()
    (folder / "x-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    (folder / "x-idx3-ubyte").write_bytes(idx)
    for ending in ("png", "jpg", "gif", "bmp", "tif", "webp", "ppm"):
        (folder / ending).mkdir()
        for i in range(3):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(folder / ending / f"{i}.{ending}")
    (folder / "schema.json").write_text(json.dumps({"a": {"kind": "number", "bounds": [0, 1]}, "b": "drop"}))
    return sorted(p for p in folder.rglob("*") if p.is_file())


def file_faults(count, seed, root):
    """Faults of ``count`` mutants of data files, by the commands that read data."""
    folder, found = root / "files", []
    folder.mkdir(exist_ok=True)
    sign("")  # the secret of this user, made on first use elsewhere
    files = good_files(folder)
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        file = rng.choice(files)
        right = file.read_bytes()
        try:
            for _ in range(rng.choice([1, 1, 2])):
                if file.suffix == ".json":
                    value = altered(rng, json.loads(right))
                    file.write_text(json.dumps(value)) if rng.random() < 0.7 else file.write_bytes(damaged(rng, right))
                else:
                    file.write_bytes(damaged(rng, file.read_bytes()))
            target = file if file.parent == folder else file.parent
            args = [target] if file.suffix != ".json" else [folder / "t.csv", "--schema", file]
            run = root / "files-run"
            train = ("train", *args, "--out", run, "--steps", 2, *FLAGS)
            for command in (("inspect", *args), train) if rng.random() < 0.3 else (("inspect", *args),):
                if (wrong := fault(command, root)) is not None:
                    keep = root.parent / f"fault-{seed}-{number}{file.suffix}"
                    keep.write_bytes(file.read_bytes())
                    found.append(f"seed {seed} mutant {number}, {file.name} ({keep}), {command[0]}: {wrong}")
            shutil.rmtree(run, ignore_errors=True)
        finally:
            if file.is_dir():
                shutil.rmtree(file)
            file.write_bytes(right)
    return found


sys.addaudithook(watch)

if __name__ == "__main__":
    torch.set_num_threads(1)
    kind, count, seed = sys.argv[1], int(sys.argv[2]), int([*sys.argv, "0"][3])
    with tempfile.TemporaryDirectory() as scratch:
        faults = {"runs": run_faults, "files": file_faults}[kind](count, seed, Path(scratch))
    print(*faults, sep="\n\n")
    print(f"{len(faults)} faults of {count} mutants")
    raise SystemExit(bool(faults))
