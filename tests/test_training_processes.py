"""Two processes do what one does with the same global batch, are resumed as one is, and are lost without a loss."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import distributed
import numpy as np
import pytest
import torch
from distributed import COUPLINGS, ROWS, at, judged, look, stop, train
from safetensors.torch import load_file

import pushforward as pf
from pushforward import run
from pushforward.batches import BatchRecipe, feed_for
from pushforward.cli import main
from pushforward.config import Config, NetConfig, TrainConfig, components, network
from pushforward.data import DataSpec
from pushforward.distributed import count_rows, partition, slice_batch
from pushforward.errors import InputError
from pushforward.training import SINGLE, Processes, latest
from pushforward.training.weights import flatten

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def start(*command):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}  # an abort says where
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*TORCHRUN, *command], env=environment, **pipes)


def torchrun(*command):
    with start(*command) as process:
        try:
            out, err = process.communicate(timeout=150)
        finally:
            process.terminate()  # which torchrun passes on
    return process.returncode, out, err


@pytest.fixture(scope="module", autouse=True)
def _alone(tmp_path_factory):
    """One thread, no previews."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    preview = run.callbacks.preview
    yield
    run.callbacks.preview = preview
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Everything that two processes did, and beside it what one did: made once, by the first worker that asks."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "two"
    try:
        folder.mkdir()
    except FileExistsError:
        while not (folder / "made").exists():
            assert not (folder / "failed").exists(), "another worker says why"
            time.sleep(0.2)
        return folder
    try:
        made(folder)
    except BaseException:
        (folder / "failed").touch()
        raise
    (folder / "made").touch()
    return folder


def made(folder):
    for name in ("more", "passed-on"):
        assert not train(folder / name, 60, COUPLINGS[1], on_report=at(20, stop))
    code, _, err = torchrun(distributed.__file__, "whole", str(folder))
    assert code == 0, err
    for coupling in COUPLINGS:
        assert train(folder / f"one-{coupling}", 60, coupling)


def saved(folder, step=60):
    return load_file(Path(folder) / "checkpoints" / f"step-{step}" / "state.safetensors")


def far(a, b, scale):
    """The largest difference between two states, over what training changed."""
    a, b, scale = ({k: v.double() for k, v in saved(folder).items()} for folder in (a, b, scale))
    return max(float((a[k] - b[k]).norm() / scale[k].norm().clamp_min(1e-3)) for k in a if k.startswith(("net", "ema")))


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_two_processes_are_one_with_the_same_batch(coupling, two):
    one = two / f"one-{coupling}"
    assert far(two / coupling, one, one) < 1e-4
    assert far(two / f"one-{COUPLINGS[0]}", two / f"one-{COUPLINGS[1]}", one) > 0.01  # what would be a difference
    for a, b in zip(run.history(two / coupling), run.history(one), strict=True):
        assert a["step"] == b["step"] and a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["held_out"] == pytest.approx(b["held_out"], rel=1e-4)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_two_processes_resume_bit_for_bit(coupling, two):
    first, second = saved(two / coupling), saved(two / f"resumed-{coupling}")
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    weights = [(two / name / "model.safetensors").read_bytes() for name in (coupling, f"resumed-{coupling}")]
    assert weights[0] == weights[1]


def test_a_run_goes_on_with_more_or_fewer_processes(two):
    one = two / f"one-{COUPLINGS[1]}"
    assert far(two / "more", one, one) < 1e-4
    assert latest(two / "fewer" / "checkpoints").name == "step-31"  # the step in which two agreed to stop
    assert train(two / "fewer", 60, COUPLINGS[1])
    assert far(two / "fewer", one, one) < 1e-4


def test_parts_one_after_the_other_and_half_precision(two, tmp_path):
    one = two / "one-independent"
    assert far(two / "parts", one, one) < 1e-4
    assert train(tmp_path / "parts", 60, accumulate=5)
    assert far(tmp_path / "parts", one, one) < 1e-4
    assert train(tmp_path / "bf16", 20, precision="bf16")
    loss = {name: run.history(folder)[1]["loss"] for name, folder in (("one", one), ("bf16", tmp_path / "bf16"))}
    assert loss["bf16"] != loss["one"] and loss["bf16"] == pytest.approx(loss["one"], rel=0.02)
    assert run.history(two / "bf16")[1]["loss"] == pytest.approx(loss["bf16"], rel=0.01)
    assert {v.dtype for v in saved(tmp_path / "bf16", 20).values()} == {torch.float32}
    with pytest.raises(InputError, match=r"--batch 63: .* 64 parts"):
        train(tmp_path / "many", 20, accumulate=64)


