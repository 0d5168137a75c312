"""Training: a loop that is handed its network, its loss and its batches, and the state it keeps."""

from pushforward.distributed import ALONE, Processes, joined
from pushforward.training.budget import Budget
from pushforward.training.checkpoint import Checkpoint, latest, restore, restore_newest, save
from pushforward.training.feed import Feed
from pushforward.training.loop import Optimiser, Progress, fit

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
