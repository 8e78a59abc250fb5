"""Hundreds of command lines, right and wrong, of every command: `python tests/fuzz.py` says which end badly.

A wrong one must end with status 2 and one line on stderr, a right one with 0, or as if Ctrl-C had come where the long
work would begin.  No traceback, no process left behind, nothing that was there is changed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]
NINES = "9" * 30
CONTROL = "\x1b[31m\nred\x07"
NO_COUNT = ["", "x", "1.5", "nan", "0", "-1", "1001", NINES, CONTROL]
NO_NUMBER = ["", "x", "nan", "0", "-1", CONTROL]
NO_FOLDER = ["file", "file/below", "/proc/none", "a" * 5000, "\0", CONTROL + "/" + "b" * 300]
NO_CLUSTER = ["", "x", "local:", "local:0", "local:-1", "local:1001", "local:x", "tcp://", CONTROL]
NO_FILE = ["", "nothing", "folder", "pipe", "bytes", "\0", "a" * 5000, CONTROL]
NO_CHOICE = ["", "x", CONTROL, "Demo", NINES]

PLACES = {"--jobs": (["1", "1000"], NO_COUNT), "--cluster": ([], NO_CLUSTER)}
Options = Mapping[str, tuple[list[str], list[str]]]
"""{option: (right values, wrong values)}."""
DEMO: Options = PLACES | {
    "--defences": (["critic", "margin,undefended"], ["", "none", "critic,,margin", "Critic", "critic;margin", CONTROL]),
    "--seeds": (["1", "1000"], NO_COUNT),
    "--epochs": (["1", "500"], ["", "x", "1.5", "nan", "0", "-1", CONTROL]),
    "--side": (["14", "28"], ["", "x", "0", "20", "-14", NINES]),
    "--hidden": (["8", "8-8", "linear"], ["", "x", "0", "-5", "8--8", "8x8", "8-", NINES, f"8-{NINES}", CONTROL]),
    "--select": (["error", "robustness"], NO_CHOICE),
    "--data": ([], ["", *NO_FILE[1:], "file", "/proc"]),
    "--out": (["new", "new/below", "folder"], ["", *NO_FOLDER]),
}
SEARCH: Options = PLACES | {
    "--scale": (["demo"], NO_CHOICE),
    "--only": (["critic", "undefended"], NO_CHOICE),
    "--out": (["new"], ["", *NO_FOLDER, "strange"]),
}
STUDY: Options = PLACES | {"--out": (["new"], ["", *NO_FOLDER])}
MAKE: Options = {
    "--results": ([], ["", "nothing", "folder", "file", "strange", "\0", "a" * 5000]),
    "--images": ([], NO_NUMBER),
    "--checks": ([], NO_NUMBER),
    "--seed": ([], ["", "x", "-1", "nan"]),
    "--data": ([], ["nothing", "file"]),
}
RUN: Options = {
    "--only": (["scores", "4", "grad*"], ["", "nothing", CONTROL]),
    "--dtype": (["float32", "float64"], NO_CHOICE),
    "--timeout": (["1", "0.5"], [*NO_NUMBER, "inf", "1e300"]),
    "--random": (["1"], NO_NUMBER),
    "--known-failures": (["empty.json"], [*NO_FILE, "list.json", "deep.json"]),
    "--cases": ([], [*NO_FILE, "list.json", "deep.json", "empty.json"]),
    "--json": (["new.json"], ["", "folder", "file/below", "a" * 5000, "\0"]),
    "--junit": (["new.xml"], ["", "folder", "file/below"]),
}
CHECK: Options = {
    "--random": ([], NO_NUMBER),
    "--timeout": ([], [*NO_NUMBER, "inf", "1e300"]),
    "--jobs": ([], NO_NUMBER),
}
BENCH: Options = {
    "--scale": (["demo", "both"], NO_CHOICE),
    "--threads": (["1"], ["", "x", "0", "-1", "1,2", "100000", NINES, CONTROL]),
    "--seconds": (["1", "0.5"], [*NO_NUMBER, "inf"]),
    "--epochs": (["0", "1"], ["", "x", "nan", "-1"]),
    "--out": (["new.json", "mine.json"], ["", "folder", "file/below", "a" * 5000, "\0"]),
}
OURS = "reference.conformance.adapters.ours:method"
COMMANDS: list[tuple[str, list[str], Options]] = [
    ("demo.py", ["--quick"], DEMO),
    ("search", ["--only", "undefended"], SEARCH),
    *(("studies", [name, "--quick"], STUDY) for name in ("cycle", "kinds", "cost")),
    ("conformance", ["run", OURS], RUN),
    ("bench", ["--quick"], BENCH),
]
"""Which do something by themselves: each right value is tried, and each wrong one."""
WRONG_ANYWAY: list[tuple[str, list[str], Options]] = [
    ("studies", ["survey", "make"], MAKE),
    ("lessons", ["check", "nothing.py"], CHECK),
    ("crosscheck", [], {"--run": ([], NO_FILE), "--images": ([], NO_NUMBER), "--out": ([], ["", "folder"])}),
]
RIGHT = """demo.py --help|search --help|studies|studies --help|studies cycle --help|studies survey --help|bench --help
conformance --help|conformance run --help|conformance list|conformance list --only scores|conformance template
conformance template --json-lines|conformance explain mixed-logits|conformance export new|lessons --help|lessons list
lessons exercise|lessons exercise 1 --out new|lessons exercise 1 --solution|lessons plant --seed 3 --out new
lessons check --help|crosscheck --help|conformance run reference.conformance.adapters.ours:method --list""".replace(
    "\n", "|"
)
WRONG = """demo.py --quick --long|demo.py --fast|demo.py x|demo.py --seeds|demo.py --full --select robustness|demo.py -5
search x|search --scale|studies nothing|studies cycle --quick --full|studies survey|studies survey nothing
studies survey score|studies survey score nothing|studies survey score folder|studies survey score pipe
studies survey score bytes|studies survey score deep.json|studies survey score list.json|studies survey score empty.json
conformance|conformance nothing|conformance run|conformance run --command=|conformance explain
conformance explain nothing|conformance export|conformance export file|conformance export file/below
conformance check|conformance check nothing|conformance check file|conformance check folder|conformance check strange
conformance run x --random 1 --seed -1|conformance list --only nothing|lessons|lessons nothing|lessons read 99
lessons read x|lessons read -1|lessons page --results nothing|lessons page --results file|lessons exercise nothing
lessons exercise 99|lessons exercise 1 --out file|lessons exercise 1 --out file/below|lessons check
lessons check folder|lessons check pipe|lessons plant|lessons plant --seed x|lessons plant --seed 1 --out file
bench x|crosscheck x""".replace("\n", "|")


PROCESSES = """demo.py --quick --out file|demo.py --help|-m reference.conformance run no.such.module
-m reference.conformance run pipe|-m reference.conformance run a:b:c|-m reference.experiment.search --jobs x""".replace(
    "\n", "|"
)
"""A few in processes of their own."""


def lines() -> Iterator[tuple[str, list[str], bool]]:
    """Every command line: the program, its arguments, and whether they are right."""
    for commands, good in ((COMMANDS, True), (WRONG_ANYWAY, False)):
        for program, base, options in commands:
            yield program, base, good
            for option, (right, wrong) in options.items():
                yield from ((program, [*base, option, value], good) for value in right)
                yield from ((program, [*base, f"{option}={value}"], False) for value in wrong)
    for text, right in ((RIGHT, True), (WRONG, False)):
        for line in text.split("|"):
            program, *arguments = line.split()
            yield program, arguments, right


def furnish(folder: Path) -> None:
    """What the command lines name: files of every wrong kind."""
    (folder / "folder").mkdir()
    for name in ("file", "mine.json"):
        (folder / name).write_text("mine")
    (folder / "bytes").write_bytes(bytes(range(256)))
    os.mkfifo(folder / "pipe")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "list.json").write_text("[1]")
    (folder / "empty.json").write_text("{}")
    for name in ("checkpoints/undefended-0.npz", "search-demo.json", "answers.json"):
        path = folder / "strange" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def began(*_, **__):
    """In place of the long work."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def programs() -> Iterator[dict]:
    """{name: main} of every command, with the long work left out."""
    sys.path[:0] = [str(ROOT)]
    spec = importlib.util.spec_from_file_location("demo", ROOT / "demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    from reference.bench import __main__ as bench
    from reference.conformance import __main__ as conformance
    from reference.experiment import crosscheck, search
    from reference.experiment import run as experiment
    from reference.lessons import __main__ as lessons
    from reference.plumbing import executors
    from reference.studies import __main__ as studies

    with contextlib.ExitStack() as stack:
        for owner, name in ((conformance.Live, "_start"), (experiment, "StandIn")):
            stack.enter_context(mock.patch.object(owner, name))
        for owner, name in ((executors, "local"), (bench, "child"), (conformance.Live, "ask")):
            stack.enter_context(mock.patch.object(owner, name, began))
        yield {
            "demo.py": demo.main,
            "search": search.main,
            "studies": studies.main,
            "conformance": conformance.main,
            "lessons": lessons.main,
            "bench": bench.main,
            "crosscheck": crosscheck.main,
        }


def process_ends(line: str) -> str:
    """What is wrong with how a command line in a process of its own ends."""
    program, *arguments = line.split()
    command = [str(ROOT / program) if program.endswith(".py") else program, *arguments]
    process = subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _, said = process.communicate(timeout=60)
    if "--help" in arguments:
        return "" if process.returncode == 0 and not said else said
    until = time.monotonic() + 5
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.02)
        return "a process is left"
    return "" if process.returncode == 2 and said.count("\n") == 1 else f"status {process.returncode}: {said}"


