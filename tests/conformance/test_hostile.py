"""The kit among unlucky or hostile adapters and files, and programs in other languages: one clear line each."""

import codecs
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from kit import CASES, GOOD, call

from reference.conformance.cases import FOLDER
from reference.conformance.judge import clean

ROOT = Path(__file__).parents[2]
HEAD = "import numpy as np, sys, os\nclass Adapter:\n"
ADAPTERS = {
    # what it does: (its methods, exit status, what is said)
    "an object": ("    def logits(self, params, x): return np.array([self], dtype=object)", 2, "dtype object"),
    "long doubles": (
        "    def logits(self, params, x): return np.zeros(3, np.clongdouble).real",
        2,
        f"it returned ndarray of dtype {np.dtype(np.longdouble)}" if np.dtype(np.longdouble).itemsize > 8 else "shape",
    ),
    "a generator": (
        "    def logits(self, params, x): return (row for row in x)",
        2,
        "logits returned a generator that holds more than arrays",
    ),
    "a list without end": (
        "    def logits(self, params, x):\n        a = []; a.append(a)\n        return a",
        2,
        "logits returned a list without end",
    ),
    "words into every file": (
        "    def logits(self, params, x):\n        for f in range(3, 256):\n            try: os.write(f, b'garbage')\n"
        "            except OSError: pass\n        return x",
        2,
        "wrote into the kit's own pipe: stopped",
    ),
    "images of another shape": (
        "    def carlini_wagner(self, params, x, labels): return {'images': x[:, 1:], 'success': x[:, 0] < 2}",
        2,
        "carlini_wagner returned images of shape (2, 4), expected an array of numbers (2, 5)",
    ),
    "images of words": (
        "    def carlini_wagner(self, params, x, labels): return {'images': x.astype(str), 'success': x[:, 0] < 2}",
        2,
        "carlini_wagner returned images, expected an array of numbers (2, 5)",
    ),
    "rows of several lengths": (
        "    def carlini_wagner(self, params, x, labels): return {'images': [[1.0], [1.0, 2.0]], 'success': [[1], []]}",
        2,
        "carlini_wagner returned images, expected an array of numbers (2, 5)",
    ),
    "a state that is a list": (
        "    def training_step(self, **given): return list(given['state'].values())",
        2,
        "training_step returned no dict",
    ),
    "None": ("    def logits(self, params, x): return None", 2, "it returned None"),
    "a float32 number": (
        "    def classifier_losses(self, **given): return {'cross_entropy': np.float32(1)}",
        2,
        "of dtype float32, expected float64",
    ),
    "an unknown output": (
        "    def classifier_losses(self, **given): return {'ce': 1.0}",
        2,
        "is ce meant to be cross_entropy?",
    ),
    "a misnamed method": (
        "    def classifier_loss(self, **given): pass",
        2,
        "it has classifier_loss, which is no method of the kit: rename it to classifier_losses",
    ),
    "a change in place": (
        "    def logits(self, params, x):\n        x += 1\n        return np.zeros((len(x), params[-1][1].size))",
        2,
        "logits changed its argument x in place",
    ),
    "a text that raises": (
        "    def logits(self, params, x):\n        class E(Exception):\n            def __str__(self): raise OSError\n"
        "        raise E()",
        2,
        "its text raised OSError",
    ),
    "a long coloured text": (
        "    def logits(self, params, x): raise ValueError('\\x1b[31m\\udce9' + 'x' * 9999)",
        2,
        "ValueError: \\udce9xxx",
    ),
    "writes everywhere": (
        "    def logits(self, params, x):\n        os.write(1, b'NOISE'); sys.__stdout__.write('NOISE')\n"
        "        os.system('echo NOISE')\n        return np.zeros((len(x), params[-1][1].size))",
        1,
        "FAILED mixed-logits",
    ),
}


