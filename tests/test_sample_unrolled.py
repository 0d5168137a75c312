"""`Unrolled`: the numbers of `integrate`, whole through torch.compile and torch.export."""

import subprocess
import sys

import pytest
import torch
from laws import randn

import pushforward as pf

FIXED = [name for name, make in pf.STEPPERS.items() if not make().stochastic and not make().adaptive]
pytestmark = pytest.mark.usefixtures("unchecked")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.inner, self.outer = torch.nn.Linear(3, 8), torch.nn.Linear(8, 2)

    def forward(self, x, t, y=None):
        h = self.inner(torch.cat([x, t.to(x)[:, None]], 1))
        return self.outer(torch.nn.functional.silu(h if y is None else h + y[:, None].to(x)))


FIELD = pf.Learned(Net(), pf.Affine(pf.VP()))


@pytest.mark.parametrize("name", FIXED)
@torch.no_grad()
def test_it_is_integrate(name):
    x, stepper = randn(4, 2).float(), pf.STEPPERS[name]()
    for reverse in (False, True) if not stepper.one_way else (False,):
        run = pf.integrate(FIELD, x, stepper=stepper, steps=4, reverse=reverse)
        torch.testing.assert_close(pf.Unrolled(FIELD, (2,), stepper=stepper, steps=4, reverse=reverse)(x), run.x[-1])


@torch.no_grad()
def test_defaults_grids_and_conditions_are_those_of_integrate():
    x, y = randn(4, 2).float(), torch.tensor([0, 1, 2, 3])
    grid = torch.tensor([0.2, 0.5, 0.9])
    for method in ({}, {"steps": 7}, {"grid": grid}, {"sampler": pf.Sampler(pf.RK4(), steps=3)}):
        torch.testing.assert_close(
            pf.Unrolled(FIELD, (2,), **method)(x, y), pf.integrate(FIELD, x, y=y, **method).x[-1]
        )


@pytest.mark.parametrize("name", ["adams_moulton", "heun", "unipc_3", "churn"])
def test_it_is_exported_whole(name):
    """With any number of points, and the weights of the network in the file."""
    module, x = pf.Unrolled(FIELD, (2,), stepper=pf.STEPPERS[name](), steps=4), randn(5, 2).float()
    program = torch.export.export(module, (x[:3],), dynamic_shapes=({0: torch.export.Dim("n")}, None)[:1])
    torch.testing.assert_close(program.module()(x), module(x))
    assert len(program.state_dict) == 4


COMPILED = """
import torch, pushforward as pf
inner = torch.nn.Linear(2, 2)
field = pf.Learned(lambda x, t, y: inner(x).tanh() * t[:, None], pf.Affine(pf.VP()))
x = torch.randn(5, 2)
for name in ("adams_moulton", "heun", "unipc_3", "churn"):
    module = pf.Unrolled(field, (2,), stepper=pf.STEPPERS[name](), steps=4)
    assert torch.equal(torch.compile(module, fullgraph=True, backend="eager")(x), module(x))
"""


def test_it_is_compiled_whole():
    """In a process of its own: the checks of types in these tests are nothing that torch compiles."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILED], check=True)


def test_gradients_reach_the_weights_and_training_changes_it():
    module, x = pf.Unrolled(pf.Learned(Net(), pf.Affine()), (2,), steps=3), randn(5, 2).float()
    before = module(x)
    before.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in module.parameters())
    with torch.no_grad():
        module.field.net.outer.bias += 1
    assert not torch.allclose(module(x), before)


@pytest.mark.parametrize("stepper", [pf.DormandPrince(1e-3), pf.EulerMaruyama(1.0), pf.Ancestral()], ids=str)
def test_what_cannot_be_fixed_is_refused(stepper):
    with pytest.raises(ValueError, match=r"draws random numbers or adapts its steps.*take a Runge-Kutta"):
        pf.Unrolled(FIELD, (2,), stepper=stepper, steps=3)


def test_what_integrate_refuses_is_refused():
    bridge = pf.Learned(Net(), pf.Bridge())
    with pytest.raises(ValueError, match="affine paths only"):
        pf.Unrolled(bridge, (2,), stepper=pf.AdamsMoulton(), steps=3)
    with pytest.raises(ValueError, match="grid must run strictly"):
        pf.Unrolled(FIELD, (2,), grid=torch.tensor([0.5, 0.5]))
    with pytest.raises(TypeError, match="wrap a network"):
        pf.Unrolled(Net(), (2,))
