"""Derivatives without autograd: by finite differences, by complex steps, and of formulas worked out by hand.

Two judges, neither of which shares code with a gradient under test:

    finite differences  (8 f(h) − 8 f(−h) − f(2h) + f(−2h)) / 12h along a direction of length 1.  h = 1e-5 leaves an
                        error of about h⁴ = 1e-20 (truncation) and 1e-15·|f|/h = 1e-10·|f| (rounding).
    complex step        Im f(θ + ih v)/h with h = 1e-30: exact to rounding however small the derivative is, but f must
                        be analytic, with every branch decided by the real part.

Both compare *relatively*.  A check with an absolute tolerance passes a small gradient that is wrong by a factor of two.

What the library differentiates twice it differentiates with autograd inside, which takes no complex step.  Those
quantities are derived a second time below, in plain NumPy, with the chain rule written out (`forward`, `pull_back`).
There `Held` marks what is a constant.
"""

import numpy as np

STEP = 1e-5
ROUNDING = 1e-13  # relative to |f| or the whole gradient: what a sum that cancels to zero leaves behind


def leaves(tree):
    """The arrays of nested lists and tuples."""
    if isinstance(tree, list | tuple):
        return [leaf for branch in tree for leaf in leaves(branch)]
    return [tree]


def grow(tree, values):
    """Shaped like `tree`, with the arrays taken from `values` in order."""

    def build(tree):
        if isinstance(tree, list | tuple):
            return type(tree)([build(branch) for branch in tree])
        return next(values)

    values = iter(values)
    return build(tree)


def along(f, at, direction):
    """The function s -> f(at + s·direction) of one number."""
    pairs = list(zip(leaves(at), direction, strict=True))
    return lambda s: f(grow(at, [leaf + s * v for leaf, v in pairs]))


def finite_difference(g, h=STEP):
    """g'(0), to fourth order."""
    return (8 * (g(h) - g(-h)) - (g(2 * h) - g(-2 * h))) / (12 * h)


def complex_step(g, h=1e-30):
    """g'(0), to rounding; g analytic."""
    return np.imag(g(1j * h)) / h


def size(arrays):
    return np.sqrt(sum(np.sum(np.abs(a) ** 2) for a in arrays))


def assert_like(got, at):
    """The gradient `got` is finite and has the tree, shapes and dtypes of what it is taken by."""
    assert len(leaves(got)) == len(leaves(at))
    for g, a in zip(leaves(got), leaves(at), strict=True):
        assert np.shape(g) == np.shape(a) and np.asarray(g).dtype == np.asarray(a).dtype
        assert np.all(np.isfinite(g))


def assert_gradient(got, f, at, analytic=True, magnitude=0.0):
    """`got` is the gradient of the scalar function `f` at the tree `at` of float64 arrays.

    One complex step for each array, each held to 1e-9 of that array's own gradient, so that a large array does not
    hide a small one; and one finite difference along all of them, held to 1e-6 of max(|derivative|, ‖gradient‖/√N),
    the size of a typical directional derivative of a function of N numbers.
    magnitude: of the terms that `f` sums, where they may cancel; its rounding goes with them, not with the sum.
    """
    assert_like(got, at)
    got, rng = leaves(got), np.random.default_rng(0)
    value = max(abs(np.real(f(at))), magnitude)
    noise = [rng.standard_normal(np.shape(a)) for a in leaves(at)]

    def compare(direction, derivative, tolerance, floor):
        ours = sum(np.sum(g * v) for g, v in zip(got, direction, strict=True))
        touched = [g for g, v in zip(got, direction, strict=True) if np.any(v)]
        typical = size(touched) / np.sqrt(sum(np.size(g) for g in touched))
        allowed = tolerance * max(abs(derivative), typical) + floor
        assert abs(ours - derivative) <= allowed, f"gradient gives {ours}, expected {derivative}"

    if analytic:
        for i, leaf in enumerate(noise):
            v = [leaf / size([leaf]) if i == j else 0 * a for j, a in enumerate(noise)]
            compare(v, complex_step(along(f, at, v)), 1e-9, ROUNDING * max(value, size(got)))
    v = [a / size(noise) for a in noise]
    compare(v, finite_difference(along(f, at, v)), 1e-6, 1e-15 * value / STEP)


