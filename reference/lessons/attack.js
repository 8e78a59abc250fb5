const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const SIDE = data.side, PIXELS = SIDE * SIDE, CLASSES = 10, DRAWN = -1;

// ------------------------------------------------------------------------------------------------ what the page holds
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** Base64 of little-endian float16, to Float64Array. */
function halves(text) {
  const raw = new Uint16Array(bytes(text).buffer);
  return Float64Array.from(raw, (h) => {
    const exponent = (h >> 10) & 31, fraction = h & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return h >> 15 ? -size : size;
  });
}

function layers(list) {
  return list.map(({ W, b, inputs, outputs }) => ({ W: halves(W), b: halves(b), inputs, outputs }));
}

const MARKS = ["M8 1a7 7 0 1 0 .01 0z", "M2 2h12v12H2z", "M8 1l7.5 13.5H.5z", "M8 0l8 8-8 8-8-8z",
               "M8 0l2.2 5.2 5.8.5-4.4 3.8 1.4 5.7L8 12.1 3 15.2l1.4-5.7L0 5.7l5.8-.5z", "M5.5 1h5v4.5H15v5h-4.5V15h-5v-4.5H1v-5h4.5z"];
const ACCENTS = { light: ["#4d4d4d", "#2f8fc4", "#c27c00", "#b4548a", "#00805c", "#1f3f93"],
                  dark: ["#e3e3e3", "#6cc0f0", "#f0b040", "#e597c0", "#22c79b", "#9aa5ff"] };
const networks = data.networks.map(({ name, place, network, critic }) => ({
  name, place, slope: 0, layers: layers(network), critic: critic && { slope: critic.slope, layers: layers(critic.layers) },
}));
const shipped = data.scale === 255 ? bytes(data.images) : new Uint16Array(bytes(data.images).buffer);
const images = data.labels.map((label, i) => ({
  label, x: Float64Array.from(shipped.subarray(i * PIXELS, (i + 1) * PIXELS), (v) => v / data.scale),
}));

// ------------------------------------------------------------------------------------- what is shown, as in the address
const START = { digit: data.start.digit, target: data.start.target, confidence: 0.8, attack: "evaluation",
                network: data.start.network, step: null, theme: null, hide: "", drawing: "" };
const state = { ...START };

function readAddress() {
  Object.assign(state, START);
  const given = new URLSearchParams(location.hash.slice(1));
  const whole = (name, low, high) => {
    const value = Number(given.get(name));
    if (given.has(name) && Number.isInteger(value) && value >= low && value <= high) state[name] = value;
  };
  whole("digit", DRAWN, images.length - 1); whole("step", 0, 500); whole("network", 0, networks.length - 1);
  if (given.get("target") === "nearest") state.target = "nearest"; else whole("target", 0, CLASSES - 1);
  const C = Number(given.get("confidence"));
  if (given.get("confidence") === "own") state.confidence = "own"; else if (C > 0 && C < 1) state.confidence = C;
  if (given.get("attack") === "training") state.attack = "training";
  if (["light", "dark"].includes(given.get("theme"))) state.theme = given.get("theme");
  if (/^[a-z,]*$/.test(given.get("hide") ?? "")) state.hide = given.get("hide") ?? "";
  const drawing = given.get("drawing") ?? "";
  if (/^[0-9a-f]*$/.test(drawing) && drawing.length === PIXELS) state.drawing = drawing;
  if (state.digit === DRAWN && !state.drawing) state.drawing = "0".repeat(PIXELS);
}

function writeAddress() {
  const kept = Object.entries(state).filter(([name, value]) => value !== START[name] && (name !== "drawing" || state.digit === DRAWN));
  const hash = new URLSearchParams(kept).toString().replaceAll("%2C", ",");
  history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
}

// ------------------------------------------------------------------------------------------------------------ the paths
let paths = [];  // per network: {path, success, target, confidence, label, x}
let last = 0;    // the number of the last step of the longest path

function source() {
  if (state.digit !== DRAWN) return images[state.digit];
  return { label: null, x: Float64Array.from(state.drawing, (c) => parseInt(c, 16) / 15) };
}

