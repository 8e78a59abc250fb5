"""The embedded digits are the recorded ones; IDX files read back, and each damage is named."""

import gzip
import struct
import tracemalloc
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.data import Digits, digits, load, load_idx
from reference.errors import InputError, check_labels
from reference.plumbing.checks import check_images
from reference.plumbing.files import load_npz

IMAGES_OF_5K, LABELS_OF_5K = digits.sample()  # (5000, 28, 28), (5000,), both uint8
SLICES = {"train": slice(3500), "validation": slice(3500, 4000), "test": slice(4000, 5000)}


# The embedded digits


def test_the_5000_are_the_first_500_of_each_class_dealt_in_turn():
    assert IMAGES_OF_5K.shape == (5000, 28, 28) and IMAGES_OF_5K.dtype == np.uint8
    assert LABELS_OF_5K.shape == (5000,) and LABELS_OF_5K.dtype == np.uint8
    members = load_npz(digits.FILE)
    random = np.random.Generator(np.random.PCG64(2018))
    dealt = [random.permutation(np.flatnonzero(members["labels"] == k)[:500]) for k in range(10)]
    assert np.array_equal(members["rows"], np.stack(dealt, axis=1).ravel())


def test_the_recorded_sums_are_those_in_the_origin():
    origin = (Path(digits.FILE).parent / "ORIGIN.md").read_text(encoding="utf-8")
    file = sha256(Path(digits.FILE).read_bytes()).hexdigest()
    assert all(value in origin for value in (file, digits.SAMPLE_SHA256, *digits.PUBLISHED_SHA256.values()))


@pytest.mark.parametrize("side", [14, 28])
def test_full_mnist_is_split_as_the_authors_did(side):
    data = load(side, full=True)  # raises unless the four arrays have the published checksums
    assert [len(split.y) for split in data[:3]] == [50_000, 10_000, 10_000]
    assert all(split.x.shape == (len(split.y), side**2) and split.x.dtype == np.float32 for split in data[:3])
    # The counts of the classes that MNIST is known by: the training labels begin 5, 0, 4, the test labels 7, 2, 1.
    assert np.bincount(np.concatenate([data.train.y, data.validation.y])).tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    ]
    assert data.train.y[:3].tolist() == [5, 0, 4] and data.test.y[:3].tolist() == [7, 2, 1]
    # MNIST's known mean over all 60,000 training images is 0.1307.
    mean = (5 * data.train.x.mean(dtype=float) + data.validation.x.mean(dtype=float)) / 6
    assert mean == pytest.approx(0.13066, abs=1e-5)
    rows = load_npz(digits.FILE)["rows"]
    assert np.array_equal(load(side).train.x, data.train.x[rows[:3500]])
    assert len(np.unique(rows)) == 5000 and rows.max() < 50_000  # so the two sets' test splits have nothing in common


def test_known_values():
    pixels = IMAGES_OF_5K.astype(int)
    assert [pixels[part].sum() for part in SLICES.values()] == [91878627, 13046002, 26342473]
    x = load(28, np.float64).test.x
    assert x.sum() == pytest.approx(pixels[SLICES["test"]].sum() / 255, rel=1e-12)


def test_no_image_occurs_twice():
    assert len(np.unique(IMAGES_OF_5K.reshape(5000, -1), axis=0)) == 5000


@pytest.mark.parametrize("side", [14, 28])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_splits_have_the_promised_form(side, dtype):
    data = load(side, dtype)
    assert isinstance(data, Digits) and data.side == side
    assert data.source == "MNIST 5k sample (500 per class)"
    for name, part in SLICES.items():
        x, y = getattr(data, name)
        assert x.dtype == dtype and y.dtype == np.int64
        assert x.shape == (part.stop - (part.start or 0), side * side)
        assert check_images(x) is x and x.min() == 0
        assert check_labels(y, 10, len(x)) is y
        assert np.array_equal(y, np.arange(len(y)) % 10)  # hence every prefix is balanced
        assert np.array_equal(y, LABELS_OF_5K[part])


