"""Files are whole or absent, the same content gives the same bytes, and damage is named."""

import json
import os
import pickle
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from reference.errors import InputError
from reference.plumbing.files import load_npz, locked, read_json, save_npz, write_atomically, write_json, write_text

AUTHORS_VALUES = Path(__file__).parents[1] / "method" / "authors_values.npz"

# The folder is one for all examples of a property; each example overwrites its file.
one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
dtypes = st.sampled_from([np.float32, np.float64, np.uint8, np.int64, np.bool_, np.dtype("<U3")])
named_arrays = st.dictionaries(
    st.text("abW01_./", min_size=1, max_size=6).filter(lambda name: "//" not in name),
    dtypes.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, min_side=0, max_side=3))),
    max_size=3,
)


def same(left, right):
    return list(left) == list(right) and all(
        left[k].dtype == right[k].dtype and np.array_equal(left[k], right[k]) for k in left
    )


def no_nan(values):
    return {k: np.nan_to_num(v) if v.dtype.kind == "f" else v for k, v in values.items()}


@one_folder
@given(named_arrays)
def test_npz_round_trip(tmp_path, values):
    path = tmp_path / "a.npz"
    values = no_nan(values)
    save_npz(path, values)
    assert same(load_npz(path), values)
    first = path.read_bytes()
    save_npz(path, values)
    assert path.read_bytes() == first
    if values:
        with np.load(path) as npz:
            assert npz.files == list(values)


@pytest.mark.parametrize("change", [1, 64, 255])
def test_a_changed_byte_is_harmless_or_named(tmp_path, change):
    path = tmp_path / "a.npz"
    values = {"a": np.arange(40.0), "b": np.arange(3)}
    save_npz(path, values)
    data = path.read_bytes()
    for i, byte in enumerate(data):
        path.write_bytes(data[:i] + bytes([byte ^ change]) + data[i + 1 :])
        try:
            read = load_npz(path)
        except InputError as error:
            assert str(path) in str(error)
        else:
            assert same(read, values), f"byte {i}"


@one_folder
@given(st.integers(0, 10**6))
def test_a_truncated_npz_is_named(tmp_path, length):
    path = tmp_path / "a.npz"
    save_npz(path, {"a": np.arange(40.0)})
    data = path.read_bytes()
    path.write_bytes(data[: length % len(data)])
    with pytest.raises(InputError, match=r"a\.npz is damaged .* make or download it again"):
        load_npz(path)


def test_foreign_files_are_named(tmp_path):
    path = tmp_path / "a.npz"

    def refused(says="is damaged or not an npz file"):
        with pytest.raises(InputError, match=says):
            load_npz(path)

    refused("cannot read .*No such file")
    path.write_text("a,b\n1,2\n")
    refused()
    with path.open("wb") as file:
        np.save(file, np.ones(3))  # an npy, not an npz
    refused()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")
    refused()
    np.savez(path, a=np.array([{}], object))  # holds a pickle
    refused("pickle")
    path.write_bytes(pickle.dumps({"a": 1}))
    refused()
    with zipfile.ZipFile(path, "w") as archive:  # more values than the header says
        np.save(tmp_path / "b.npy", np.ones(3))
        archive.writestr("b.npy", (tmp_path / "b.npy").read_bytes() + b"more")
    refused("longer than its header says")
    with pytest.raises(InputError, match="cannot read"):
        load_npz(tmp_path)  # a folder


def test_objects_are_not_saved(tmp_path):
    with pytest.raises(InputError, match="cannot save bad to .*only numbers"):
        save_npz(tmp_path / "a.npz", {"good": 1.0, "bad": np.array([{}, None])})
    assert not list(tmp_path.iterdir())


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def writer(file):
        file.write(b"half of the n")
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        write_atomically(path, writer)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named(tmp_path):
    def writer(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"cannot write .*a\.txt: No space left.*; choose"):
        write_atomically(tmp_path / "a.txt", writer)
    assert not list(tmp_path.iterdir())