function attackAll() {
  const { label, x } = source();
  paths = networks.map((network) => {
    const { z } = forward(network, x), from = label ?? argmax(z), p = softmax(z);
    const target = state.target === "nearest" ? nearestClass(network, x, from) : state.target;
    const confidence = state.confidence === "own" ? Math.max(...p) : state.confidence;
    const found = (state.attack === "training" ? unrolled : highConfidence)(network, x, target, confidence);
    return { ...found, target, confidence, label: from, x };
  });
  last = Math.max(...paths.map(({ path }) => path.length - 1));
}

/** The frame of network `i` at the shown step: where it has arrived, the last one. */
const frameOf = (i) => paths[i].path[Math.min(state.step, paths[i].path.length - 1)];
const difference = (a, b) => a.map((value, i) => value - b[i]);
const moved = (i) => norm(difference(frameOf(i).x, paths[i].x)) / norm(paths[i].x);

// ------------------------------------------------------------------------------------------------------------- drawing
const isDark = () => (state.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const accent = (i) => ACCENTS[isDark() ? "dark" : "light"][networks[i].place % 6];

function paint(canvas, colour) {
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d"), pixels = context.createImageData(SIDE, SIDE);
  for (let i = 0; i < PIXELS; i++) pixels.data.set([...colour(i), 255], 4 * i);
  context.putImageData(pixels, 0, 0);
}

/** Between two colours, as ink spreads on paper: `amount` in [0, 1]. */
const mix = (from, to, amount) => from.map((value, c) => value + (to[c] - value) * Math.min(Math.max(amount, 0), 1));

function paintDigit(canvas, x) {
  const [paper, ink] = isDark() ? [[30, 32, 36], [240, 237, 230]] : [[255, 255, 255], [28, 27, 25]];
  paint(canvas, (i) => mix(paper, ink, x[i]));
}

function paintChange(canvas, r) {
  const [paper, more, less] = isDark() ? [[38, 40, 45], [255, 154, 77], [108, 184, 245]] : [[240, 237, 230], [179, 70, 11], [11, 95, 165]];
  paint(canvas, (i) => mix(paper, r[i] > 0 ? more : less, Math.abs(r[i]) * 1.4));
}

const percent = (value, digits = 0) => `${(100 * value).toFixed(digits)} %`;
const superscript = (digits) => [...String(digits)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join("");
const scientific = (v, digits) => v.toExponential(digits).replace(/e-(\d+)/, (_, power) => `·10⁻${superscript(power)}`);
const probability = (p) => (p >= 0.0095 ? percent(p) : p >= 1e-4 ? percent(p, 2) : scientific(p, 0));
const svg = (name, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

function buildColumns() {
  document.documentElement.style.setProperty("--networks", networks.length);
  document.documentElement.style.setProperty("--abreast", Math.min(networks.length, 3));  // on a phone
  networks.forEach(({ name, critic }, i) => {
    const number = (kind, label) => element("button", { class: `number ${kind}`, type: "button", "data-kind": kind, "data-label": label });
    const box = element("section", { class: "network", "aria-label": name, "data-network": i },
      element("button", { class: "name", type: "button" }, svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: MARKS[networks[i].place % 6] })), name),
      element("canvas", { class: "image", role: "img" }),
      element("div", { class: "says" }, element("b"), number("p")),
      element("div", { class: "result" }, element("canvas", { class: "change", role: "img", "aria-label": "what was changed" }),
        element("div", {}, number("moved"), element("div", { class: "bar", "aria-hidden": "true" }, element("i"))),
        element("div", { class: "small status" })),
      element("div", { class: "small critic" }, ...(critic ? [number("score")] : [])));
    box.addEventListener("click", (event) => {
      const kind = event.target.dataset.kind;
      choose(i, kind === "score" ? "critic" : kind);
    });
    $("columns").append(box);
  });
}

function choose(i, kind) {
  state.network = i;
  lit = kind ?? null;
  show();
  if (kind) $("formulas-title").focus({ preventScroll: innerWidth > 832 });
}

let lit = null;  // the formula whose number was clicked

