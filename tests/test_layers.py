"""The import rule: a file of `reference/` imports only files named above it in this list."""

import ast
from pathlib import Path

import reference

ROOT = Path(reference.__file__).parent
ORDER = """
    errors command checks files runs numerics settings
    data.digits data.idx data data.build_mnist_5k
    network critic losses
    attacks.model attacks.result attacks.targets attacks.high_confidence attacks.deepfool attacks.carlini_wagner
    attacks.gradient_sign attacks.projected_gradient attacks.virtual attacks
    risk reverse objectives adjoint attack_adjoint twins optimise steps fused train evaluate
    standin toy figures experiment report pictures search
    conformance conformance.adapter conformance.cases conformance.judge conformance.diagnose conformance.report
    conformance.offline conformance.live
    conformance.adapters conformance.adapters.ours conformance.adapters.evaluation conformance.adapters.tensors
    conformance.adapters.pytorch conformance.adapters.pytorch_defences conformance.adapters.pytorch_adapter
    conformance.adapters.jax conformance.adapters.jax_defences
    conformance.adapters.jax_adapter
    conformance.variants conformance.mistakes conformance.by_hand conformance.problems conformance.generate
    conformance.measure conformance.random_cases conformance.__main__
    bench bench.problem bench.rows bench.rivals bench.products bench.measure bench.growth bench.__main__
    studies.study studies.measures studies.cost studies.confidence studies.cycle studies.critic studies.scarcity
    studies.unlike studies.maximum studies.kinds studies.pareto
    studies.scoring studies.survey studies studies.__main__
""".split()


def imported(path: Path) -> set[str]:
    """The modules of `reference` that a file imports, by their names below it."""
    package = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = [*base, *(node.module or "").split(".")] if node.level else (node.module or "").split(".")
            if not node.level and module[0] != "reference":
                continue
            module = [part for part in module if part and part != "reference"]
            names = [".".join([*module, alias.name]) for alias in node.names]
            found |= {name if name in ORDER else ".".join(module) for name in names}
    return found - {""}


def test_every_file_imports_only_what_stands_above_it():
    files = {path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"}
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}
    assert sorted(names.values()) == sorted(ORDER)
    for path, name in names.items():
        late = [other for other in imported(path) if ORDER.index(other) >= ORDER.index(name)]
        assert not late, f"{name} imports {late}"
