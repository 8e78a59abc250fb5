"""setup.cfg is the truth about what the package needs and ships."""

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import reference

ROOT = Path(__file__).parent.parent
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg", encoding="utf-8")


def names(requirements):
    """The distribution names in a list of requirements, one a line."""
    return [re.match(r"[\w-]+", line)[0] for line in requirements.split()]


def test_the_runtime_needs_four_packages():
    assert names(CONFIG["options"]["install_requires"]) == [
        "numpy",
        "autograd",
        "scipy",
        "matplotlib",
    ]


def test_metadata_stands_in_one_place():
    metadata = CONFIG["metadata"]
    assert metadata["name"] == "adversary-critic-reference"
    assert metadata["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert reference.__version__ in (metadata["version"], "0+unknown")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {metadata['version']}\n" in citation
    assert "project" not in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_data_file_is_shipped():
    patterns = CONFIG["options.package_data"]["*"].split()
    shipped = {path for pattern in patterns for path in (ROOT / "reference").rglob(pattern)}
    ours = {path for path in (ROOT / "reference").rglob("*") if path.is_file()}
    left_out = {path for path in ours if path.suffix in (".py", ".pyc") or ".ruff_cache" in path.parts}
    unshipped = ours - shipped - left_out
    assert not unshipped
    for name in ("py.typed", "data/mnist.npz", "data/ORIGIN.md"):
        assert ROOT / "reference" / name in shipped


def test_every_folder_with_code_is_a_package():
    for path in (ROOT / "reference").rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), f"{path.parent} would not be installed"


def test_imports_are_light():
    code = "import reference, reference.data, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"torch", "jax", "tensorflow", "mlxtend", "tqdm", "matplotlib", "scipy", "autograd"}
    assert not heavy & set(done.stdout.split())
    code = "import reference, sys; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
