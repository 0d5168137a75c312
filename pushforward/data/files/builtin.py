"""Data sets that need no download: digits, three planar shapes, Debian's Fashion-MNIST. The same on every call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pushforward.data.files.idx import read_idx
from pushforward.data.files.rows import Array
from pushforward.errors import InputError

__all__ = ["BUILTIN", "CLASSES"]

FASHION = Path("/usr/share/datasets/fashion-mnist")
PLANAR_ROWS = 10_000


def digits() -> tuple[Array, Array]:
    """Load handwritten digits [1797, 8, 8], uint8 grey levels 0 to 16, with the digit as label [1797]."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.int64)


def moons() -> tuple[Array, None]:
    """Draw two interleaved half circles of radius 1 blurred by noise of standard deviation 0.05; float32 [10000, 2]."""
    from sklearn.datasets import make_moons

    rows, _ = make_moons(PLANAR_ROWS, noise=0.05, random_state=0)
    return rows.astype(np.float32), None


def eight_gaussians() -> tuple[Array, None]:
    """Draw eight round Gaussians of standard deviation 0.1, equally spaced on the unit circle; float32 [10000, 2]."""
    rng = np.random.default_rng(0)
    angle = rng.integers(8, size=PLANAR_ROWS) * (2 * np.pi / 8)
    centre = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (centre + 0.1 * rng.standard_normal(centre.shape)).astype(np.float32), None


def checkerboard() -> tuple[Array, None]:
    """Draw uniformly from the eight cells of a 4 x 4 board over [-2, 2]² whose indices have an even sum."""
    rng = np.random.default_rng(0)
    row = rng.integers(4, size=PLANAR_ROWS)
    column = 2 * rng.integers(2, size=PLANAR_ROWS) + row % 2
    corner = np.stack([column, row], axis=1) - 2
    return (corner + rng.random(corner.shape)).astype(np.float32), None


def fashion_mnist() -> tuple[Array, Array]:
    """Read Fashion-MNIST's training pictures [60000, 28, 28], uint8, and their classes, from Debian's package."""
    path = FASHION / "train-images-idx3-ubyte.gz"
    if not path.is_file():
        raise InputError(f"fashion-mnist: there is no {path}; on Debian: apt-get install dataset-fashion-mnist")
    rows, labels = read_idx(path)
    if labels is None:
        raise InputError(f"fashion-mnist: there are no labels beside {path}; install dataset-fashion-mnist again")
    return rows, labels.astype(np.int64)


BUILTIN: dict[str, Callable[[], tuple[Array, Array | None]]] = {
    "digits": digits,
    "moons": moons,
    "8gaussians": eight_gaussians,
    "checkerboard": checkerboard,
    "fashion-mnist": fashion_mnist,
}
CLASSES: dict[str, tuple[str, ...]] = {  # names of the labels, where they are not their numbers
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}