def test_unusable_places_are_named(tmp_path):
    file = tmp_path / "file"
    write_text(file, "")
    for path in (file / "a.txt", tmp_path, os.devnull):  # below a file; an existing folder; a device
        with pytest.raises(InputError, match="cannot write .*; choose a file name in a folder"):
            write_text(path, "text")
    assert list(tmp_path.iterdir()) == [file]
    assert not list(tmp_path.parent.glob(".*.tmp"))


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "results" / "new" / "a.txt", "ü\n")
    assert (tmp_path / "results" / "new" / "a.txt").read_bytes() == b"\xc3\xbc\n"


def test_files_get_the_usual_rights(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_takes_numpy_values(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"n": np.int64(3), "x": np.float32(0.5), "v": np.arange(3), "none": None})
    assert json.loads(path.read_text()) == {"n": 3, "x": 0.5, "v": [0, 1, 2], "none": None}
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize("value", [np.nan, {"x": np.array([np.inf])}, {1j}, [object()]])
def test_what_json_cannot_hold_is_named(tmp_path, value):
    with pytest.raises(InputError, match=r"cannot write .*a\.json as JSON: .*None in place of nan"):
        write_json(tmp_path / "a.json", value)
    assert not list(tmp_path.iterdir())


def test_the_authors_values_are_whole():
    values = load_npz(AUTHORS_VALUES)
    for prefix in ("toy/", "toy_third/"):
        names = [name for name in values if name.startswith(prefix)]
        assert len(names) == 353
        assert all(np.isfinite(values[name]).all() for name in names)
        # One hand check that the arrays are what their names say.
        h = values[prefix + "x"]
        for i in range(3):
            h = np.maximum(h, 0) @ values[f"{prefix}W{i}"] + values[f"{prefix}b{i}"]
        np.testing.assert_allclose(h, values[prefix + "logits"], rtol=1e-12, atol=1e-12)


def test_only_regular_files_are_read(tmp_path):
    """A pipe that nobody writes to would be waited for without end."""
    pipe = tmp_path / "a.npz"
    os.mkfifo(pipe)
    for read in (load_npz, read_json):
        for path, says in (
            (pipe, "no regular file"),
            (os.devnull, "no regular file"),
            (tmp_path / ("n" * 5000), "name"),
        ):
            with pytest.raises(InputError, match=f"cannot read .*{says}"):
                read(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path, bomb = tmp_path / "a.npz", tmp_path / "b.npy"
    np.save(bomb, np.zeros(2**24))  # 128 MiB, which pack to about 130 kB
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(bomb, "b.npy")
    began = time.process_time()
    with pytest.raises(InputError, match="unpack to far more"):
        load_npz(path)
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{", b"\xff", b"", b'{"a": 1', b'{"a": 1, "a": 2}'])
def test_what_is_no_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is damaged or no JSON"):
        read_json(tmp_path / "a.json")


def test_a_byte_order_mark_is_no_damage(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.json").write_text('{"a": ["é"]}', encoding=encoding)
        assert read_json(tmp_path / "a.json") == {"a": ["é"]}


def test_a_symbolic_link_is_followed_not_replaced(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for text in ("one", "two"):
        write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == text


def test_one_run_at_a_time_writes_to_a_folder(tmp_path):
    pytest.importorskip("fcntl")
    out = tmp_path / "out"
    (out / "checkpoints").mkdir(parents=True)
    stale = [out / f".{'0' * 32}.tmp", out / "checkpoints" / f".{'a' * 32}.tmp"]
    for path in (*stale, out / ".mine.tmp"):
        path.write_text("half")
    with locked(out):
        assert not any(path.exists() for path in stale) and (out / ".mine.tmp").exists()
        with pytest.raises(InputError, match="another run is writing to .*out"), locked(out):
            pass
    with locked(out):
        pass
    with pytest.raises(InputError, match="was taken away during the run"), locked(out):
        out.rename(tmp_path / "elsewhere")
