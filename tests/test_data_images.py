"""Pictures: folders, IDX and Parquet give the pixels that were written, in one size, with the labels beside them."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from test_data import fails

from pushforward.data import BUILTIN, inspect, load, read_raw, save
from pushforward.data.files import builtin
from pushforward.errors import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)


def put(folder, pixels, ending=".png", **how):
    folder.mkdir(parents=True, exist_ok=True)
    for i, row in enumerate(pixels):
        Image.fromarray(row).save(folder / f"{i}{ending}", **how)
    return folder


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


# ---- folders


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("ending", [".png", ".BMP", ".tiff"])
def test_a_folder_of_pictures(tmp_path, pixels, ending):
    folder = put(tmp_path / "cats", pixels, ending)
    (folder / "notes.txt").write_text("not a picture")
    data = load(folder)
    assert data.name == "cats" and data.y is None
    assert len(data.notes) == 1 and "1 of other endings (notes.txt)" in data.notes[0]
    assert data.x.shape == (6, 1, 5, 7) if pixels is GREY else (6, 3, 5, 7)
    np.testing.assert_array_equal(data.transform.inverse(data.x), pixels)
    np.testing.assert_array_equal(read_raw(folder).rows, pixels)
    report = inspect(folder)
    assert report.kind == "image" and report.shape == pixels.shape and report.columns[0].max == pixels.max()


def test_subfolders_are_classes(tmp_path):
    put(tmp_path / "dog", GREY[:2])
    put(tmp_path / "cat" / "at home", GREY[2:4])
    put(tmp_path / "cat", GREY[4:])
    data = load(tmp_path)
    assert data.classes == ("cat", "dog") and data.y.dtype == torch.int64
    np.testing.assert_array_equal(data.transform.inverse(data.x), GREY[[4, 5, 2, 3, 0, 1]])
    assert data.y.tolist() == [0, 0, 0, 0, 1, 1]
    assert inspect(tmp_path).classes == ("cat", "dog")
    train, held_out = data.split(0.3, 0)
    assert train.classes == held_out.classes == data.classes
    put(tmp_path, GREY[:1])
    fails(tmp_path, "0.png", "beside the sub-folders")
    one = tmp_path / "other"
    put(one / "only", GREY)
    assert load(one).y is None and load(one).classes == ()  # one class tells nothing


def test_modes_of_pictures(tmp_path):
    """Palettes, transparency, bits and the camera's turn: all become what a viewer shows."""
    folder = put(tmp_path / "a", COLOUR[:2])
    see_through = np.concatenate([COLOUR[2], np.full((5, 7, 1), 255, np.uint8)], axis=-1)
    see_through[0, :, 3] = 0
    Image.fromarray(see_through).save(folder / "2.png")
    Image.fromarray(GREY[0]).save(folder / "3.png")
    Image.fromarray(GREY[1] > 128).save(folder / "4.png")
    Image.fromarray(GREY[1] // 64).convert("P").save(folder / "5.png")
    rows = read_raw(folder).rows
    np.testing.assert_array_equal(rows[:2], COLOUR[:2])
    assert (rows[2, 0] == 255).all()
    np.testing.assert_array_equal(rows[2, 1:], COLOUR[2, 1:])
    np.testing.assert_array_equal(rows[3], np.repeat(GREY[0][..., None], 3, -1))
    np.testing.assert_array_equal(rows[4, ..., 0], np.where(GREY[1] > 128, 255, 0))
    bits = put(tmp_path / "bits", [GREY[0] > 128, GREY[1]])
    np.testing.assert_array_equal(read_raw(bits).rows[0], np.where(GREY[0] > 128, 255, 0))  # grey stays grey
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise
    turned = put(tmp_path / "turned", GREY, exif=exif)
    np.testing.assert_array_equal(read_raw(turned).rows, np.rot90(GREY, -1, axes=(1, 2)))


def test_pictures_without_an_ending(tmp_path):
    """Known by their first bytes; text that begins with the same two letters is none."""
    for i, (name, kind) in enumerate([("img_0001", "PNG"), ("img_0002.dat", "GIF"), ("x.JPE", "JPEG"), ("y", "BMP")]):
        Image.fromarray(np.full((4, 5), 10 * i, np.uint8)).save(tmp_path / name, format=kind)
    Image.fromarray(np.full((4, 5), 40, np.uint8)).save(tmp_path / "z.pic", format="PPM")
    for name, text in (("notes", "BMW or P2, M"), ("list.md", "P2 is short"), (".hidden", "\x89PNG")):
        (tmp_path / name).write_text(text)
    raw = read_raw(tmp_path)
    np.testing.assert_array_equal(raw.rows.reshape(5, -1)[:, 0], [0, 10, 20, 30, 40])
    assert raw.notes == (
        f"{tmp_path}: not looked at: 1 hidden file and 2 of other endings (list.md, notes)",
        f"{tmp_path}: 5 files of other endings are read as pictures, by the first bytes "
        "(img_0001, img_0002.dat, x.JPE, ...)",
    )
    assert len(read_raw(f"{tmp_path}/img*").rows) == 2
    with pytest.raises(InputError, match="img_0001: one picture; give the folder"):
        read_raw(tmp_path / "img_0001")
    with pytest.raises(InputError, match="notes: unknown ending ''"):
        read_raw(tmp_path / "notes")
    # beside one with an ending, and beside a table, as pictures with one are
    Image.fromarray(np.full((4, 5), 50, np.uint8)).save(tmp_path / "zz.png")
    assert len(read_raw(tmp_path).rows) == 6
    (tmp_path / "labels.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match="pictures, or tables of one ending"):
        read_raw(tmp_path)


def test_mixed_sizes_need_a_size(tmp_path):
    folder = put(tmp_path / "mixed", GREY)
    wide = np.repeat(np.arange(20, dtype=np.uint8)[None] * 10, 4, 0)
    Image.fromarray(wide).save(folder / "wide.png")
    fails(folder, "2 sizes", "5x7 (0.png)", "4x20 (wide.png)", "--resize")
    fails(folder, "2 sizes", call=inspect)
    for size, shape in (("4x6", (4, 6)), (4, (4, 4)), ((3, 9), (3, 9)), ("8", (8, 8))):
        rows = read_raw(folder, size=size).rows
        assert rows.shape == (7, *shape) and load(folder, size=size).x.shape == (7, 1, *shape)
    # the height fits, so that columns 8 to 12 of 20 are what is left around the centre: nothing is squeezed
    np.testing.assert_array_equal(read_raw(folder, size=4).rows[-1], wide[:, 8:12])
    np.testing.assert_array_equal(read_raw(put(tmp_path / "same", GREY), size="5x7").rows, GREY)
    for bad in ("0", "3x", "axb", "1x2x3", "-4", "1e3", "123456"):
        fails(folder, "size", bad, "32x48", call=lambda source, bad=bad: load(source, size=bad))


def test_a_size_for_arrays_and_not_for_tables(tmp_path):
    flat = np.full((3, 8, 8), 7, np.uint8)
    flat[1] = 200
    np.testing.assert_array_equal(read_raw(flat, size=4).rows, flat[:, :4, :4])
    assert load("digits", size=16).x.shape == (1797, 1, 16, 16)
    fails(flat.astype(np.float32), "8 bits", "float32", call=lambda rows: load(rows, size=4))
    fails(pa.table({"a": [1, 2]}), "a table", call=lambda rows: load(rows, size=4))


def test_what_cannot_be_decoded_is_named_counted_and_left_out(tmp_path):
    put(tmp_path / "a", GREY[:3])
    put(tmp_path / "b", GREY[3:])
    whole = (tmp_path / "a" / "1.png").read_bytes()
    (tmp_path / "a" / "1.png").write_bytes(whole[: len(whole) // 2])  # its header is good
    (tmp_path / "b" / "2.png").write_bytes(b"nothing of the kind")
    (tmp_path / "b" / "empty.jpg").touch()
    data = load(tmp_path)
    np.testing.assert_array_equal(data.transform.inverse(data.x), GREY[[0, 2, 3, 4]])
    assert data.y.tolist() == [0, 0, 1, 1]
    assert len(data.notes) == 1 and "3 of 7" in data.notes[0] and "1.png" in data.notes[0] and "\n" not in data.notes[0]
    assert inspect(tmp_path).notes == data.notes
    deep = put(tmp_path / "deep", GREY[:2])
    Image.fromarray(GREY[0].astype(np.uint16)).save(deep / "z.png")
    assert "8 bits" in load(deep).notes[0]
    for path in (tmp_path / "a").iterdir():
        path.write_bytes(b"nothing")
    fails(tmp_path / "a", "no picture could be decoded", "0.png")
    fails(tmp_path / "b" / "0.png", "one picture", "folder")
    (tmp_path / "b" / "t.csv").write_text("a\n1\n2\n")
    fails(tmp_path / "b", "pictures, or tables", ".csv", ".png")


def test_sizes_in_headers_are_judged_before_memory_is_taken(tmp_path, monkeypatch):
    folder = put(tmp_path / "bomb", GREY)
    whole = (folder / "0.png").read_bytes()
    size = whole.index(b"IHDR") + 4
    for side in (9_000, 60_000):
        head = whole[size - 4 : size] + struct.pack(">II", side, side) + whole[size + 8 : size + 13]
        bomb = whole[: size - 4] + head + struct.pack(">I", zlib.crc32(head)) + whole[size + 17 :]
        (folder / "0.png").write_bytes(bomb)
        data = load(folder)
        assert len(data) == 5 and "too many" in data.notes[0]
    monkeypatch.setattr("pushforward.data.files.images.ENTRIES", 5 * 5 * 7 - 1)
    fails(folder, "do not fit in memory", "--resize")


# ---- IDX


def idx(path, array, code=8):
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx(tmp_path, ending):
    path = idx(tmp_path / f"train-images-idx3-ubyte{ending}", GREY)
    assert load(path).y is None
    labels = idx(tmp_path / f"train-labels-idx1-ubyte{ending}", np.array([3, 1, 3, 1, 0, 1], np.uint8))
    data = load(path)
    np.testing.assert_array_equal(data.transform.inverse(data.x), GREY)
    assert data.classes == ("0", "1", "3") and data.y.tolist() == [2, 1, 2, 1, 0, 1]
    for code, kind in {9: "i1", 11: "i2", 12: "i4", 13: "f4", 14: "f8"}.items():
        array = RNG.integers(-100, 100, (4, 3)).astype(kind)
        rows = read_raw(idx(tmp_path / f"x.idx{ending}", array, code)).rows
        np.testing.assert_array_equal(rows, array)
        assert rows.dtype == np.dtype(kind)
    idx(labels, np.arange(5, dtype=np.uint8))
    fails(path, "train-labels", "(5,)", "6 rows")
    whole = path.read_bytes()
    for part in (whole[:-3], whole[:9], whole[:3], b""):
        path.write_bytes(part)
        fails(path, path.name)
    huge = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 9) + bytes(50)
    path.write_bytes(gzip.compress(huge) if ending else huge)
    fails(path, path.name, "cut short")
    path.write_bytes(gzip.compress(b"\0\0\x07\1") if ending else b"\0\0\x07\1")
    fails(path, "not an IDX file", "00000701")


# ---- Parquet


@pytest.mark.parametrize("form", ["struct", "binary"])
def test_parquet_of_encoded_pictures(tmp_path, form):
    cells = [png(row) for row in COLOUR]
    column = pa.array([{"bytes": cell, "path": None} for cell in cells] if form == "struct" else cells)
    names = {"info": {"features": {"label": {"names": ["zebra", "ape", "cow"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": column, "label": [2, 0, 0, 2, 2, 0]})
    pq.write_table(table, tmp_path / "a.parquet")
    data = load(tmp_path / "a.parquet")
    np.testing.assert_array_equal(data.transform.inverse(data.x), COLOUR)
    assert data.classes == ("0", "2") and data.y.tolist() == [1, 0, 0, 1, 1, 0]
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), tmp_path / "a.parquet")
    data = load(tmp_path / "a.parquet")
    assert data.classes == ("zebra", "ape", "cow") and data.y.tolist() == [2, 0, 0, 2, 2, 0]
    text = table.set_column(1, "label", [["b", "a", "a", "b", "b", "a"]])
    pq.write_table(text, tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet", size=4).classes == ("a", "b")
    bad = pa.array([*column.to_pylist()[:5], None], column.type)
    pq.write_table(text.set_column(0, "image", bad), tmp_path / "a.parquet")
    data = load(tmp_path / "a.parquet")
    assert len(data) == 5 and data.y.tolist() == [1, 0, 0, 1, 1] and "row 6" in data.notes[0]
    pq.write_table(text.set_column(1, "label", [[0.5] * 6]), tmp_path / "a.parquet")
    fails(tmp_path / "a.parquet", "'label'", "integers or text")


# ---- the data set


def test_mirrored():
    data = load("digits")
    train, _ = data.split(0.5, 0)
    both = train.mirrored()
    assert len(both) == 2 * len(train) and both.classes == train.classes
    assert torch.equal(both.x[: len(train)], train.x) and torch.equal(both.y, torch.cat([train.y, train.y]))
    rows = train.transform.inverse(train.x)
    np.testing.assert_array_equal(train.transform.inverse(both.x[len(train) :]), rows[:, :, ::-1])
    with pytest.raises(InputError, match="only pictures"):
        load("moons").mirrored()


def test_fashion_mnist(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "FASHION", tmp_path)
    fails("fashion-mnist", "fashion-mnist", str(tmp_path), "apt-get install dataset-fashion-mnist")
    idx(tmp_path / "train-images-idx3-ubyte.gz", GREY)
    fails("fashion-mnist", "no labels")
    idx(tmp_path / "train-labels-idx1-ubyte.gz", np.array([9, 0, 2, 0, 9, 9], np.uint8))
    data = load("fashion-mnist")
    assert data.classes[9] == "Ankle boot" and data.y.tolist() == [9, 0, 2, 0, 9, 9] and len(data.classes) == 10
    np.testing.assert_array_equal(data.transform.inverse(data.x), GREY)
    assert inspect("fashion-mnist").classes == data.classes


@pytest.mark.skipif(not (builtin.FASHION / "train-images-idx3-ubyte.gz").is_file(), reason="package not installed")
def test_fashion_mnist_as_published():
    rows, labels = BUILTIN["fashion-mnist"]()
    assert rows.shape == (60_000, 28, 28) and rows.dtype == np.uint8
    assert np.bincount(labels).tolist() == [6000] * 10
    assert rows.mean() / 255 == pytest.approx(0.2860, abs=5e-5)  # the mean that every recipe states


def test_labels_go_the_same_way_from_npz(tmp_path):
    np.savez(tmp_path / "a.npz", x=COLOUR, y=np.array(["b", "a", "a", "c", "b", "a"]))
    data = load(tmp_path / "a.npz", size="5x5")
    assert data.classes == ("a", "b", "c") and data.x.shape == (6, 3, 5, 5)
    save(data.transform.inverse(data.x), tmp_path / "b.npy")
    assert read_raw(tmp_path / "b.npy").rows.shape == (6, 5, 5, 3)
