"""The gallery: every picture says what is true, its code is what ran, and the page needs nothing but its folder."""

import html
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import golden, tensor, without_checks
from PIL import Image
from scipy.integrate import solve_ivp

import pushforward as pf
from pushforward import cli, gallery, plot
from pushforward.gallery import PICTURES, index, motion, paths, sampling, scores, script, write
from pushforward.gallery.problem import BOX, five_modes, oracle

DOCS = Path(__file__).parent.parent / "docs"
SMALL = 0.06  # of the points and steps of the gallery's own pictures

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The whole gallery, small, made once by the programs that its page shows."""
    out, threads = tmp_path_factory.mktemp("gallery"), torch.get_num_threads()
    torch.set_num_threads(1)
    with without_checks(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        for name, picture in PICTURES.items():
            code = script(picture, name)
            assert "pushforward.gallery" not in code  # nothing hidden: the picture's own problem is in the program
            small = re.sub(r"\.save\((\w+)\(\)", rf".save(\1({SMALL})", code)
            assert small != code
            exec(compile(small, f"{name}.py", "exec"), {"__name__": "__main__"})
    torch.set_num_threads(threads)
    return out


def segments(ax, which=0):
    lines = [c for c in ax.collections if hasattr(c, "get_segments")]
    return np.stack([np.asarray(s) for s in lines[which].get_segments()])


# -- the folder --------------------------------------------------------------------------------------------------------


def test_all_eleven_are_written(folder):
    assert list(PICTURES) == [f"g{i}" for i in range(1, 12)]
    moving = {name for name, picture in PICTURES.items() if picture.move}
    assert moving == {"g1", "g5", "g6"}
    files = list(folder.iterdir())
    assert {f.name for f in files} == {f"{n}.png" for n in PICTURES} | {f"{n}.gif" for n in moving}
    for file in files:
        with Image.open(file) as image:
            assert image.size[0] > 400
            assert file.suffix != ".gif" or image.n_frames > 2
            corner = np.asarray(image.convert("RGB"))[:3, :3]
        assert (corner == 255).all()  # the ground is white, not nearly white


def test_what_ran_is_what_is_shown_byte_for_byte_and_the_progress_is_told(folder, tmp_path):
    some, seen = {name: PICTURES[name] for name in ("g2", "g6", "g11")}, []
    files = write(some, tmp_path, SMALL, lambda share, words: seen.append((share, words)))
    assert [f.name for f in files] == ["g2.png", "g6.png", "g6.gif", "g11.png"]
    for file in files:
        assert file.read_bytes() == (folder / file.name).read_bytes(), file.name
    assert [share for share, _ in seen] == [0, 1 / 3, 2 / 3, 1]
    assert all(picture.title in words for picture, (_, words) in zip(some.values(), seen, strict=False))


def test_the_page_is_whole_and_asks_nothing_of_a_network(folder):
    page = index(PICTURES, folder).read_text(encoding="utf-8")
    opened, sources, narrowest = [], [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            opened.append(tag)
            if tag == "img":
                given = dict(attrs)
                with Image.open(folder / given["src"]) as image:
                    assert image.size == (int(given["width"]), int(given["height"]))
                narrowest.append(int(re.search(r"min-width: (\d+)px", given["style"])[1]) / image.size[0])
            sources.extend(value for key, value in attrs if key in ("src", "href"))

    Reader().feed(page)
    assert opened.count("figure") == 11 and opened.count("pre") == 11 and "script" not in opened
    assert set(sources) == {f.name for f in folder.iterdir()} - {"index.html"}
    letters = plot.style.FONT * plot.style.DPI / 72
    assert min(narrowest) * letters > 9  # pixels, however narrow the screen
    assert "http" not in page and 'name="viewport"' in page
    for name, picture in PICTURES.items():
        lines = picture.caption.split("\n")
        assert len(lines) == 2 and all(html.escape(line) in page for line in lines)
        assert f"--only {name}" in page


def test_a_page_shows_what_is_in_its_folder(folder, tmp_path):
    shutil.copy(folder / "g11.png", tmp_path)
    page = index(PICTURES, tmp_path).read_text(encoding="utf-8")
    assert "g11.png" in page and "g10.png" not in page
    with pytest.raises(pf.InputError, match="this is a file"):
        write({}, tmp_path / "g11.png", SMALL)


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PICTURES, "g7", gallery.Picture("Seven", "one\ntwo", lambda s: scores.score_fields(SMALL)))
    cli.main(["gallery", str(tmp_path / "out"), "--only", "G7"])
    out, err = capsys.readouterr()
    assert out == f"look at {tmp_path / 'out' / 'index.html'}\n" and "100%" in err
    assert {f.name for f in (tmp_path / "out").iterdir()} == {"g7.png", "index.html"}
    with pytest.raises(SystemExit) as stop:
        cli.main(["gallery", str(tmp_path / "out"), "--only", "g12"])
    assert stop.value.code == 2 and "unknown picture 'g12'" in capsys.readouterr().err


def test_the_documentation_shows_them_with_the_captions_of_the_gallery():
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    total = 0
    for name, picture in PICTURES.items():
        assert f"## {name.upper()} {picture.title}\n" in page and picture.caption in page
        for ending, most in (("png", 200_000), ("gif", 600_000)):
            if ending == "png" or picture.move:
                assert f"(gallery/{name}.{ending})" in page
                size = (DOCS / "gallery" / f"{name}.{ending}").stat().st_size
                assert size < most
                total += size
    assert total < 3_000_000


# -- what they show ----------------------------------------------------------------------------------------------------


def test_g1_the_grid_is_where_scipy_carries_it():
    t, lines, points = motion.carried(SMALL, 2)
    field = oracle()

    def velocity(s, x):
        return field.velocity(tensor(x).reshape(-1, 2), s).flatten().numpy()

    found = solve_ivp(velocity, (0, 1), points[0].flatten().numpy(), rtol=1e-9, atol=1e-9).y[:, -1]
    np.testing.assert_allclose(points[-1].flatten(), found, atol=2e-3)  # of 8 steps of order 4
    assert lines.shape[0] == len(t) and float(lines[0].abs().max()) == pytest.approx(2.7)


def test_g2_brownian_paths():
    a, b = motion.brownian(1.0).axes
    inside = [float(v) / 100 for v in re.findall(r"([\d.]+)%", a.texts[0].get_text())]
    # 400 paths: with the correlation along a path the error bar of a share is below 0.02
    assert abs(inside[0] - 0.6827) < 0.06 and abs(inside[1] - 0.9545) < 0.03
    fine, middle, coarse = (dict(zip(*line.get_data(), strict=True)) for line in b.lines)
    assert [len(fine), len(middle), len(coarse)] == [257, 17, 5]
    for few, many in ((coarse, middle), (middle, fine)):
        assert all(many[t] == pytest.approx(w, abs=1e-12) for t, w in few.items())


def test_g3_ornstein_uhlenbeck_bands_hold_their_share():
    notes = [ax.texts[0].get_text() for ax in motion.diffusions(0.15).axes]
    assert "inside" not in notes[0]
    shares = [float(re.search(r"([\d.]+)% inside", text)[1]) for text in notes[1:]]
    assert all(abs(share - 95) < 5 for share in shares)


def test_g4_points_lie_on_the_densities_behind_them():
    figure = paths.laws(SMALL)
    field = oracle()
    for column, t in enumerate((0.0, 0.25, 0.5, 0.75)):
        for row in (0, 1):
            ax = figure.axes[5 * row + column]
            shown = ax.images[0].get_array()
            places = plot.layers.lattice(BOX, shown.shape[0])
            z = tensor([[-1.4, 0.9]])
            exact = field.path.log_prob(places, z.expand_as(places), t) if row == 0 else field.log_prob(places, t)
            np.testing.assert_allclose(shown, exact.exp().reshape(shown.shape), rtol=1e-6)
            x = next(c.get_offsets() for c in ax.collections if hasattr(c, "get_offsets") and len(c.get_offsets()) > 9)
            # the mean of the law: alpha times z, or times the mean of the data
            data = five_modes()
            mean = (1 - row) * z[0] + row * (data.weights @ data.means)
            assert np.abs(np.asarray(x).mean(0) - t * mean.numpy()).max() < 5 / len(x) ** 0.5


def test_g5_distances_are_those_of_exact_sets():
    figure = sampling.samplers(0.15)
    w = {(row, i): float(figure.axes[5 * row + i].texts[0].get_text()[4:]) for row in (0, 1) for i in (0, 1, 3)}
    assert all(w[row, i] < 3 * w[row, 0] + 0.05 for row in (0, 1) for i in (1, 3))
    ends = figure.axes[0].collections[2].get_offsets()
    assert np.abs(np.asarray(ends) - [1.9, 1.3]).max() < 1e-12  # given z, all of it arrives at z


def test_g6_the_estimate_approaches_the_law():
    figure = sampling.langevin_chains(0.3)
    distance = [float(re.search(r"TV ([\d.]+)", ax.texts[0].get_text())[1]) for ax in figure.axes[5:]]
    assert distance[0] > 0.4 and distance[3] < 0.25 and distance[3] < distance[0] / 2
    box_mass = np.asarray(figure.axes[9].images[0].get_array()).mean() * (BOX[1] - BOX[0]) ** 2
    assert box_mass == pytest.approx(1, abs=0.15)  # a coarse grid's sum of a density


def test_g7_is_the_reference_field_and_its_trajectories():
    figures = golden("uniform_prior_field")
    straight, bent = paths.characteristics(0.5).axes
    # straight lines to the reference's own data
    lines = segments(straight)
    assert set(np.unique(lines[:, -1, 1].round(9))) == set(figures["data"])
    assert np.abs(np.diff(lines[..., 1], n=2, axis=1)).max() < 1e-12
    # the drawn paths have the reference velocities where they pass the reference points
    paths_drawn, compared = segments(bent), 0
    for case in figures["cases"]:
        t, x = case["t"], case["x"]
        k = round(t * (paths_drawn.shape[1] - 1))
        at, after = paths_drawn[:, k], paths_drawn[:, k + 1]
        slope = (after[:, 1] - at[:, 1]) / (after[:, 0] - at[:, 0])
        near = np.abs(at[:, 1] - x)
        edges = [e for z in figures["data"] for e in (t * z, t * z + 2 * (1 - t))]  # where the field jumps
        if near.min() < 0.04 and min(abs(x - e) for e in edges) > 0.05:
            assert abs(slope[near.argmin()] - case["velocity"]) < 0.15, case
            compared += 1
    assert compared >= 8
    # ranks are kept: the orange quantiles, by counting instead of by the ODE
    dots = [line.get_data() for line in bent.lines if line.get_marker() == "o" and line.get_color() != "k"]
    assert len(dots) == 9
    for times, x in dots:
        k = round(float(times[0]) * (paths_drawn.shape[1] - 1))
        assert np.abs(paths_drawn[:, k, 1] - np.asarray(x)).max() < 0.01
    g = np.random.default_rng(0)
    x0, z = g.uniform(0, 2, 200_000), g.choice(figures["data"], 200_000)
    ranks = torch.linspace(0.04, 1.96, 25, dtype=torch.float64) / 2
    exact = np.quantile(0.4 * x0 + 0.6 * z, ranks.numpy())
    np.testing.assert_allclose(paths.quantile(ranks, 0.6, tensor(figures["data"])), exact, atol=0.01)
    # and the density behind is the reference density
    shade = bent.images[0]
    for case in figures["cases"]:
        rows, columns = shade.get_array().shape
        i, j = round(case["x"] / 2 * (rows - 1)), round(case["t"] / 0.98 * (columns - 1))
        around = shade.get_array()[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
        assert around.min() - 0.02 <= case["density"] <= around.max() + 0.02, case


def test_g8_arrows_are_gradients():
    figure = scores.score_fields(SMALL)
    for ax, field in zip(figure.axes[1:], [oracle()], strict=True):
        quiver = next(c for c in ax.collections if hasattr(c, "U"))
        x = tensor(np.stack([quiver.X, quiver.Y], 1).tolist()).requires_grad_()
        slope = torch.autograd.grad(field.log_prob(x).sum(), x)[0]
        drawn = tensor(np.stack([quiver.U, quiver.V], 1).tolist())
        ratio = drawn.norm(dim=1) / slope.norm(dim=1).sqrt()
        assert float(ratio.std() / ratio.mean()) < 1e-6
        assert float(torch.nn.functional.cosine_similarity(drawn, slope).min()) > 1 - 1e-9


def test_g9_transport_uncrosses_and_both_flows_end_at_the_quantiles():
    figure = paths.couplings(0.5)
    independent, transport = (int(re.search(r"(\d+) crossings", ax.get_title())[1]) for ax in figure.axes[:2])
    assert independent > 100 and transport == 0
    curved, straight = (segments(ax) for ax in figure.axes[2:])
    np.testing.assert_allclose(curved[:, -1, 1], straight[:, -1, 1], atol=1e-3)
    assert np.abs(np.diff(straight[..., 1], n=2, axis=1)).max() < 1e-9
    more, least = (float(ax.get_title().split()[1]) for ax in figure.axes[2:])
    assert more > least > 0


def test_g10_the_error_falls_with_the_density():
    figure = scores.noise_scales(0.15)
    one, _, high = (line for line in figure.axes[1].lines if len(line.get_xdata()) > 1)
    for line in (one, high):
        error = np.asarray(line.get_ydata(), dtype=float)
        assert error[0] > 3 * error[-1]
    stars = [line for line in figure.axes[1].lines if line.get_marker() == "*"]
    (low_p, wrong), (high_p, right) = ((float(s.get_xdata()[0]), float(s.get_ydata()[0])) for s in stars)
    assert low_p < high_p and right < wrong / 3
    heights = np.array([bar.get_height() for bar in figure.axes[2].patches]).reshape(3, 5)
    np.testing.assert_allclose(heights[0], five_modes().weights)
    np.testing.assert_allclose(heights.sum(1), 1)


def test_g11_error_is_of_order_one():
    depths, errors = scores.residual(0.6).axes[1].lines[0].get_data()
    orders = -np.diff(np.log(np.asarray(errors, dtype=float))) / np.diff(np.log(np.asarray(depths, dtype=float)))
    assert (np.abs(orders - 1) < 0.12).all() and abs(orders[-1] - 1) < 0.06
