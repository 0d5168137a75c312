"""The classifier that classifier guidance asks: trained on points of the path, at every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pushforward.batches import BatchRecipe, feed_for
from pushforward.config import resolve
from pushforward.config.sections import Config
from pushforward.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor, nn

    from pushforward.path import Draw, Path

__all__ = ["train_classifier"]


def train_classifier(
    x: Float[Tensor, "n *d"],
    y: Int[Tensor, "n"],
    path: Path,
    *,
    steps: int = 2000,
    batch: int = 256,
    lr: float = 1e-3,
    size: str = "small",
    seed: int = 0,
    device: str = "cpu",
) -> nn.Module:
    """``logits(x, t) -> [n, classes]`` with ``softmax = p_t(y | x)``, for `ClassifierGuidance`: cross-entropy on noisy
    points.

    ``min E -log softmax(logits(x_t, t))_y`` over ``x_t`` of the path and uniform times, whose optimum is the posterior
    of the class. ``x`` are rows in model units, ``y`` their classes 0, 1, ...; ``size`` is one of `SIZES`, the kind of
    network that of a run on such rows. InputError for classes that are no such numbers.
    """
    import torch

    from pushforward.coupling import independent
    from pushforward.data import DataSpec
    from pushforward.nn import Logits, sized
    from pushforward.tensor import initialized
    from pushforward.times import TIMES
    from pushforward.training import Budget, OptimizerConfig, TrainingOptions, fit

    # labels 0, 1, ... of the rows
    classes = int(y.max()) + 1 if len(y) else 0
    if y.shape != x.shape[:1] or y.is_floating_point() or classes < 2 or int(y.min()) < 0:
        raise InputError(f"y must be one class for each of {len(x)} rows, 0, 1, ..., not {y.dtype} {list(y.shape)}")
    # a body as for such data, with weights that are a function of the seed alone
    shape, on = tuple(x.shape[1:]), torch.device(device)
    kind = resolve(Config(), DataSpec(shape)).net.net
    with initialized(seed, "classifier"):
        net = Logits(sized(kind, shape, size), shape, classes).to(on)

    def loss(net: nn.Module, rows: tuple[Draw, Tensor | None], g: torch.Generator) -> Tensor:
        draw, label = rows
        assert label is not None
        draw = draw.to(on)
        return torch.nn.functional.cross_entropy(net(draw.xt, draw.t.float()), label.to(on), reduction="none")

    # training as that of a field, on noisy rows of the path
    uniform = TIMES["uniform"]()
    feed = feed_for(x, y, BatchRecipe(path, independent, lambda n, g: uniform(n, g), batch), seed)
    optimizer = OptimizerConfig(lr, warmup=min(100, steps // 10), weight_decay=0.0, clip=1.0, ema=7.0)
    state, _ = fit(net, loss, feed, Budget(steps, None), optimizer, options=TrainingOptions(seed=seed))
    return state.ema