function showColumns() {
  networks.forEach(({ critic }, i) => {
    const box = document.querySelector(`[data-network="${i}"]`), { path, success, target, confidence } = paths[i], now = frameOf(i);
    const done = state.step >= path.length - 1, says = argmax(now.p), ratio = moved(i), part = (name) => box.querySelector(name);
    box.style.setProperty("--accent", accent(i));
    box.classList.toggle("chosen", i === state.network);
    box.classList.toggle("arrived", done && success);
    box.classList.toggle("failed", done && !success);
    part(".name").setAttribute("aria-pressed", i === state.network);
    paintDigit(part(".image"), now.x);
    paintChange(part(".change"), difference(now.x, paths[i].x));
    part(".image").setAttribute("aria-label", `the image now, taken for ${says}`);
    part(".says b").textContent = `“${says}”`;
    // A probability that is just below C must not read as if it had reached it.
    const below = says === target && now.p[says] < confidence && percent(now.p[says]) === percent(confidence);
    part(".p").textContent = below ? percent(now.p[says], 2) : probability(now.p[says]);
    part(".p").setAttribute("aria-label", `${probability(now.p[says])} sure of ${says}: show the formula`);
    part(".moved").textContent = percent(ratio, ratio < 0.0995 ? 1 : 0);
    part(".moved").setAttribute("aria-label", `moved by ${percent(ratio, 1)}: show the formula`);
    part(".bar i").style.width = `${100 * Math.min(ratio / scaleOfMoves(), 1)}%`;
    const count = `${path.length - 1} step${path.length === 2 ? "" : "s"}`;
    part(".status").textContent = done ? (success ? `after ${count}` : `not after ${count}`) : `${probability(now.p[target])} sure of ${target}`;
    if (critic) {
      const { z } = forward(critic, now.x), sign = (v) => `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(1)}`;
      part(".score").textContent = `critic: ${[paths[i].label, target].map((j) => `${j}?\u00a0${sign(z[j])}`).join(", ")}`;
    }
  });
}

const scaleOfMoves = () => Math.max(0.1, ...paths.map(({ path, x }) => norm(difference(path.at(-1).x, x)) / norm(x)));

function showStory() {
  const { label } = source(), targets = new Set(paths.map(({ target }) => target));
  const what = label === null ? "your drawing" : `this ${label}`, aim = targets.size === 1 ? `a ${[...targets][0]}` : "something else";
  const a = aim.replace(/^a 8$/, "an 8");
  $("title").textContent = `What must change before a network calls ${what} ${a}?`;
  const sure = state.confidence === "own" ? "as sure of it as it was of the original" : `${percent(state.confidence, state.confidence > 0.99 ? 1 : 0)} sure of it`;
  $("lede").replaceChildren(`The same attack works on ${["", "one", "two", "three", "four", "five", "six"][networks.length] ?? networks.length} networks, in short steps, until each is ${sure}. `
    + (data.own ? "" : "An undefended network gives in to a little noise. Defended ones give in to strokes, and the adversary critic asks that these draw the other digit."),
    element("span", { class: "wide" }, " Which network takes the largest change differs from digit to digit."));
  document.title = `Watch an attack: ${label ?? "a drawing"} → ${[...targets].join(", ")}`;
}

function verdict() {
  const reached = paths.map(({ success }, i) => ({ i, success, ratio: moved(i) }));
  const parts = reached.map(({ i, success, ratio }) => `${networks[i].name}: ${success ? `taken for ${paths[i].target} after a change of ${percent(ratio, 1)}` : "not reached"}`);
  return `The attack has ended. ${parts.join("; ")}.`;
}

