"""The kit among unlucky or hostile adapters and files, and programs in other languages: one clear line each."""

import codecs
import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from kit import CASES, GOOD, call

from reference.conformance.cases import FOLDER
from reference.conformance.judge import clean

ROOT = Path(__file__).parents[2]
HEAD = "import numpy as np, sys, os\nclass Adapter:\n"


def method(signature, *body):
    return "\n        ".join([f"    def {signature}:", *body])


logits = partial(method, "logits(self, params, x)")
losses = partial(method, "classifier_losses(self, **given)")
carlini_wagner = partial(method, "carlini_wagner(self, params, x, labels)")
IMAGES = "carlini_wagner returned images, expected an array of numbers (2, 5)"
LONG = np.dtype(np.longdouble)
ADAPTERS = {
    # what it has: (its methods, what is said)
    "None": (logits("return None"), "it returned None"),
    "an exception": (logits("raise KeyError('lost')"), "raised KeyError: 'lost' (odd.py, line"),
    "another shape": (logits("return (x @ params[0][0]).T"), "returned logits of shape"),
    "another answer": (logits("return np.ones((len(x), params[-1][1].size))"), "FAILED mixed-logits"),
    "nan": (logits("return np.full((len(x), params[-1][1].size), np.nan)"), "nan or infinite"),
    "float32": (logits("return np.zeros((8, 4), np.float32)"), "of dtype float32, expected float64"),
    "no end": (logits("while True: pass"), "took longer than 2 s: stopped"),
    "an end": (logits("os._exit(7)"), "ended its process, with exit code 7"),
    "words": (logits("return 'no array'"), "returned logits = 'no array', expected float64 (8, 4)"),
    "a ragged list": (logits("return [[1.0], [2.0, 3.0]]"), "returned logits as a list, expected an array (8, 4)"),
    "an object": (logits("return np.array([self], dtype=object)"), "dtype object"),
    "long doubles": (
        logits("return np.zeros(3, np.clongdouble).real"),
        f"it returned ndarray of dtype {LONG}" if LONG.itemsize > 8 else "shape",
    ),
    "a generator": (logits("return (row for row in x)"), "logits returned a generator that holds more than arrays"),
    "a list without end": (logits("a = []; a.append(a)", "return a"), "logits returned a list without end"),
    "words into every file": (
        logits("for f in range(3, 256):", "    try: os.write(f, b'garbage')", "    except OSError: pass", "return x"),
        "wrote into the kit's own pipe: stopped",
    ),
    "images of another shape": (
        carlini_wagner("return {'images': x[:, 1:], 'success': x[:, 0] < 2}"),
        "carlini_wagner returned images of shape (2, 4), expected an array of numbers (2, 5)",
    ),
    "images of words": (carlini_wagner("return {'images': x.astype(str), 'success': x[:, 0] < 2}"), IMAGES),
    "ragged images": (carlini_wagner("return {'images': [[1.0], [1.0, 2.0]], 'success': [[1], []]}"), IMAGES),
    "a state that is a list": (
        method("training_step(self, **given)", "return list(given['state'].values())"),
        "training_step returned no dict",
    ),
    "a float32 number": (losses("return {'cross_entropy': np.float32(1)}"), "of dtype float32, expected float64"),
    "an unknown output": (losses("return {'ce': 1.0}"), "is ce meant to be cross_entropy?"),
    "a misnamed method": (
        method("classifier_loss(self, **given)", "pass"),
        "it has classifier_loss, which is no method of the kit: rename it to classifier_losses",
    ),
    "a change in place": (
        logits("x += 1", "return np.zeros((len(x), params[-1][1].size))"),
        "logits changed its argument x in place",
    ),
    "a text that raises": (
        logits("class E(Exception):", "    def __str__(self): raise OSError", "raise E()"),
        "its text raised OSError",
    ),
    "a long coloured text": (logits("raise ValueError('\\x1b[31m\\udce9' + 'x' * 9999)"), "ValueError: \\udce9xxx"),
    "words everywhere": (
        logits(
            "os.write(1, b'NOISE'); sys.__stdout__.write('NOISE'); os.system('echo NOISE')",
            "return np.zeros((len(x), params[-1][1].size))",
        ),
        "FAILED mixed-logits",
    ),
}


ASKED = ["mixed-logits", "mixed-loss-cross-entropy", "linear-optimum-carlini-wagner", "trajectory-trajectory"]


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_with(here, name, capfd):
    methods, says = ADAPTERS[name]
    (here / "odd.py").write_text(HEAD + methods)
    only = [a for id in ASKED for a in ("--only", id)] + ["--junit", "r.xml"]
    status, out, err = call("run", "odd.py", *only, "--timeout", 2 if name == "no end" else 20)
    out += capfd.readouterr().out
    assert status == (1 if says.startswith("FAILED") else 2) and says in out + err
    assert "Traceback" not in out + err and "NOISE" not in out and "\x1b" not in out and len(out) < 9000


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_an_adapter_that_never_answers_ends_with_the_kit(here):
    """Even where the kit is killed, and can end nobody itself."""
    (here / "loops.py").write_text(HEAD + logits("os.write(2, b'%d\\n' % os.getpid())", "while True: pass"))
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
    (here / "odd.py").write_text(HEAD + losses("return {'critic': 0}"))
    assert call("run", "odd.py", "--only", "stops-at-once-loss-critic")[0] == 0


def test_layers_too_many_are_an_error(here):
    long = "return {'params': params + params[-1:], 'm': m, 'v': v}"
    (here / "odd.py").write_text(HEAD + method("adam_step(self, params, gradient, m, v, t, rate)", long))
    status, out, _ = call("run", "odd.py", "--only", "tiny-adam")
    assert status == 2 and "adam_step returned params.W2 too" in out


@pytest.mark.parametrize("named", ["", ":Adapter"])
@pytest.mark.parametrize(
    "place",
    ["mine.py", "./mine.py", "sub/mine.py", "{here}/mine.py", "../elsewhere/mine.py"]
    + ["model-v1.2/mine.py", "mine.v2.py", "../o/x.y.py", "a:b/mine.py", "C:\\me\\mine.py"],
)
def test_an_adapter_wherever_it_lies(here, place, named):
    place = place.format(here=here)
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


def test_text_is_made_harmless():
    assert clean("a\nb\x1b[31mc\x00\udce9") == "a bc \\udce9" and len(clean("x" * 5000)) < 2010
