"""Files that are either whole or absent: they are written aside and then renamed.  Damage is named on reading.

The same content gives the same bytes: no time stamp, user or platform enters a file that is written here.
"""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as onp

from ..errors import InputError


def write_atomically(path: str | Path, writer: Callable[[BinaryIO], object]) -> None:
    """Let `writer(file)` fill a temporary file beside `path`, then rename it to `path`.

    Missing folders are made. If anything fails, an older `path` is as it was and nothing is left
    behind; a failing disk or folder raises `InputError`, what `writer` raises is passed on.
    """
    path = Path(path)
    # The rename is atomic only within one file system, hence the same folder; opened plainly
    # rather than by `tempfile`, whose files nobody else may read.
    aside = path.parent / f".{uuid4().hex}.tmp"
    try:
        if path.exists() and not path.is_file():
            raise OSError("there is something of this name that is no file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "xb") as file:
            writer(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; "
            "choose a file name in a folder that you may write to, on a disk with room"
        ) from error
    finally:
        # Already renamed, never made, or no folder at all: there is nothing to clean up.
        try:
            aside.unlink()
        except OSError:
            pass


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with the line ends it has, on every platform."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON; NumPy numbers and arrays become numbers and lists.

    JSON has no nan or infinity: they raise `InputError`, as does anything else JSON cannot hold.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"cannot write {path} as JSON: {error}; "
            "use plain numbers, strings, lists and dicts, and None in place of nan"
        ) from error
    write_text(path, text + "\n")


def save_npz(path: str | Path, arrays: Mapping[str, Any], compress: bool = True) -> None:
    """Write named arrays as an npz, which `load_npz` and `np.load` read; packing weights hardly pays."""
    plain = {name: onp.asarray(array) for name, array in arrays.items()}
    pickled = [name for name, array in plain.items() if array.dtype.hasobject]
    if pickled:
        raise InputError(
            f"cannot save {', '.join(pickled)} to {path}: only numbers and strings are kept; "
            "give each array one dtype, and rows of one length"
        )

    save = onp.savez_compressed if compress else onp.savez
    write_atomically(path, lambda file: save(file, allow_pickle=False, **plain))


def load_npz(path: str | Path) -> dict[str, onp.ndarray]:
    """Read all arrays of an npz file; nothing in it is ever executed (no pickles).

    Raises `InputError`, which names the file, if it is missing, damaged or not an npz.
    """
    try:
        data = Path(path).read_bytes()
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = archive.namelist()
            # zipfile stops early at a damaged table of contents; the count of members, 12 bytes
            # before the end, tells.
            count = data[len(data) - len(archive.comment) - 12 :][:2]
            if int.from_bytes(count, "little") != len(names):
                raise ValueError("its table of contents is not whole")
            return {name.removesuffix(".npy"): _read_member(archive, name) for name in names}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; check the file's name and rights") from error
    # On damaged bytes zipfile, zlib and NumPy's header parser raise a dozen kinds of error.
    except Exception as error:
        raise InputError(
            f"{path} is damaged or not an npz file of plain arrays ({error}); make or download it again"
        ) from error


def _read_member(archive: zipfile.ZipFile, name: str) -> onp.ndarray:
    with archive.open(name) as entry:
        array = onp.lib.format.read_array(entry, allow_pickle=False)
        if entry.read(1):  # reading to the end also makes zipfile compare the checksum
            raise ValueError(f"{name} is longer than its header says")
        return array


def _plain(value: Any) -> Any:
    if isinstance(value, onp.ndarray | onp.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