def test_the_default_is_14_by_14_in_float32():
    data = load()
    assert data.side == 14 and data.train.x.dtype == np.float32
    assert load(dtype="float64").train.x.dtype == np.float64  # any name of a dtype will do


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_side_28_is_pixels_over_255(dtype):
    exact = IMAGES_OF_5K[SLICES["test"]].reshape(1000, 784).astype(dtype) / dtype(255)
    assert np.array_equal(load(28, dtype).test.x, exact)


def test_side_14_is_the_exact_mean_of_each_block():
    pixels = IMAGES_OF_5K[SLICES["test"]].astype(int)
    sums = sum(pixels[:, i::2, j::2] for i in (0, 1) for j in (0, 1)).reshape(1000, 196)
    x = load(14, np.float64).test.x
    assert np.array_equal(np.rint(x * 1020), sums)
    assert np.array_equal(x, sums / 1020)
    # Python divides Fractions with correct rounding, so this is the nearest float.
    assert all(x[7, j] == float(Fraction(int(sums[7, j]), 1020)) for j in range(196))


def test_loads_do_not_share_memory():
    load().train.x[:] = 0
    assert load().train.x.any()


@pytest.mark.parametrize("side", [0, 7, 15, -14, 14.0, "14", None])
def test_other_sides_are_refused(side):
    with pytest.raises(InputError, match="side must be 14 or 28, got"):
        load(side)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, "pixels"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(InputError, match="dtype must be float32 or float64, got"):
        load(dtype=dtype)


