// The method in JavaScript under test, by JSON lines, without gradients by the parameters:
//
//     python -m reference.conformance run --command "node reference/conformance/adapters/javascript.mjs"
//
// `python -m reference.conformance template --json-lines` says what comes in and what goes out.  With a folder it fills the
// answer sheet that `export` has put there instead: node reference/conformance/adapters/javascript.mjs DIR
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import {
  argmax, forward, highConfidence, inputGradient, lineariseLogProb, logSoftmax, nearestClass, newtonStep, norm, softmax,
} from "./method.mjs";

const O = 0.05, EPS = 1e-8, M = 5, SLOPE = 0.2;
const mean = (values) => values.reduce((a, b) => a + b, 0) / Math.max(values.length, 1);
const softplus = (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));
const oneHot = (j, k) => Float64Array.from({ length: k }, (_, i) => (i === j ? 1 : 0));
const minus = (a, b) => a.map((v, i) => v - b[i]);
const l1 = (v) => v.reduce((sum, a) => sum + Math.abs(a), 0);

/** {shape, data} as numbers, vectors, or rows of these. */
function array({ shape, data }) {
  if (shape.length === 0) return data[0];
  if (shape.length === 1) return Float64Array.from(data);
  const size = data.length / Math.max(shape[0], 1);
  return Array.from({ length: shape[0] }, (_, i) => array({ shape: shape.slice(1), data: data.slice(i * size, (i + 1) * size) }));
}

/** What the kit sends: layers become a network, lists of arrays stay lists, and words and null stay as they are. */
function given(value) {
  if (value === null || typeof value !== "object") return value;
  if (!Array.isArray(value)) return "shape" in value ? array(value) : Object.fromEntries(Object.entries(value).map(([k, v]) => [k, given(v)]));
  if (value.length === 0 || !Array.isArray(value[0])) return value.map(given);
  return { layers: value.map(([W, b]) => ({ W: W.data, b: b.data, inputs: W.shape[0], outputs: W.shape[1] })) };
}

/** What goes back: typed arrays become lists. */
const plain = (value) => {
  if (ArrayBuffer.isView(value)) return Array.from(value);
  return Array.isArray(value) ? value.map(plain) : value;
};

const rows = (noise, i) => noise && noise.map((layer) => layer[i]);
const judged = (critic, x, noise) => forward({ ...critic, slope: SLOPE }, x, noise);
const slopeOf = (critic, pass, label) => inputGradient(critic, pass, oneHot(label, pass.z.length));

/** The training attack of one image -> every iterate, and whether the image moved in each iteration. */
function attacked(params, x, target, C, iterations = M, overshoot = O, eps = EPS) {
  const r = new Float64Array(x.length), trace = [], mask = [];
  let active = true, at = x;
  for (let m = 0; m < iterations; m++) {
    const { p, logP, w } = lineariseLogProb(params, at, target);
    active = active && p[target] < C;
    const step = active ? newtonStep(logP, w, C, eps).step : [];
    step.forEach((a, i) => (r[i] += a));
    at = x.map((a, i) => a + (1 + overshoot) * r[i]);
    trace.push(at);
    mask.push(step.some((a) => a !== 0));
  }
  return { trace, mask, image: at };
}

const generated = ({ params, x, targets, value }) => x.map((image, i) => {
  const p = softmax(forward(params, image).z);
  return attacked(params, image, targets[i], value === null ? Math.max(...p) : value[targets[i]]).image;
});

