"""Settings of the program around us change nothing: torch's default dtype, Python's ``-OO``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import draw_mixture, mixture

import pushforward as pf
from pushforward.config import Config, NetConfig, TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread", "unchecked", "no_previews")
rng = np.random.default_rng(0)
DATA = {
    "vectors": (rng.normal(size=(120, 3)).astype(np.float32), "mlp"),
    "table": (
        pa.table({"a": rng.normal(size=120), "n": np.arange(120) % 7, "k": rng.choice(list("abc"), 120)}),
        "auto",
    ),
    "pictures": ((rng.random((40, 6, 6)) * 255).astype(np.uint8), "unet"),
    "patches": ((rng.random((40, 6, 6)) * 255).astype(np.uint8), "dit"),
}


@pytest.fixture(params=[torch.float64], ids=str)
def other_default(request):
    before = torch.get_default_dtype()

    def switch(on):
        torch.set_default_dtype(request.param if on else before)

    yield switch
    torch.set_default_dtype(before)


@pytest.mark.parametrize("kind", DATA)
def test_a_run_is_the_same_whatever_torchs_default_is(kind, other_default, tmp_path):
    """Weights, samples, codes and log-densities, bit for bit; and the default is what it was."""
    data, net = DATA[kind]
    config = Config(net=NetConfig(net=net, width=16, depth=1), train=TrainConfig(batch=32, warmup=2))
    found = []
    for on in (False, True):
        other_default(on)
        default = torch.get_default_dtype()
        model = pf.train(data, tmp_path / str(on), config=config, steps=4)
        samples = model.sample(9, steps=3)
        scores = model.log_likelihood(data, steps=3).log_prob
        found.append(((tmp_path / str(on) / "model.safetensors").read_bytes(), samples, scores, model.encode(data)))
        assert torch.get_default_dtype() == default
    (weights, samples, scores, codes), (weights_2, samples_2, scores_2, codes_2) = found
    assert weights == weights_2 and torch.equal(scores, scores_2) and torch.equal(codes, codes_2)
    same = samples.equals(samples_2) if isinstance(samples, pa.Table) else np.array_equal(samples, samples_2)
    assert same and codes.dtype == torch.float32


def test_parts_are_the_same_whatever_torchs_default_is(other_default):
    field = mixture()
    found = []
    for on in (False, True):
        other_default(on)
        g = torch.Generator().manual_seed(0)
        x = draw_mixture(field, 20, torch.Generator().manual_seed(1)).float()
        out = {name: make()(5, g, pf.CondOT()) for name, make in pf.TIMES.items()}
        out |= {name: grid(5, pf.CondOT()) for name, grid in pf.GRIDS.items()}
        for name, make in pf.STEPPERS.items():
            out[name] = pf.generate(field, 6, (2,), stepper=make(), steps=4)
        for name in ("normal", "uniform", "laplace"):
            out[name] = pf.SOURCES[name]().sample((4, 2), g)
        for name in ("exact", "hutchinson", "hutch++"):
            out[f"log_prob {name}"] = pf.log_likelihood(field, x, method=name, steps=3).log_prob
        found.append(out)
    assert [name for name in found[0] if not torch.equal(found[0][name], found[1][name])] == []
    assert {found[1][name].dtype for name in ("normal", "uniform", "laplace")} == {torch.float32}


@pytest.mark.slow
def test_python_without_assertions_and_docstrings(tmp_path):
    """``python -OO``: trains and samples."""
    np.save(tmp_path / "rows.npy", rng.normal(size=(60, 2)))
    environment = os.environ | {"PYTHONPATH": str(Path(pf.__file__).parent.parent), "OMP_NUM_THREADS": "1"}

    def call(*args):
        command = [sys.executable, "-OO", "-m", "pushforward", *args]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    call("train", "rows.npy", "--out", "run", "--steps", "3", "--width", "8", "--depth", "1", "--batch", "16")
    call("sample", "run", "-n", "3", "--steps", "2", "-o", "new.csv")
    assert len((tmp_path / "new.csv").read_text().splitlines()) == 4
    assert json.loads((tmp_path / "run" / "config.json").read_text())["format"] == 1
