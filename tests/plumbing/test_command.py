"""One line and a telling exit status, whatever ends a command and wherever its words go."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reference.errors import DivergenceError, InputError
from reference.plumbing.command import answer, one_line

ROOT = Path(__file__).parents[2]
START = "import sys, time, os; from reference.plumbing.command import answer\n"


def run(code, **options):
    """A process that runs `code` -> its end, with what it wrote."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 30} | options
    return subprocess.run([sys.executable, "-c", START + code], cwd=ROOT, **options)


@pytest.mark.parametrize(
    "error, status, says",
    [
        (InputError("bad\n\x1b[31mred"), 2, "p: bad\\n\\x1b[31mred\n"),
        (DivergenceError("nan"), 1, "p: nan\n"),
        (ChildProcessError("died"), 1, "p: died\n"),
        (MemoryError("1 TB"), 1, "p: not enough memory (1 TB): use smaller networks, or fewer processes at once\n"),
        (
            PermissionError(13, "Permission denied", "/secret"),
            2,
            "p: cannot read or write '/secret': Permission denied\n",
        ),
        (OSError(28, "No space left on device"), 1, "p: cannot read or write: No space left on device\n"),
        (
            OSError(errno.EMFILE, "Too many open files"),
            1,
            "p: too many open files: use fewer processes at once, or allow more with ulimit -n\n",
        ),
        (KeyboardInterrupt(), 130, "\ninterrupted: kept\n"),
    ],
)
def test_every_end_has_its_status_and_one_line(error, status, says, capsys):
    def work():
        raise error

    assert answer("p", work, "kept") == status
    assert capsys.readouterr().err == says


def test_a_bug_shows_itself():
    with pytest.raises(ZeroDivisionError):
        answer("p", lambda: 1 / 0, "")


def test_a_strangers_text_is_one_short_line():
    assert one_line("é\u202e\r\x07") == "é\\u202e\\r\\x07"
    assert one_line("\udcff") == "\\udcff"
    assert len(one_line("x" * 10**6)) < 2100
    assert one_line(f"cannot read {'x' * 10**6}: too long", 60).endswith("xxx: too long"), "what is wrong stands last"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_a_command_in_one_line(name):
    number = getattr(signal, name)
    code = f"sys.exit(answer('p', lambda: (os.kill(os.getpid(), {int(number)}), time.sleep(20)), 'kept'))"
    done = run(code)
    assert done.returncode == 128 + number and done.stderr == "\ninterrupted: kept\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_among_the_imports_is_one_line(name):
    done = run(f"from reference.plumbing import process; process.begin(); os.kill(os.getpid(), signal.{name})".replace(
        "signal.", "__import__('signal')."))  # fmt: skip
    assert done.returncode == 128 + getattr(signal, name) and done.stderr == "\ninterrupted\n"


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="needs /proc")
def test_a_worker_started_by_another_program_ends_with_it():
    """As the benchmark starts its workers."""
    worker = "from reference.plumbing import process; import time; process.end_with_parent(); print(1); time.sleep(60)"
    start = f"import subprocess, sys; w = subprocess.Popen([sys.executable, '-uc', {worker!r}], stdout=subprocess.PIPE)"
    parent = subprocess.Popen(
        [sys.executable, "-uc", f"{start}; w.stdout.readline(); print(w.pid); w.wait()"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = parent.stdout.readline().strip()
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
        time.sleep(0.05)
    assert pid and not os.path.exists(f"/proc/{pid}")


COMMANDS = ["demo.py", *(f"-m reference.{name}" for name in ("conformance", "lessons", "studies", "bench"))]
COMMANDS += ["-m reference.experiment.search", "-m reference.experiment.crosscheck"]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupt_while_a_command_imports_numpy_is_one_line(command, tmp_path):
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt")
    options = {"cwd": ROOT, "env": os.environ | {"PYTHONPATH": str(tmp_path)}, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, *command.split()], **options)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ninterrupted\n")


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "cp1252"}]
)
def test_any_encoding_of_the_terminal_will_do(environment):
    done = run(
        "sys.exit(answer('p', lambda: print('\\u03c1 \\u2264 1\\udcff'), ''))",
        env=os.environ | {"PYTHONCOERCECLOCALE": "0"} | environment,
    )
    assert done.returncode == 0 and not done.stderr and done.stdout.endswith("1\\udcff\n")


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs POSIX")
@pytest.mark.parametrize("change, says", [("os.rmdir", "No such file"), ("shut", "Permission denied")])
def test_a_working_folder_that_is_gone_or_shut_is_one_line(change, says, tmp_path):
    """In such a folder no process could be started."""
    code = f"""
def shut(folder):
    os.chmod(folder, 0)
    if os.getuid() == 0:
        os.setuid(65534)

folder = {str(tmp_path / "folder")!r}
os.mkdir(folder)
os.chdir(folder)
{change}(folder)
sys.exit(answer("p", lambda: print("done"), ""))
"""
    done = run(code)
    assert done.returncode == 2 and not done.stdout
    assert says in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_the_output_is_one_line():
    with open("/dev/full", "w") as full:
        done = run("sys.exit(answer('p', lambda: print('x'), ''))", stdout=full)
    assert done.returncode == 1 and done.stderr == "p: cannot read or write: No space left on device\n"


def test_closed_streams_and_readers_that_leave_make_no_traceback():
    code = START + "sys.exit(answer('p', lambda: [print('x' * 9999) for _ in range(99)] and None, ''))"
    for tail, status in (("| head -c1", 1), (">&-", 0), ("2>&-", 0), (">&- 2>&- <&-", 0)):
        shell = f'set -o pipefail; {sys.executable} -c "$CODE" {tail}'
        done = subprocess.run(["bash", "-c", shell], cwd=ROOT, env=os.environ | {"CODE": code}, capture_output=True)
        assert done.returncode == status and not done.stderr, tail


def test_pictures_need_no_screen_and_messages_no_docstrings():
    """A notebook's MPLBACKEND, or nonsense in it, and python -OO."""
    for options in ({"MPLBACKEND": "nonsense"}, {"PYTHONOPTIMIZE": "2"}):
        done = subprocess.run(
            [sys.executable, "demo.py", "--help"], cwd=ROOT, env=os.environ | options, capture_output=True, timeout=60
        )
        assert done.returncode == 0 and not done.stderr
