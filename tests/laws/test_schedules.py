"""Laws of schedules: ends, derivatives, and times of a signal-to-noise ratio."""

import math

import pytest
import torch

import pushforward as pf
from laws import ENDS, SCHEDULES, START, inner, schedules


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_ends(name):
    alpha, beta = SCHEDULES[name](ENDS)
    assert alpha[1] == 1 and beta[1] == 0
    expected = START.get(name, (0.0, 1.0))
    assert (float(alpha[0]), float(beta[0])) == pytest.approx(expected, rel=1e-13, abs=1e-15)


@schedules
def test_schedule_signal_to_noise_rises(schedule):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert bool((schedule.log_snr(t).diff() > 0).all())


@schedules
def test_schedule_derivatives_are_finite_differences(schedule):
    h = 1e-6
    w = schedule.coefficients(inner(schedule))
    up, down = schedule(inner(schedule) + h), schedule(inner(schedule) - h)
    torch.testing.assert_close(w.d_alpha, (up[0] - down[0]) / (2 * h), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(w.d_beta, (up[1] - down[1]) / (2 * h), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(w.beta_d_beta, w.beta * w.d_beta, rtol=1e-12, atol=1e-14)


@schedules
def test_schedule_stated_rates_are_autodiff(schedule):
    t = torch.cat([ENDS, inner(schedule)])
    for stated, derived in zip(schedule.derivatives(t), pf.Schedule.derivatives(schedule, t), strict=True):
        torch.testing.assert_close(stated, derived, rtol=1e-12, atol=1e-14)


@schedules
def test_schedule_beta_d_beta_at_the_ends_is_a_one_sided_difference(schedule):
    h = 1e-7
    near = torch.tensor([h, 1 - h], dtype=torch.float64)
    slope = (schedule(near)[1].square() - schedule(ENDS)[1].square()) / (near - ENDS)
    torch.testing.assert_close(2 * schedule.coefficients(ENDS).beta_d_beta, slope, rtol=1e-4, atol=1e-5)


@schedules
def test_schedule_time_inverts_log_snr(schedule):
    torch.testing.assert_close(
        schedule.time_of_log_snr(schedule.log_snr(inner(schedule))), inner(schedule), rtol=1e-10, atol=1e-12
    )
    assert schedule.time_of_log_snr(torch.tensor([math.inf], dtype=torch.float64)) == 1
