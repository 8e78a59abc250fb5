"""What a benchmark ran on: processor, threads, versions, and the kernels that each library's matrix products took."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")
"""The processor's features that decide between kernels."""
WIDEST = {"avx512f": ("skylakex", "cooperlake", "sapphirerapids", "zen4", "zen5"), "avx2": ("haswell", "zen")}
"""Which of OpenBLAS's kernels use a feature, the widest vectors first."""
FORCING = ("OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
"""Environment variables that make a library take other kernels than it would choose."""


def features() -> list[str]:
    """Those of `FLAGS` that the processor has; [] where the system does not say."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return []
    return [flag for flag in FLAGS if flag in words]


def libraries() -> list[dict]:
    """{name, version, kernel, threads} of every BLAS that this process has loaded; [] without threadpoolctl."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    return [
        {
            "name": found["internal_api"],
            "version": found.get("version"),
            "kernel": found.get("architecture"),
            "threads": found["num_threads"],
        }
        for found in threadpool_info()
        if found["user_api"] == "blas"
    ]


def machine() -> dict:
    """Everything, fit for JSON."""
    packages = ("numpy", "autograd", "torch", "jax")
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "features": features(),
        "blas": libraries(),
        "forced": {name: os.environ[name] for name in FORCING if name in os.environ},
        "versions": {package: version(package) for package in packages if find_spec(package)},
    }


def in_words(found: Mapping) -> str:
    """The line above the tables, and a warning for each kernel that is not the widest the processor could run."""
    blas = [f"{b['name']} {b['version']} on {b['kernel']} kernels" for b in found["blas"]] or ["BLAS unknown"]
    versions = [f"{name} {number}" for name, number in found["versions"].items()]
    about = [f"{found['cores']} cores with {', '.join(found['features']) or 'unknown features'}", *blas, *versions]
    lines = ["; ".join(about) + f"; Python {found['python']}."]
    lines += [
        f"FORCED: {name}={value} in the environment decides the kernels." for name, value in found["forced"].items()
    ]
    for library in found["blas"]:
        if wide := unused(library, found["features"]):
            lines.append(f"NOT THE WIDEST: {library['name']}'s {library['kernel']} kernels leave {wide} unused.")
    return "\n".join(lines)


def unused(blas: Mapping, features: Sequence[str]) -> str | None:
    """The feature of the widest vectors, if the processor has it and the library's kernels do not use it."""
    for feature, kernels in WIDEST.items():
        if feature in features:
            return None if blas["name"] != "openblas" or str(blas["kernel"]).lower() in kernels else feature
    return None
