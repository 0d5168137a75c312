"""Figures: what is drawn is what was given, at the size of whole pixels, and bad input is one line."""

import inspect
import io
import math
import re
import sys

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import pushforward as pf
from pushforward import plot
from pushforward.errors import InputError


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def words(figure):
    pixels(figure)
    texts = figure.findobj(matplotlib.text.Text)
    return [t.get_text() for t in texts if t.get_text() and t.get_visible()]


def inside(figure):
    """Everything written lies within the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, box = canvas.get_renderer(), figure.bbox
    ticks = {t for ax in figure.axes for t in (*ax.get_xticklabels(), *ax.get_yticklabels())}
    for text in set(figure.findobj(matplotlib.text.Text)) - ticks:
        if text.get_text():
            b = text.get_window_extent(renderer)
            assert b.x0 >= -1 and b.y0 >= -1 and b.x1 <= box.x1 + 1 and b.y1 <= box.y1 + 1, text
    return True


def tiles(figure, h, w, zoom, columns, rows):
    """The images read back from the rendered figure, one screen pixel for each data pixel, ``[rows * columns, h, w]``.

    Fails when one data pixel is not a flat square of ``zoom`` by ``zoom`` screen pixels.
    """
    shown, gap = pixels(figure), math.ceil(4 / zoom)
    assert shown.shape[:2] == (zoom * (gap + rows * (h + gap)), zoom * (gap + columns * (w + gap)))
    canvas = shown[::zoom, ::zoom]
    assert (np.kron(canvas, np.ones((zoom, zoom, 1), int)) == shown).all()
    tops, lefts = (range(gap, gap + k * (size + gap), size + gap) for k, size in ((rows, h), (columns, w)))
    return np.stack([canvas[top : top + h, left : left + w] for top in tops for left in lefts])


# -- images ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "zoom"), [(8, 14), (28, 4), (32, 4), (64, 2), (150, 1)])
def test_grey_images_are_shown_pixel_for_pixel(side, zoom):
    x = randn(4, side, side)
    shown = tiles(plot.images(x), side, side, zoom, 2, 2)
    expected = (x - x.min()) / (x.max() - x.min()) * 255
    assert (shown == shown[..., :1]).all()
    assert np.abs(shown[..., 0] - expected.numpy()).max() <= 1
    assert shown.min() == 0 and shown.max() == 255


def test_colour_images_and_one_channel():
    x = randn(6, 3, 16, 16)
    shown = tiles(plot.images(x, columns=3), 16, 16, 7, 3, 2)
    expected = (x - x.min()) / (x.max() - x.min()) * 255
    assert np.abs(shown - expected.permute(0, 2, 3, 1).numpy()).max() <= 1
    assert (pixels(plot.images(x[:, :1])) == pixels(plot.images(x[:, 0]))).all()


def test_pixels_that_are_not_finite_are_orange_and_leave_the_range_alone():
    x = randn(1, 16, 16)
    bad = x.clone()
    bad[0, 3, 5], bad[0, 3, 6] = math.nan, math.inf
    x[0, 3, 5] = x[0, 3, 6] = 0.0
    shown, expected = (tiles(plot.images(z), 16, 16, 7, 1, 1)[0] for z in (bad, x))
    orange = (shown == [230, 159, 0]).all(-1)
    assert orange.sum() == 2 and orange[3, 5] and orange[3, 6]
    assert (shown[~orange] == expected[~orange]).all()


def test_image_labels():
    x = randn(5, 3, 32, 32)
    names = ["automobile", "cat", "a$b$", "", "one name far too long for its image"]
    figure = plot.images(x, columns=3, labels=names)
    found = words(figure)
    assert found[:3] == ["automobile", "cat", "a$b$"] and found[3].endswith("…") and len(found) == 4
    assert inside(figure)


def test_a_constant_image_and_many_images():
    assert len(np.unique(tiles(plot.images(torch.full((1, 8, 8), 7.0)), 8, 8, 14, 1, 1))) == 1
    assert max(plot.images(randn(1000, 8, 8)).bbox.size) < 4000


# -- points ------------------------------------------------------------------------------------------------------------


def test_scatter_shows_every_point_on_equal_axes():
    sets = {"data": randn(50, 2), "generated": 3 * randn(80, 2, seed=1), "far": randn(5, 2, seed=2) + 4}
    figure = plot.scatter(sets)
    assert [ax.get_title() for ax in figure.axes] == list(sets)
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    for ax, x in zip(figure.axes, sets.values(), strict=True):
        assert np.array_equal(np.asarray(ax.collections[0].get_offsets()), x.numpy())
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        assert ((x > torch.tensor([left, bottom])) & (x < torch.tensor([right, top]))).all()
        assert ax.get_aspect() == 1 and ax.get_xlabel() == "$x_1$"
    assert inside(figure)


def test_points_that_are_not_finite_are_counted():
    x = randn(50, 2)
    x[3, 0], x[4] = math.nan, math.inf
    assert plot.scatter({"x": x}).axes[0].get_title() == "x (2 not finite)"
    assert "x (2 not finite)" in words(plot.columns({"x": x}))
    steps = torch.stack([randn(50, 2, seed=1), x])
    assert "t=1 (2 not finite)" in words(plot.trajectories(steps, torch.tensor([0.0, 1.0])))


@pytest.mark.parametrize(
    "x", [torch.zeros(0, 2), torch.zeros(3, 2), torch.full((3, 2), 1e20), torch.full((3, 2), math.nan)]
)
def test_degenerate_points(x):
    for figure in (plot.scatter({"x": x}), plot.columns({"x": x}), plot.scatter({"x": x, "y": randn(9, 2)})):
        assert inside(figure)


def test_columns_are_shared_densities():
    a, b = randn(400, 3), 2 * randn(900, 3, seed=1)
    a[:, 1] = 5.0
    b[7, 0] = math.nan
    figure = plot.columns({"a": a, "b": b}, ["age", "income ($)", "fare"])
    assert [ax.get_xlabel() for ax in figure.axes] == ["age", "income ($)", "fare"]
    for j, ax in enumerate(figure.axes):
        first, second = (step.get_data() for step in ax.patches)
        assert np.array_equal(first.edges, second.edges)
        for step, x in ((first, a), (second, b)):
            finite = x[:, j][x[:, j].isfinite()].numpy()
            expected, _ = np.histogram(finite, step.edges, density=True)
            np.testing.assert_allclose(step.values, expected, rtol=1e-10)
            assert (step.values * np.diff(step.edges)).sum() == pytest.approx(1)
    assert {"a", "b (1 not finite)"} <= set(words(figure)) and inside(figure)


@pytest.mark.parametrize(("d", "shown"), [(1, 1), (16, 16), (17, 16), (100, 16)])
def test_at_most_sixteen_columns_and_the_figure_says_so(d, shown):
    figure = plot.columns({"x": randn(20, d)})
    labels = [ax.get_xlabel() for ax in figure.axes]
    assert len(labels) == shown and labels[0] == "x1" and labels[-1] == f"x{d}"
    assert (f"16 of {d} columns, evenly spaced" in words(figure)) == (d > 16)
    gaps = np.diff([int(label[1:]) for label in labels])
    assert d == 1 or gaps.max() - gaps.min() <= 1


# -- trajectories ------------------------------------------------------------------------------------------------------


def test_paths_in_the_plane():
    x, t = randn(6, 40, 2), torch.linspace(0, 1, 6)
    ax = plot.trajectories(x, t).axes[0]
    lines, first, last = ax.collections
    assert np.array_equal(np.stack(lines.get_segments(), 1), x.numpy())
    assert np.array_equal(first.get_offsets(), x[0].numpy()) and np.array_equal(last.get_offsets(), x[-1].numpy())
    assert not np.array_equal(first.get_facecolor(), last.get_facecolor())
    assert len(plot.trajectories(randn(3, 5000, 2), t[:3]).axes[0].collections[0].get_segments()) == plot.layers.LINES
    assert {"t=0", "t=1"} <= set(words(plot.trajectories(x, t)))


@pytest.mark.parametrize("reverse", [False, True])
def test_image_strip(reverse):
    t = torch.linspace(0, 1, 15)
    x = randn(15, 3, 1, 16, 16) * (2 - t)[:, None, None, None, None]
    if reverse:
        x, t = x.flip(0), t.flip(0)
    figure = plot.trajectories(x, t)
    assert words(figure) == [f"t={v:.2g}" for v in t[::2]]
    data = x[int(t.argmax())]
    expected = (x[::2, :, 0] - data.min()) / (data.max() - data.min())
    expected = (expected.clamp(0, 1) * 255).transpose(0, 1)  # rows are samples, columns are times
    band = math.ceil(1.5 * plot.style.FONT * plot.style.DPI / 72 / 7)
    shown = pixels(figure)[7 * band :]
    canvas = shown[::7, ::7, 0]
    for r in range(3):
        for c in range(8):
            tile = canvas[1 + 17 * r : 17 + 17 * r, 1 + 17 * c : 17 + 17 * c]
            assert np.abs(tile - expected[r, c].numpy()).max() <= 1
    assert inside(figure)
    assert (pixels(plot.trajectories(x[:, :, 0], t)) == pixels(figure)).all()


def test_few_and_uneven_times():
    x = randn(4, 2, 3, 8, 8)
    assert words(plot.trajectories(x, torch.tensor([0.0, 0.01, 0.02, 1.0]))) == ["t=0", "t=0.02", "t=1"]
    assert words(plot.trajectories(x[:1], torch.tensor([1.0]))) == ["t=1"]


def test_numbers_against_time():
    x, t = randn(6, 9, 1), torch.linspace(0, 1, 6)
    (lines,) = plot.trajectories(x, t).axes[0].collections
    found = np.stack(lines.get_segments(), 1)
    assert np.array_equal(found[..., 1], x[..., 0].numpy()) and np.allclose(found[..., 0], t[:, None].numpy())


# -- densities, pairs and vector fields --------------------------------------------------------------------------------


def normal_density(columns, rows, box):
    x = plot.layers.lattice(box, columns, rows)
    return (-x.square().sum(1) / 2).exp().reshape(rows, columns) / (2 * math.pi)


def test_a_lattice_runs_row_by_row_from_the_bottom():
    x = plot.layers.lattice((0, 2, 5, 6), 3, 2)
    assert x.tolist() == [[0, 5], [1, 5], [2, 5], [0, 6], [1, 6], [2, 6]]


def test_density_shows_values_where_they_belong_and_lines_around_their_mass():
    box = (-4.0, 4.0, -5.0, 3.0)
    p = normal_density(160, 120, box)
    figure = plot.density({"exact": p, "half": p / 2}, box, randn(30, 2))
    for ax, shown in zip(figure.axes, (p, p / 2), strict=True):
        image = ax.images[0]
        assert np.array_equal(image.get_array(), shown.numpy()) and image.get_extent() == list(box)
        assert image.origin == "lower" and image.get_clim() == (0, float(p.max()))  # one scale for both
        outer, inner = (path.vertices for path in ax.collections[0].get_paths())
        # of a normal law in the plane, the share 1 - exp(-r^2 / 2) lies within r
        for line, mass in ((outer, 0.9), (inner, 0.5)):
            assert np.abs(np.hypot(*line.T) - math.sqrt(-2 * math.log(1 - mass))).max() < 0.05
        assert len(ax.collections[1].get_offsets()) == 30
    assert [ax.get_title() for ax in figure.axes] == ["exact", "half"] and inside(figure)


def test_pairs_show_data_above_and_samples_below():
    a, b = randn(300, 3), 2 * randn(5000, 3, seed=1)
    figure = plot.pairs({"data": a, "model": b}, ["age", "fare ($)", "c"])
    grid = np.array(figure.axes).reshape(3, 3)
    for i in range(3):
        for j in range(3):
            ax = grid[i, j]
            if i == j:
                assert len(ax.patches) == 2 and not ax.collections
                continue
            x = np.asarray(ax.collections[0].get_offsets())
            whole = (a if i < j else b).numpy()
            assert np.array_equal(x, whole[:: math.ceil(len(whole) / 2000)][:, [j, i]])
            assert len(ax.collections) == 1
    assert {"data", "model", "age", "fare ($)"} <= set(words(figure)) and inside(figure)
    alone = np.array(plot.pairs({"data": a}).axes).reshape(3, 3)
    assert all(len(alone[i, j].collections) == 1 for i in range(3) for j in range(3) if i != j)
    wide = plot.pairs({"x": randn(20, 9)})
    assert len(wide.axes) == 36 and "6 of 9 columns, evenly spaced" in words(wide)


def test_arrows_of_all_panels_share_one_scale():
    x = plot.layers.lattice((-1, 1, -1, 1), 9)
    figure = plot.vectors({"slow": (x, -x), "fast": (x, -3 * x)})
    slow, fast = (next(c for c in ax.collections if hasattr(c, "U")) for ax in figure.axes)
    np.testing.assert_allclose(np.stack([fast.U, fast.V]), 3 * np.stack([slow.U, slow.V]), atol=1e-12)
    np.testing.assert_allclose(np.stack([slow.X, slow.Y], 1), x.numpy())
    lengths = np.hypot(fast.U, fast.V)
    assert 0.2 < lengths.max() < 1 and inside(figure)
    rest = plot.vectors({"still": (x, torch.zeros_like(x))})
    assert inside(rest)


def test_row_labels_stand_beside_their_rows():
    x = randn(6, 8, 8)
    figure = plot.images(x, columns=3, row_labels=["real", "generated"])
    assert words(figure) == ["real", "generated"] and inside(figure)
    plain, labelled = pixels(plot.images(x, columns=3)), pixels(figure)
    assert (labelled[:, labelled.shape[1] - plain.shape[1] :] == plain).all()


def test_curves_have_intervals():
    figure = plot.curves({"a": ([1, 2, 3], [1, 2, 3], [0, 1, 2], [2, 4, 6]), "b": ([1, 2], [1, 1])}, "x", "y")
    (shade,) = figure.axes[0].collections
    corners = {tuple(v) for v in shade.get_paths()[0].vertices}
    assert {(1, 0), (2, 1), (3, 2), (1, 2), (2, 4), (3, 6)} <= corners


# -- animations and notebooks ------------------------------------------------------------------------------------------


def test_a_flow_moves_its_points(tmp_path):
    x, t = randn(5, 40, 2), torch.linspace(0, 1, 5)
    animation = plot.flow(x, t, rate=10)
    assert repr(animation) == "Animation(5 frames, 10 a second)"
    frames = [np.asarray(frame).astype(int) for frame in animation.frames()]
    ax = animation.figure.axes[0]
    assert np.array_equal(ax.collections[1].get_offsets(), x[-1].numpy()) and ax.get_title() == "t = 1.00"
    plot.save(animation, tmp_path / "flow.gif")
    with Image.open(tmp_path / "flow.gif") as image:
        assert image.n_frames == 5 and image.info["loop"] == 0 and image.info["duration"] == 100
        for i, frame in enumerate(frames):
            image.seek(i)
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frame).mean() < 2
    assert animation._repr_html_().startswith('<img src="data:image/gif;base64,')


def test_an_mp4_without_ffmpeg_is_one_plain_line(tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.animation.FFMpegWriter.isAvailable", lambda: False)
    with pytest.raises(InputError, match=r"ffmpeg, which is not installed; write a \.gif"):
        plot.save(plot.flow(randn(3, 5, 2), torch.linspace(0, 1, 3)), tmp_path / "flow.mp4")
    assert not list(tmp_path.iterdir())


def test_an_mp4_is_given_every_frame(tmp_path, monkeypatch):
    """With a stand-in for the program that writes down what it is fed."""
    stand_in = tmp_path / "bin" / "ffmpeg"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!{sys.executable}\nimport sys\nopen(sys.argv[-1], 'wb').write(sys.stdin.buffer.read())\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(stand_in.parent), prepend=":")
    animation = plot.flow(randn(3, 5, 2), torch.linspace(0, 1, 3))
    plot.save(animation, tmp_path / "flow.mp4")
    width, height = (int(v) for v in animation.figure.bbox.size)
    raw = np.frombuffer((tmp_path / "flow.mp4").read_bytes(), np.uint8).reshape(3, height, width, 4)
    for frame, expected in zip(raw, animation.frames(), strict=True):
        assert (frame[..., :3] == np.asarray(expected)).all()


def test_figures_and_animations_show_themselves_in_a_notebook():
    figure = plot.scatter({"a": randn(9, 2)})
    with Image.open(io.BytesIO(figure._repr_png_())) as image:  # what IPython looks for on any object
        assert image.format == "PNG" and image.size == tuple(int(v) for v in figure.bbox.size)
        assert (np.asarray(image.convert("RGB")) == pixels(figure)).all()


def test_what_a_notebook_prints_of_the_parts_is_one_short_line():
    path = pf.Affine(pf.VP(), pf.Empirical(torch.zeros(5, 2)))
    straight = pf.Affine()
    net = torch.nn.Linear(3, 2)
    oracle = pf.MixtureField(straight, torch.zeros(3, 2), torch.ones(3))

    def one_less(t):
        return 1 - t

    lines = {
        path: "Affine(schedule=VP(beta_min=0.1, beta_max=20.0), source=Empirical(data=float32[5, 2]))",
        pf.GeneralAffine(torch.mul, one_less): "GeneralAffine(mu=mul, scale=one_less, source=Normal())",
        oracle: f"MixtureField(path={straight}, means=float32[3, 2], stds=float32[3])",
        pf.EmpiricalField(straight, torch.zeros(7, 2)): f"EmpiricalField(path={straight}, points=float32[7, 2])",
        pf.Learned(net, straight): f"Learned(net=Linear of 8 parameters, path={straight}, predicts='velocity')",
        straight.draw(
            torch.zeros(4, 2), torch.ones(4, 2), 0.5
        ): "Draw(t=float64[4], x0=float32[4, 2], x1=float32[4, 2], xt=float32[4, 2], ut=float32[4, 2])",
    }
    for thing, line in lines.items():
        assert repr(thing) == line
    made = eval(repr(pf.Affine(pf.Cosine(), pf.Uniform(0.0, 2.0))), vars(pf) | {n: getattr(pf, n) for n in pf.__all__})
    assert made == pf.Affine(pf.Cosine(), pf.Uniform(0.0, 2.0))  # what has no tensors can be typed back in

    class Mine(pf.Field):
        path = straight

        def evaluate(self, names, x, t, y=None):
            return tuple(x for _ in names)

    assert repr(Mine()) == f"Mine(path={straight})"


def test_fewer_colours_make_a_smaller_file_of_the_same_picture(tmp_path):
    figure = plot.scatter({"a": randn(500, 2)})
    plot.save(figure, tmp_path / "all.png")
    plot.save(figure, tmp_path / "some.png", colors=64)
    assert (tmp_path / "some.png").stat().st_size < 0.6 * (tmp_path / "all.png").stat().st_size
    with Image.open(tmp_path / "some.png") as image:
        some = np.asarray(image.convert("RGB")).astype(int)
    assert (some[0, 0] == 255).all() and np.abs(some - pixels(figure)).mean() < 2


# -- curves and files --------------------------------------------------------------------------------------------------


def test_curves():
    figure = plot.curves(
        {"a": ([1, 2, 3], [1.0, math.nan, 2.0]), "_b$c$": ([1, 2], [0.0, 10.0])}, "steps", "loss", True
    )
    ax = figure.axes[0]
    assert ax.get_xlabel() == "steps" and ax.get_ylabel() == "loss" and ax.get_yscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [1, math.nan, 2])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [math.nan, 10])  # zero has no logarithm
    assert {"a", "b$c$"} <= set(words(figure)) and inside(figure)
    linear = plot.curves({"a": ([1, 2], [-1.0, 0.0])}, "x", "y").axes[0]
    np.testing.assert_array_equal(linear.lines[0].get_ydata(), [-1, 0])


def test_twelve_curves_can_be_told_apart_and_read():
    figure = plot.curves({f"run number {i}": ([0, 1], [i, i + 1]) for i in range(12)}, "x", "y")
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(styles) == 12 and inside(figure)


def test_save_is_whole_or_not_at_all(tmp_path, monkeypatch):
    figure = plot.curves({"a": ([1, 2], [1, 2])}, "x", "y")
    path = tmp_path / "figure.PNG"
    plot.save(figure, path)
    with Image.open(path) as image:
        assert image.format == "PNG" and image.size == tuple(int(v) for v in figure.bbox.size)
    before = path.read_bytes()
    plot.save(figure, str(path))
    assert path.read_bytes() == before

    def fail(self, file):
        file.write(b"half a pic")
        raise OSError("disk full")

    monkeypatch.setattr(FigureCanvasAgg, "print_png", fail)
    with pytest.raises(OSError, match="disk full"):
        plot.save(figure, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["figure.PNG"]


def test_save_says_what_is_wrong_with_a_path(tmp_path):
    figure = plot.curves({"a": ([1, 2], [1, 2])}, "x", "y")
    for name in ("a.jpg", "a"):
        with pytest.raises(InputError, match=re.escape(".png")):
            plot.save(figure, tmp_path / name)
    with pytest.raises(InputError, match="no folder"):
        plot.save(figure, tmp_path / "missing" / "a.png")


@pytest.mark.parametrize(
    ("draw", "arguments", "says"),
    [
        (plot.images, (randn(2, 4, 8, 8),), "4 channels"),
        (plot.images, (randn(8, 8),), "[8, 8]"),
        (plot.images, (randn(0, 8, 8),), "empty"),
        (plot.images, (randn(2, 8, 8), 0), "columns is 0"),
        (plot.images, (randn(2, 8, 8), None, ["a"]), "1 labels for 2 images"),
        (plot.scatter, ({},), "no set"),
        (plot.scatter, ({"a": randn(3, 2), "b": randn(3, 3)},), "'b' has shape [3, 3]"),
        (plot.columns, ({"a": randn(3, 2), "b": randn(3, 3)},), "'b' has shape [3, 3]"),
        (plot.columns, ({"a": randn(3, 2)}, ["x"]), "1 names for 2 columns"),
        (plot.columns, ({"a": randn(3)},), "[3]"),
        (plot.trajectories, (randn(3, 5, 2), torch.zeros(4)), "4 times"),
        (plot.trajectories, (randn(3, 5, 3), torch.zeros(3)), "[3, 5, 3]"),
        (plot.images, (randn(4, 8, 8), 2, None, ["a"]), "1 row labels for 2 rows"),
        (plot.pairs, ({"a": randn(3, 2)}, ["x"]), "1 names for 2 columns"),
        (plot.density, ({}, (0, 1, 0, 1)), "no density"),
        (plot.density, ({"p": randn(3, 3)}, (1, 1, 0, 1)), "(1, 1, 0, 1) is empty"),
        (plot.density, ({"p": randn(9)}, (0, 1, 0, 1)), "'p' has shape [9]"),
        (plot.vectors, ({},), "no vector field"),
        (plot.vectors, ({"v": (randn(3, 2), randn(4, 2))},), "points [3, 2] and vectors [4, 2]"),
        (plot.vectors, ({"v": (randn(3, 2), math.nan * randn(3, 2))},), "not finite"),
        (plot.flow, (randn(3, 5, 3), torch.zeros(3)), "[3, 5, 3] and 3 times"),
        (plot.curves, ({"a": ([1], [1], [1, 2], [1])}, "x", "y"), "'a' has 1 x for 2 y"),
        (plot.curves, ({}, "x", "y"), "no series"),
        (plot.curves, ({"a": ([1], [1, 2])}, "x", "y"), "'a' has 1 x for 2 y"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(draw, arguments, says):
    with pytest.raises(InputError) as error:  # unwrapped: the checker of the test run would object first
        inspect.unwrap(draw)(*arguments)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_gradients_and_half_precision_are_drawn_like_any_tensor():
    x = randn(2, 8, 8).to(torch.bfloat16).requires_grad_()
    assert (pixels(plot.images(x)) == pixels(plot.images(x.detach().double()))).all()


def test_pyplot_is_never_imported(tmp_path, monkeypatch):
    """It would pick a display and keep every figure alive."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it raises
    x = randn(2, 3, 2)
    figures = [
        plot.images(x),
        plot.scatter({"a": x[0]}),
        plot.columns({"a": x[0]}),
        plot.curves({"a": ([1], [1])}, "", ""),
        plot.pairs({"a": x[0]}),
        plot.density({"a": torch.eye(4)}, (0, 1, 0, 1)),
        plot.vectors({"a": (x[0], x[0])}),
    ]
    for i, figure in enumerate([*figures, plot.trajectories(x, torch.arange(2.0))]):
        plot.save(figure, tmp_path / f"{i}.png")
    plot.save(plot.flow(x, torch.arange(2.0)), tmp_path / "flow.gif")
