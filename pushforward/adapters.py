"""Other conventions in and out: clocks, signs and scales of other libraries as fields of ours, and back.

| convention | point | clock | prediction |
|---|---|---|---|
| ours | ``alpha_t data + beta_t noise`` | t: 0 noise, 1 data | any |
| data first (rectified flow) | ``(1 - t) data + t noise`` | t: 0 data, 1 noise | ``noise - data`` |
| diffusers' flow schedulers | the same, ``t = sigma`` | ``1000 sigma`` | ``noise - data`` |
| EDM (Karras et al. 2022) | ``data + sigma noise`` | sigma | data |
| DDPM in diffusers and improved-diffusion | ``sqrt(abar_k) data + sqrt(1 - abar_k) noise`` | index from 0 | noise |

``from_*`` makes a `Learned` field of a foreign network, ``to_*`` a foreign network of any Gaussian field, whatever its
own schedule (`Rescheduled`). Each pair is the identity.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.field import Field, Learned, Rescheduled
from pushforward.path import Affine
from pushforward.schedule import EDM, CondOT, DDPMSchedule, Schedule
from pushforward.tensor import clock

__all__ = [
    "from_data_first",
    "from_ddpm",
    "from_diffusers_flow",
    "from_edm",
    "to_data_first",
    "to_ddpm",
    "to_diffusers_flow",
    "to_edm",
]

Network = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]  # (points [n, *d], clock [n], condition) -> [n, *d]


def _moved(field: Field, schedule: Schedule) -> Field:
    """The field on a Gaussian path of this schedule."""
    same = bool(field.path.predictions) and field.path.affine_schedule() == schedule
    return field if same else Rescheduled(field, Affine(schedule))


def from_data_first(net: Network) -> Learned:
    """A velocity network whose t = 0 is data: ``u_t = -net(x, 1 - t)`` on the straight path."""
    return Learned(lambda x, t, y: -net(x, 1 - t, y), Affine(CondOT()))


def to_data_first(field: Field) -> Network:
    """``(x, t, y) -> noise - data`` with t = 0 at the data."""
    moved = _moved(field, CondOT())
    return lambda x, t, y: -moved.velocity(x, 1 - clock(t, x), y=y)


def from_diffusers_flow(net: Network) -> Learned:
    """A network of diffusers' flow-matching schedulers: called with ``1000 sigma``, predicts ``noise - data``."""
    return from_data_first(lambda x, sigma, y: net(x, 1000 * sigma, y))


def to_diffusers_flow(field: Field) -> Network:
    """``(x, 1000 sigma, y) -> noise - data``."""
    net = to_data_first(field)
    return lambda x, timestep, y: net(x, clock(timestep, x) / 1000, y)


def from_edm(denoiser: Network, sigma_max: float = 80.0, rho: float = 7.0) -> Learned:
    """An EDM denoiser ``D(x, sigma, y)`` of ``x = data + sigma noise``, as a field on the `EDM` path."""
    schedule = EDM(0.0, sigma_max, rho)
    return Learned(lambda x, t, y: denoiser(x, schedule(t.double())[1].to(t), y), Affine(schedule), "data")


def to_edm(field: Field, sigma_max: float = 80.0, rho: float = 7.0) -> Network:
    """``(x, sigma, y) -> E[data | data + sigma noise = x]``, for ``0 <= sigma <= sigma_max``."""
    schedule = EDM(0.0, sigma_max, rho)
    moved = _moved(field, schedule)
    return lambda x, sigma, y: moved.data(x, schedule.time_of_log_snr(-clock(sigma, x).log()), y=y)


def from_ddpm(net: Network, schedule: DDPMSchedule) -> Learned:
    """A noise-predicting network called with an index from 0 to N - 1, as a field on that chain's path.

    Between the chain's own times the nearest index is asked.
    """
    last = len(schedule.betas) - 1

    def at_time(x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        return net(x, (schedule.index(t.double()).round() - 1).clamp(0, last).long(), y)

    return Learned(at_time, Affine(schedule), "noise")


def to_ddpm(field: Field, schedule: DDPMSchedule) -> Network:
    """``(x, index from 0, y) -> noise``."""
    moved = _moved(field, schedule)
    return lambda x, index, y: moved.noise(x, schedule.time_of(torch.as_tensor(index, device=x.device) + 1), y=y)
