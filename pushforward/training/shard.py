"""Weights, gradients, moments and averages of which each process holds a part: FSDP2, ``fully_shard``.

Every tensor is cut along its first axis into as many chunks as there are processes. The blocks of a network are
gathered one by one while they are in use, and their gradients summed and cut up again as soon as they are known. What a
checkpoint holds is gathered by the main process, a tensor at a time, so that its files do not know of any of this.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from pushforward.distributed import Processes
from pushforward.errors import InputError
from pushforward.training.weights import TAIL, Weights

__all__ = ["Sharded", "blocks"]


def blocks(net: nn.Module) -> Iterator[nn.Module]:
    """What is gathered at a time: the entries of a network's lists of modules that hold parameters, outermost first."""
    for child in net.children():
        if isinstance(net, nn.ModuleList) and not isinstance(child, nn.ModuleList):
            if next(child.parameters(), None) is not None:
                yield child
        else:
            yield from blocks(child)


def _cut_up(net: nn.Module, processes: Processes, dtype: torch.dtype | None = None, trained: bool = True) -> None:
    """Leave of each parameter this process's part; ``net`` may be anywhere, and is then on the device."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise InputError(f"--shard: needs torch 2.8 or newer, not {torch.__version__}")
    mesh = init_device_mesh(torch.device(processes.device or "cpu").type, (processes.count,))
    # the casts that autocast makes of weights would be kept until the backward pass, for all blocks at once
    lower = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    plain = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for part in [*blocks(net), net]:
        policy = lower if dtype is not None and part is not net else plain
        # what is not in a block stays from the way forward to the way back; where there is none, it would stay for good
        stays = trained and part is net
        module: Any = fully_shard(part, mesh=mesh, mp_policy=policy, reshard_after_forward=not stays)
        module.set_gradient_divide_factor(1.0)  # sums: the loss is already over the rows of all processes
        module.set_force_sum_reduction_for_comms(True)


def _local(tensor: Any) -> Tensor:
    """This process's part, in the memory that the network uses."""
    return cast(Tensor, tensor.detach().to_local())


@final
class Sharded(Weights):
    """A part of the weights in each of several processes; ``dtype`` is that of the blocks' products, if a lower one."""

    def __init__(self, net: nn.Module, processes: Processes, dtype: torch.dtype | None = None) -> None:
        # the answer of a network is a view here and there, and nothing is written into it
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        self.net, self.ema, self.processes = net, copy.deepcopy(net).requires_grad_(False), processes
        trained = [p.requires_grad for p in net.parameters()]
        _cut_up(net, processes, dtype)
        _cut_up(self.ema, processes, trained=False)
        self._params: list[Any] = [p for p in net.parameters() if p.requires_grad]
        self._shapes = [p.shape for p in self._params]
        self.parts = [nn.Parameter(_local(p)) for p in self._params]
        self.average = [_local(p) for p, trains in zip(self.ema.parameters(), trained, strict=True) if trains]
        self.sharp = [part.clone() for part in self.average]
        self._numbers = torch.zeros(TAIL + 1, device=self.parts[0].device, dtype=torch.float32)
        self.numbers = self._numbers[:TAIL]

    def zero(self) -> None:
        for part, p in zip(self.parts, self._params, strict=True):
            part.grad = p.grad = None

    def sum_(self) -> None:
        """Gradients were summed on the way back through the network; what is left are the numbers, and the norm."""
        for part, p in zip(self.parts, self._params, strict=True):
            part.grad = torch.zeros_like(part) if p.grad is None else _local(p.grad)
        norms = torch._foreach_norm([cast(Tensor, part.grad) for part in self.parts])
        self._numbers[-1] = torch.stack(norms).square().sum()
        self.processes.sum_(self._numbers)

    def norm(self) -> Tensor:
        return self._numbers[-1].sqrt()

    def named(self, net: nn.Module) -> dict[str, Tensor]:
        return {
            key: self._whole(_local(value), value.shape) if hasattr(value, "to_local") else value.detach().cpu()
            for key, value in net.state_dict().items()
        }

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        whole = [self._whole(part.detach(), shape) for part, shape in zip(parts, self._shapes, strict=True)]
        return torch.cat([part.flatten() for part in whole])

    def put_named(self, net: nn.Module, whole: dict[str, Tensor] | None) -> None:
        for key, value in net.state_dict().items():
            given = None if whole is None else whole[key]
            if hasattr(value, "to_local"):
                self._put(_local(value), value.shape, given)
            else:
                if given is not None:
                    value.copy_(given)
                self.processes.broadcast_([value])

    def put_joined(self, parts: Sequence[Tensor], whole: Tensor | None) -> None:
        given: Sequence[Tensor | None] = [None] * len(parts)
        if whole is not None:
            given = whole.split([shape.numel() for shape in self._shapes])
        for part, shape, value in zip(parts, self._shapes, given, strict=True):
            self._put(part.detach(), shape, value)

    def watched(self) -> AbstractContextManager[None]:
        return self.processes.watched()

    def _whole(self, part: Tensor, shape: torch.Size) -> Tensor:
        """All parts of a tensor in the memory of the main process; nothing in the others."""
        size = -(-shape[0] // self.processes.count)
        padded = part.new_zeros(size, *shape[1:])
        padded[: len(part)] = part
        parts = self.processes.gathered(padded)
        return part.new_empty(0, device="cpu") if parts is None else torch.cat(parts)[: shape[0]].cpu()

    def _put(self, part: Tensor, shape: torch.Size, whole: Tensor | None) -> None:
        value = part.new_empty(shape) if whole is None else whole.reshape(shape).to(part)
        self.processes.broadcast_([value])
        chunks = value.chunk(self.processes.count)  # as torch cuts: the last ones may be short, or none
        if len(part):
            part.copy_(chunks[self.processes.rank])
