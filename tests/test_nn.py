"""Networks: zero at the start, every parameter learns, rows are independent, and conditions mean what they say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward.nn import (
    MLP,
    NETS,
    SIZES,
    Classes,
    DiT,
    FourierTime,
    FromDiffusers,
    SpatialCondition,
    Tabular,
    UNet,
    Vector,
    attention,
    count_parameters,
    dit,
    flops,
    sized,
    unet,
)
from pushforward.nn.grid import crop, halvings, pad, positions
from pushforward.tensor import divergence

BUILD = {
    "mlp": lambda shape, conditions=None: MLP(shape, 32, 2, conditions),
    "tabular": lambda shape, conditions=None: Tabular(shape, 32, 2, conditions),
    "unet": lambda shape, conditions=None: UNet(shape, 16, 1, (1, 2), 40, conditions),
    "dit": lambda shape, conditions=None: DiT(shape, 32, 2, 2, conditions),
}
# one that is added to the registry is asked the same
BUILD |= {
    name: lambda shape, conditions=None, name=name: sized(name, shape, "tiny", conditions)
    for name in NETS.keys() - BUILD.keys()
}
SHAPES = [(1, 8, 8), (1, 7, 5), (3, 4, 9), (2, 1, 6), (1, 1, 1), (1, 13), (2, 3, 5, 4)]
every_net = pytest.mark.parametrize("kind", BUILD)
every_spatial_net = pytest.mark.parametrize("kind", ["unet", "dit"])
every_pair = pytest.mark.parametrize(
    ("kind", "shape"), [*((k, s) for k in BUILD for s in SHAPES), ("mlp", (2,)), ("mlp", (7,))]
)

# all kinds at once, under names that no attribute could have
CONDITIONS = {"species": Classes(3), "price [eur]": Vector(2), "a.b": SpatialCondition(2)}


@pytest.fixture(autouse=True)
def one_thread():
    """These networks are too small to share: two threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs(n, shape, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    t = torch.rand(n, generator=g, dtype=torch.float64).to(torch.promote_types(dtype, torch.float32))
    return torch.randn(n, *shape, generator=g).to(dtype), t


def mixed(shape):
    """Six rows of CONDITIONS: given, given in part, and absent in several ways."""
    g = torch.Generator().manual_seed(3)
    nan = math.nan
    picture = torch.randn(6, 2, *shape[1:], generator=g)
    picture[1] = nan
    picture[2, 0] = nan
    vector = torch.tensor([[0.5, 1], [nan, nan], [nan, 1], [0, 1], [-1, 2], [nan, nan]])
    return {"species": torch.tensor([0, -1, 2, 1, -1, 0]), "price [eur]": vector, "a.b": picture}


def wake(net):
    """Give every parameter a random value, so that nothing is hidden behind a zero; the net itself."""
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            fan_in = p[0].numel() if p.ndim > 1 else len(p)
            p.copy_(torch.randn(p.shape, generator=g) / fan_in**0.5)
    return net.requires_grad_(False)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


# -- every network -----------------------------------------------------------------------------------------------------


@every_pair
def test_output_has_the_shape_of_x_and_is_exactly_zero_at_initialisation(kind, shape):
    x, t = inputs(3, shape)
    net = BUILD[kind](shape)
    assert torch.equal(net(x, t), torch.zeros_like(x))
    p = wake(net)(x, t)
    assert p.shape == x.shape and p.dtype == x.dtype and bool(p.isfinite().all()) and bool((p != 0).all())
    assert net(x[:0], t[:0]).shape == (0, *shape)


@every_net
def test_float64_and_bfloat16_agree_with_float32(kind):
    x, t = inputs(6, (2, 6, 6))
    y = mixed((2, 6, 6))
    p = wake(BUILD[kind]((2, 6, 6), CONDITIONS))(x, t, y)
    # rounding is 1e-7 of the signal, and 4e-3 in bfloat16
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.bfloat16, 0.03)):
        net = wake(BUILD[kind]((2, 6, 6), CONDITIONS)).to(dtype)
        q = net(x.to(dtype), t, y)
        assert q.dtype == dtype
        assert 0 < float((q.double() - p).norm() / p.norm()) < tolerance


