"""Files that are either whole or absent: they are written aside and then renamed.  Damage is named on reading.

The same content gives the same bytes: no time stamp, user or platform enters a file that is written here.
Files of strangers are read with care: regular files only, nothing is unpickled, and sizes are looked at before anything
is unpacked.
"""

import json
import os
import re
import stat
import zipfile
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as onp

from ..errors import InputError

try:
    import fcntl

    def _flock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
except ImportError:  # Windows
    _flock = None


def write_atomically(path: str | Path, writer: Callable[[BinaryIO], object] | None) -> None:
    """Let `writer(file)` fill a temporary file beside `path`, then rename it to `path`; None only tries the folder.

    Missing folders are made. If anything fails, an older `path` is as it was and nothing is left
    behind; a failing disk or folder raises `InputError`, what `writer` raises is passed on.
    """
    path = Path(os.path.realpath(path))  # what a symbolic link points to is written, the link stays
    # The rename is atomic only within one file system, hence the same folder; opened plainly
    # rather than by `tempfile`, whose files nobody else may read.
    aside = path.parent / f".{uuid4().hex}.tmp"
    try:
        if path.exists() and not path.is_file():
            raise OSError("there is something of this name that is no file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "xb") as file:
            if writer is None:
                return
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


def check_writable(path: str | Path) -> None:
    """InputError now, not after the work, if `path` cannot be written; what is there stays as it is."""
    write_atomically(path, None)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with the line ends it has, on every platform."""
    write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))


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
    write_atomically(path, lambda file: save(file, **plain))


def read_regular(path: str | Path) -> bytes:
    """All bytes of a regular file; InputError if it cannot be read, or is a folder, pipe or device."""
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError("it is no regular file")
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {why}; check the file's name and rights") from error


def read_json(path: str | Path, cure: str = "make it again") -> Any:
    """The value in a JSON file in UTF-8, with or without byte-order mark, or in UTF-16 with one.

    InputError names the file and says `cure` if it is damaged, nested too deeply, or gives an object a key twice.
    """

    def once(pairs):
        keys = [key for key, _ in pairs]
        if twice := next((key for key, times in Counter(keys).items() if times > 1), None):
            raise ValueError(f"the key {twice[:40]!r} occurs twice")
        return dict(pairs)

    data = read_regular(path)
    encoding = "utf-16" if data[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig"
    try:
        return json.loads(data.decode(encoding), object_pairs_hook=once)
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError as error:
        why = error
    raise InputError(f"{path} is damaged or no JSON ({why}); {cure}")


@contextmanager
def content_of(path: str | Path, what: str, cure: str) -> Iterator[None]:
    """The block uses what was read from a file: if a field is missing or has a wrong type, InputError names the file.

    what: what the file should be, as in "a study's file".
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        why = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} is damaged or not {what} ({why[:200]}): {cure}") from error


UNPACKED = 2**26, 100
"""An npz may unpack to this many bytes, or to this many times its own size, whichever is more."""


def load_npz(path: str | Path, cure: str = "make or download it again") -> dict[str, onp.ndarray]:
    """Read all arrays of an npz file; nothing in it is ever executed (no pickles).

    Raises `InputError`, which names the file and says `cure`, if it is missing, damaged, not an npz, or a bomb.
    """
    data = read_regular(path)
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = archive.namelist()
            # zipfile stops early at a damaged table of contents; the count of members, 12 bytes
            # before the end, tells.
            count = data[len(data) - len(archive.comment) - 12 :][:2]
            if int.from_bytes(count, "little") != len(names) or len(set(names)) < len(names):
                raise ValueError("its table of contents is not whole")
            least, ratio = UNPACKED
            if sum(entry.file_size for entry in archive.infolist()) > max(least, ratio * len(data)):
                raise ValueError("it would unpack to far more than it should")
            return {name.removesuffix(".npy"): _read_member(archive, name) for name in names}
    # On damaged bytes zipfile, zlib and NumPy's header parser raise a dozen kinds of error.
    except Exception as error:
        raise InputError(
            f"{path} is damaged or not an npz file of plain arrays ({str(error)[:200]}); {cure}"
        ) from error


def _read_member(archive: zipfile.ZipFile, name: str) -> onp.ndarray:
    with archive.open(name) as entry:
        array = onp.lib.format.read_array(entry, allow_pickle=False)
        if entry.read(1):  # reading to the end also makes zipfile compare the checksum
            raise ValueError(f"{name[:40]!r} is longer than its header says")
        return array


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Only one run at a time writes to `folder`, which is made if it is missing.

    What killed processes left half-written there is removed, before and after.  InputError if another run holds the
    folder, or if it was taken away meanwhile.  The lock ends with the process; where the file system has no locks,
    there is none.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY) if _flock is not None else None
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot write to {folder}: {getattr(error, 'strerror', None) or error}; choose a folder you may write to"
        ) from error
    if handle is None:
        yield
        return
    try:
        _flock(handle)
    except BlockingIOError:
        os.close(handle)
        raise InputError(f"another run is writing to {folder}: wait for it, or choose another folder") from None
    except OSError:
        pass
    try:
        _tidy(folder)
        yield
        if not folder.is_dir() or not os.path.samestat(os.fstat(handle), os.stat(folder)):
            raise InputError(f"{folder} was taken away during the run, and its files with it: run again")
    finally:
        _tidy(folder)
        os.close(handle)


def _tidy(folder: Path) -> None:
    for path in (*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")):
        if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name):
            path.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, onp.ndarray | onp.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
