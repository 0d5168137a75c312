"""What every test shares: exact problems and the reference figures."""

import atexit
import json
import os
import shutil
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
import pytest
import torch

import pushforward as pf

STATE = tempfile.mkdtemp(prefix="pushforward-tests-")
os.environ["XDG_STATE_HOME"] = STATE  # not the user's own
atexit.register(shutil.rmtree, STATE, ignore_errors=True)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a job in the background; what tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
GOLDEN = Path(__file__).parent / "golden"
# one process per core (make test): threads of their own would stand in each other's way
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)

# the schedules of the reference figures, by the names used there
GOLDEN_SCHEDULES = {"condot": pf.CondOT(), "cosine": pf.Cosine(), "polynomial2": pf.Polynomial(2), "vp_0.1_20": pf.VP()}


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def tensor(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(20261122)


@contextmanager
def without_checks():
    """For thousands of calls of what other tests call with every type checked: the checks take most of the time."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def unchecked():
    with without_checks():
        yield


@pytest.fixture
def one_thread():
    """For thousands of products of small matrices: on a busy machine a second thread makes them slower, by far."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def one_thread_throughout():
    """Networks this small gain nothing from two, and two wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_previews(monkeypatch):
    """Drawing takes longer than training here."""
    monkeypatch.setattr(pf.run.callbacks, "preview", lambda *_: None)


def mixture(path=None, d=2, k=3, seed=0, **how):
    """A Gaussian-mixture oracle in float64, with spread-out means and unequal weights."""
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(k, d, generator=g, dtype=torch.float64)
    stds = 0.2 + 0.5 * torch.rand(k, generator=g, dtype=torch.float64)
    weights = 0.2 + torch.rand(k, generator=g, dtype=torch.float64)
    if how.get("law") == "diagonal":
        stds = 0.2 + 0.5 * torch.rand(k, d, generator=g, dtype=torch.float64)
    if how.get("law") == "full":
        a = torch.randn(k, d, d, generator=g, dtype=torch.float64)
        covariances = 0.2 * a @ a.transpose(1, 2) + 0.05 * torch.eye(d, dtype=torch.float64)
        return pf.MixtureField(path or pf.Affine(), means, weights=weights, covariances=covariances)
    return pf.MixtureField(path or pf.Affine(), means, stds, weights)


def draw_mixture(field, n, generator):
    """Samples of an isotropic `mixture`, drawn without the package."""
    w = field.weights / field.weights.sum()
    k = torch.multinomial(w, n, replacement=True, generator=generator)
    eps = torch.randn(n, field.means.shape[1], generator=generator, dtype=torch.float64)
    return field.means[k] + field.stds[k, None] * eps
