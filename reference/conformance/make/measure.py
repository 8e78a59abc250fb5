"""Plants every known mistake in the PyTorch adapter, and counts what is found.

    python -m reference.conformance.make.measure [--only MISTAKE]

A planted mistake must be failed, and should be named first.  A call that runs none of the functions that a mistake
changes is not made again.  Exit status 0 if all fail and 95 % are named first, 1 if not, 2 if nothing could be planted.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...plumbing.command import Parser, answer
from ..cases import load
from ..diagnose import diagnose
from ..judge import AdapterError, Missing, calls, judge, local, question
from .mistakes import BY_ID, MISTAKES
from .variants import ROOT, Edit, variant

TORCH, MORE = "conformance/adapters/pytorch.py", "conformance/adapters/pytorch_defences.py"
SHARED, ATTACKS = "conformance/adapters/tensors.py", "conformance/adapters/evaluation.py"

# fmt: off
NUMPY: dict[str, list[Edit]] = {
    "nearest-by-logit": [(SHARED, "return self.boundaries(params, x, labels, geometry)[0].argmin(axis=1)",
        "z = self.logits(params, x).copy()\n        z[np.arange(len(x)), labels] = -np.inf\n        return z.argmax(axis=1)")],
    "nearest-without-absolute-value": [(SHARED, "np.abs(z - z[rows, labels][:, None])", "z[rows, labels][:, None] - z")],
    "nearest-linf-by-maximum": [(SHARED, "np.abs(w).sum(axis=2)", "np.abs(w).max(axis=2)")],
    "gradient-of-one-class": [(SHARED, "J - J[rows, labels][:, None]", "J")],
    "confidence-by-label": [(SHARED, "group = p.argmax(axis=1)", "group = y")],
    "confidence-without-debiasing": [(SHARED, '"value": biased / (1 - 0.5 ** (steps + 1))', '"value": biased')],
    "running-confidence-plain": [(SHARED, '"value": biased / (1 - 0.5 ** (steps + 1))', '"value": (value + batch) / 2')],
    "absent-class-zero": [(SHARED, "batch = value.copy()", "batch = 0 * value")],
    "confidence-of-the-original-class": [
        (SHARED, "C = None if value is None else value[targets]",
         "C = None if value is None else value[self.logits(params, x).argmax(axis=1)]"),
        (SHARED, "*self.to((params, x, targets, value[targets]))",
         "*self.to((params, x, targets, value[self.logits(params, x).argmax(axis=1)]))")],
    "linf-step-by-l2-norm": [(SHARED, "np.abs(w).sum(axis=1, keepdims=True)", "np.linalg.norm(w, axis=1, keepdims=True)")],
    "fake-by-target": [(SHARED, "y_hat = self.logits(params, x_hat).argmax(axis=1)", "y_hat = targets")],
    "penalty-at-real-only": [(SHARED, 'found.pop("penalty_real") + found.pop("penalty_fake")', 'found.pop("penalty_real")')],
    "penalty-at-attacked-only": [(SHARED, 'found.pop("penalty_real") + found.pop("penalty_fake")', 'found.pop("penalty_fake")')],
    "critic-updated-in-the-classifier-step": [(SHARED, '"critic": critic["params"], **running}',
        '"critic": self.upset(critic["params"], given, noise_judge, critic_rate), **running}'),
        (SHARED, "    def training_step(", """    def upset(self, critic, given, noise, rate):
        x, y, targets, C = self.to((given["x"], given["y"], given["targets"], given["value"][given["targets"]]))
        params, noise = self.to((given["params"], noise))

        def fooled(D):
            terms = self.method.classifier_terms(params, x, y, targets, C, D, noise)
            return {"critic": terms["critic"]}

        g = self.back(self.gradients(fooled, critic))["critic"]
        return [(W - rate * V, b - rate * c) for (W, b), (V, c) in zip(critic, g)]

    def training_step("""),
        (TORCH, "[(W.detach(), b.detach()) for W, b in critic]", "critic")],
    "classifier-before-the-critic": [(SHARED, 'self.classifier_gradients(critic=critic["params"]', 'self.classifier_gradients(critic=state["critic"]')],
    "stale-confidence": [(SHARED, 'value=running["value"])', 'value=state["value"])')],
    "targets-relative-to-the-label": [(SHARED, 'self.nearest_class(params, x, self.logits(params, x).argmax(axis=1), "l2")', 'self.nearest_class(params, x, y, "l2")')],
    "deepfool-linearises-at-the-iterate": [(ATTACKS, "self.boundaries(params, x + r, labels)", "self.boundaries(params, last, labels)")],
    "deepfool-without-overshoot": [(ATTACKS, "r = (last - x) / 1.02", "r = last - x"), (ATTACKS, "x + 1.02 * (r + step)", "x + r + step")],
    "deepfool-without-step-limit": [(ATTACKS, "np.minimum(away[rows, j], 0.1)", "away[rows, j]")],
    "deepfool-from-the-prediction": [(ATTACKS, "last, r, rows = x.copy(), np.zeros_like(x), np.arange(len(x))",
        "labels = self.logits(params, x).argmax(axis=1)\n        last, r, rows = x.copy(), np.zeros_like(x), np.arange(len(x))")],
    "high-confidence-without-step-limit": [(ATTACKS, "step = step * np.minimum(1, 0.1 / np.linalg.norm(step, axis=1, keepdims=True))", "pass")],
    "high-confidence-at-the-boundary": [(ATTACKS, "done = (p.argmax(axis=1) == t) & (p[rows, t] >= C)", "done = p.argmax(axis=1) == t")],
    "evaluation-without-box": [(ATTACKS, "np.clip(x + 1.02 * (r + step), 0, 1)", "x + 1.02 * (r + step)"), (ATTACKS, "np.clip(last + 1.02 * step, 0, 1)", "last + 1.02 * step")],
    "rho-counts-failures-as-zero": [(ATTACKS, "return ratios[success].mean()", "return (ratios * success).mean()")],
    "rho-with-failures": [(ATTACKS, "return ratios[success].mean()", "return ratios.mean()")],
    "rho-ratio-of-means": [(ATTACKS, "return ratios[success].mean()", "return np.linalg.norm(images - x, axis=1)[success].sum() / np.linalg.norm(x, axis=1)[success].sum()")],
}
STEP = "r = r + active[:, None] * step"
GOES = "active = active * (s + (s.round() - s).detach())"
RESULT = "    x_hat = x + (1 + overshoot) * r\n    return"
ITERATE = "        x_hat = x + (1 + overshoot) * r\n        if"
GRADIENT = "(w,) = torch.autograd.grad(log_p.sum(), x, create_graph=create_graph, retain_graph=True)"
RETURN = "return (eps**0.5 + phi / n) * w / n, p"
FOOL, BACK = '"critic": masked_mean(F.softplus(-D), changed),', "x_back = unrolled(params, x_hat.detach(), predicted, own, **attack)"
CYCLE = '"cycle": masked_mean(((x - x_back) ** 2).sum(1), changed),'
JUDGE = "x_hat, noise), y_hat)"
GENERATED = "    return z, own, x_hat, y_hat\n"
KEPT = "    generate.targets, generate.C = targets, own if C is None else C\n" + GENERATED
PENALTY = "penalty = (torch.linalg.vector_norm(g, dim=1) - 1) ** 2"
SCORE = "x = (F.leaky_relu(x, 0.2) if i else x) + e"
CORRECTION = "eps=eps / (1 - beta2 ** (t + 1)) ** 0.5"
PYTORCH: dict[str, list[Edit]] = NUMPY | {
    "relu-gradient-half-at-zero": [(TORCH, "torch.relu(torch.addmm(c, x, V))", "torch.maximum(torch.addmm(c, x, V), torch.zeros(len(c), dtype=x.dtype))")],
    "relu-gradient-one-at-zero": [(TORCH, "x = torch.relu(torch.addmm(c, x, V))", "x = torch.addmm(c, x, V)\n        x = torch.where(x >= 0, x, 0)")],
    "relu-on-the-logits": [(TORCH, "    return torch.addmm(b, x, W)\n\n\ndef scores", "    return torch.relu(torch.addmm(b, x, W))\n\n\ndef scores")],
    "critic-slope-0.01": [(TORCH, "F.leaky_relu(x, 0.2)", "F.leaky_relu(x)")],
    "critic-with-relu": [(TORCH, "F.leaky_relu(x, 0.2)", "F.relu(x)")],
    "noise-off": [(TORCH, SCORE, "x = F.leaky_relu(x, 0.2) if i else x")],
    "noise-before-activation": [(TORCH, SCORE, "x = F.leaky_relu(x + e, 0.2) if i else x + e")],
    "critic-gradient-of-all-classes": [
        (SHARED, "self.slope(lambda v: self.method.pick(self.method.scores(critic, v, noise), labels), x)", "self.slope(lambda v: self.method.scores(critic, v, noise), x)"),
        (TORCH, "(g,) = torch.autograd.grad(D.sum(), both, create_graph=True)", "(g,) = torch.autograd.grad(scores(critic, both, noise).sum(), both, create_graph=True)")],
    "own-target-confidence-detached": [(TORCH, "own if C is None else C", "own.detach() if C is None else C")],
    "overshoot-missing": [(TORCH, RESULT, "    x_hat = x + r\n    return"), (TORCH, ITERATE, "        x_hat = x + r\n        if")],
    "overshoot-at-the-end-only": [(TORCH, ITERATE, "        x_hat = x + r\n        if")],
    "overshoot-twice": [(TORCH, STEP, "r = r + (1 + overshoot) * active[:, None] * step")],
    "sqrt-eps-missing": [(TORCH, RETURN, "return (phi / n) * w / n, p")],
    "eps-outside-the-norm": [(TORCH, "n = (eps + (w * w).sum(1, keepdim=True)).sqrt()", "n = eps + (w * w).sum(1, keepdim=True).sqrt()")],
    "step-divided-by-the-norm-once": [(TORCH, RETURN, "return (eps**0.5 + phi) * w / n, p")],
    "phi-without-absolute-value": [
        (TORCH, "phi = (log_p - C.log()).abs()[:, None]", "phi = (C.log() - log_p)[:, None]"),
        (SHARED, "phi = np.abs(np.log(p[rows, targets]) - np.log(C))[:, None]", "phi = (np.log(C) - np.log(p[rows, targets]))[:, None]")],
    "gradient-of-the-logit": [(TORCH, "torch.autograd.grad(log_p.sum(), x,", "torch.autograd.grad(pick(z, targets).sum(), x,"),
        (SHARED, "w = J[rows, targets] - (p[:, :, None] * J).sum(axis=1)", "w = J[rows, targets]")],
    "box-in-training": [(TORCH, RESULT, "    x_hat = (x + (1 + overshoot) * r).clamp(0, 1)\n    return")],
    "step-limit-in-training": [(TORCH, STEP, "r = r + active[:, None] * step * (0.1 / step.norm(dim=1, keepdim=True)).clamp(max=1)")],
    "never-stops": [(TORCH, GOES, "pass")],
    "indicator-not-cumulative": [(TORCH, GOES, "active = s + (s.round() - s).detach()")],
    "argmax-required-to-stop": [(TORCH, GOES, "go = s + (s.round() - s).detach()\n        active = active * (go + (1 - go.detach()) * (logits(params, x_hat).argmax(1) != targets))")],
    "stops-at-the-boundary": [(TORCH, GOES, "active = active * (logits(params, x_hat).argmax(1) != targets)")],
    "tie-goes-on": [(TORCH, GOES, "active = active * (s + ((s >= 0.5).to(s) - s).detach())")],
    "attack-detached": [(TORCH, JUDGE, "x_hat.detach(), noise), y_hat)")],
    "iterates-not-detached": [(TORCH, 'if gradient != "full":', "if False:")],
    "second-order-term-dropped": [(TORCH, GRADIENT, GRADIENT.replace("create_graph=create_graph", "create_graph=False"))],
    "phi-detached": [(TORCH, "phi = (log_p - C.log()).abs()[:, None]", "phi = (log_p - C.log()).abs()[:, None].detach()")],
    "norm-detached": [(TORCH, "n = (eps + (w * w).sum(1, keepdim=True)).sqrt()", "n = (eps + (w * w).sum(1, keepdim=True)).sqrt().detach()")],
    "indicator-without-gradient": [(TORCH, GOES, "active = active * (p < C)")],
    "indicator-without-sigmoid-slope": [(TORCH, GOES, "active = active * (C - p + ((p < C).to(p) - (C - p)).detach())")],
    "indicator-cumulative-forwards-only": [(TORCH, GOES, "active = active.detach() * (s + (s.round() - s).detach())")],
    "softmax-twice": [(TORCH, '"cross_entropy": F.cross_entropy(z, y)', '"cross_entropy": F.cross_entropy(F.softmax(z, 1), y)'),
        (MORE, "loss = F.cross_entropy(z, y)", "loss = F.cross_entropy(F.softmax(z, 1), y)")],
    "cross-entropy-summed": [(TORCH, '"cross_entropy": F.cross_entropy(z, y)', '"cross_entropy": F.cross_entropy(z, y, reduction="sum")'),
        (MORE, "loss = F.cross_entropy(z, y)", 'loss = F.cross_entropy(z, y, reduction="sum")')],
    "logarithm-of-softmax": [(TORCH, '"cross_entropy": F.cross_entropy(z, y)', '"cross_entropy": F.nll_loss((F.softmax(z, 1) + 1e-12).log(), y)')],
    "target-instead-of-predicted-class": [(TORCH, JUDGE, "x_hat, noise), generate.targets)"), (TORCH, GENERATED, KEPT)],
    "label-instead-of-predicted-class": [(TORCH, JUDGE, "x_hat, noise), y)")],
    "original-instead-of-predicted-class": [(TORCH, JUDGE, "x_hat, noise), predicted)")],
    "critic-term-over-all": [(TORCH, FOOL, '"critic": F.softplus(-D).mean(),')],
    "cycle-over-all": [(TORCH, CYCLE, CYCLE.replace("changed", "changed | True"))],
    "kept-divided-by-n": [(TORCH, "mask.sum().clamp(min=1)", "len(mask)")],
    "kept-against-label": [(TORCH, "changed = y_hat != predicted", "changed = y_hat != y")],
    "kept-at-target-only": [(TORCH, "changed = y_hat != predicted", "changed = y_hat == generate.targets"), (TORCH, GENERATED, KEPT)],
    "saturating-loss": [(TORCH, FOOL, '"critic": masked_mean(-F.softplus(D), changed),')],
    "fool-loss-sign": [(TORCH, FOOL, '"critic": masked_mean(F.softplus(D), changed),')],
    "cycle-input-attached": [(TORCH, BACK, BACK.replace(".detach()", ""))],
    "cycle-confidence-detached": [(TORCH, BACK, BACK.replace("own", "own.detach()"))],
    "cycle-result-detached": [(TORCH, CYCLE, CYCLE.replace("x - x_back", "x - x_back.detach() + 0 * x_back"))],
    "cycle-to-the-attacks-confidence": [(TORCH, BACK, BACK.replace("own", "generate.C")), (TORCH, GENERATED, KEPT)],
    "cycle-towards-the-label": [(TORCH, BACK, BACK.replace("predicted", "y"))],
    "cycle-plain-norm": [(TORCH, CYCLE, CYCLE.replace(".sum(1)", ".sum(1).add(1e-300).sqrt()"))],
    "cycle-mean-over-pixels": [(TORCH, CYCLE, CYCLE.replace(".sum(1)", ".mean(1)"))],
    "cycle-l1": [(TORCH, CYCLE, CYCLE.replace("((x - x_back) ** 2)", "(x - x_back).abs()"))],
    "failed-attacks-dropped": [
        (SHARED, "return found | {", "found['fake'] = self.method.masked_mean(found.pop('each'), kept)\n            return found | {"),
        (TORCH, '"fake": F.softplus(D[n:]).mean(),', '"fake": None, "each": F.softplus(D[n:]),'),
        (SHARED, "        given = self.to((x, y, x_hat,", "        kept = self.to(y_hat != self.logits(params, x).argmax(axis=1))\n        given = self.to((x, y, x_hat,")],
    "fake-by-label": [(TORCH, '"fake": F.softplus(D[n:]).mean(),', '"fake": F.softplus(pick(scores(critic, both, noise)[n:], y)).mean(),')],
    "real-and-fake-swapped": [(TORCH, "F.softplus(-D[:n])", "F.softplus(D[:n])"), (TORCH, "F.softplus(D[n:])", "F.softplus(-D[n:])")],
    "linear-critic-loss": [(TORCH, "F.softplus(-D[:n])", "(-D[:n])"), (TORCH, "F.softplus(D[n:])", "D[n:]")],
    "penalty-at-interpolates": [
        (SHARED, 'found.pop("penalty_real") + found.pop("penalty_fake")', 'found.pop("penalty_real")'),
        (SHARED, "given = self.to((x, y, x_hat, y_hat, noise_real, noise_fake))", "given = self.to((x, y, x_hat, y_hat, noise_real, noise_fake))\n        mixed = self.to((u * x + (1 - u) * x_hat, y, x_hat, y_hat, noise_real, noise_fake))"),
        (SHARED, "            return found | {", "            del found['penalty_fake']\n            found['penalty_real'] = self.method.critic_terms(critic, *mixed)['penalty_real']\n            return found | {")],
    "penalty-one-sided": [(TORCH, PENALTY, "penalty = (torch.linalg.vector_norm(g, dim=1) - 1).clamp(min=0) ** 2")],
    "penalty-zero-centred": [(TORCH, PENALTY, "penalty = (g * g).sum(1)")],
    "penalty-per-batch": [(TORCH, '"penalty_real": penalty[:n].mean()', '"penalty_real": (g[:n].norm() - 1) ** 2'),
        (TORCH, '"penalty_fake": penalty[n:].mean()', '"penalty_fake": (g[n:].norm() - 1) ** 2')],
    "penalty-of-the-mean-norm": [(TORCH, '"penalty_real": penalty[:n].mean()', '"penalty_real": (g[:n].norm(dim=1).mean() - 1) ** 2'),
        (TORCH, '"penalty_fake": penalty[n:].mean()', '"penalty_fake": (g[n:].norm(dim=1).mean() - 1) ** 2')],
    "penalty-not-squared": [(TORCH, PENALTY, "penalty = (torch.linalg.vector_norm(g, dim=1) - 1).abs()")],
    "penalty-detached": [(TORCH, PENALTY, "penalty = (torch.linalg.vector_norm(g.detach(), dim=1) - 1) ** 2 + 0 * D")],
    "penalty-without-noise": [(TORCH, "torch.autograd.grad(D.sum(), both,", "torch.autograd.grad(pick(scores(critic, both, [0 * e for e in noise]), torch.cat([y, y_hat])).sum(), both,")],
    "weight-decay-on-the-last-layer": [(MORE, "for W, _ in params[:-1])", "for W, _ in params)")],
    "weight-decay-on-biases": [(MORE, "sum((W * W).sum() for W, _ in params[:-1])", "sum((W * W).sum() + (b * b).sum() for W, b in params[:-1])")],
    "weight-decay-without-half": [(MORE, "for W, _ in params[:-1]) / 2", "for W, _ in params[:-1])")],
    "adversarial-examples-only": [(MORE, "(loss + F.cross_entropy(attacked, y)) / 2", "F.cross_entropy(attacked, y)")],
    "virtual-gradient-not-normalised": [(MORE, "return epsilon * F.normalize(g, dim=1)\n\n\ndef margin", "return epsilon * g * len(x) / len(x)\n\n\ndef margin")],
    "virtual-target-attached": [(MORE, "kl(z.detach(), moved)", "kl(z, moved)")],
    "virtual-kl-reversed": [(MORE, "F.kl_div(F.log_softmax(z, 1), F.log_softmax(z0, 1),", "F.kl_div(F.log_softmax(z0, 1), F.log_softmax(z, 1),")],
    "margin-gradient-detached": [(MORE, "epsilon * size)", "epsilon * size.detach())")],
    "margin-summed-over-classes": [(MORE, "hinge = torch.where(own, -torch.inf, 1 + lead + epsilon * size).amax(1)\n    return hinge.clamp(min=0).mean()",
        "hinge = torch.where(own, 0, 1 + lead + epsilon * size)\n    return hinge.clamp(min=0).sum(1).mean()")],
    "adam-beta1-0.9": [(TORCH, "beta1=0.5", "beta1=0.9")],
    "adam-eps-inside": [(TORCH, CORRECTION, "eps=eps")],
    "adam-without-bias-correction": [(TORCH, "lr=rate,", "lr=rate * (1 - beta1 ** (t + 1)) / (1 - beta2 ** (t + 1)) ** 0.5,")],
    "adam-restarted": [(TORCH, "steps = [torch.tensor(float(t))", "t = 0\n    steps = [torch.tensor(float(t))")],
}
# fmt: on

ADAPTER = "conformance.adapters.pytorch_adapter"
Location = tuple[str, int]
"""(file below reference/, first line of a function)"""


def planted(mistake: str) -> tuple[bool, list[str]]:
    """-> (whether the adapter with the mistake is failed, the mistakes named, the first first)"""
    before, edits = unchanged(), PYTORCH[mistake]
    changed = {place for edit in edits for place in functions(edit)}
    with variant(edits) as load_module:
        asked = calls(guarded(load_module(ADAPTER).adapter), "float64")

        def source(case):
            got, ran = before[question(case)]
            if ran & changed:
                return asked(case)
            if isinstance(got, Exception):
                raise got
            return got

        results = judge(load().values(), source, {}, "float64")
    return any(r.status in ("failed", "error") for r in results), diagnose(results, "float64")


@cache
def unchanged() -> dict[tuple, tuple[Any, set[Location]]]:
    """{question: (what the adapter answers as it is, the functions of this package that ran)}"""
    ran: set[Location] = set()

    def notice(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            ran.add((Path(frame.f_code.co_filename).relative_to(ROOT).as_posix(), frame.f_code.co_firstlineno))

    found = {}
    with variant() as load_module:
        module = load_module(ADAPTER)
        for case in load().values():
            if question(case) not in found:
                source = calls(guarded(module.adapter), "float64")
                ran.clear()
                sys.setprofile(notice)
                try:
                    got = source(case)
                except (AdapterError, Missing) as error:
                    got = error
                finally:
                    sys.setprofile(None)
                found[question(case)] = got, set(ran)
    return found


def functions(edit: Edit) -> set[Location]:
    """The innermost functions that an edit changes lines of."""
    file, old, _ = edit
    source = (ROOT / file).read_text(encoding="utf-8")
    start = source.count("\n", 0, source.index(old)) + 1
    found = {}
    for node in ast.walk(ast.parse(source)):  # the outer ones first
        if isinstance(node, ast.FunctionDef):
            first = min(part.lineno for part in (node, *node.decorator_list))
            found |= dict.fromkeys(range(first, node.end_lineno + 1), first)
    return {(file, found[line]) for line in range(start, start + old.count("\n") + 1) if line in found}


def guarded(adapter):
    """Ask an adapter of this process; what it raises is an error of its own."""
    ask = local(adapter)

    def asked(method, inputs):
        try:
            return ask(method, inputs)
        except Missing:
            raise
        except Exception as error:
            raise AdapterError(f"{method} raised {error!r}") from error

    return asked


def measure(only: str | None = None) -> bool:
    """Plant all mistakes, or one, and print what came of it -> whether all fail and 95 % are named first."""
    names = [only] if only else list(PYTORCH)
    failed, first, start = 0, 0, time.perf_counter()
    for name in names:
        found, named = planted(name)
        failed, first = failed + found, first + (named[:1] == [name])
        if not found or named[:1] != [name]:
            verdict = "failed" if found else "NOT FAILED"
            print(f"{name} is {verdict}, named {', '.join(named[:3]) or '-'}", flush=True)
    print(f"Of {len(MISTAKES)} known mistakes {len(names)} planted, {failed} failed ({failed / len(names):.1%}), "
          f"{first} named first ({first / len(names):.1%}), {time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
    return failed == len(names) and first >= 0.95 * len(names)


def execute(argv: Sequence[str] | None) -> int:
    """Plant, count -> the exit status."""
    parser = Parser(prog="python -m reference.conformance.make.measure", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="MISTAKE", help="plant one")
    args = parser.parse_args(argv)
    if args.only and args.only not in BY_ID:
        raise InputError(f"--only {args.only}: no such mistake; reference/conformance/mistakes.json lists them")
    try:
        return 0 if measure(args.only) else 1
    except ImportError as error:
        raise InputError(f"{error}: install PyTorch") from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command line -> the exit status."""
    return answer("reference.conformance.make.measure", lambda: execute(argv), "")


if __name__ == "__main__":
    sys.exit(main())