class Held:
    """What is a constant: the first evaluation records its values, at θ₀, and every later one replays them.

    A function written with `held(name, value)` is, after its first evaluation, an ordinary smooth function of θ whose
    true derivative at θ₀ is what automatic differentiation with stop-gradients is meant to give.  `flip` names
    boundaries to get wrong on purpose: what is held flows, and what flows is held.
    """

    def __init__(self, *flip):
        self.flip, self.record, self.values = set(flip), True, []
        self.margin = np.inf  # the smallest distance to a branch taken the other way

    def start(self):
        """Begin the next evaluation."""
        self.record, self.queue = not self.values, iter(self.values)

    def constant(self, value):
        if self.record:
            self.values.append(np.real(value) if np.iscomplexobj(value) else value)
        return self.values[-1] if self.record else next(self.queue)

    def __call__(self, name, value):
        """sg[value]"""
        return value if name in self.flip else self.constant(value)

    def flows(self, name, value):
        """value, attached"""
        return self.constant(value) if name in self.flip else value

    def choose(self, name, right, wrong):
        return wrong if name in self.flip else right

    def positive(self, value):
        """value > 0, decided at θ₀."""
        if self.record and np.size(value):
            self.margin = min(self.margin, np.min(np.abs(value)))
        return self.constant(np.real(value) > 0)

    def largest(self, z):
        """argmax of each row, decided at θ₀."""
        if self.record:
            self.margin = min(self.margin, np.min(np.diff(np.sort(np.real(z), axis=1)[:, -2:])))
        return self.constant(np.argmax(np.real(z), axis=1))


def surrogate(f, at, *flip):
    """-> (the function `f(held, tree)` with everything held at `at`, its value there, the Held)."""
    held = Held(*flip)

    def replay(tree):
        held.start()
        return f(held, tree)

    return replay, replay(at), held


# The method once more, by hand.  Shapes and names as in the library; the first argument is a `Held`.


def forward(held, params, x, slope=0.0, noise=None):
    """-> (output, slopes of the activations) of a perceptron, (leaky) ReLU; noise on each layer's input."""
    slopes = []
    for i, (W, b) in enumerate(params):
        if i:
            slopes.append(np.where(held.positive(x), 1, slope))
            x = x * slopes[-1]
        x = (x if noise is None else x + noise[i]) @ W + b
    return x, slopes


def pull_back(params, slopes, v):
    """∇_x Σ v·output: the chain rule from the last layer to the first."""
    for i in reversed(range(len(params))):
        v = v @ params[i][0].T
        v = v * slopes[i - 1] if i else v
    return v


def log_probabilities(z):
    z = z - np.max(np.real(z), axis=1, keepdims=True)
    return z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))


def rows(v, labels):
    return v[np.arange(len(v)), labels]


def eye(labels, k):
    return np.eye(k)[labels]


def softplus(v):
    shift = np.maximum(np.real(v), 0)  # any constant is right; this one does not overflow
    return shift + np.log(np.exp(-shift) + np.exp(v - shift))


def lengths(v):
    """Euclidean, of the rows; 0, and constant, where a row is exactly 0."""
    zero = ~np.any(v != 0, axis=-1)
    return np.sqrt(np.sum(v * v, axis=-1) + zero) * ~zero


def unit(v):
    n = lengths(v)[:, None]
    return v / np.where(n == 0, 1, n)


def nll(z, y):
    return -np.mean(rows(log_probabilities(z), y))


def unroll(held, params, x, t, C, iterations, overshoot=0.05, eps=1e-8, gradient="truncated", geometry="l2"):
    """The unrolled attack.  Each indicator is value(θ₀) + σ(C − p) − σ(C − p)|θ₀: the straight-through rule, as a
    function that really has that derivative."""
    r, c, C = np.zeros(x.shape), 1, C * np.ones(len(x))
    for _ in range(iterations):
        at = x + (1 + overshoot) * r
        at = held("iterates", at) if gradient == "truncated" else at
        z, slopes = forward(held, params, at)
        log_p = log_probabilities(z)
        w = held.flows("w", pull_back(params, slopes, eye(t, z.shape[1]) - np.exp(log_p)))
        log_p = rows(log_p, t)
        gap = log_p - np.log(C)
        phi = held.flows("φ", np.where(held.positive(gap), gap, -gap))[:, None]
        s = 1 / (1 + np.exp(np.exp(log_p) - C))
        short = held.positive(C - np.exp(log_p))
        c = held.choose("cumulative", c, 1) * held.flows("indicator", short + s - held.constant(s))
        if geometry == "l2":
            n = np.sqrt(eps + np.sum(w * w, axis=1))[:, None]
            step = (np.sqrt(eps) + phi / n) * w / n
        else:
            sign = held.constant(np.sign(np.real(w)))
            n = np.sum(sign * w, axis=1)[:, None]
            step = (np.sqrt(eps) + phi) * sign / np.where(n == 0, 1, n)
        r = r + c[:, None] * step
    return x + (1 + overshoot) * r


def cross_entropy_by_hand(held, params, q):
    return nll(forward(held, params, q.x)[0], q.y)


def pretraining_by_hand(held, params, q, weight_decay):
    return cross_entropy_by_hand(held, params, q) + weight_decay / 2 * sum(np.sum(W * W) for W, _ in params[:-1])