@every_pair
def test_a_second_time_begins_unheard_and_is_then_heard_in_its_own_row(kind, shape):
    x, now = inputs(5, shape)
    net = wake(BUILD[kind](shape))
    before, keys = net(x, now), set(net.state_dict())
    assert pf.nn.two_times(net) is net
    assert set(net.state_dict()) > keys  # what was trained stays where it is
    pairs = torch.stack([now, now.flip(0)], 1)
    assert torch.equal(net(x, now), before) and torch.equal(net(x, pairs), before)
    assert torch.equal(net(x[:2], pairs[:2]), net(x[:2], now[:2]))  # as many points as times
    wake(net)  # now the second time counts
    later = torch.cat([pairs[:1], pairs[1:] + torch.tensor([0.0, 0.2])])
    change = (net(x, later) - net(x, pairs)).flatten(1).abs().amax(1)
    assert float(change[0]) == 0 and bool((change[1:] > 1e-6).all())
    assert bool((net(x, torch.stack([now, now], 1)) != net(x, now)).any())  # the diagonal may learn more


@every_net
def test_a_second_time_gets_its_gradient(kind):
    x, now = inputs(6, (2, 5, 6))
    net = pf.nn.two_times(BUILD[kind]((2, 5, 6)))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):  # past one more row of zeros than a network with one time has
        optimizer.zero_grad()
        (net(x, torch.stack([now, 1 - now], 1)) - x).square().mean().backward()
        optimizer.step()
    for name, p in net.time.second.named_parameters():
        assert bool((p.grad != 0).any()), name


def test_pairs_of_times_are_refused_by_networks_of_one():
    x, now = inputs(3, (4,))
    with pytest.raises(pf.InputError, match=r"one time per point, not pairs: see pf\.nn\.two_times"):
        MLP((4,))(x, torch.stack([now, now], 1))
    with pytest.raises(pf.InputError, match="Linear has no FourierTime"):
        pf.nn.two_times(torch.nn.Linear(2, 2))
    with pytest.raises(pf.InputError, match="MLP has two times already"):
        pf.nn.two_times(pf.nn.two_times(MLP((4,))))


def test_an_untrained_second_time_makes_a_velocity_network_its_own_euler_step():
    """A jump ``x + (s - t) net(x, (t, s))`` is then the step of `Euler`, by the field of the network with one time."""
    net, x = wake(MLP((3,))), inputs(4, (3,))[0].double()
    net = net.double()
    euler = pf.integrate(pf.Learned(net, pf.Affine()), x, stepper=pf.Euler(), grid=torch.tensor([0.2, 0.7]))
    pairs = torch.tensor([[0.2, 0.7]], dtype=torch.float64).expand(4, 2)
    torch.testing.assert_close(x + 0.5 * pf.nn.two_times(net)(x, pairs), euler.x[-1], rtol=1e-6, atol=1e-7)


@every_net
def test_every_parameter_gets_a_gradient(kind):
    shape = (2, 5, 6)
    x, t = inputs(6, shape)
    y = mixed(shape)
    net = BUILD[kind](shape, CONDITIONS)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    # zero weights let no gradient through to what stands before them, and there are two rows of them: the last layer,
    # which moves in the first step, and those of the blocks, which move in the second; so the third reaches everything
    for _ in range(3):
        optimizer.zero_grad()
        (net(x, t, y) - x).square().mean().backward()
        optimizer.step()
    for name, p in net.named_parameters():
        assert p.grad is not None and bool(p.grad.isfinite().all()), name
        assert bool((p.grad != 0).any()), name
    table = net.condition.embed[0].weight.grad
    assert bool((table != 0).any(1).all())  # three classes, and the row for none