const methods = {
  logits: ({ params, x }) => x.map((v) => forward(params, v).z),
  scores: ({ critic, x, noise }) => x.map((v, i) => judged(critic, v, rows(noise, i)).z),
  input_gradient: ({ params, x, labels }) => x.map((v, i) => slopeOf(params, forward(params, v), labels[i])),
  critic_gradient: ({ critic, x, labels, noise }) => x.map((v, i) => slopeOf(critic, judged(critic, v, rows(noise, i)), labels[i])),
  nearest_class: ({ params, x, labels, geometry }) =>
    x.map((v, i) => nearestClass(params, v, labels[i], geometry === "linf" ? l1 : norm)),
  running_confidence({ params, x, value, biased, steps }) {
    const p = x.map((v) => softmax(forward(params, v).z));
    const batch = value.map((old, j) => {
      const mine = p.filter((row) => argmax(row) === j).map((row) => row[j]);
      return mine.length ? mean(mine) : old;
    });
    const next = biased.map((b, j) => 0.5 * b + 0.5 * batch[j]);
    return { biased: next, steps: steps + 1, value: next.map((b) => b / (1 - 0.5 ** (steps + 1))) };
  },
  attack_step: ({ params, x, targets, C, eps, geometry }) => x.map((v, i) => {
    const { logP, w } = lineariseLogProb(params, v, targets[i]), { step, phi } = newtonStep(logP, w, C[i], eps);
    return geometry === "l2" ? step : w.map((a) => (Math.sqrt(eps) + phi) * Math.sign(a) / (l1(w) || 1));
  }),
  attack({ params, x, targets, C, iterations, overshoot, eps }) {
    const all = x.map((v, i) => attacked(params, v, targets[i], C[i], iterations, overshoot, eps));
    const turned = (name) => Array.from({ length: iterations }, (_, m) => all.map((a) => a[name][m]));
    return { trace: turned("trace"), mask: turned("mask") };
  },
  classifier_losses({ params, critic, x, y, targets, value, noise }) {
    const z = x.map((v) => forward(params, v).z), hat = generated({ params, x, targets, value });
    const now = z.map(argmax), then = hat.map((v) => argmax(forward(params, v).z));
    const S = x.map((_, i) => i).filter((i) => now[i] !== then[i]);
    return {
      cross_entropy: mean(z.map((v, i) => -logSoftmax(v)[y[i]])),
      critic: mean(S.map((i) => softplus(-judged(critic, hat[i], rows(noise, i)).z[then[i]]))),
      cycle: mean(S.map((i) => norm(minus(x[i], attacked(params, hat[i], now[i], Math.max(...softmax(z[i]))).image)) ** 2)),
    };
  },
  critic_losses({ params, critic, x, y, targets, value, noise_real, noise_fake }) {
    const hat = generated({ params, x, targets, value }), taken = hat.map((v) => argmax(forward(params, v).z));
    const real = x.map((v, i) => judged(critic, v, rows(noise_real, i)));
    const fake = hat.map((v, i) => judged(critic, v, rows(noise_fake, i)));
    const penalty = (passes, labels) => mean(passes.map((pass, i) => (norm(slopeOf(critic, pass, labels[i])) - 1) ** 2));
    return {
      real: mean(real.map(({ z }, i) => softplus(-z[y[i]]))),
      fake: mean(fake.map(({ z }, i) => softplus(z[taken[i]]))),
      penalty: penalty(real, y) + penalty(fake, taken),
    };
  },
  adversarial_perturbation: ({ params, x, y, epsilon, geometry }) => x.map((v, i) => {
    const pass = forward(params, v), p = softmax(pass.z), w = inputGradient(params, pass, minus(p, oneHot(y[i], p.length)));
    return w.map((a) => epsilon * (geometry === "l2" ? a / (norm(w) || 1) : Math.sign(a)));
  }),
  high_confidence({ params, x, labels, C }) {
    const all = x.map((v, i) => {
      const level = C === null ? Math.max(...softmax(forward(params, v).z)) : C[i];
      return highConfidence(params, v, nearestClass(params, v, labels[i]), level);
    });
    return { images: all.map(({ path }) => path.at(-1).x), success: all.map(({ success }) => success) };
  },
  robustness: ({ x, images, success }) =>
    mean(x.map((v, i) => norm(minus(images[i], v)) / norm(v)).filter((_, i) => success[i])),
};

function answer({ ask, inputs }) {
  if (!(ask in methods)) return { missing: "not written" };
  const found = methods[ask](given(inputs));
  const named = Array.isArray(found) || typeof found === "number" ? { [ask]: found } : found;
  return { answer: Object.fromEntries(Object.entries(named).map(([name, value]) => [name, plain(value)])) };
}

/** Fill the answer sheet of a folder; what is not written here stays null. */
function fill(folder) {
  const read = (name) => JSON.parse(readFileSync(`${folder}/${name}.json`, "utf8"));
  const inputs = read("inputs"), tasks = read("tasks"), sheet = read("answers");
  const argument = (value) => {
    if (typeof value === "string") return inputs[value] ?? value;
    if (!Array.isArray(value)) return value;
    const weights = value.filter((name) => /\.W\d+$/.test(name));
    if (weights.length === 0) return value.map((name) => inputs[name]);
    return weights.map((name) => [inputs[name], inputs[name.replace(/W(\d+)$/, "b$1")]]);
  };
  for (const [id, task] of Object.entries(tasks)) {
    if (!(task.method in methods)) continue;
    const given = Object.fromEntries(Object.entries(task.arguments).map(([name, value]) => [name, argument(value)]));
    const found = answer({ ask: task.method, inputs: given }).answer;
    for (const output of Object.keys(task.outputs)) sheet.answers[id][output] = found[output] ?? null;
  }
  writeFileSync(`${folder}/answers.json`, JSON.stringify(sheet));
}

async function listen() {
  for await (const line of createInterface({ input: process.stdin })) {
    const message = JSON.parse(line);
    if (message.stop) break;
    console.log(JSON.stringify(message.start ? { name: "JavaScript", choices: {} } : answer(message)));
  }
}

if (process.argv[2]) fill(process.argv[2]);
else await listen();
