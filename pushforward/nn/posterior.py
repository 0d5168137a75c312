"""Exact per-column denoiser for Gaussian-mixture marginals, corrected by the logits of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.tensor import GaussianMixture

__all__ = ["Mix", "Posterior", "straight"]


LEAST = -80.0  # of an exponent: below are numbers with which a processor takes eight times as long

# t [n] -> alpha, beta, a, b beta, each [n]: x_t = alpha x_1 + beta x_0, and a x_1 + b x_0 is predicted
Mix: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


def straight(t: Float[Tensor, "n"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The velocity ``x_1 - x_0`` on straight lines ``x_t = t x_1 + (1 - t) x_0``."""
    return t, 1 - t, torch.ones_like(t), t - 1


class Weighed(NamedTuple):
    """What a noisy row says of the components of each column, before a network has its word.

    ``shares [n, total]`` are their probabilities by the column alone; ``answer`` is the prediction ``[n, d]`` as a
    function of logits ``[n, total]``, which are added to ``scores [n, total]``, log-probabilities but for a constant.
    """

    shares: Tensor
    answer: Callable[[Tensor], Tensor]
    scores: Tensor


class Posterior(nn.Module):
    """``E[a x_1 + b x_0 | x_t]`` of rows whose feature groups are Gaussian mixtures, up to what the others say.

    Component k of a group of w entries is ``N(m_k, s_k^2 I)`` with weight ``w_k``. At the group's x, with
    ``v_k = alpha^2 s_k^2 + beta^2`` and ``r_k = x - alpha m_k``,

    ``p_k ~ w_k v_k^(-w/2) exp(-|r_k|^2 / (2 v_k) + logit_k)``, prediction
    ``sum_k p_k (a m_k + (a alpha s_k^2 + b beta) / v_k r_k)``.

    The noise of one group says nothing of that of another. So where every value is a draw of one component, this is the
    exact answer for any dependence between groups, with ``exp(logit_k)`` = p(k | x_t of the other groups) / w_k: a
    smooth function of what is noisy, that a network learns; what is sharp in a column is here already. Logits 0 are the
    answer for independent groups. All this for x_0 standard normal and independent of x_1; otherwise it is where a
    network begins, no more. ``marginals`` are in the order of the entries; ``total`` is the number of components.

    A column that is -1 or 1, and one of three categories on the corners of a simplex: a row is ``[n, 1 + 3]``, and of
    its five components the first two are the column's. Near a value, that value's component has nearly all the weight:

    >>> from pushforward.tensor import GaussianMixture
    >>> column = GaussianMixture(torch.tensor([[-1.0], [1.0]]), torch.full((2,), 0.1), torch.full((2,), 1 / 2))
    >>> kind = GaussianMixture(torch.eye(3), torch.full((3,), 0.1), torch.full((3,), 1 / 3))
    >>> posterior = Posterior([column, kind], straight)
    >>> x, t = torch.tensor([[0.9, 0.0, 0.9, 0.0]]), torch.tensor([0.9])
    >>> shares, answer, scores = posterior(x, t)
    >>> shares.round(decimals=2)
    tensor([[0., 1., 0., 1., 0.]])
    >>> answer(torch.zeros(5)).shape
    torch.Size([1, 4])
    """

    means: Tensor
    inside: Tensor
    variances: Tensor
    log_weights: Tensor
    widths: Tensor
    entries: Tensor
    members: Tensor
    feature_groups: Tensor
    padded_index: Tensor

    def __init__(self, marginals: Sequence[GaussianMixture], mix: Mix) -> None:
        super().__init__()
        self.mix = mix
        ends = torch.tensor([law.width for law in marginals]).cumsum(0).tolist()
        # columns of numbers first: theirs are distances without cancellation
        order = sorted(range(len(marginals)), key=lambda i: marginals[i].width > 1)
        counts = torch.tensor([len(marginals[i].stds) for i in order])
        feature_groups = torch.arange(len(marginals)).repeat_interleave(counts)
        self.total = int(counts.sum())
        # a row for each component, its mean within the entries of its group and 0 outside, so that all groups are
        # compared by one matrix product
        means, inside = torch.zeros(self.total, ends[-1]), torch.zeros(self.total, ends[-1])
        for group, i in enumerate(order):
            entries = slice(ends[i] - marginals[i].width, ends[i])
            means[feature_groups == group, entries] = marginals[i].means.to(means)
            inside[feature_groups == group, entries] = 1
        stds, weights = (torch.cat([getattr(marginals[i], name) for i in order]) for name in ("stds", "weights"))
        widths = inside.sum(1)
        # a row for each group, the numbers of its components, the last repeated: the largest score of a group is one
        # maximum over such a table
        last = counts[:, None] - 1
        padded_index = (counts.cumsum(0) - counts)[:, None] + torch.arange(int(counts.max())).minimum(last)
        for name, value in {
            "means": means,
            "inside": inside,
            "variances": stds.square().float(),
            "log_weights": weights.log().float(),
            "widths": widths,
            "entries": inside[widths == 1].argmax(1),
            "members": nn.functional.one_hot(feature_groups).float(),
            "feature_groups": feature_groups,
            "padded_index": padded_index,
        }.items():
            self.register_buffer(name, value, persistent=False)  # of the data, not learned

    def forward(self, x: Float[Tensor, "n d"], t: Float[Tensor, "n"]) -> Weighed:
        """Weigh the components by the noisy row.

        Computed in float32 at least, whatever the dtype of x.
        """
        full = torch.promote_types(x.dtype, torch.float32)
        alpha, beta, a, b_beta = (w.to(full)[:, None] for w in self.mix(t))
        z, means, inside = x.to(full), self.means.to(full), self.inside.to(full)
        scores, variances = self._scores(z, alpha, beta)
        gain = (a * alpha * self.variances + b_beta) / variances

        def answer(logits: Tensor) -> Tensor:
            with _in_full(x):
                p = self.shares(scores + logits)
                pull = p * gain
                return ((a * p - alpha * pull) @ means + z * (pull @ inside)).to(x.dtype)

        return Weighed(self.shares(scores).to(x.dtype), answer, scores)

    def _scores(self, z: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """``log (w_k N(z; alpha m_k, v_k))`` but for a constant, and the variances ``v_k``, both ``[n, total]``."""
        means, inside = self.means.to(z), self.inside.to(z)
        with _in_full(z):
            variances = alpha.square() * self.variances + beta.square()
            k = len(self.entries)  # components of single numbers, which come first
            # |x - alpha m|^2, by the difference where there is one entry, by the square of a binomial where there are
            # many: a difference for each component would be n x total x d numbers
            near = z.index_select(1, self.entries) - alpha * means[:k].sum(1)
            far = z.square() @ inside[k:].T - 2 * alpha * (z @ means[k:].T) + alpha.square() * means[k:].square().sum(1)
            squares = torch.cat([near.square(), far], 1)
            return self.log_weights - (squares / variances + self.widths * variances.log()) / 2, variances

    def cross_entropy(self, scores: Tensor, logits: Tensor, x1: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """``-sum_k r_k log p_k`` in nats, a mean over the groups, with ``r_k = p(k | x_1)``.

        Its minimiser is the posterior ``p_k = p(k | x_t)`` of the marginals' components, whatever hangs together with
        what; every component counts by its share, where the error of a prediction counts it by its distance, too.
        """
        with torch.no_grad():
            z = x1.to(scores)
            r = self.shares(self._scores(z, z.new_ones(1, 1), z.new_zeros(1, 1))[0])
        with _in_full(scores):
            log, members = scores + logits, self.members.to(scores)
            log = log - self._largest(log)
            total = (log.clamp_min(LEAST).exp() @ members).log() @ members.T
            return -(r * (log - total)).sum(1) / members.shape[1]

    def _largest(self, scores: Tensor) -> Tensor:
        """The largest score of each component's group, without which exponentials overflow."""
        # selected from a flat index, which is five times as fast as by a table of them
        chosen = scores.detach().index_select(1, self.padded_index.flatten())
        table: Tensor = chosen.unflatten(1, self.padded_index.shape)
        return torch.amax(table, 2).index_select(1, self.feature_groups)

    def shares(self, scores: Float[Tensor, "n total"]) -> Float[Tensor, "n total"]:
        """Softmax over the components of each group."""
        e, members = (scores - self._largest(scores)).clamp_min(LEAST).exp(), self.members.to(scores)
        with _in_full(scores):
            return e / (e @ members @ members.T)


def _in_full(x: Tensor) -> AbstractContextManager[object]:
    """Switch off mixed precision, in which these differences would be rounded away."""
    kind = x.device.type
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)