@every_net
def test_a_row_depends_on_itself_alone_whatever_conditions_its_mates_have(kind):
    shape = (2, 5, 6)
    x, t = inputs(6, shape)
    y = mixed(shape)
    net = wake(BUILD[kind](shape, CONDITIONS))
    whole = net(x, t, y)
    for i in range(6):
        close(net(x[i : i + 1], t[i : i + 1], {name: v[i : i + 1] for name, v in y.items()}), whole[i : i + 1])


@pytest.mark.parametrize(("kind", "shape"), [("mlp", (5,)), ("mlp", (1, 5)), ("unet", (5, 5)), ("dit", (5, 5, 5))])
def test_as_many_rows_as_dimensions(kind, shape):
    """With n == d a time per row could be taken for a time per column: each row sees its own x and t only."""
    x, t = inputs(5, shape)
    net = wake(BUILD[kind](shape))
    whole = net(x, t)
    for i in range(5):
        close(net(x[i : i + 1], t[i : i + 1]), whole[i : i + 1])
    later = t.clone()
    later[2] += 0.1
    changed = ((net(x, later) - whole).abs() > 1e-4).flatten(1).any(1)
    assert changed.tolist() == [False, False, True, False, False]


@every_net
def test_state_dict_brings_the_function_along(kind):
    x, t = inputs(6, (2, 5, 6))
    y = mixed((2, 5, 6))
    a, b = wake(BUILD[kind]((2, 5, 6), CONDITIONS)), BUILD[kind]((2, 5, 6), CONDITIONS)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(x, t, y), b(x, t, y))


@every_net
def test_exact_divergence_goes_through(kind):
    """By forward mode in the package, by reverse mode here; fused attention knows the second only."""
    shape = (1, 4, 5)
    x, t = inputs(2, shape, torch.float64)
    net = wake(BUILD[kind](shape)).double()
    jacobian = torch.autograd.functional.jacobian(lambda z: net(z, t).sum(0).flatten(), x).flatten(2)
    torch.testing.assert_close(
        divergence(lambda z: net(z, t), x), jacobian.diagonal(dim1=0, dim2=2).sum(1), rtol=1e-9, atol=1e-9
    )


# -- conditions --------------------------------------------------------------------------------------------------------


@every_net
def test_no_condition_in_any_words_is_one_function(kind):
    shape = (2, 5, 6)
    x, t = inputs(6, shape)
    net = wake(BUILD[kind](shape, CONDITIONS))
    bare = net(x, t)
    none = {
        "species": torch.full((6,), -1),
        "price [eur]": torch.full((6, 2), math.nan),
        "a.b": torch.full((6, 2, 5, 6), math.nan),
    }
    assert torch.equal(net(x, t, none), bare)
    assert torch.equal(net(x, t, {}), bare)
    for name in none:
        assert torch.equal(net(x, t, {name: none[name]}), bare)
        others = {other: v for other, v in mixed(shape).items() if other != name}
        assert torch.equal(net(x, t, others), net(x, t, {**others, name: none[name]}))


@every_net
def test_each_condition_is_heard_in_its_own_row(kind):
    shape = (2, 5, 6)
    x, t = inputs(6, shape)
    y = mixed(shape)
    net = wake(BUILD[kind](shape, CONDITIONS))
    whole = net(x, t, y)
    for name, value in (("species", 1), ("species", -1), ("price [eur]", 0.7), ("price [eur]", math.nan), ("a.b", 0.3)):
        other = {**y, name: y[name].clone()}
        other[name][0] = value
        changed = ((net(x, t, other) - whole).abs() > 1e-4).flatten(1).any(1)
        assert changed.tolist() == [True] + [False] * 5, (name, value)


@every_net
@pytest.mark.parametrize("name", ["price [eur]", "a.b"])
def test_zero_and_unknown_are_told_apart(kind, name):
    shape = (2, 5, 6)
    x, t = inputs(6, shape)
    net = wake(BUILD[kind](shape, CONDITIONS))
    zero = torch.zeros_like(mixed(shape)[name])
    assert float((net(x, t, {name: zero}) - net(x, t)).abs().max()) > 1e-3


