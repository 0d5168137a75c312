"""The membership audit of fields that are exact: one that knows its rows by heart, and one that knows their law."""

import pytest
import torch

import pushforward as pf
from pushforward.config import Config, PathConfig, components
from pushforward.data import DataSpec
from pushforward.evaluation.audit import membership_audit, row_losses
from pushforward.oracle import EmpiricalField


@pytest.mark.parametrize("schedule", ["condot", "vp", "cosine"])
def test_a_field_that_repeats_its_rows_leaks_and_one_of_their_law_does_not(schedule):
    config = Config(path=PathConfig(schedule=schedule))
    parts = components(config, DataSpec((8,)))
    g = torch.Generator().manual_seed(0)
    means, stds, weights = torch.randn(2, 8, generator=g), torch.tensor([0.3, 0.5]), torch.tensor([0.4, 0.6])
    which = torch.multinomial(weights, 2000, True, generator=g)
    x = means[which] + stds[which, None] * torch.randn(2000, 8, generator=g)
    seen, fresh = (x[:600], None), (x[600:], None)
    by_heart = EmpiricalField(parts.path, x[:600])
    law = pf.MixtureField(parts.path, means, stds, weights)
    learned = membership_audit(by_heart, parts, seen, fresh, 0, 10**6)
    assert learned.leaks and learned.found > 0.3 and learned.auc > 0.9
    fair = membership_audit(law, parts, seen, fresh, 0, 10**6)
    assert not fair.leaks and fair.low <= 0.012 and fair.auc == pytest.approx(0.5, abs=0.06)
    few = membership_audit(law, parts, seen, fresh, 0, 128 * 50)
    assert (few.train, few.fresh) == (50, 50)
    # the loss of a row is the same in whatever company it is measured, but for the mean of all
    alone, together = row_losses(law, parts, x[:50], None, 0), row_losses(law, parts, x, None, 0)[:50]
    assert torch.corrcoef(torch.stack([alone, together]))[0, 1] > 0.99