@pytest.mark.parametrize("full", [False, True])
def test_a_damaged_file_is_named(tmp_path, monkeypatch, full):
    path = tmp_path / "mnist.npz"
    data = digits.FILE.read_bytes()
    monkeypatch.setattr(digits, "FILE", path)
    with pytest.raises(InputError, match=r"cannot read .*mnist\.npz.*; reinstall the package"):
        load(full=full)
    wrong = [b"", data[:30], data[: len(data) // 2], data[:-30]]
    for place in (len(data) // 2 if full else 5_000, 100_000):  # among the other images or the rows; the first images
        wrong.append(bytearray(data))
        wrong[-1][place] ^= 1
    for content in wrong:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"mnist\.npz is damaged .*; reinstall the package") as caught:
            load(full=full)
        assert "\n" not in str(caught.value)


def test_whole_files_with_other_digits_are_refused(tmp_path, monkeypatch):
    members = load_npz(digits.FILE)
    members["first_images"][members["rows"][0]] ^= 1
    np.savez(tmp_path / "mnist.npz", **members)
    monkeypatch.setattr(digits, "FILE", tmp_path / "mnist.npz")
    for full in (False, True):
        with pytest.raises(InputError, match="damaged .*not the published ones"):
            load(full=full)


# IDX files, written here


def idx(values):
    """The bytes of an IDX file that holds an array of uint8."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


def draw_set(n, seed):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, 28, 28), np.uint8), random.integers(0, 10, n, np.uint8)


def write_set(folder, n_train=12, n_test=5, mark="-", suffix=""):
    """Write a data set of random images; return its arrays ((images, labels) train, test)."""
    pairs = draw_set(n_train, 1), draw_set(n_test, 2)
    for which, pair in zip(("train", "t10k"), pairs, strict=True):
        for what, values in zip(("images", "labels"), pair, strict=True):
            data = idx(values)
            name = f"{which}-{what}{mark}idx{values.ndim}-ubyte{suffix}"
            (folder / name).write_bytes(gzip.compress(data) if suffix == ".gz" else data)
    return pairs


@given(
    n_train=st.integers(6, 30),
    n_test=st.integers(1, 5),
    mark=st.sampled_from("-."),
    suffix=st.sampled_from(["", ".gz"]),
    side=st.sampled_from([14, 28]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_idx_files_read_back(tmp_path_factory, n_train, n_test, mark, suffix, side, dtype):
    folder = tmp_path_factory.mktemp("idx")
    (images, labels), (test_images, test_labels) = write_set(folder, n_train, n_test, mark, suffix)
    data = load_idx(folder, side, dtype)
    kept = n_train - n_train // 6
    assert data.side == side and data.source == f"{folder.name} ({kept} training images)"
    expected = {
        "train": (images[:kept], labels[:kept]),
        "validation": (images[kept:], labels[kept:]),
        "test": (test_images, test_labels),
    }
    for name, (pixels, classes) in expected.items():
        x, y = getattr(data, name)
        block = 28 // side
        mean = pixels.reshape(-1, side, block, side, block).mean(axis=(2, 4)) / 255
        np.testing.assert_allclose(x, mean.reshape(-1, side**2), rtol=1e-6)
        assert x.dtype == dtype and y.dtype == np.int64 and np.array_equal(y, classes)


def test_a_set_of_mnists_size_keeps_50000(tmp_path):
    write_set(tmp_path)
    pixels, labels = np.zeros((60000, 28, 28), np.uint8), np.arange(60000) % 10
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(pixels))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels.astype(np.uint8)))
    data = load_idx(str(tmp_path))
    assert (len(data.train.y), len(data.validation.y)) == (50000, 10000)
    assert np.array_equal(data.validation.y, labels[50000:])


@pytest.mark.parametrize("name", ["MNIST/raw", "FashionMNIST/raw", "raw"])
def test_the_folders_of_torchvision_are_found(tmp_path, name):
    root = tmp_path / "SET"
    (root / name).mkdir(parents=True)
    (images, _), _ = write_set(root / name, 6)
    data = load_idx(root, 28)
    np.testing.assert_allclose(data.train.x * 255, images[:5].reshape(5, -1), rtol=1e-6)
    assert data.source == f"{(root / name).parent.name} (5 training images)"
    assert load_idx(root / name).source == data.source
    (root / "Other/raw").mkdir(parents=True)
    with pytest.raises(InputError, match="holds several sets .*Other/raw.*give one of these"):
        load_idx(root)


def test_a_blank_test_image_is_named_with_its_file(tmp_path):
    (images, labels), (test_images, _) = write_set(tmp_path)
    test_images[3] = 0
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(test_images))
    with pytest.raises(InputError, match=r"image 3 of .*t10k-images-idx3-ubyte is blank .*leave it out"):
        load_idx(tmp_path)


def test_gzip_is_told_by_content(tmp_path):
    write_set(tmp_path)
    for path in tmp_path.iterdir():  # unpacked by a browser that kept the suffix
        path.rename(f"{path}.gz")
    assert len(load_idx(tmp_path).test.y) == 5


def test_both_loaders_agree(tmp_path):
    for which, part in (("train", slice(4000)), ("t10k", slice(4000, 5000))):
        (tmp_path / f"{which}-images-idx3-ubyte").write_bytes(idx(IMAGES_OF_5K[part]))
        (tmp_path / f"{which}-labels-idx1-ubyte").write_bytes(idx(LABELS_OF_5K[part]))
    ours, theirs = load(), load_idx(tmp_path)
    assert np.array_equal(ours.test.x, theirs.test.x)
    assert np.array_equal(ours.train.x[:3334], theirs.train.x)  # 4000 less a sixth


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
ZIPPED = gzip.compress(idx(np.zeros(12, np.uint8)))


@pytest.mark.parametrize(
    "name, damage, says",
    [
        (IMAGES, lambda b: b[:-1], r"is truncated: .* promises 9408 bytes of data, it has 9407"),
        (LABELS, lambda b: b[:-1], r"is truncated: .* promises 12 bytes"),
        (IMAGES, lambda b: b + b"\0", "followed by trailing bytes: .* promises 9408 bytes of data, it has more"),
        (LABELS, lambda b: b + b"\n", "followed by trailing bytes"),
        (IMAGES, lambda b: b[:9], "ends within its header"),
        (LABELS, lambda b: b[:5], "ends within its header"),
        (IMAGES, lambda b: b"", "begins with nothing, not with 00 00 08 03"),
        (IMAGES, lambda b: b"<html>", "begins with 3c 68 74 6d, .*not an IDX file of images"),
        (LABELS, lambda b: idx(np.zeros((12, 28, 28), np.uint8)), "not an IDX file of labels"),
        (IMAGES, lambda b: b[:2] + b"\x0d" + b[3:], "begins with 00 00 0d 03"),  # floats
        (LABELS, lambda b: idx(np.zeros(11, np.uint8)), "holds 12 images, but .* 11 labels"),
        (LABELS, lambda b: idx(np.full(12, 10, np.uint8)), "holds the label 10; .*ten classes"),
        (IMAGES, lambda b: idx(np.zeros((12, 32, 32), np.uint8)), "images of 32 by 32 pixels"),
        (LABELS, lambda b: ZIPPED[:-9], "is a broken gzip file"),  # cut short
        (LABELS, lambda b: ZIPPED[:-8] + bytes(8), "is a broken gzip file .*CRC"),
        (LABELS, lambda b: ZIPPED[:10] + b"\xff" * 20, "is a broken gzip file"),
        (LABELS, lambda b: b"\x1f\x8b" + bytes(30), "is a broken gzip file"),
        ("t10k-images-idx3-ubyte", lambda b: b[:-1], "is truncated"),
    ],
)
def test_damage_is_named(tmp_path, name, damage, says):
    write_set(tmp_path)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=says) as caught:
        load_idx(tmp_path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert "download it again" in message or "use a data set" in message or "take both" in message


@pytest.mark.parametrize(
    "header, says", [((12,), "promises 12 bytes of data, it has more"), ((2**31,), "far more than 2.* can hold")]
)
def test_a_bomb_is_not_unpacked(tmp_path, header, says):
    """64 MB of zeros in 0.3 MB, after a header that promises less or more."""
    write_set(tmp_path)
    (tmp_path / LABELS).write_bytes(gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, *header) + bytes(2**26), 1))
    tracemalloc.start()
    with pytest.raises(InputError, match=says):
        load_idx(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@given(st.integers(0, 15), st.integers(1, 255))
def test_no_changed_header_is_read(tmp_path_factory, place, change):
    folder = tmp_path_factory.mktemp("idx")
    write_set(folder)
    data = bytearray((folder / IMAGES).read_bytes())
    data[place] ^= change
    (folder / IMAGES).write_bytes(data)
    with pytest.raises(InputError, match=IMAGES):
        load_idx(folder)


def test_empty_and_tiny_sets_are_named(tmp_path):
    write_set(tmp_path, n_train=5)
    with pytest.raises(InputError, match="only 5 training images.*at least 6"):
        load_idx(tmp_path)
    write_set(tmp_path, n_test=0)
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte holds no images"):
        load_idx(tmp_path)


def test_missing_places_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder; give the one"):
        load_idx(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no file train-images-idx3-ubyte \(nor train-images\."):
        load_idx(tmp_path)
    write_set(tmp_path)
    path = tmp_path / "t10k-labels-idx1-ubyte"
    path.unlink()
    path.mkdir()  # some archives unpack to a folder of the file's name
    with pytest.raises(InputError, match="has no file t10k-labels-idx1-ubyte"):
        load_idx(tmp_path)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_set(tmp_path)

    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(InputError, match="cannot read .*train-images.*Permission denied.*rights"):
        load_idx(tmp_path)


def test_idx_refuses_other_sides(tmp_path):
    write_set(tmp_path)
    with pytest.raises(InputError, match="side must be 14 or 28"):
        load_idx(tmp_path, side=20)