@every_net
def test_a_single_condition_needs_no_name(kind):
    x, t = inputs(3, (1, 4, 4))
    net = wake(BUILD[kind]((1, 4, 4), {"label": Classes(10)}))
    y = torch.tensor([9, -1, 0])
    assert torch.equal(net(x, t, y), net(x, t, {"label": y}))
    assert torch.equal(net(x, t, y)[1], net(x, t, torch.full((3,), -1))[1])


def test_an_mlp_of_vectors_takes_a_vector_beside_its_input():
    x, t = inputs(4, (3,))
    net = wake(MLP((3,), 32, 1, {"seen": SpatialCondition(2)}))
    y = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert net(x, t, y).shape == (4, 3) and not torch.equal(net(x, t, y), net(x, t))


def test_unconditional_mlp_has_the_weights_that_runs_have_saved():
    blocks = [f"blocks.0.{layer}" for layer in ("modulate", "up", "down")]
    layers = ["time.net.0", "time.net.2", "proj_in", *blocks, "norm", "proj_out"]
    assert list(MLP((2,), 32, 1).state_dict()) == [f"{layer}.{p}" for layer in layers for p in ("weight", "bias")]


ONE = {"label": Classes(3)}
WRONG = {
    "no conditions": (None, torch.zeros(4, dtype=torch.int64), "built without conditions"),
    "no conditions by name": (None, {"label": torch.zeros(4, dtype=torch.int64)}, "built without conditions"),
    "a bare tensor for several": (CONDITIONS, torch.zeros(4, dtype=torch.int64), "give a dict"),
    "an unknown name": (ONE, {"labels": torch.zeros(4, dtype=torch.int64)}, "unknown condition 'labels'.*'label'"),
    "too many labels": (ONE, torch.zeros(5, dtype=torch.int64), r"integers \[4\].*int64 \[5\]"),
    "one-hot labels": (ONE, torch.zeros(4, 3, dtype=torch.int64), r"int64 \[4, 3\]"),
    "float labels": (ONE, torch.zeros(4), r"float32 \[4\]"),
    "a class too high": (ONE, torch.tensor([0, 1, 3, 2]), "classes 0 to 2, and -1 for none, not 3"),
    "a class too low": (ONE, torch.tensor([0, 1, -2, 2]), "not -2"),
    "a narrow vector": ({"v": Vector(2)}, torch.zeros(4, 1), r"floats \[4, 2\].*float32 \[4, 1\]"),
    "an integer vector": ({"v": Vector(2)}, torch.zeros(4, 2, dtype=torch.int64), r"int64 \[4, 2\]"),
    "a small picture": ({"p": SpatialCondition(1)}, torch.zeros(4, 1, 2, 2), r"floats \[4, 1, 4, 4\].*\[4, 1, 2, 2\]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_conditions_are_refused_in_words(case):
    conditions, y, message = WRONG[case]
    x, t = inputs(4, (1, 4, 4))
    with pytest.raises(ValueError, match=message):
        DiT((1, 4, 4), 32, 1, 2, conditions)(x, t, y)


@pytest.mark.parametrize("kind", [Classes(0), Vector(0), SpatialCondition(-1)])
def test_empty_conditions_are_refused(kind):
    with pytest.raises(ValueError, match=r"condition 'c'.*at least 1"):
        MLP((2,), 32, 1, {"c": kind})


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_net
def test_times_half_a_hundredth_apart_are_told_apart(kind, dtype):
    # at 16 turns per unit, 0.005 is 0.08 turns: half a radian. Rounding is 1e-7 of the signal, 1e-2 in bfloat16
    a, b = torch.tensor([0.5]), torch.tensor([0.505])
    embed = wake(FourierTime(64)).to(dtype)
    assert float((embed(a) - embed(b)).float().norm() / embed(a).float().norm()) > 0.03
    net, x = wake(BUILD[kind]((2, 4, 4))).to(dtype), inputs(1, (2, 4, 4), dtype)[0]
    assert not torch.equal(net(x, a), net(x, b))


def test_embedding_of_time():
    embed = FourierTime(48)
    assert embed(torch.rand(5)).shape == (5, 48)
    assert embed(torch.rand(1)).shape == (1, 48)
    assert bool(embed(torch.tensor([0.0, 1.0])).isfinite().all())
    # the slowest wave turns by an eighth over the unit interval, so its sine only rises: no two times look the same
    assert float(embed.frequencies.min()) == pytest.approx(1 / 8)
    assert float(embed.frequencies.max()) == pytest.approx(16)


def test_time_keeps_its_precision_when_the_weights_do_not():
    # t = 0.503 would be 0.504 in bfloat16, and the fastest wave a tenth of a radian off; weights err by 4e-3 each
    t = torch.linspace(0, 1, 37)
    wide, narrow = wake(FourierTime(64)), wake(FourierTime(64)).bfloat16()
    assert float((narrow(t) - wide(t)).norm() / wide(t).norm()) < 0.01


# -- space -------------------------------------------------------------------------------------------------------------


@every_net
def test_wrong_points_are_refused_in_words(kind):
    x, t = inputs(4, (3, 4, 5))
    with pytest.raises(ValueError, match=r"x \[n, 3, 5, 4\].*x \[4, 3, 4, 5\] and t \[4\]"):
        BUILD[kind]((3, 5, 4))(x, t)


@every_spatial_net
@pytest.mark.parametrize("shape", [(8,), (1, 2, 2, 2, 2), (1, 0, 4)])
def test_networks_of_space_refuse_what_has_none(kind, shape):
    with pytest.raises(ValueError, match="one to three axes"):
        BUILD[kind](shape)


@pytest.mark.parametrize("wrong", [{"width": 18}, {"depth": 0}, {"multipliers": ()}, {"multipliers": (1, 0)}])
def test_impossible_unets_are_refused(wrong):
    with pytest.raises(ValueError, match="multiple of 4 and at least one block"):
        UNet((1, 4, 4), **{"width": 16, **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"), [({"patch": 0}, "patch"), ({"depth": 0}, "depth"), ({"width": 3}, "width")]
)
def test_impossible_transformers_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        DiT((1, 4, 4), **{"width": 32, **wrong})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("multiple", [1, 2, 4])
def test_crop_undoes_pad(shape, multiple):
    x, _ = inputs(2, shape)
    wide = pad(x, multiple)
    assert all(0 <= s - old < multiple and s % multiple == 0 for s, old in zip(wide.shape[2:], shape[1:], strict=True))
    assert torch.equal(crop(wide, shape[1:]), x)


def test_padding_repeats_the_border_on_both_sides():
    x = torch.tensor([[[1.0, 2, 3, 4, 5]]])
    assert pad(x, 4).tolist() == [[[1, 1, 2, 3, 4, 5, 5, 5]]]


@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 8), (1, 2, 4, 6)])
def test_tokens_are_patches_of_the_grid(shape):
    x, _ = inputs(2, shape)
    net = DiT(shape, 32, 1)
    tokens = net.tokens(x)
    assert tokens.shape == (2, math.prod(s // 2 for s in shape[1:]), shape[0] * 2 ** len(shape[1:]))
    assert torch.equal(net.points(tokens), x)
    # the second token is the next patch along the last axis
    patch = x[(slice(None), slice(None), *[slice(0, 2)] * (len(shape) - 2), slice(2, 4))]
    assert torch.equal(tokens[:, 1], patch.flatten(1))


@pytest.mark.parametrize("grid", [(7,), (1,), (64,), (3, 9), (4, 3, 5)])
def test_places_are_told_apart_near_ones_least(grid):
    table = positions(grid, 32)
    assert table.shape == (math.prod(grid), 32)
    distance = torch.cdist(table, table) + torch.eye(len(table)) * 9
    assert float(distance.min()) > 0.5
    first = distance.reshape(*grid, *grid)[(0,) * len(grid)]
    along = first[(0,) * (len(grid) - 1)][1:]  # from the first place, along the last axis
    assert len(along) < 2 or float(along.min()) == pytest.approx(float(along[0]))


def test_the_transformer_knows_where_a_token_stands():
    t = torch.tensor([0.5])
    p = wake(DiT((1, 4, 4), 32, 1))(torch.zeros(1, 1, 4, 4), t)
    assert float((p[..., :2, :2] - p[..., :2, 2:]).abs().max()) > 1e-3


def test_far_corners_of_a_unet_hear_each_other_by_attention_alone():
    x, t = inputs(1, (1, 64), torch.float64)
    x.requires_grad_()
    reach = []
    for most in (0, 16, 32):
        net = wake(UNet((1, 64), 16, 1, (1, 2, 2), most)).double()
        # group norm tells everyone the mean and the variance, so it is switched off to see what is left
        for layer in net.modules():
            if isinstance(layer, nn.GroupNorm):
                layer.forward = lambda h: h
        (grad,) = torch.autograd.grad(net(x, t)[0, 0, 0], x)
        reach.append(
            (float(grad[0, 0, 63].abs()) > 0, sum(isinstance(layer, unet.SelfAttention) for layer in net.modules()))
        )
    assert reach == [(False, 0), (True, 3), (True, 5)]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("tokens", [5, 70])
def test_attention_is_that_of_the_formula(compiled, tokens, monkeypatch):
    """One row of one head at a time in numpy; a compiler for CPUs sees another call where tokens are few."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiled)
    fused, calls = torch.nn.functional.scaled_dot_product_attention, []
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *qkv: calls.append(1) or fused(*qkv)
    )
    torch.manual_seed(0)
    net, h = attention.Attention(128).double(), torch.randn(2, tokens, 128, dtype=torch.float64)
    found = net(h)
    assert len(calls) == (0 if compiled and tokens == 5 else 1)
    entered = h.numpy() @ net.proj_in.weight.detach().numpy().T + net.proj_in.bias.detach().numpy()
    q, k, v = np.split(entered, 3, axis=2)
    mixed = np.empty((2, tokens, 128))
    for n, head, i in np.ndindex(2, 2, tokens):
        mine = slice(64 * head, 64 * (head + 1))
        weight = np.exp(k[n, :, mine] @ q[n, i, mine] / 8)
        mixed[n, i, mine] = weight @ v[n, :, mine] / weight.sum()
    goal = mixed @ net.proj_out.weight.detach().numpy().T + net.proj_out.bias.detach().numpy()
    np.testing.assert_allclose(found.detach().numpy(), goal, rtol=0, atol=1e-12)  # numbers of order 1 in float64


def test_blocks_begin_as_the_identity():
    g = torch.Generator().manual_seed(0)
    h, c = torch.randn(2, 8, 4, 4, generator=g), torch.randn(2, 16, generator=g)
    assert torch.equal(unet.UNetBlock(2, 8, 8, 16, True)(h, c), h)
    assert torch.equal(dit.DiTBlock(8, 16)(h.flatten(2).mT, c), h.flatten(2).mT)


def test_the_way_up_of_a_unet_sees_the_way_down():
    x, t = inputs(2, (1, 8, 8))
    net = wake(UNet((1, 8, 8), 16, 2, (1, 2)))
    for p in net.grow.parameters():  # nothing comes up from below
        p.zero_()
    assert float((net(x, t) - net(x.flip(3), t)).abs().max()) > 1e-2


@every_spatial_net
def test_learns_eight_images(kind):
    """A regression that nothing but the images and their times can solve: half of the signal is in the time."""
    g = torch.Generator().manual_seed(0)
    x, t = torch.randn(8, 1, 6, 6, generator=g), torch.linspace(0, 1, 8)
    goal = torch.where((torch.arange(8) % 2 == 0)[:, None, None, None], x.flip(3), -x)
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        net = UNet((1, 6, 6), 16, 1, (1, 2)) if kind == "unet" else DiT((1, 6, 6), 64, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (net(x, t) - goal).square().mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05  # 1 at the start


def rows_near_a_curve(n, g):
    """(a, sin 2a + e), with a normal and e of deviation 0.01: [n, 2]."""
    a = torch.randn(n, generator=g)
    return torch.stack([a, torch.sin(2 * a) + 0.01 * torch.randn(n, generator=g)], 1)


def velocity_near_a_curve(x, t):
    """E[x_1 - x_0 | x_t = x] of these rows by quadrature over a, given which all is Gaussian."""
    a = torch.linspace(-5, 5, 20_001, dtype=torch.float64)
    s = torch.sin(2 * a)
    first, second = x.double().T[:, :, None]
    along, across = (1 - t) ** 2, (0.01 * t) ** 2 + (1 - t) ** 2
    share = torch.softmax(-(a**2) / 2 - (first - t * a) ** 2 / 2 / along - (second - t * s) ** 2 / 2 / across, 1)
    given = a - (first - t * a) / (1 - t), s + (0.01**2 * t - (1 - t)) / across * (second - t * s)
    return torch.stack([(share * v).sum(1) for v in given], 1)


@pytest.mark.usefixtures("unchecked")
def test_waves_tell_apart_what_is_close_together():
    """At most 0.7 of a plain network's error against the exact velocity, where noise is 10 and 3 times theirs."""
    errors = {}
    for kind in (MLP, Tabular):
        g = torch.Generator().manual_seed(1)
        with torch.random.fork_rng():
            torch.random.manual_seed(0)
            net = kind((2,), 64, 2)
        adam, steps = torch.optim.Adam(net.parameters()), 300
        for step in range(steps):
            adam.param_groups[0]["lr"] = 5e-3 * (1 + math.cos(math.pi * step / steps)) / 2
            t = torch.sigmoid(1.5 + 2.2 * torch.randn(512, generator=g))
            x1, x0 = rows_near_a_curve(512, g), torch.randn(512, 2, generator=g)
            loss = (net(t[:, None] * x1 + (1 - t[:, None]) * x0, t) - (x1 - x0)).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        errors[kind] = []
        for noise in (0.1, 0.03):
            x = (1 - noise) * rows_near_a_curve(300, g) + noise * torch.randn(300, 2, generator=g)
            exact = velocity_near_a_curve(x, 1 - noise)
            with torch.no_grad():
                error = net(x, torch.full((300,), 1 - noise)) - exact
            errors[kind].append(float(error.square().mean() / exact.square().mean()))
    assert all(ours < 0.7 * plain for plain, ours in zip(errors[MLP], errors[Tabular], strict=True))


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NETS)
def test_sizes_grow(kind):
    with torch.device("meta"):
        nets = [sized(kind, (1, 28, 28), size, {"label": Classes(10)}) for size in SIZES]
    assert list(SIZES) == list(NETS[kind].sizes)
    for measure in (count_parameters, lambda net: flops(net, (1, 28, 28))):
        costs = [measure(net) for net in nets]
        assert all(2 * small < large for small, large in itertools.pairwise(costs)), costs


def test_tokens_and_levels_follow_the_size_of_the_image():
    assert halvings((28, 28), 64) == 2 and halvings((8, 8), 64) == 0 and halvings((1, 1000), 64) == 4
    assert sized("dit", (1, 28, 28), "small").patch == 4 and sized("dit", (3, 64, 64), "small").patch == 8
    assert len(sized("unet", (1, 28, 28), "tiny").down) == 3 and len(sized("unet", (1, 8, 8), "tiny").down) == 2


@every_net
def test_any_size_runs_on_an_odd_image(kind):
    x, t = inputs(2, (3, 9, 14))
    net = sized(kind, (3, 9, 14), "tiny", {"label": Classes(2), "image": SpatialCondition(1)})
    assert net(x, t, {"label": torch.tensor([1, -1])}).shape == x.shape


def test_unknown_kind_and_size_are_named():
    with pytest.raises(ValueError, match="unknown network 'unit'; did you mean 'unet'"):
        sized("unit", (1, 8, 8))
    with pytest.raises(ValueError, match="unknown size 'big'"):
        sized("mlp", (2,), "big")


def test_parameters_and_flops_by_hand():
    w, tokens, d = 32, 16, 4  # width, tokens, features of a patch of 2 x 2
    net = DiT((1, 8, 8), w, 1, 2)
    linear = 2 * tokens * (d * w + 3 * w * w + w * w + 8 * w * w + w * d)
    attention = 2 * 2 * tokens * tokens * w
    modulation = 2 * (6 * w * w + 2 * w * w) + 2 * (32 * w + w * w)
    assert flops(net, (1, 8, 8)) == linear + attention + modulation
    assert count_parameters(nn.Linear(3, 5)) == 20
    assert next(net.parameters()).device.type == "cpu"
    assert count_parameters(net.requires_grad_(False)) == 0


# -- diffusers ---------------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self, sample):
        self.sample = sample


class TheirUNet(nn.Module):
    """The call of diffusers' UNet2DModel, with an answer that shows what it was given."""

    def __init__(self, labelled, channels=1):
        super().__init__()
        self.gain, self.labelled, self.channels = nn.Parameter(torch.ones(())), labelled, channels

    def forward(self, sample, timestep, class_labels=None, return_dict=True):
        assert return_dict and (class_labels is None) != self.labelled
        shown = timestep if class_labels is None else timestep + 10_000 * class_labels
        mean = self.gain * sample + shown[:, None, None, None]
        return Answer(torch.cat([mean - i for i in range(self.channels)], 1))


class TheirTransformer(TheirUNet):
    """The call of diffusers' DiTTransformer2DModel."""

    def forward(self, hidden_states, timestep=None, class_labels=None, cross_attention_kwargs=None, return_dict=True):
        assert cross_attention_kwargs is None
        return super().forward(hidden_states, timestep, class_labels, return_dict)


@pytest.mark.parametrize("theirs", [TheirUNet, TheirTransformer])
def test_diffusers_networks_are_called_their_way(theirs):
    x, t = torch.zeros(3, 1, 2, 2), torch.tensor([0.0, 0.25, 1.0])
    assert FromDiffusers(theirs(False))(x, t)[:, 0, 0, 0].tolist() == [0, 250, 1000]
    assert FromDiffusers(theirs(False), scale=1)(x, torch.tensor([0, 7, 999]))[:, 0, 0, 0].tolist() == [0, 7, 999]
    net = FromDiffusers(theirs(True), unlabelled=5)
    y = torch.tensor([2, -1, 0])
    assert net(x, t, y)[:, 0, 0, 0].tolist() == [20_000, 50_250, 1000]
    assert torch.equal(net(x, t), net(x, t, torch.full((3,), -1)))
    net(x, t).sum().backward()
    assert net.net.gain.grad is not None
    assert torch.equal(FromDiffusers(theirs(True))(x, t, y.abs())[:, 0, 0, 0], torch.tensor([20_000.0, 10_250, 1000]))


def test_a_learned_variance_is_left_out_and_other_answers_are_refused():
    x, t = torch.zeros(3, 1, 2, 2), torch.rand(3)
    assert torch.equal(FromDiffusers(TheirUNet(False, channels=2))(x, t), FromDiffusers(TheirUNet(False))(x, t))
    with pytest.raises(ValueError, match=r"answers \[3, 3, 2, 2\] for points of shape \[3, 1, 2, 2\]"):
        FromDiffusers(TheirUNet(False, channels=3))(x, t)
    with pytest.raises(ValueError, match="unlabelled"):
        FromDiffusers(TheirUNet(True))(x, t, torch.tensor([0, -1, 2]))