// --------------------------------------------------------------------------------------------------------------- chart
function showChart() {
  const box = $("chart").querySelector("svg"), width = box.clientWidth || 600, height = box.clientHeight || 240;
  if (!box.clientWidth) return;
  const left = 46, right = 14, top = 14, bottom = 34, reach = scaleOfMoves() * 1.08;
  const floor = Math.max(1e-4, Math.min(1e-3, ...paths.map(({ path, target }) => path[0].p[target])));
  const down = Math.floor(Math.log10(floor));
  const X = (ratio) => left + (ratio / reach) * (width - left - right);
  // Below the axis a curve runs along its foot.
  const Y = (logP) => top + Math.min(1, logP / (down * Math.LN10)) * (height - top - bottom);
  box.setAttribute("viewBox", `0 0 ${width} ${height}`);
  box.replaceChildren();
  const tick = (power) => power === 0 ? "1" : power === -1 ? "0.1" : `10⁻${superscript(-power)}`;
  for (let power = 0; power >= down; power -= Math.max(1, Math.ceil(-down / 5))) {
    const y = Y(power * Math.LN10);
    box.append(svg("line", { x1: left, x2: width - right, y1: y, y2: y, class: "grid" }), svg("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, tick(power)));
  }
  const unit = [0.02, 0.05, 0.1, 0.2, 0.5].find((u) => reach / u <= 7) ?? 1;
  for (let at = 0; at <= reach; at += unit) box.append(svg("text", { x: X(at), y: height - bottom + 17, "text-anchor": "middle" }, percent(at)));
  box.append(svg("text", { x: width - right, y: height - 2, "text-anchor": "end" }, "how far the image has moved, ‖r‖ / ‖x‖ →"));
  const C = paths[state.network].confidence, goal = Y(Math.log(C));
  box.append(svg("line", { x1: left, x2: width - right, y1: goal, y2: goal, class: "goal" }));
  const order = networks.map((_, i) => i).sort((a, b) => (a === state.network) - (b === state.network));
  for (const i of order) {
    const { path, x } = paths[i], size = norm(x);
    const points = path.map((now) => [X(norm(difference(now.x, x)) / size), Y(now.logP)]), shown = points.slice(0, state.step + 1);
    const draw = (list, extra) => svg("polyline", { points: list.map((p) => p.map((v) => v.toFixed(1)).join()).join(" "), stroke: accent(i), class: `curve ${extra} ${i === state.network ? "chosen" : ""}` });
    box.append(draw(points, "ahead"), draw(shown, ""));
    const [px, py] = shown.at(-1), now = frameOf(i);
    if (i === state.network && state.step < path.length - 1) {
      const ahead = now.phi / now.n / size;
      box.append(svg("line", { x1: px, y1: py, x2: X(moved(i) + ahead), y2: Y(Math.log(C)), stroke: accent(i), class: "tangent" }));
    }
    box.append(svg("path", { d: MARKS[networks[i].place % 6], fill: accent(i), transform: `translate(${px - 6.5} ${py - 6.5}) scale(.81)` }));
  }
  box.append(svg("text", { x: left + 4, y: goal + (goal < top + 20 ? 16 : -5) }, `C = ${percent(C, C > 0.99 ? 1 : 0)}`));
  const targets = new Set(paths.map(({ target }) => target));
  $("chart-title").textContent = `How sure it is of ${targets.size === 1 ? `“${[...targets][0]}”` : "the target"}, against how far the image has moved`;
}

// ------------------------------------------------------------------------------------------------------------ formulas
function showFormulas() {
  const i = state.network, { path, target, confidence, x, label } = paths[i], now = frameOf(i), { critic, name } = networks[i];
  const f = (v, digits = 3) => (v === 0 || Math.abs(v) >= 0.1 ? v.toFixed(digits) : Math.abs(v) >= 1e-3 ? v.toPrecision(2) : scientific(v, 1)).replace("-", "−");
  const r = norm(difference(now.x, x)), size = norm(x), length = now.phi / now.n + 1e-4, says = argmax(now.p);
  const done = state.step >= path.length - 1, sub = (v) => `<sub>${v}</sub>`;
  const rows = [
    ["p", `how sure`, `<i>p</i>${sub(target)} = e<sup><i>f</i>${sub(target)}</sup> / Σ<sub>j</sub> e<sup><i>f</i>${sub("j")}</sup>`, `e<sup>${f(now.z[target], 2)}</sup> / ${f(now.z.reduce((sum, a) => sum + Math.exp(a), 0), 1)}`, probability(now.p[target])],
    ["phi", `still missing`, `<i>φ</i> = |log <i>p</i>${sub(target)} − log <i>C</i>|`, `|${f(now.logP, 2)} − ${f(Math.log(confidence), 2)}|`.replace("− −", "+ "), f(now.phi, 2)],
    ["n", `how steep`, `<i>n</i> = √(<i>ε</i> + ‖∇<sub>x</sub> log <i>p</i>${sub(target)}‖²)`, "", f(now.n, 2)],
    ["step", done ? "no further step" : "next step", `√<i>ε</i> + <i>φ</i> / <i>n</i>`, `0.0001 + ${f(now.phi, 2)} / ${f(now.n, 2)}`, f(length) + (state.attack === "evaluation" && length > 0.1 ? ", shortened to 0.1" : "")],
    ["moved", `moved so far`, `‖<i>r</i>‖ / ‖<i>x</i>‖`, `${f(r, 2)} / ${f(size, 2)}`, percent(r / size, 1)],
  ];
  if (critic) {
    const asked = [...new Set([label, target, says])], scores = (v) => asked.map((j) => f(forward(critic, v).z[j], 2)).join(", ");
    const of = (v) => asked.map((j) => `<i>D</i>${sub(j)}(${v})`).join(", ");
    rows.push(["critic", "critic's score of the original", of("<i>x</i>"), "", scores(x)], ["critic", `and of the image now, taken for ${says}`, of("x̂"), "", scores(now.x)]);
  }
  $("formulas").style.setProperty("--accent", accent(i));
  $("formulas-title").textContent = `${name}, step ${Math.min(state.step, path.length - 1)}`;
  const list = $("formulas").querySelector("dl");
  list.replaceChildren(...rows.map(([kind, what, formula, numbers, result]) => {
    const row = element("div", { class: kind === lit ? "lit" : "" }), value = element("dd");
    value.innerHTML = `${formula} = ${numbers ? `${numbers} = ` : ""}<span class="result">${result}</span>`;
    row.append(element("dt", {}, `${what}: `), value);
    return row;
  }));
}

// --------------------------------------------------------------------------------------------------- controls and time
function chips(id, options, name) {
  $(id).replaceChildren(...options.map(([value, text]) => {
    const input = element("input", { type: "radio", name, value });
    input.addEventListener("change", () => set({ [name]: /^[\d.]+$/.test(value) ? Number(value) : value }));
    return element("label", {}, input, element("span", {}, text));
  }));
}

function buildControls() {
  $("digits").replaceChildren(...images.map(({ label }, i) => {
    const input = element("input", { type: "radio", name: "digit", value: i, "aria-label": `a ${label}, number ${i + 1}` });
    input.addEventListener("change", () => set({ digit: i, ...(state.target === label ? { target: "nearest" } : {}) }));
    return element("label", {}, input, element("canvas"));
  }));
  chips("targets", [["nearest", "nearest"], ...Array.from({ length: CLASSES }, (_, j) => [String(j), String(j)])], "target");
  chips("confidences", [["0.5", "50 %"], ["0.8", "80 %"], ["0.95", "95 %"], ["own", "own"]], "confidence");
  chips("attacks", [["evaluation", "evaluation"], ["training", "training"]], "attack");
  $("made").textContent = `The page opens with the first 4 of the test images.  ${data.made}`;
}

function showControls() {
  document.body.className = [isDark() ? "dark" : "", ...state.hide.split(",").filter(Boolean).map((part) => `no-${part}`)].join(" ");
  $("theme").textContent = isDark() ? "light" : "dark";
  $("digits").querySelectorAll("canvas").forEach((canvas, i) => paintDigit(canvas, images[i].x));
  for (const name of ["digit", "target", "confidence", "attack"])
    document.querySelectorAll(`input[name="${name}"]`).forEach((input) => {
      input.checked = input.value === String(state[name]);
      if (name === "target") input.disabled = Number(input.value) === source().label;
    });
  paintDigit($("pen"), state.drawing ? Float64Array.from(state.drawing, (c) => parseInt(c, 16) / 15) : new Float64Array(PIXELS));
}

function show() {
  showColumns(); showChart(); showFormulas();
  $("slider").max = last; $("slider").value = state.step;
  $("slider").setAttribute("aria-valuetext", `step ${state.step} of ${last}`);
  $("where").replaceChildren(element("span", { class: "wide" }, "step "), `${state.step} of ${last}`);
  $("play").textContent = timer !== null ? "Pause" : state.step >= last ? "Replay" : "Play";
  writeAddress();
}

let timer = null;

function pause() {
  if (timer !== null) clearInterval(timer);
  timer = null;
}

function goTo(step, keepPlaying = false) {
  if (!keepPlaying) pause();
  state.step = Math.min(Math.max(step, 0), last);
  if (state.step === last) { pause(); $("verdict").textContent = verdict(); } else $("verdict").textContent = "";
  show();
}

function play() {
  pause();
  if (state.step >= last) state.step = 0;
  timer = setInterval(() => goTo(state.step + 1, true), Math.min(Math.max(7000 / Math.max(last, 1), 30), 700));
  show();
}

/** Another digit, target, confidence or attack: from the start, and playing unless motion is unwelcome. */
function set(change) {
  pause();
  Object.assign(state, change);
  attackAll(); showControls(); showStory();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) goTo(last); else { goTo(0); if (last > 0) play(); }
}

function open() {
  pause();
  readAddress(); attackAll(); showControls(); showStory();
  if (state.step !== null) goTo(state.step);
  else if (matchMedia("(prefers-reduced-motion: reduce)").matches) goTo(last);
  else { goTo(0); timer = setTimeout(play, 900); }
}

// ---------------------------------------------------------------------------------------------------------- the drawing
const pen = { x: SIDE >> 1, y: SIDE >> 1, down: false };

function ink(cx, cy) {
  const now = Array.from(state.digit === DRAWN && state.drawing ? state.drawing : "0".repeat(PIXELS), (c) => parseInt(c, 16));
  for (let y = 0; y < SIDE; y++) for (let x = 0; x < SIDE; x++) {
    const amount = 15 * Math.min(1, Math.max(0, SIDE / 17 - Math.hypot(x + 0.5 - cx, y + 0.5 - cy)));
    now[y * SIDE + x] = Math.max(now[y * SIDE + x], Math.round(amount));
  }
  draw(now.map((v) => v.toString(16)).join(""));
}

function draw(drawing) {
  pause();
  Object.assign(state, { digit: DRAWN, drawing });
  showControls();
}

function drawn() { if (state.digit === DRAWN) set({ target: state.target }); }

function buildPen() {
  const place = (event) => {
    const box = $("pen").getBoundingClientRect();
    ink(((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE);
  };
  $("pen").addEventListener("pointerdown", (event) => { pen.down = true; $("pen").setPointerCapture(event.pointerId); place(event); });
  $("pen").addEventListener("pointermove", (event) => { if (pen.down) place(event); });
  $("pen").addEventListener("pointerup", () => { pen.down = false; drawn(); });
  $("pen").addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault(); event.stopPropagation();
    pen.x = Math.min(Math.max(pen.x + move[0], 1), SIDE - 1); pen.y = Math.min(Math.max(pen.y + move[1], 1), SIDE - 1);
    if (event.shiftKey) ink(pen.x, pen.y);
    $("pen").setAttribute("aria-label", `Drawing: pen at column ${pen.x}, row ${pen.y}`);
  });
  $("pen").addEventListener("keyup", (event) => { if (event.key === "Shift") drawn(); });
  $("clear").addEventListener("click", () => { draw("0".repeat(PIXELS)); });
}

$("rewind").addEventListener("click", () => goTo(0));
$("back").addEventListener("click", () => goTo(state.step - 1));
$("forth").addEventListener("click", () => goTo(state.step + 1));
$("play").addEventListener("click", () => { if (timer !== null) { pause(); show(); } else play(); });
$("slider").addEventListener("input", () => goTo(Number($("slider").value)));
$("theme").addEventListener("click", () => { state.theme = isDark() ? "light" : "dark"; showControls(); show(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
  const act = { ArrowLeft: () => goTo(state.step - 1), ArrowRight: () => goTo(state.step + 1), Home: () => goTo(0), End: () => goTo(last),
                " ": () => $("play").click() }[event.key];
  if (!act || (event.key === " " && event.target.matches("button, summary"))) return;
  event.preventDefault();
  act();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showControls(); show(); });
addEventListener("hashchange", open);
addEventListener("resize", showChart);
buildColumns(); buildControls(); buildPen();
open();
