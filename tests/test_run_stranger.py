"""A run from a stranger: nothing that it names is opened, asked for or run, and nothing is written outside of it."""

import ast
import http.server
import json
import math
import os
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import edit
from test_layout import PACKAGE

import pushforward as pf
from pushforward import signature
from pushforward.cli import main
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.evaluation import reference
from pushforward.files import writing
from pushforward.files.writing import append_line, written_whole

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread")
CONFIG = Config(net=NetConfig(width=8, depth=1), train=TrainConfig(batch=32, warmup=2))
WATCHED = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "pickle.find_class",
}
canary = {"on": False, "path": "", "seen": []}


def hook(event, args):
    if canary["on"]:
        if event in WATCHED:
            canary["seen"].append((event, args))
        opened = event == "open" and isinstance(args[0], str | bytes | os.PathLike)
        if opened and os.path.realpath(os.fsdecode(args[0])) == canary["path"]:
            canary["seen"].append((event, args[0]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run on a file, and the file."""
    sys.addaudithook(hook)
    folder = tmp_path_factory.mktemp("trained")
    np.savetxt(folder / "data.csv", np.random.default_rng(0).normal(size=(300, 2)), delimiter=",", header="a,b")
    pf.train(folder / "data.csv", folder / "run", config=CONFIG, steps=4)
    return folder


@pytest.fixture
def server():
    """A server on this machine that counts what it is asked."""
    asked = []

    class Count(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Count) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening.server_address[1], asked
        listening.shutdown()
        thread.join()


def call(*args):
    """Run a command as a user does; its exit code."""
    try:
        main([str(arg) for arg in args])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def commands(run, rows, out):
    """Every command that takes a run."""
    return {
        "info": ("info", run),
        "sample": ("sample", run, "-n", 5, "--steps", 2, "-o", out / "new.csv"),
        "fill": ("sample", run, "--fill", rows, "--steps", 2, "-o", out / "filled.csv"),
        "score": ("score", run, rows, "--steps", 4, "-o", out / "scores.csv"),
        "encode": ("encode", run, rows, "-o", out / "codes.npy"),
        "tune": ("tune", run, "--nfe", 2),
        "evaluate": ("evaluate", run, "-n", 30, "--steps", 2, "--quick"),
        "evaluate against": ("evaluate", run, "--against", rows, "-n", 30, "--steps", 2, "--quick"),
        "verify": ("verify", run),
        "push": ("push", run, out / "shared", "--to-folder"),
        "export": ("export", run, "-o", out / "run.pt2"),
        "train": ("train", rows, "--out", run, "--steps", 5, "--width", 8, "--depth", 1, "--batch", 32, "--warmup", 2),
        "reflow": ("train", "--reflow", run, "--out", out / "reflow", "--steps", 2),
    }


def rename_source(run, source):
    edit(run, source, "data", "source")


@pytest.mark.parametrize("kind", ["chain", "url", "other protocol", "file", "plain path"])
def test_nothing_that_a_run_names_is_opened(kind, trained, tmp_path, server, monkeypatch, capsys):
    """A canary for each way: a file that is read, a port that is asked, a process that is started."""
    from fsspec import core

    port, asked = server
    run, rows, secret, out = tmp_path / "run", tmp_path / "rows.csv", tmp_path / "secret.csv", tmp_path / "out"
    shutil.copytree(trained / "run", run)
    shutil.copy(trained / "data.csv", rows)
    shutil.copy(trained / "data.csv", secret)  # even where the fingerprint is right
    out.mkdir()
    (tmp_path / "refs.csv").write_text(json.dumps({"version": 1, "refs": {"x.csv": [f"http://127.0.0.1:{port}/x"]}}))
    rename_source(
        run,
        {
            "chain": f"reference://x.csv::{tmp_path}/refs.csv",
            "url": f"http://127.0.0.1:{port}/x.csv",
            "other protocol": f"webhdfs://127.0.0.1:{port}/x.csv",
            "file": f"file://{secret}",
            "plain path": str(secret),
        }[kind],
    )
    reached = []
    monkeypatch.setattr(core, "url_to_fs", lambda url, **more: reached.append(url) or (None, url))
    codes = {}
    told = {"info", "tune", "evaluate", "evaluate against", "verify", "push"}  # others have no use for the source
    for name, command in commands(run, rows, out).items():
        if kind != "plain path" and name not in told:
            continue
        canary.update(on=True, path=os.path.realpath(secret), seen=[])
        try:
            codes[name] = call(*command)
        finally:
            canary["on"] = False
        assert canary["seen"] == [] and reached == [] and asked == [], name
        said = capsys.readouterr().err
        assert "Traceback" not in said, said
    refused = {"evaluate", "verify"}
    assert {name for name, code in codes.items() if code} == refused, codes


def test_data_that_the_user_named_are_found_again(trained, tmp_path, capsys):
    """By the user who trained on them: without a word to `evaluate`, `tune` and `verify`, whatever moved the run."""
    run = tmp_path / "moved"
    shutil.copytree(trained / "run", run)
    assert call("evaluate", run, "-n", 30, "--steps", 2, "--quick") == 0
    assert "held-out rows" in capsys.readouterr().out
    assert call("verify", run) in (0, 1) and capsys.readouterr().err == ""
    call("tune", run, "--nfe", 2)
    assert "note:" not in capsys.readouterr().err


@pytest.mark.parametrize("schema", [{"*": {"scaling": "linear"}}, {"b": "drop"}])
def test_held_out_rows_are_found_for_columns_that_were_described(schema, trained, tmp_path):
    """As the run reads them, not as a fresh look at the file would infer."""
    pf.train(trained / "data.csv", tmp_path / "run", config=CONFIG, steps=2, schema=schema)
    assert reference.own_parts(pf.load(tmp_path / "run")) is not None


def test_another_user_is_asked_to_name_the_data(trained, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    signature._secret.cache_clear()
    try:
        assert call("evaluate", run, "-n", 30) == 2
        assert "not opened on the word of a run" in (said := capsys.readouterr().err) and "--against DATA" in said
        assert call("verify", run) == 2 and f"pushforward verify {run} DATA" in capsys.readouterr().err
        assert call("verify", run, trained / "data.csv") in (0, 1) and "score" in capsys.readouterr().out
        assert call("tune", run, "--nfe", 2) == 0 and "--against" in capsys.readouterr().err
        assert call("tune", run, "--nfe", 2, "--against", trained / "data.csv") == 0
        assert "note:" not in capsys.readouterr().err
        assert call("tune", run, "--nfe", 2, "--against", "moons") == 2
    finally:
        signature._secret.cache_clear()


def test_a_pair_run_of_a_stranger_is_not_signed_by_training_on(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    rename_source(run, "/etc/passwd")
    pf.train(None, tmp_path / "pairs", config=CONFIG, steps=2, reflow=run)
    assert not pf.run.read(tmp_path / "pairs").data.named_here
    pf.train(None, tmp_path / "own", config=CONFIG, steps=2, reflow=trained / "run")
    assert pf.run.read(tmp_path / "own").data.named_here


CHAINS = ("zip://a.csv::http://h/x.zip", "simplecache::s3://b/x.csv", "file://x.csv::memory://y")
OTHERS = ("reference://x.csv", "ftp://h/x.csv", "dbfs://x.csv", "git://x.csv", "SSH://h/x.csv", "shell://x.csv")


@pytest.mark.parametrize("source", [*CHAINS, *OTHERS])
def test_protocols_for_data_are_a_short_list(source):
    with pytest.raises(pf.InputError, match=r"chains of protocols|data are read from https://"):
        pf.data.load(source)


def test_the_secret_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    signature._secret.cache_clear()
    try:
        mark, key = signature.sign("a"), tmp_path / "pushforward" / "key"
        assert key.stat().st_mode & 0o077 == 0 and len(key.read_bytes()) == 32 and list(key.parent.iterdir()) == [key]
        signature._secret.cache_clear()
        assert signature.is_signed("a", mark) and not signature.is_signed("b", mark)
        key.chmod(0o666)  # others may have put it there
        signature._secret.cache_clear()
        assert not signature.is_signed("a", mark)
        key.unlink()
        key.parent.rmdir()
        (tmp_path / "pushforward").write_text("in the way")
        signature._secret.cache_clear()
        assert signature.is_signed("a", signature.sign("a"))  # one of this process
    finally:
        signature._secret.cache_clear()


# -- writing -----------------------------------------------------------------------------------------------------------


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()}


@pytest.mark.slow
def test_no_command_writes_through_a_link(trained, tmp_path):
    """Every file and folder of a run, and names that scratch files once had, are links to what is not of the run."""
    for name in ("sample", "tune", "evaluate", "push", "train"):
        folder = tmp_path / name.replace(" ", "-")
        run, outside, out, rows = folder / "run", folder / "outside", folder / "out", folder / "rows.csv"
        shutil.copytree(trained / "run", run)
        shutil.copy(trained / "data.csv", folder / "rows.csv")
        outside.mkdir()
        out.mkdir()
        (outside / "folder").mkdir()
        (outside / "canary").write_text("untouched")
        for file in ("metrics.jsonl", "floor.jsonl", "sampler.json", "report.json", "report.html", ".report.json.tmp"):
            (run / file).unlink(missing_ok=True)
            (run / file).symlink_to(outside / ("canary" if "report" in file else f"new-{file}"))
        for inner in ("previews", "checkpoints", "averages", "plan"):
            shutil.rmtree(run / inner, ignore_errors=True)
            (run / inner).symlink_to(outside / "folder")
        for file in ("new.csv", "scores.csv", "codes.npy", "run.pt2", f".new.csv.{os.getpid()}.tmp"):
            (out / file).symlink_to(outside / "canary")
        (out / "shared").mkdir()
        for file in ("config.json", "README.md", "previews"):
            target = outside / ("folder" if file == "previews" else "canary")
            (out / "shared" / file).symlink_to(target)
        before = tree(outside)
        call(*commands(run, rows, out)[name])
        assert tree(outside) == before, name
        assert list((outside / "folder").iterdir()) == [], name


def test_scratch_of_the_dead_is_swept_and_that_of_the_living_stays(tmp_path):
    dead, other_file = (tmp_path / f".{name}.{writing._host()}-999999999-ab12" for name in ("x", "y"))
    living, elsewhere = tmp_path / f".x.{writing._host()}-{os.getppid()}-ab12", tmp_path / ".x.0badcafe-999999999-ab12"
    other, outside = tmp_path / ".x.notes", tmp_path / "outside"
    for folder in (dead, living, other, outside, other_file, elsewhere):
        folder.mkdir()
    (tmp_path / f".x.{writing._host()}-999999999-link").symlink_to(outside)
    with written_whole(tmp_path / "x") as scratch:
        assert scratch.parent.stat().st_mode & 0o077 == 0
        scratch.write_text("whole")
    assert (tmp_path / "x").read_text() == "whole" and outside.is_dir()
    assert not dead.exists() and not other_file.exists()
    assert living.is_dir() and other.is_dir() and elsewhere.is_dir()


def test_files_that_are_written_at_once_leave_each_other_alone(tmp_path):
    """In one process: a file within a file, and by several threads, each of which sweeps the folder."""
    with written_whole(tmp_path / "a") as first:
        first.write_text("a")
        with written_whole(tmp_path / "b") as second:
            second.write_text("b")

    def write(i):
        for k in range(20):
            with written_whole(tmp_path / f"{i}-{k}") as scratch:
                scratch.write_text(str(k))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(list(tmp_path.iterdir())) == 82 and (tmp_path / "a").read_text() == "a"


def test_the_dead_may_have_had_our_number(tmp_path):
    """In a container every trainer has the same one."""
    left = tmp_path / f".x.{writing._host()}-{os.getpid()}-ab12"
    left.mkdir()
    with written_whole(tmp_path / "x") as scratch:
        scratch.write_text("x")
    assert not left.exists()


def test_what_a_kill_in_the_first_second_leaves_goes_on(trained, tmp_path):
    """A folder that was just made, the scratch of its record, pairs that were made: the same command continues."""
    for left in ((), ("config.json",), ("config.json", "model.safetensors")):
        folder = tmp_path / f"run-{len(left)}"
        folder.mkdir()
        for name in left:
            scratch = folder / f".{name}.{writing._host()}-999999999-ab12"
            scratch.mkdir()
            (scratch / name).write_text("half of")
        pf.train(trained / "data.csv", folder, config=CONFIG, steps=2)
        assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_what_is_written_stays_in_its_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "run" / "previews").symlink_to(tmp_path / "outside")
    with (
        pytest.raises(pf.InputError, match="leads out of"),
        written_whole(tmp_path / "run" / "previews" / "x.png", tmp_path / "run"),
    ):
        pass
    (tmp_path / "log").symlink_to(tmp_path / "outside" / "log")
    with pytest.raises(OSError):
        append_line(tmp_path / "log", "a")
    assert list((tmp_path / "outside").iterdir()) == []
    append_line(tmp_path / "plain", "a")
    append_line(tmp_path / "plain", "b")
    assert (tmp_path / "plain").read_text() == "a\nb\n"


WRITES = {
    *("write_text", "write_bytes", "savefig", "save_file", "copyfile", "copy", "copy2", "copytree"),
    *("mkstemp", "rename", "replace", "symlink_to", "touch"),
}
MODES = {letter + rest for letter in "wax" for rest in ("", "b", "+", "b+", "+b")} | {"r+", "r+b", "rb+"}
GIVEN = {"written_whole", "whole", "TemporaryDirectory"}  # what gives a fresh scratch path
SAFE = {"files/writing.py", "signature.py"}  # where that is written, and a secret that no run knows of


def writes(call):
    """The name of a call that makes or fills a file, None for any other."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute | ast.Name):
        return None
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
    if name == "open":
        modes = [a.value for a in [*call.args, *(k.value for k in call.keywords)] if isinstance(a, ast.Constant)]
        return name if any(isinstance(mode, str) and mode in MODES for mode in modes) else None
    if name in ("replace", "rename", "copy"):  # of text and of records too
        owner = getattr(call.func, "value", None)
        return name if isinstance(owner, ast.Name) and owner.id in ("os", "shutil") else None
    return name if name in WRITES else None


def stray_writes(text):
    """Writes of a module that are not at a path which a ``with written_whole(...) as name`` around them gave."""
    found = []

    def visit(node, scratch):
        if isinstance(node, ast.FunctionDef):
            scratch = {a.arg for a in node.args.args if a.arg in ("scratch", "temporary")}  # handed on by who has it
        if isinstance(node, ast.With):
            for item in node.items:
                made = getattr(item.context_expr, "func", None)
                name = getattr(made, "attr", getattr(made, "id", ""))
                if name in GIVEN and item.optional_vars is not None:
                    scratch = scratch | {n.id for n in ast.walk(item.optional_vars) if isinstance(n, ast.Name)}
        if (name := writes(node)) and not scratch & {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}:
            found.append((node.lineno, name))
        for child in ast.iter_child_nodes(node):
            visit(child, scratch)

    visit(ast.parse(text), set())
    return found


def test_every_write_of_the_package_is_at_a_scratch_path():
    for file in sorted(PACKAGE.rglob("*.py")):
        if str(file.relative_to(PACKAGE)) not in SAFE:
            assert stray_writes(file.read_text()) == [], file


@pytest.mark.parametrize(
    "text",
    [
        "def save(path):\n    temporary = path.with_name('.x')\n    with temporary.open('wb') as file:\n        pass",
        "def save(path):\n    with written_whole(path) as scratch:\n        path.write_text('a')",
        "def log(path, scratch2):\n    open(path, mode='a')",
        "import shutil\ndef push(a, b):\n    shutil.copyfile(a, b)",
    ],
)
def test_a_stray_write_is_found(text):
    assert len(stray_writes(text)) == 1


# -- what a run says of itself -----------------------------------------------------------------------------------------

TUNED = {"nfe": 2, "stepper": "heun", "grid": [0, 0.4, 1], "error": 0.1, "best_untuned": 0.2, "distance": 0, "floor": 0}
BAD_SAMPLERS = {
    "a million times": {"grid": [i / 10**6 for i in range(10**6 + 1)]},
    "backward": {"grid": [1, 0.5, 0]},
    "part of the way": {"grid": [0, 0.5]},
    "standing still": {"grid": [0, 0.5, 0.5, 1]},
    "not a number": {"grid": [0, math.nan, 1]},
    "no evaluation": {"nfe": 0},
    "steps of its own": {"stepper": "dormand_prince:1e-300"},
    "unknown": {"stepper": "\x1b[2Jnothing"},
    "too many values": {"stepper": "heun:1,2,3"},
}


@pytest.mark.parametrize("change", BAD_SAMPLERS.values(), ids=BAD_SAMPLERS)
def test_a_sampler_that_tune_would_not_write_is_refused(change, trained, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    (run / "sampler.json").write_text(json.dumps({"format": 1, "tuned": [TUNED]}))
    assert call("sample", run, "-n", 3, "-o", tmp_path / "a.csv") == 0
    capsys.readouterr()
    (run / "sampler.json").write_text(json.dumps({"format": 1, "tuned": [TUNED | change]}))
    assert call("sample", run, "-n", 3, "-o", tmp_path / "b.csv") == 2
    said = capsys.readouterr().err
    assert "sampler.json" in said and "delete it" in said and "\x1b" not in said and said.count("\n") == 1
    assert not (tmp_path / "b.csv").exists()


LINES = [
    '{"step": 3, "loss": "x", "seconds": 1, "held_out": 1}',
    '{"step": 3, "loss": 0.1}',
    '{"step": -1}',
    '{"step": 1e400}',
    '{"step": true, "loss": 1, "seconds": 1, "held_out": 2}',
    '{"step": 4, "loss": [1], "seconds": {}, "held_out": null}',
    '{"step": 5, "floor": 1}',
    '{"step": 5, "floor": null, "excess": 1, "held_out_floor": 1, "held_out_excess": 1}',
    '{"step": 5, "seconds": null, "loss": null, "held_out": 1}',
    '{"step": 5, "floor_note": 3}',
    '{"step": 6}',
    "[" * 3000,
    "null",
    '{"step": 5, "seconds": 1' + "0" * 400 + ', "loss": 1, "held_out": 1}',
]


def test_lines_of_a_history_that_training_would_not_write_are_left_out(trained, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    before = pf.run.history(run)
    for name in ("metrics.jsonl", "floor.jsonl"):
        with (run / name).open("a") as file:
            file.write("".join(line + "\n" for line in LINES))
    assert [row for row in pf.run.history(run) if "loss" in row] == before
    assert call("info", run) == 0 and call("evaluate", run, "-n", 30, "--steps", 2) == 0
    assert call("push", run, tmp_path / "shared", "--to-folder") == 0
    assert "Traceback" not in capsys.readouterr().err
    with (run / "metrics.jsonl").open("wb") as file:
        file.truncate(2**32)  # holds nothing, says that it is large
    assert call("info", run) == 2 and "metrics.jsonl" in capsys.readouterr().err


def test_a_terminal_obeys_no_name(trained, tmp_path, capsys):
    """Escape sequences and line breaks of a run and of a file, printed as what they are."""
    run, evil = tmp_path / "run", "\x1b[2J\x1b]0;title\x07[red]\n\u202eevil"
    shutil.copytree(trained / "run", run)
    rename_source(run, evil)
    file = tmp_path / "evil.csv"
    file.write_text(f'"{evil}",b\n' + "".join(f"{i},{i * i % 7}\n" for i in range(60)))
    for command in (("info", run), ("inspect", file), ("verify", run), ("evaluate", run), ("inspect", evil)):
        call(*command)
        out, err = capsys.readouterr()
        assert not set(out + err) & {"\x1b", "\x07", "\u202e"}, command
        assert "\\x1b" in out + err
    odd = tmp_path / "a [bold] [/x] run"
    shutil.copytree(trained / "run", odd)
    assert call("evaluate", odd, trained / "run", "--out", tmp_path / "report", "-n", 30, "--steps", 2, "--quick") == 0
    assert "[bold]" in capsys.readouterr().out


def test_a_picture_is_read_by_the_formats_of_pictures_alone(tmp_path, capsys):
    """PostScript under the name of a picture would start an interpreter."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    canary.update(on=True, path="", seen=[])
    try:
        assert call("inspect", tmp_path / "pictures") == 2
    finally:
        canary["on"] = False
    assert canary["seen"] == [] and "not a picture" in capsys.readouterr().err
