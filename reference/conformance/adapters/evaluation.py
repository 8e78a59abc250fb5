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
            size = np.linalg.norm(w, axis=1, keepdims=True)
            step = length * w / np.where(size > 0, size, 1)
            before, last = last, np.where(go[:, None], np.clip(x + 1.02 * (r + step), 0, 1), last).astype(x.dtype)
            if np.array_equal(before, last):  # no gradient moves the others
                break
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
            step = step * np.minimum(1, 0.1 / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12))
            before, last = last, np.where(done[:, None], last, np.clip(last + 1.02 * step, 0, 1)).astype(x.dtype)
            if np.array_equal(before, last):
                break
        return {"images": np.where(done[:, None], last, x), "success": done}

    def carlini_wagner(self, params, x, labels):
        rows, start = np.arange(len(x)), np.arctanh((2 * x - 1) * 0.999999)  # a pixel at 0 or 1 lies at infinity
        best, c = x.copy(), np.full_like(x[:, 0], 0.01)
        shortest, low, high = c + np.inf, 0 * c, c + np.inf
        for _ in range(9):
            w, m, v, before, worked = start, 0, 0, np.inf, False
            going = np.ones(len(x), bool)  # an image that is done stays in the batch: JAX compiles for every shape
            for i in range(1, 1001):
                image = (np.tanh(w) + 1) / 2
                z, r = self.logits(params, image), image - x
                rival = np.where(np.arange(z.shape[1]) == labels[:, None], -np.inf, z).argmax(axis=1)
                lead, square, found = z[rows, labels] - z[rows, rival], (r * r).sum(axis=1), z.argmax(axis=1) != labels
                better = found & (square < shortest)
                best, shortest = np.where(better[:, None], image, best), np.where(better, square, shortest)
                worked = worked | found
                if i % 100 == 0:
                    loss = square + c * np.maximum(lead, 0)
                    going, before = going & (loss < 0.9999 * before), loss
                    if not going.any():
                        break
                slope = self.input_gradient(params, image, labels) - self.input_gradient(params, image, rival)
                g = (2 * r + (c * (lead > 0))[:, None] * slope) * 2 * image * (1 - image)
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                step = 0.01 * m / (1 - 0.9**i) / (np.sqrt(v / (1 - 0.999**i)) + 1e-8)
                w = np.where(going[:, None], w - step, w)
            low, high = np.where(worked, low, c), np.where(worked, c, high)
            c = np.where(np.isfinite(high), (low + high) / 2, 10 * c)
        return {"images": best, "success": np.isfinite(shortest)}

    def robustness(self, x, images, success):
        ratios = np.linalg.norm(images - x, axis=1) / np.linalg.norm(x, axis=1)
        return ratios[success].mean()
