// The attack in plain JavaScript: networks, the input gradient, the Newton step, and the attack as trained and as evaluated.
// A network is {layers: [{W, b, inputs, outputs}], slope}: W row by row (inputs × outputs), h = x W + b; slope is the
// activation's below 0 (0 for the classifier's ReLU).  Vectors are Float64Arrays of one example.

/** f(x): the logits `z`, and each layer's input `h` and slope `m` of the activation before it, for `inputGradient`.
 *  noise: nothing, or what is added to each layer's input. */
export function forward({ layers, slope = 0 }, x, noise = null) {
  const h = [], m = [null];
  let z = x;
  layers.forEach(({ W, b, inputs, outputs }, l) => {
    if (l > 0) {
      m.push(z.map((a) => (a > 0 ? 1 : slope)));
      z = z.map((a, i) => a * m[l][i]);
    }
    if (noise) z = z.map((a, i) => a + noise[l][i]);
    h.push(z);
    const out = Float64Array.from(b);
    for (let i = 0; i < inputs; i++) {
      const value = z[i];
      if (value !== 0) for (let j = 0, at = i * outputs; j < outputs; j++, at++) out[j] += value * W[at];
    }
    z = out;
  });
  return { z, h, m };
}

/** J(x)ᵀ v: one backward pass of the cotangent `v` at the logits. */
export function inputGradient({ layers }, { m }, v) {
  let delta = v;
  for (let l = layers.length - 1; l >= 0; l--) {
    const { W, inputs, outputs } = layers[l], back = new Float64Array(inputs);
    for (let i = 0; i < inputs; i++) {
      if (l > 0 && m[l][i] === 0) continue;
      let sum = 0;
      for (let j = 0, at = i * outputs; j < outputs; j++, at++) sum += W[at] * delta[j];
      back[i] = l > 0 ? sum * m[l][i] : sum;
    }
    delta = back;
  }
  return delta;
}

export const norm = (v) => Math.sqrt(v.reduce((sum, a) => sum + a * a, 0));
export const argmax = (v) => v.indexOf(v.reduce((a, b) => Math.max(a, b)));

export function logSoftmax(z) {
  const top = z.reduce((a, b) => Math.max(a, b));
  const log = top + Math.log(z.reduce((sum, a) => sum + Math.exp(a - top), 0));
  return z.map((a) => a - log);
}

export function softmax(z) {
  const top = z.reduce((a, b) => Math.max(a, b)), e = z.map((a) => Math.exp(a - top));
  const sum = e.reduce((a, b) => a + b);
  return e.map((a) => a / sum);
}

/** The class j ≠ label of the smallest |f_j − f_l| / ‖∇f_j − ∇f_l‖; where no gap has a gradient, of the highest logit. */
export function nearestClass(network, x, label, size = norm) {
  const pass = forward(network, x), k = pass.z.length;
  const distance = Array.from({ length: k }, (_, j) => {
    const v = new Float64Array(k);
    if (j === label) return Infinity;
    v[j] = 1, v[label] = -1;
    const gap = size(inputGradient(network, pass, v));
    return gap > 0 ? Math.abs(pass.z[j] - pass.z[label]) / gap : Infinity;
  });
  if (distance.some(Number.isFinite)) return distance.indexOf(Math.min(...distance));
  return argmax(pass.z.map((a, j) => (j === label ? -Infinity : a)));
}

/** log p_t, p, w = ∇ₓ log p_t = J(x)ᵀ (e_t − p), and the logits, at x. */
export function lineariseLogProb(network, x, target) {
  const pass = forward(network, x), p = softmax(pass.z);
  const w = inputGradient(network, pass, p.map((a, j) => (j === target ? 1 : 0) - a));
  return { z: pass.z, p, logP: logSoftmax(pass.z)[target], w };
}

/** (√ε + φ/n) w/n with φ = |log p_t − log C| and n = √(ε + ‖w‖²): the step, and the numbers that it comes from. */
export function newtonStep(logP, w, confidence, eps = 1e-8) {
  const phi = Math.abs(logP - Math.log(confidence)), n = Math.sqrt(eps + w.reduce((sum, a) => sum + a * a, 0));
  const factor = (Math.sqrt(eps) + phi / n) / n;
  return { step: w.map((a) => factor * a), phi, n };
}

/** A frame of a path: where the attack is, what the network says there, and the step that it is about to take. */
function frame(network, x, target, confidence, eps) {
  const { z, p, logP, w } = lineariseLogProb(network, x, target);
  return { x, z, p, logP, w, ...newtonStep(logP, w, confidence, eps) };
}

/** The attack of the evaluation, iterate by iterate: until argmax f = t and p_t ≥ C, in the box. -> {path, success}. */
export function highConfidence(network, x, target, confidence, options = {}) {
  const { box = [0, 1], iterations = 500, overshoot = 0.02, stepLimit = 0.1, eps = 1e-8 } = options;
  const path = [];
  for (let iteration = 0; ; iteration++) {
    const now = frame(network, x, target, confidence, eps);
    path.push(now);
    const success = argmax(now.z) === target && now.p[target] >= confidence;
    if (success || iteration === iterations || now.w.every((a) => a === 0)) return { path, success };
    const length = norm(now.step), shortened = Math.min(length, stepLimit) / (length > 0 ? length : 1);
    x = x.map((a, i) => {
      const moved = a + (1 + overshoot) * (now.step[i] * shortened);
      return box === null ? moved : Math.min(Math.max(moved, box[0]), box[1]);
    });
  }
}

/** The attack of the training: a fixed number of whole steps, no box; an example that has arrived stays. -> as above. */
export function unrolled(network, x, target, confidence, options = {}) {
  const { iterations = 5, overshoot = 0.05, eps = 1e-8 } = options;
  const path = [], r = new Float64Array(x.length);
  let active = true;
  for (let iteration = 0; ; iteration++) {
    const now = frame(network, x.map((a, i) => a + (1 + overshoot) * r[i]), target, confidence, eps);
    path.push(now);
    active = active && now.p[target] < confidence;
    if (!active || iteration === iterations) return { path, success: now.p[target] >= confidence };
    now.step.forEach((a, i) => (r[i] += a));
  }
}