def test_weights_that_are_shared_out_are_those_of_one_process(two):
    one = two / f"one-{COUPLINGS[1]}"
    assert far(two / "sharded", one, one) < 1e-4
    for a, b in zip(run.history(two / "sharded"), run.history(one), strict=True):
        assert a["step"] == b["step"] and a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["held_out"] == pytest.approx(b["held_out"], rel=1e-4)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
    assert run.history(two / "sharded", "floor.jsonl") == run.history(one, "floor.jsonl")
    kept = [load_file(p / "averages" / "step-60" / "state.safetensors") for p in (two / "sharded", one)]
    for name in ("ema", "sharp"):
        torch.testing.assert_close(kept[0][name], kept[1][name], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(pf.load(two / "sharded").sample(5), pf.load(one).sample(5), rtol=1e-3, atol=1e-3)


def test_shared_out_weights_resume_bit_for_bit(two):
    first, second = saved(two / "sharded"), saved(two / "resumed-sharded")
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    weights = [(two / name / "model.safetensors").read_bytes() for name in ("sharded", "resumed-sharded")]
    assert weights[0] == weights[1]


def test_a_run_goes_from_one_process_to_shared_out_weights_and_back(two):
    one = two / f"one-{COUPLINGS[1]}"
    assert latest(two / "passed-on" / "checkpoints").name == "step-41"
    assert {k: v.shape for k, v in saved(two / "passed-on", 41).items()} == {k: v.shape for k, v in saved(one).items()}
    assert train(two / "passed-on", 60, COUPLINGS[1])
    assert far(two / "passed-on", one, one) < 1e-4


def test_shared_out_weights_with_parts_and_half_precision(two):
    """A step of the whole batch, in three parts of it or in bfloat16."""
    one = [row["loss"] for row in run.history(two / "one-independent")][:2]
    assert [row["loss"] for row in run.history(two / "sharded-parts")] == pytest.approx(one, rel=0.02)
    flat, half = (run.history(two / name) for name in ("bf16", "sharded-bf16"))
    assert [row["loss"] for row in half] == pytest.approx([row["loss"] for row in flat], rel=1e-3)
    assert [row["held_out"] for row in half] == pytest.approx([row["held_out"] for row in flat], rel=1e-3)
    assert {v.dtype for v in saved(two / "sharded-bf16", 20).values()} == {torch.float32}


def test_what_is_shared_out_takes_half_the_memory(two):
    """Bytes of all tensors alive after three steps: weights, gradients, two moments, two averages are 24 a number."""
    for rank in (0, 1):
        size, taken = json.loads((two / f"bytes-{rank}.json").read_text())
        assert size[0] == size[1] > 20_000
        assert taken[0] == pytest.approx(24 * size[0], rel=0.02)
        assert taken[1] == pytest.approx(12 * size[1], rel=0.05)


def test_what_cannot_be_shared_out_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--shard: .* here is one"):
        train(tmp_path / "run", 1, shard=True)
    for objective in ({"objective": "maximum_likelihood"}, {"field": "energy", "predicts": "score"}):
        with pytest.raises(InputError, match=r"--shard: does not go with --(objective max|field en)"):
            config = Config(objective=objective, train={"batch": 8})
            pf.train(ROWS, tmp_path / "run", config=config, steps=1, shard=True, processes=Processes(1, 2))
    assert not (tmp_path / "run").exists()


def test_rows_sampled_scored_and_judged_by_two_are_those_of_one(two):
    there, here = np.load(two / "look.npz"), look(two / "independent") | judged(two / "independent")
    assert sum(name.startswith("report") for name in here) > 50
    assert set(there.files) == set(here)
    for name, value in here.items():
        np.testing.assert_allclose(there[name], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_gradient_is_that_of_the_whole_batch():
    """What processes add up, here by hand, is what autodiff says of the mean over all rows."""
    config, data = Config(net=NetConfig(width=16, depth=1), train=TrainConfig(batch=10)), DataSpec((2,))
    parts, net = components(config, data), network(config, data)
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    recipe = BatchRecipe(parts.path, pf.COUPLINGS["optimal_transport"](), parts.times, 10)
    batch = feed_for(x, torch.arange(50), recipe, 0)(0)
    pieces = [slice_batch(batch, partition(10, i, 3)) for i in range(3)]
    assert [count_rows(piece) for piece in pieces] == [3, 3, 4] and count_rows(batch) == 10
    rows = [(piece[0].x1, piece[1]) for piece in pieces]
    assert torch.equal(torch.cat([r[0] for r in rows]), batch[0].x1)
    assert torch.equal(torch.cat([r[1] for r in rows]), batch[1])
    flat, field = flatten(net, gradients=True), parts.field_of(net)
    for piece in pieces:
        (parts.objective(field, piece[0], None, torch.Generator()).sum() / 10).backward()
    mean = parts.objective(field, batch[0], None, torch.Generator()).mean()
    whole = torch.autograd.grad(mean, list(net.parameters()))
    torch.testing.assert_close(flat.grad, torch.cat([g.flatten() for g in whole]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_do_not_overlap_and_leave_nothing_out(n, count):
    rows = [i for rank in range(count) for i in range(n)[partition(n, rank, count)]]
    assert rows == list(range(n))
    sizes = [len(range(n)[partition(n, rank, count)]) for rank in range(count)]
    assert max(sizes) - min(sizes) <= 1


def test_cut_goes_through_whatever_a_batch_is_made_of():
    x = torch.arange(6.0)
    batch = ({"a": x, "b": [x + 1, None]}, torch.tensor(3.0), "word", pf.Draw(x, *(x[:, None] for _ in range(4))))
    part = slice_batch(batch, slice(2, 4))
    assert part[0]["a"].tolist() == [2, 3] and part[0]["b"][0].tolist() == [3, 4] and part[0]["b"][1] is None
    assert part[1] == 3 and part[2] == "word" and part[3].xt.tolist() == [[2], [3]]


def test_one_process_needs_no_accelerate():
    code = (
        "import sys; sys.modules['accelerate'] = None\n"
        "from pushforward.training import SINGLE, process_group\n"
        "with process_group() as team: assert team is SINGLE and team.main\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    values = torch.ones(2)
    SINGLE.sum_(values)
    SINGLE.broadcast_([values])
    assert values.tolist() == [1, 1] and SINGLE.on_main(lambda: 3) == 3 and not Processes(1, 2).main


def test_command_line_stops_when_asked_and_goes_on(tmp_path):
    """SIGTERM to torchrun, as a scheduler sends it: saved, one set of messages; then the same command goes on."""
    np.save(tmp_path / "rows.npy", ROWS)
    out = tmp_path / "run"
    flags = ["--width", "16", "--depth", "1", "--batch", "32", "--device", "cpu", "--checkpoint-every", "40"]
    command = ["-m", "pushforward", "train", str(tmp_path / "rows.npy"), "--out", str(out), *flags]
    process = start(*command, "--steps", "9000000")
    try:
        deadline = time.monotonic() + 120
        while not (out / "model.safetensors").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert said.count("stopped") == 1 and "same command" in said, err
    step = int(latest(out / "checkpoints").name[5:])
    assert step > 40 and step % 40  # of the moment, not of the last regular one
    main([*command[2:], "--steps", str(step + 5)])
    assert latest(out / "checkpoints").name == f"step-{step + 5}"
    new = tmp_path / "new.npy"
    code, said, err = torchrun("-m", "pushforward", "sample", str(out), "-n", "9", "-o", str(new), "--device", "cpu")
    assert code == 0 and said.count("9 samples") == 1, err
    np.testing.assert_allclose(np.load(new), pf.load(out).sample(9), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("which", distributed.LOST)
def test_a_lost_process_ends_the_job_with_one_message(which, tmp_path):
    code, _, err = torchrun(distributed.__file__, which, str(tmp_path))
    assert code != 0
    rank, words, is_spokesman = json.loads((tmp_path / "words.json").read_text())
    assert is_spokesman and rank == 1 - distributed.LOST[which][0]
    assert "another process of this job was lost" in words and "same command" in words
    assert "\n" not in words, err
    newest = latest(tmp_path / which / "checkpoints")
    step = int(newest.name[5:])
    assert step >= 20
    if rank:
        assert step % 20 == 0  # the last that the main process saved
    assert train(tmp_path / which, step + 3)
    assert latest(tmp_path / which / "checkpoints").name == f"step-{step + 3}"


def test_an_error_of_the_main_process_ends_all_and_is_told_once(two):
    words = [(two / f"words-{rank}").read_text() for rank in (0, 1)]
    assert "holds no run" in words[0] and words[1] == "the main process says why"