def ends(main, arguments: list[str], right: bool) -> str:
    """What is wrong with how the command line ends; "" if nothing is."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(arguments)
    except SystemExit as left:
        status = left.code or 0
    except BaseException:
        return traceback.format_exc()
    said = err.getvalue()
    if multiprocessing.active_children():
        return "a process is left"
    if "Traceback" in said or any(not (c.isprintable() or c == "\n") for c in said):
        return said
    if right:
        return "" if status in (0, 130) else f"status {status}: {said}"
    one_line = said.count("\n") == 1 and said.endswith("\n") and len(said) < 2500
    return "" if status == 2 and one_line and not out.getvalue() else f"status {status}: {out.getvalue()[:200]}{said}"


def main() -> dict[str, str]:
    """{command line: what is wrong with its end} of those that end badly; raises if there are too few to tell."""
    bad, tried = {}, 0
    with tempfile.TemporaryDirectory() as name, programs() as mains, contextlib.chdir(name):
        furnish(Path(name))
        for program, arguments, right in lines():
            tried += 1
            if wrong := ends(mains[program], arguments, right):
                bad[f"{program} {arguments!r:.200}"] = wrong
        with ThreadPoolExecutor(2) as pool:
            found = dict(zip(PROCESSES.split("|"), pool.map(process_ends, PROCESSES.split("|")), strict=True))
        bad |= {line: wrong for line, wrong in found.items() if wrong}
        tried += len(found)
        assert Path("file").read_text() == Path("mine.json").read_text() == "mine"
        assert Path("strange/search-demo.json").read_text() == "{}"
    assert tried >= 300
    print(f"{tried} command lines, {len(bad)} of which end badly")
    return bad


if __name__ == "__main__":
    for line, wrong in main().items():
        print(f"\n{line}\n    {wrong.strip()[-1500:]}")
