"""What goes wrong in training: skipped steps, spikes, data that cannot be prepared, time that runs out."""

import math
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from pushforward.errors import InputError
from pushforward.training import Budget, Feed, Hooks, OptimizerConfig, Stages, TrainingOptions, fit
from pushforward.training.budget import TimeBudget
from pushforward.training.checkpoint import numbered

OPTIMISER = OptimizerConfig(lr=0.01, warmup=0, weight_decay=0.1, clip=1.0, ema=7.0)


def rows(step):
    return torch.randn(16, 2, generator=torch.Generator().manual_seed(step))


def square(net, x, generator):
    return (net(x) - 1).square().sum(1)


def linear():
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.5, -1.0]]))
        net.bias.zero_()
    return net


def train(loss=square, feed=rows, steps=100, folder=None, **how):
    how = {"budget": Budget(steps, None), "checkpoint_every": 10_000} | how
    hooks = Hooks(**{name: how.pop(name) for name in ("warn", "on_checkpoint") if name in how})
    return fit(linear(), loss, feed, how.pop("budget"), OPTIMISER, hooks, TrainingOptions(folder=folder, **how))


# ---- steps that are not finite


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(what):
    """Three bad batches among forty: the same weights as of the good ones alone, at the same rates."""
    bad, warnings, reports = {5, 20, 21}, [], []

    def loss(net, x, generator):
        out = square(net, x[:, :2], generator)
        if bool((x[:, 2] == 0).all()):
            return out
        # the gradient of the root of 0 is infinite, and its value is not
        return out * float("inf") if what == "loss" else out + (0 * net(x[:, :2])[:, 0]).abs().sqrt()

    def feed(step):
        return torch.cat([rows(step), torch.full((16, 1), float(step in bad))], 1)

    class Constant(OptimizerConfig):
        def rate(self, step, spent):
            return self.lr

    optimizer = Constant(lr=0.01, warmup=0, weight_decay=0.1, clip=1.0, ema=7.0)
    hooks, options = Hooks(warn=warnings.append, on_report=reports.append), TrainingOptions(report_every=10)
    state, _ = fit(linear(), loss, feed, Budget(40, None), optimizer, hooks, options)
    good = [step for step in range(40) if step not in bad]
    reference, _ = fit(
        linear(), square, lambda k: rows(good[k]), Budget(37, None), optimizer, Hooks(on_report=reports.append), options
    )
    assert torch.equal(state.weights.parts[0], reference.weights.parts[0])
    assert [p.skipped for p in reports[:4]] == [1, 1, 3, 3] and state.skipped == 3 and reference.skipped == 0
    assert all(math.isfinite(p.loss) and math.isfinite(p.grad_norm) for p in reports)
    assert len(warnings) == 2 and "step 5 was skipped" in warnings[0] and "step 20 was skipped" in warnings[1]


def test_checkpoints_are_not_taken_while_steps_fail(tmp_path):
    def loss(net, x, generator):
        return square(net, x, generator) * (float("nan") if bool(x[0, 0] == 7) else 1.0)

    def feed(step):
        return torch.full((4, 2), 7.0) if 15 <= step < 22 else rows(step)

    train(loss, feed, 30, tmp_path, checkpoint_every=10, keep=9)
    assert [p.name for p in numbered(tmp_path)] == ["step-10", "step-30"]


def test_spikes_are_told_and_ordinary_losses_are_not():
    warnings = []

    def loss(net, batch, generator):
        return (square(net, batch[0], generator) + 1) * batch[1]

    def feed(step):
        return rows(step), torch.tensor(1000.0 if step in (120, 121, 300) else 1.0)

    state, _ = train(loss, feed, steps=400, warn=warnings.append)
    assert [words.split(":")[0] for words in warnings] == ["step 120", "step 300"] and state.skipped == 0
    assert "jumped" in warnings[0]
    train(steps=400, warn=warnings.append)
    assert len(warnings) == 2


# ---- preparing data


def pools(background, fail_at=None, batch=4, pool=8):
    threads, resting = set(), set()

    def prepare(x, y, g):
        threads.add(threading.current_thread().name)
        noise = torch.randn(x.shape, generator=g)
        if fail_at is not None and len(threads) > fail_at:
            raise ZeroDivisionError("a column of zeros")
        return (x + noise).split(batch)

    def solve(part):
        resting.add(threading.current_thread().name)
        return -part

    def finish(parts, g):
        assert threading.current_thread() is threading.main_thread()
        return list((torch.cat(parts) * torch.rand((), generator=g)).split(batch))

    x = torch.arange(200.0).reshape(100, 2)
    return (
        Feed(x, None, batch, 3, Stages(prepare, solve, finish), pool=pool, background=background),
        threads,
        resting,
    )


