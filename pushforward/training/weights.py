"""How a process holds the weights in training, with their gradients and averages: all of them, or a part (`shard`)."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast, final

import torch
from torch import Tensor, nn

from pushforward.distributed import Processes

__all__ = ["TAIL", "Flat", "Weights", "flatten"]

TAIL = 4  # numbers that travel with the gradient: votes to stop, share of the time used, seconds of a step, loss


class Weights(ABC):
    """The trainable weights of ``net`` and two averages of them, of which ``ema`` is the network of one.

    ``parts`` are what this process updates, gradients in their ``grad``; ``average`` and ``sharp`` are of their shapes.
    ``numbers`` are summed over the processes together with the gradients. What is called whole is of all processes, and
    in the order of the network's parameters: its making is a matter for all of them, unless the weights are flat.
    """

    net: nn.Module
    ema: nn.Module
    processes: Processes
    parts: list[nn.Parameter]
    average: list[Tensor]
    sharp: list[Tensor]
    numbers: Tensor

    @property
    def size(self) -> int:
        """How many numbers the whole of the trainable weights is."""
        return sum(p.numel() for p in self.net.parameters() if p.requires_grad)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.parts[0].device

    @abstractmethod
    def zero(self) -> None:
        """Forget the gradients."""

    @abstractmethod
    def sum_(self) -> None:
        """Sum gradients and ``numbers`` over the processes."""

    @abstractmethod
    def norm(self) -> Tensor:
        """The norm of the whole gradient, after `sum_`."""

    @abstractmethod
    def named(self, net: nn.Module) -> dict[str, Tensor]:
        """The whole ``state_dict`` of ``net`` or ``ema``; of use in the main process only."""

    @abstractmethod
    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Tensors like ``parts`` as one whole vector; of use in the main process only."""

    @abstractmethod
    def put_named(self, net: nn.Module, whole: dict[str, Tensor] | None) -> None:
        """The inverse of `named`, by all processes; None in all but the main one."""

    @abstractmethod
    def put_joined(self, parts: Sequence[Tensor], whole: Tensor | None) -> None:
        """The inverse of `joined`, by all processes; None in all but the main one."""

    @abstractmethod
    def watched(self) -> AbstractContextManager[None]:
        """Within it the loss of a process while networks are evaluated is a LostProcess."""

    def scale_(self, factor: Tensor) -> None:
        """Multiply the gradients."""
        for part in self.parts:
            cast(Tensor, part.grad).mul_(factor)

    def take_average(self, shares: tuple[float, float]) -> None:
        """Let the averages know the weights after a step, which count in them for so much."""
        weights = [part.detach() for part in self.parts]
        for average, weight in zip((self.average, self.sharp), shares, strict=True):
            torch._foreach_lerp_(average, weights, weight)

    def finite(self) -> bool:
        """Whether all numbers of this process's part of the average are."""
        return all(bool(part.isfinite().all()) for part in self.average)


@final
class Flat(Weights):
    """All of the weights in one buffer, all gradients in another: the least work beside a small network."""

    def __init__(self, net: nn.Module, processes: Processes) -> None:
        processes.broadcast_([value.detach() for value in net.state_dict().values()])
        self.net, self.ema, self.processes = net, copy.deepcopy(net), processes
        weights = flatten(net, gradients=True, tail=TAIL)
        self.parts, self.average = [weights], [flatten(self.ema, gradients=False).detach()]
        self.ema.requires_grad_(False)
        self.sharp = [self.average[0].clone()]
        self._gradient = cast(Tensor, weights.grad)
        self._shared = self._gradient.as_strided((weights.numel() + TAIL,), (1,))
        self.numbers = self._shared[weights.numel() :]

    def zero(self) -> None:
        self._shared.zero_()

    def sum_(self) -> None:
        self.processes.sum_(self._shared)

    def norm(self) -> Tensor:
        return cast(Tensor, torch.linalg.vector_norm(self._gradient))

    def named(self, net: nn.Module) -> dict[str, Tensor]:
        return {key: value.detach() for key, value in net.state_dict().items()}

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        return parts[0].detach()

    def put_named(self, net: nn.Module, whole: dict[str, Tensor] | None) -> None:
        here = self.named(net)
        for key, value in (whole or {}).items():
            here[key].copy_(value)  # views of the buffers in use
        self.processes.broadcast_(list(here.values()))

    def put_joined(self, parts: Sequence[Tensor], whole: Tensor | None) -> None:
        if whole is not None:
            parts[0].detach().copy_(whole)
        self.processes.broadcast_([parts[0].detach()])

    def watched(self) -> AbstractContextManager[None]:
        return nullcontext()


def flatten(net: nn.Module, gradients: bool, tail: int = 0) -> nn.Parameter:
    """Put all trainable parameters, and their gradients, into one buffer each; they become views of it.

    The optimizer, the clipping, the average and the sum over processes are then one kernel each instead of one per
    parameter, which is a quarter of the time of a step of a small network. Names, shapes and ``state_dict`` stay as
    they were. The buffer of the gradients goes on for ``tail`` more numbers.
    """
    params = [p for p in net.parameters() if p.requires_grad]
    if len({(p.dtype, p.device) for p in params}) != 1:
        raise ValueError("all trainable parameters must have one dtype and one device")
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in params]))
    sizes = [p.numel() for p in params]
    for p, value in zip(params, flat.detach().split(sizes), strict=True):
        p.data = value.view_as(p)
    if gradients:
        flat.grad = flat.detach().new_zeros(flat.numel() + tail)[: flat.numel()]
        for p, grad in zip(params, flat.grad.split(sizes), strict=True):
            p.grad = grad.view_as(p)
    return flat
