"""Training: a loop that is handed its network, its loss and its batches, and the state it keeps."""

from pushforward.train.checkpoint import Checkpoint, latest, restore, save
from pushforward.train.feed import Feed
from pushforward.train.loop import Budget, Optimiser, Progress, fit

__all__ = ["Budget", "Checkpoint", "Feed", "Optimiser", "Progress", "fit", "latest", "restore", "save"]
