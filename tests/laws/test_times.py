"""Laws of training times and of sampling grids."""

import math

import pytest
import torch

import pushforward as pf
from laws import inner, schedules

# distribution functions at a time, from the laws' definitions; `schedule` is that of the path
NORMAL = torch.distributions.Normal(0.0, 1.0)

LAWS = {
    "uniform": lambda t, schedule: t,
    "antithetic": lambda t, schedule: t,
    "even": lambda t, schedule: t,
    "logit_normal": lambda t, schedule: NORMAL.cdf(torch.logit(t)),
    "log_normal": lambda t, schedule: NORMAL.cdf((schedule.log_snr(t) - 1.2) / 1.2),
    "ladder": lambda t, schedule: sum((rung(schedule, i) <= schedule.log_snr(t)).double() for i in range(10)) / 10,
}


def rung(schedule, i, levels=10):
    alpha, beta = schedule(torch.zeros((), dtype=torch.float64))
    top = min(80.0, float(beta / alpha))
    return -(math.log(top) + i / (levels - 1) * (math.log(0.002) - math.log(top))) - 1e-9


@schedules
@pytest.mark.parametrize("name", pf.TIMES)
def test_time_law_stays_in_the_unit_interval_and_follows_its_generator(name, schedule):
    law, n = pf.TIMES[name](), 1000
    t = law(n, torch.Generator().manual_seed(5), schedule)
    assert t.dtype == torch.float64 and t.shape == (n,) and bool(((t >= 0) & (t < 1)).all())
    assert torch.equal(t, law(n, torch.Generator().manual_seed(5), schedule))
    assert law(1, torch.Generator(), schedule).shape == (1,)
    q = torch.sort(torch.cat([inner(schedule), torch.tensor([0.25, 0.5, 0.75])])).values
    if name not in LAWS:  # a law whose distribution nobody has stated yet
        return
    expected, share = LAWS[name](q, schedule), (t[:, None] <= q).double().mean(0)
    assert bool(((share - expected).abs() <= 5 * (expected * (1 - expected) / n).sqrt() + 1e-12).all())


@pytest.mark.parametrize("name", pf.TIMES)
def test_time_law_of_noise_levels_asks_for_the_schedule(name):
    law = pf.TIMES[name]()
    if name in ("log_normal", "ladder"):
        with pytest.raises(TypeError, match=f"{name}: .* give the schedule of the path"):
            law(3, torch.Generator())
    else:
        assert law(3, torch.Generator()).shape == (3,)


@pytest.mark.parametrize("name", pf.GRIDS)
def test_grid_of_noise_levels_asks_for_the_schedule(name):
    if name in ("shifted", "karras", "log_snr", "both_ends"):
        with pytest.raises(TypeError, match="give the schedule of the path"):
            pf.GRIDS[name](3)
    else:
        assert torch.equal(pf.GRIDS[name](3), pf.GRIDS[name](3, pf.VP()))


@schedules
@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("shift", [0.3, 1.0])
def test_shifted_grid_is_even_in_its_root(schedule, power, shift):
    alpha, beta = schedule(pf.GRIDS["shifted"](12, schedule, shift, power)[1:-1])
    ratio = beta / alpha  # shift left / (1 - left), and the root of left falls evenly
    root = (ratio / (shift + ratio)) ** (1 / power)
    torch.testing.assert_close(root.diff(), root.diff().mean().expand(10), rtol=1e-6, atol=1e-9)


@schedules
@pytest.mark.parametrize("name", pf.GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_grid_rises_from_source_to_data(name, steps, schedule):
    grid = pf.GRIDS[name](steps, schedule)
    assert grid.shape == (steps + 1,) and grid.dtype == torch.float64
    assert grid[0] == 0 and grid[-1] == 1 and bool((grid.diff() > 0).all())


@schedules
def test_grids_are_even_in_what_they_are_named_after(schedule):
    def even(values):
        torch.testing.assert_close(values.diff(), values.diff().mean().expand(len(values) - 1), rtol=1e-6, atol=1e-9)

    inner = lambda name, *numbers: pf.GRIDS[name](12, schedule, *numbers)[1:-1]  # noqa: E731
    ratio = lambda t: schedule(t)[1] / schedule(t)[0]  # noqa: E731
    even(schedule.log_snr(inner("log_snr")))
    even(ratio(inner("karras", 5.0)) ** (1 / 5))
    even(0.4 / (0.4 + ratio(inner("shifted", 0.4))))
    even(pf.GRIDS["linear"](12, schedule))
    even((1 - pf.GRIDS["quadratic"](12, schedule)).sqrt())
    even(torch.acos(1 - 2 * pf.GRIDS["cosine"](12, schedule)))
