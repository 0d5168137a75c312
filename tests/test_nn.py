"""Networks: zero at the start, every parameter learns, every shape and precision runs, and times are told apart."""

from __future__ import annotations

import pytest
import torch

from pushforward.nn import MLP, FourierTime


def inputs(n, shape, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    t = torch.rand(n, generator=g, dtype=torch.float64).to(torch.promote_types(dtype, torch.float32))
    return torch.randn(n, *shape, generator=g).to(dtype), t


def wake(net):
    """Give every parameter a random value, so that nothing is hidden behind a zero; the net itself."""
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) / max(1, p.shape[-1]) ** 0.5)
    return net


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2,), (7,), (1, 8, 8), (3, 4, 5)])
def test_output_has_the_shape_of_x_and_is_exactly_zero_at_initialisation(shape, dtype):
    x, t = inputs(7, shape, dtype)
    net = MLP(shape, width=32, depth=2).to(dtype)
    p = net(x, t)
    assert p.shape == x.shape and p.dtype == dtype
    assert torch.equal(p, torch.zeros_like(x))
    p = wake(net)(x, t)
    assert p.shape == x.shape and p.dtype == dtype and bool(p.isfinite().all()) and bool((p != 0).any())


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4)])
def test_every_parameter_gets_a_gradient(shape):
    x, t = inputs(16, shape)
    net = MLP(shape, width=32, depth=3)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    # zero weights let no gradient through to what stands before them, and there are two rows of them: the last layer,
    # which moves in the first step, and the modulations, which move in the second; so the third reaches everything
    for _ in range(3):
        optimiser.zero_grad()
        (net(x, t) - x).square().mean().backward()
        optimiser.step()
    for name, p in net.named_parameters():
        assert p.grad is not None and bool(p.grad.isfinite().all()), name
        assert bool((p.grad != 0).any()), name


def test_a_condition_is_refused():
    x, t = inputs(4, (2,))
    with pytest.raises(ValueError, match="condition"):
        MLP((2,), 32, 1)(x, t, torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_times_half_a_hundredth_apart_are_told_apart(dtype):
    # at 16 turns per unit, 0.005 is 0.08 turns: half a radian. Rounding is 1e-7 of the signal, 1e-2 in bfloat16
    a, b = torch.tensor([0.5]), torch.tensor([0.505])
    embed = wake(FourierTime(64)).to(dtype).requires_grad_(False)
    assert float((embed(a) - embed(b)).float().norm() / embed(a).float().norm()) > 0.03
    net, x = wake(MLP((2,), 32, 2)).to(dtype), torch.ones(1, 2, dtype=dtype)
    assert not torch.equal(net(x, a), net(x, b))


def test_embedding_of_time():
    embed = FourierTime(48)
    assert embed(torch.rand(5)).shape == (5, 48)
    assert embed(torch.rand(1)).shape == (1, 48)
    assert bool(embed(torch.tensor([0.0, 1.0])).isfinite().all())
    # the slowest wave turns by an eighth over the unit interval, so its sine only rises: no two times look the same
    assert float(embed.frequencies.min()) == pytest.approx(1 / 8)
    assert float(embed.frequencies.max()) == pytest.approx(16)


@pytest.mark.parametrize("shape", [(5,), (1, 5)])
def test_as_many_rows_as_dimensions(shape):
    """With n == d a time per row could be taken for a time per column: each row sees its own x and t only."""
    x, t = inputs(5, shape)
    net = wake(MLP(shape, 32, 2))
    whole = net(x, t)
    for i in range(5):
        torch.testing.assert_close(net(x[i : i + 1], t[i : i + 1]), whole[i : i + 1], rtol=1e-5, atol=1e-5)
    later = t.clone()
    later[2] += 0.1
    changed = (net(x, later) != whole).flatten(1).any(1)
    assert changed.tolist() == [False, False, True, False, False]


def test_state_dict_brings_the_function_along():
    x, t = inputs(6, (3,))
    a, b = wake(MLP((3,), 32, 2)), MLP((3,), 32, 2)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(x, t), b(x, t))