def adversarial_training_by_hand(held, params, q, s):
    z, slopes = forward(held, params, q.x)
    g = pull_back(params, slopes, np.exp(log_probabilities(z)) - eye(q.y, z.shape[1]))
    r = held("r", s.epsilon * (np.sign(np.real(g)) if s.geometry == "linf" else unit(g)))
    return nll(z, q.y) / 2 + nll(forward(held, params, q.x + r)[0], q.y) / 2


def multi_step_by_hand(held, params, q, s):
    r, length = np.zeros_like(q.x), 2.5 * s.epsilon / s.steps
    for _ in range(s.steps):
        z, slopes = forward(held, params, q.x + r)
        g = pull_back(params, slopes, np.exp(log_probabilities(z)) - eye(q.y, z.shape[1]))
        r = np.real(r + length * (np.sign(np.real(g)) if s.geometry == "linf" else unit(g)))
        if s.geometry == "linf":
            r = np.minimum(np.maximum(r, -s.epsilon), s.epsilon)
        else:  # the nearest point of the ball
            r = np.array([v if np.linalg.norm(v) <= s.epsilon else s.epsilon * v / np.linalg.norm(v) for v in r])
        r = np.minimum(np.maximum(q.x + r, 0), 1) - q.x
    return nll(forward(held, params, q.x + held("r", r))[0], q.y)


def virtual_adversarial_by_hand(held, params, q, s):
    z, _ = forward(held, params, q.x)
    log_p, d = log_probabilities(z), unit(q.start)
    for _ in range(s.power_iterations):
        # ∇_r KL(p(x) ‖ p(x + r)) = Jᵀ(p(x + r) − p(x))
        z_d, slopes = forward(held, params, q.x + s.xi * d)
        d = unit(pull_back(params, slopes, np.exp(log_probabilities(z_d)) - np.exp(log_p)))
    d = held("d", d)
    log_q, log_target = log_probabilities(forward(held, params, q.x + s.epsilon * d)[0]), held("KL target", log_p)
    return nll(z, q.y) + np.mean(np.sum(np.exp(log_target) * (log_target - log_q), axis=1))


def margin_by_hand(held, params, q, s):
    z, slopes = forward(held, params, q.x)
    k, columns = z.shape[1], []
    for j in range(k):
        w = pull_back(params, slopes, eye(np.full(len(z), j), k) - eye(q.y, k))
        if s.geometry == "l2":
            sharp = lengths(w)
        else:
            sharp = np.sum(held.constant(np.sign(np.real(w))) * w, axis=1)
        columns.append(1 + z[:, j] - rows(z, q.y) + s.epsilon * sharp)
    worst = np.where(eye(q.y, k) > 0, -9, np.stack(columns, axis=1))
    worst = rows(worst, held.largest(worst))
    return np.mean(worst * held.positive(worst))


def adversary_critic_by_hand(held, params, q, s, slope=0.2):
    """The three terms, unweighted; slope: of the critic's activations."""
    g = s.generator
    z, _ = forward(held, params, q.x)
    predicted = held.largest(z)
    own = rows(np.exp(log_probabilities(z)), predicted)
    if g.confidence == "running":
        mean = np.mean(own)  # what an attached mean would add to the derivative
        C = held("class mean", q.running.value[q.targets] + mean - held.constant(mean))
    else:
        C = held.flows("own confidence", own) if g.confidence == "own" else g.confidence
    settings = g.iterations, g.overshoot, g.eps, g.gradient, g.geometry
    x_hat = unroll(held, params, q.x, q.targets, C, *settings)
    x_hat = held.constant(x_hat) if g.gradient == "detached" else x_hat
    y_hat = held.largest(forward(held, params, held.constant(x_hat))[0])
    S = held.choose("S", held.constant(y_hat != predicted), np.ones(len(z), bool))
    D = forward(held, q.critic, held.flows("x̂ in the critic", x_hat), slope, q.noise_fake)[0]
    D = rows(D, held.choose("ŷ", y_hat, q.targets))
    conf = held.flows("conf", own)
    back = unroll(held, params, held("cycle input", x_hat), predicted, conf, *settings)
    back = held.constant(back) if g.gradient == "detached" else back
    count = max(np.sum(S), 1)
    return {
        "cross_entropy": nll(z, q.y),
        "critic": np.sum(np.where(S, softplus(-D), 0)) / count,
        "cycle": np.sum(np.where(S, np.sum((q.x - back) ** 2, axis=1), 0)) / count,
    }


def critic_by_hand(held, critic, q, x_hat, y_hat, penalty_weight, slope=0.2):
    value = 0
    for sign, x, y, noise in ((-1, q.x, q.y, q.noise_real), (1, x_hat, y_hat, q.noise_fake)):
        D, slopes = forward(held, critic, x, slope, noise)
        g = pull_back(critic, slopes, eye(y, D.shape[1]))
        value = value + np.mean(softplus(sign * rows(D, y)))
        value = value + penalty_weight * np.mean((lengths(g) - 1) ** 2)
    return value
