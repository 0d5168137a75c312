"""Calls with arguments in the wrong place or of the wrong type: one sentence that says what to write."""

import jaxtyping
import pytest
import torch
from conftest import mixture

import pushforward as pf
from pushforward.progress import SILENT, Progress

FIELD, X = mixture(), torch.zeros(3, 2, dtype=torch.float64)

WRONG = {
    "a stepper by place": (
        lambda: pf.integrate(FIELD, X, pf.Heun()),
        TypeError,
        r"RungeKutta after them by its name, stepper=heun",
    ),
    "a stepper by its name in text": (
        lambda: pf.integrate(FIELD, X, stepper="heun"),
        TypeError,
        r'stepper is a str; write pf.Heun\(\) or pf.STEPPERS\["heun"\]\(\)',
    ),
    "steps by place": (lambda: pf.generate(FIELD, 4, (2,), 10), TypeError, r"int after them by its name, steps=10"),
    "a network for a field": (
        lambda: pf.integrate(torch.nn.Linear(2, 2), X),
        TypeError,
        r"field is a Linear; wrap a network, pf.Learned\(net, path\)",
    ),
    "the order of field and points": (lambda: pf.integrate(X, FIELD), TypeError, r"field is a Tensor"),
    "a condition by place": (
        lambda: pf.log_prob(FIELD, X, torch.zeros(3)),
        TypeError,
        r"Tensor after them by its name, y=tensor",
    ),
    "a shape by place": (
        lambda: pf.sample.tune(FIELD, 4, (2,)),
        TypeError,
        r"tuple after them by its name, shape=\(2,\)",
    ),
    "a number for a grid": (
        lambda: pf.integrate(FIELD, X, grid=20),
        TypeError,
        r"grid is a int; write a tensor of times",
    ),
    "steps and tol": (
        lambda: pf.integrate(FIELD, X, steps=2, tol=0.1),
        ValueError,
        r"give one of grid=, steps= and tol=",
    ),
    "a sampler and its parts": (
        lambda: pf.integrate(FIELD, X, sampler=pf.Sampler(steps=2), steps=3),
        ValueError,
        r"not both",
    ),
    "a stepper for a sampler": (
        lambda: pf.generate(FIELD, 2, (2,), sampler=pf.Heun()),
        TypeError,
        r"sampler is a RungeKutta; write pf.Sampler",
    ),
    "no steps": (lambda: pf.Sampler(steps=0), ValueError, r"steps=0: at least one"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_answered_by_one_sentence(name, monkeypatch):
    call, kind, words = WRONG[name]
    # the type checks of the test run would speak first
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(kind, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_one_value_samples_as_its_parts_do():
    grid = pf.GRIDS["cosine"](6)
    whole = pf.generate(FIELD, 5, (2,), sampler=pf.Sampler(pf.Heun(), grid), dtype=torch.float64)
    assert torch.equal(whole, pf.generate(FIELD, 5, (2,), stepper=pf.Heun(), grid=grid, dtype=torch.float64))
    assert not torch.equal(whole, pf.generate(FIELD, 5, (2,), dtype=torch.float64))


def test_progress_of_parts_fills_the_whole():
    seen = []
    whole = Progress.of(lambda share, words: seen.append((round(share, 6), words)))
    first, second = whole.part(0.0, 0.25, "one: "), whole.part(0.25, 1.0)
    first.steps(1, 2)
    second.part(0.5, 1.0)(1.0, "end")
    assert seen == [(0.125, "one: 1"), (1.0, "end")]
    SILENT.steps(1, 2)  # nobody is told
    assert Progress.of(whole) is whole and Progress.of(None).callback is None
