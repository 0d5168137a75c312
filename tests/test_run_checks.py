"""What cannot be trained is refused without a training: each refusal by itself, and the public door that meets them."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import pushforward as pf
from pushforward import run
from pushforward.config import Config
from pushforward.distributed import Processes
from pushforward.errors import InputError
from pushforward.run.checks import check, check_counts, check_request

pytestmark = pytest.mark.usefixtures("no_previews")
SMALL = {"net": {"width": 8, "depth": 1}, "train": {"batch": 16, "warmup": 2}}
TWO = Processes(0, 2)


def config(**sections):
    return Config(**(SMALL | sections))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"steps": 0}, "--steps 0: at least 1"),
        ({"minutes": 0.0}, "--minutes 0.0: must be positive"),
        ({"minutes": float("nan")}, "--minutes nan: must be positive"),
        ({"checkpoint_every": 0}, "--checkpoint-every 0: at least 1"),
        ({"accumulate": 0}, "--accumulate 0: at least 1"),
    ],
)
def test_numbers_that_are_none_are_refused_by_the_check_and_by_the_door(how, words, tmp_path):
    with pytest.raises(InputError) as caught:
        check_counts(**how)
    assert str(caught.value) == words
    with pytest.raises(InputError) as caught:
        pf.train("moons", tmp_path / "run", **how)
    assert str(caught.value) == words and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("request_", "sections", "words"),
    [
        (run.RowRequest(None), {}, "nothing to train on"),
        (run.RowRequest("moons", reflow=Path("runs/x")), {}, "--reflow: takes its own pairs"),
        (run.RowRequest(None, reflow=Path("runs/x")), {"path": {"coupling": "optimal_transport"}}, "--reflow"),
        (run.RowRequest(None, reflow=Path("runs/x")), {"objective": {"objective": "marginal"}}, "--reflow"),
    ],
)
def test_what_to_train_on_is_clear(request_, sections, words):
    with pytest.raises(InputError, match=words):
        check_request(request_, config(**sections))


@pytest.mark.parametrize(
    ("sections", "execution", "kind", "pairs", "words"),
    [
        ({}, {"accumulate": 17}, "array", False, r"--batch 16: less than one row for each of 17 parts"),
        ({}, {"accumulate": 9, "processes": TWO}, "array", False, r"each of 18 parts"),
        ({"train": {"batch": 16, "mirror": True}}, {}, "table", False, "--mirror"),
        ({"train": {"batch": 16, "mirror": True}}, {}, "image", True, "--mirror"),
        ({}, {"shard": True}, "array", False, "--shard: .* here is one"),
        ({"objective": {"field": "energy"}}, {"shard": True, "processes": TWO}, "array", False, "--field energy"),
        (
            {"objective": {"objective": "maximum_likelihood"}},
            {"shard": True, "processes": TWO},
            "array",
            False,
            "--objective maximum_likelihood",
        ),
        ({}, {"compiled": True, "shard": True, "processes": TWO}, "array", False, "--compile"),
    ],
)
def test_what_does_not_go_together_is_refused(sections, execution, kind, pairs, words):
    with pytest.raises(InputError, match=words):
        check(config(**sections), run.Execution(**execution), kind, pairs)


def test_what_goes_together_is_let_in(monkeypatch):
    check(config(), run.Execution(accumulate=8, processes=TWO, shard=True))
    check(config(train={"batch": 16, "mirror": True}), run.Execution(), "image")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    check(config(), run.Execution(device="cuda:1", compiled=True))  # which brings its own compiler
    with pytest.raises(InputError, match="--compile"):
        check(config(), run.Execution(compiled=True))


ROWS = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
SOURCES = {"array": ROWS, "tensor": torch.from_numpy(ROWS), "table": pa.table({"a": ROWS[:, 0], "b": ROWS[:, 1]})}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_door_takes_rows_of_any_kind_and_gives_the_model(kind, tmp_path):
    said = []
    model = pf.train(
        SOURCES[kind],
        str(tmp_path / "run"),
        config=config(),
        steps=4,
        report_every=2,
        progress=lambda share, words: said.append((share, words)),
    )
    rows = model.sample(5, steps=2)
    assert isinstance(rows, pa.Table) == (kind == "table") and len(rows) == 5
    assert [share for share, _ in said] == [0.5, 1.0] and said[0][1].startswith("step 2  loss ")
    assert [row["step"] for row in run.history(tmp_path / "run")] == [2, 4]
    again = pf.load(tmp_path / "run").sample(5, steps=2)
    assert rows.equals(again) if kind == "table" else (rows == again).all()


def test_the_door_goes_on_with_a_run_and_refuses_another(tmp_path):
    pf.train(ROWS, tmp_path / "run", config=config(), steps=2)
    pf.train(ROWS, tmp_path / "run", config=config(), steps=3)
    assert (tmp_path / "run" / "checkpoints" / "step-3").is_dir()
    with pytest.raises(InputError, match="--width was 8, is 9"):
        pf.train(ROWS, tmp_path / "run", config=config(net={"width": 9, "depth": 1}), steps=3)
