"""Training: a loop that is handed its network, its loss and its batches, and the state it keeps."""

from pushforward.train.checkpoint import Checkpoint, latest, restore, restore_newest, save
from pushforward.train.feed import Feed
from pushforward.train.health import Budget
from pushforward.train.loop import Optimiser, Progress, fit
from pushforward.train.processes import ALONE, Processes, joined

__all__ = [
    "ALONE",
    "Budget",
    "Checkpoint",
    "Feed",
    "Optimiser",
    "Processes",
    "Progress",
    "fit",
    "joined",
    "latest",
    "restore",
    "restore_newest",
    "save",
]