ASKED = ["mixed-logits", "mixed-loss-cross-entropy", "linear-optimum-carlini-wagner", "trajectory-trajectory"]


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_with(here, name, capfd):
    methods, status, says = ADAPTERS[name]
    (here / "odd.py").write_text(HEAD + methods)
    only = [a for id in ASKED for a in ("--only", id)] + ["--junit", "r.xml"]
    found, out, err = call("run", "odd.py", *only, "--timeout", 20)
    out += capfd.readouterr().out
    assert found == status and says in out + err
    assert "Traceback" not in out + err and "NOISE" not in out and "\x1b" not in out and len(out) < 9000


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_an_adapter_that_never_answers_ends_with_the_kit(here):
    """Even where the kit is killed, and can end nobody itself."""
    loops = "    def logits(self, params, x):\n        os.write(2, b'%d\\n' % os.getpid())\n        while True: pass\n"
    (here / "loops.py").write_text(HEAD + loops)
    command = [sys.executable, "-m", "reference.conformance", "run", "loops.py", "--only", "mixed-logits"]
    kit = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)
    adapter = Path("/proc", kit.stderr.readline().strip())
    assert adapter.exists()
    kit.kill()
    kit.wait()
    until = time.monotonic() + 10
    while adapter.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not adapter.exists()
    kit.stderr.close()


def test_a_mean_over_nobody_may_be_the_integer_0(here):
    (here / "odd.py").write_text(HEAD + "    def classifier_losses(self, **given): return {'critic': 0}")
    assert call("run", "odd.py", "--only", "stops-at-once-loss-critic")[0] == 0


def test_layers_too_many_are_an_error(here):
    (here / "odd.py").write_text(HEAD + "    def adam_step(self, params, gradient, m, v, t, rate):\n"
                                 "        return {'params': params + params[-1:], 'm': m, 'v': v}")  # fmt: skip
    status, out, _ = call("run", "odd.py", "--only", "tiny-adam")
    assert status == 2 and "adam_step returned params.W2 too" in out


@pytest.mark.parametrize("place", ["model-v1.2/mine.py", "mine.v2.py", "../o/x.y.py", "a:b/mine.py", "C:\\me\\mine.py"])
@pytest.mark.parametrize("named", ["", ":Adapter"])
def test_an_adapter_wherever_it_lies(here, place, named):
    (here / place).parent.mkdir(parents=True, exist_ok=True)
    (here / place).write_text(GOOD)
    assert call("run", place + named, "--only", "mixed-logits")[0] == 0


def test_a_filled_sheet_is_never_overwritten(here):
    assert call("export", "sheet", "--only", "mixed-logits")[0] == 0
    assert call("export", "sheet", "--only", "mixed-logits")[0] == 0  # a blank one may be
    path = here / "sheet" / "answers.json"
    filled = path.read_text().replace("null", "[[1.0]]")
    path.write_text(filled)
    status, _, err = call("export", "sheet")
    assert status == 2 and "holds 1 answers, which stay as they are" in err and path.read_text() == filled


@pytest.mark.parametrize("encoding, mark", [("utf-8", codecs.BOM_UTF8), ("utf-16", b"")])
def test_a_sheet_as_windows_writes_it(here, encoding, mark):
    call("export", "sheet", "--only", "mixed-logits")
    path = here / "sheet" / "answers.json"
    sheet = json.loads(path.read_text())
    sheet["answers"]["mixed-logits"]["logits"] = CASES["mixed-logits"].expected["logits"].tolist()
    path.write_bytes(mark + json.dumps(sheet).encode(encoding))
    assert call("check", "sheet")[0] == 0


def test_float32_answers_of_a_float64_sheet_are_refused(here):
    call("export", "sheet", "--only", "mixed-logits")
    np.savez(
        here / "sheet" / "answers.npz",
        **{"mixed-logits/logits": CASES["mixed-logits"].expected["logits"].astype(np.float32)},
    )
    status, out, _ = call("check", "sheet")
    assert status == 2 and "logits is float32: export the sheet with --dtype float32" in out