def test_batches_prepared_in_the_background_are_the_same():
    (plain, *alone), (ahead, *there), (partly, *both) = pools("none"), pools("all"), pools("solve")
    for step in [*range(100), 40, 3, 99, 0]:
        batch = plain(step)
        assert torch.equal(batch, ahead(step)) and torch.equal(batch, partly(step)), step
    assert alone == [{"MainThread"}] * 2 and all(len(threads) > 5 for threads in there)
    assert both[0] == {"MainThread"} and len(both[1]) > 5
    ahead.close(), partly.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pool")]


@pytest.mark.parametrize("background", ["all", "solve", "none"])
@pytest.mark.parametrize("where", ["prepare", "between", "solve"])
def test_data_that_cannot_be_prepared_are_one_clear_error(where, background):
    def refuse(x):
        if bool((x == 120.0).any()):  # in the order of the rows, somewhere in the first epoch
            raise ZeroDivisionError("a column\nof zeros")
        return x

    def prepare(x, y, g):
        x = refuse(x) if where == "prepare" else x
        return (refuse(part) if where == "between" else part for part in x.split(4))

    def solve(part):
        return refuse(part) if where == "solve" else part

    feed = Feed(torch.arange(200.0).reshape(100, 2), None, 4, 3, Stages(prepare, solve), pool=8, background=background)
    with pytest.raises(InputError, match=r"^the batch of step \d+ could not be prepared: ZeroDivisionError: a col"):
        train(feed=feed)
    feed.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pool")]


# ---- minutes


@pytest.mark.parametrize(
    ("step", "saving"), [(0.001, 0.0), (0.35, 0.0), (0.02, 0.4)], ids=["quick", "slow-step", "slow-save"]
)
def test_minutes_are_respected_with_slow_steps_and_slow_saves(step, saving, tmp_path):
    def loss(net, x, generator):
        time.sleep(step)
        return square(net, x, generator)

    began = time.monotonic()
    _, finished = train(
        loss,
        folder=tmp_path,
        budget=Budget(None, 2.5 / 60),
        on_checkpoint=lambda ema, number: time.sleep(saving),
        checkpoint_every=40,
        report_every=20,
    )
    took = time.monotonic() - began
    assert finished and 1.2 < took < 3.2
    # what is finished stays so
    before = numbered(tmp_path)[-1].name
    train(folder=tmp_path, budget=Budget(None, 2.5 / 60))
    assert numbered(tmp_path)[-1].name == before


def test_clock_leaves_time_for_a_step_and_a_save(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = TimeBudget(Budget(None, 1.0), 10.0, 0)
    clock.saving, clock.reporting = 4.0, 1.0
    for seconds, used in ((5, 15), (10, 25), (12, 37)):
        now[0] += seconds
        assert clock.used() == pytest.approx(used * 60 / 55)
    now[0] += 12  # 49: another step of 12 would end at 61, the save at 66
    assert clock.used() == 60
    assert TimeBudget(Budget(10, None), 7.0, 10**12).used() == pytest.approx(7.0)
    untimed = TimeBudget(Budget(None, 1.0), 0.0, 0, closing_cost=5.0)  # what was never timed is taken for five steps
    now[0] += 4
    assert untimed.used() == pytest.approx(4 * 60 / 40)


def test_warm_up_is_a_tenth_of_the_budget_at_most():
    def rates(steps, warmup):
        how = OptimizerConfig(lr=1.0, warmup=warmup, weight_decay=0.0, clip=1.0, ema=7.0)
        decay = (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2
        return np.array([how.rate(k, k / steps) for k in range(steps)]) / decay

    short, long = rates(200, 500), rates(10_000, 500)
    np.testing.assert_allclose(short[20:], 1.0)
    np.testing.assert_allclose(short[1:20], np.arange(1, 20) / 20)
    np.testing.assert_allclose(long[:500], np.arange(1, 501) / 500)
    assert short[0] > 0 and (long[500:] == pytest.approx(1.0))
