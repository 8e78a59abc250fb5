"""The evaluation's attacks in NumPy, for any framework: they see logits, input gradients and the attack step only."""

from __future__ import annotations

import numpy as np


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Evaluation:
    """Mixed into an adapter."""

    def deepfool(self, params, x, labels):
        last, r, rows = x.copy(), np.zeros_like(x), np.arange(len(x))
        for _ in range(500):
            go = self.logits(params, last).argmax(axis=1) == labels
            if not go.any():
                break
            r = (last - x) / 1.02
            away, w = self.boundaries(params, x + r, labels)
            j = away.argmin(axis=1)
            w = w[rows, j]
            length = np.minimum(away[rows, j], 0.1)[:, None] + 1e-4
            step = length * w / np.linalg.norm(w, axis=1, keepdims=True)
            last = np.where(go[:, None], np.clip(x + 1.02 * (r + step), 0, 1), last).astype(x.dtype)
        return {"images": last, "success": self.logits(params, last).argmax(axis=1) != labels}

    def high_confidence(self, params, x, labels, C):
        C = softmax(self.logits(params, x)).max(axis=1) if C is None else C
        t, last, rows = self.nearest_class(params, x, labels, "l2"), x.copy(), np.arange(len(x))
        for _ in range(501):
            p = softmax(self.logits(params, last))
            done = (p.argmax(axis=1) == t) & (p[rows, t] >= C)
            if done.all():
                break
            step = self.attack_step(params, last, t, C, 1e-8, "l2")
            step = step * np.minimum(1, 0.1 / np.linalg.norm(step, axis=1, keepdims=True))
            last = np.where(done[:, None], last, np.clip(last + 1.02 * step, 0, 1)).astype(x.dtype)
        return {"images": np.where(done[:, None], last, x), "success": done}

    def robustness(self, x, images, success):
        ratios = np.linalg.norm(images - x, axis=1) / np.linalg.norm(x, axis=1)
        return ratios[success].mean()