@pytest.mark.parametrize(
    "text, says",
    [
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ('{"version": "1.0", "answers": {"mixed-logits": {"logits": 1, "logits": null}}}', "'logits' occurs twice"),
        ("", "Expecting value"),
    ],
)
def test_damaged_json(here, text, says):
    (here / "sheet").mkdir()
    (here / "sheet" / "answers.json").write_text(text)
    status, _, err = call("check", "sheet")
    assert status == 2 and says in err and "Traceback" not in err


@pytest.mark.parametrize(
    "path, value",
    [
        (("given", "params"), "words"),
        (("given", "params"), {"dtype": "float64", "shape": [2], "data": ["a", "b"]}),
        (("given", "params"), {"dtype": "float64", "shape": [7], "data": [1, 2]}),
        (("given", "params"), {"array": "absent"}),
        (("given",), {}),
        (("cases", 0, "expected"), {}),
        (("cases", 0, "expected", "m", 0, 0, "data", 0), float("nan")),
        (("cases", 0, "mistakes"), {"no-such-mistake": {}}),
        (("cases", 0, "call"), "no_such_method"),
        (("cases",), 5),
    ],
)
def test_a_tampered_case_file(here, path, value):
    text = json.loads((FOLDER / "tiny.json").read_text(encoding="utf-8"))
    at = text
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    (here / "x.json").write_text(json.dumps(text))
    status, _, err = call("run", "reference.conformance.adapters.ours:method", "--cases", "x.json")
    assert status == 2 and "x.json is no case file" in err and "Traceback" not in err


# Programs in other languages -------------------------------------------------------------------------------------


def test_the_javascript_adapter_passes(here):
    if shutil.which("node") is None:
        pytest.skip("node is not here")
    program = f"node '{FOLDER.parent / 'adapters' / 'javascript.mjs'}'"
    for dtype in ("float64", "float32"):
        assert call("run", "--command", program, "--json", "r.json", "--dtype", dtype)[0] == 0
        counts = json.loads((here / "r.json").read_text())["counts"]
        assert counts.keys() == {"passed", "skipped"} and counts["passed"] >= 77


SPEAKER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "start" in message:
        print(json.dumps({"name": "speaker"}), flush=True)
    elif "ask" in message:
        BODY
"""
SPOKEN = {
    "print('no json', flush=True)": (2, "wrote 'no json' to stdout: no JSON object"),
    "print(json.dumps({'answer': 5}), flush=True)": (2, "its answer is no object of arrays"),
    "print(json.dumps({'answer': {'logits': [[1], [1, 2]]}}), flush=True)": (2, "its answer is no object of arrays"),
    "print(json.dumps({}), flush=True)": (2, "its line has no answer, no missing and no error"),
    "print(json.dumps({'missing': 'later'}), flush=True)": (3, "logits: later"),
    "print(json.dumps({'error': 'lost'}), flush=True)": (2, "logits: lost"),
    "sys.exit(7)": (2, "ended its process, with exit code 7"),
    "import time; time.sleep(60)": (2, "took longer than 1 s: stopped"),
}


@pytest.mark.parametrize("body", SPOKEN)
def test_a_program_that_speaks(here, body):
    (here / "speaker.py").write_text(SPEAKER.replace("BODY", body))
    command = f"'{sys.executable}' speaker.py"
    status, out, err = call("run", "--command", command, "--only", "mixed-logits", "--timeout", 1)
    assert (status, "Traceback" in out + err) == (SPOKEN[body][0], False) and SPOKEN[body][1] in out + err


@pytest.mark.parametrize("arguments", [[], ["mine", "--command", "x"], ["--command", "/no/such/program"]])
def test_one_of_adapter_and_command(here, arguments):
    status, _, err = call("run", *arguments)
    assert status == 2 and ("or --command LINE" in err or "cannot be started" in err)


def test_text_is_made_harmless():
    assert clean("a\nb\x1b[31mc\x00\udce9") == "a bc \\udce9" and len(clean("x" * 5000)) < 2010
