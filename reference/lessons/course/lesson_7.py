# %% [markdown]
# # 7 · A gradient of a gradient: can one do it on paper?
#
# The attack moves along w, a derivative by the image.  Training differentiates what it made by the weights.  Automatic
# differentiation does this by recording the first derivative.  On paper four passes are enough.

# %%
import numpy as np

W1 = np.array([[1.0, -1.0], [1.0, 1.0]])
W2 = np.array([[1.0, 0.0], [0.0, 2.0]])
x, e_t, C = np.array([0.5, 1.0]), np.array([0.0, 1.0]), 0.9

# %% [markdown]
# ## 1 and 2: forward, and backward to the image
#
# Two inputs, two hidden units, two classes; the target is class 1, and C is 0.9.  The first two passes give the probabilities p
# and $w = \nabla_x \log p_t$.  One step of the attack follows.

# %%
h1 = x @ W1
m = (h1 > 0).astype(float)
h1, z = h1 * m, (h1 * m) @ W2
p = np.exp(z) / np.exp(z).sum()
d2 = e_t - p
d1 = (d2 @ W2.T) * m
w = d1 @ W1.T
phi, n = abs(np.log(p[1]) - np.log(C)), np.linalg.norm(w)
r = phi / n**2 * w
print("p", p.round(4), "w", w.round(4), "step", r.round(4))

# %% [markdown]
# ## 3: the tangent
#
# Suppose the loss is the first pixel of the attacked image.  Then its cotangent by w is a vector v, and what we need is the
# derivative of $v^\top w$ by the weights.  The trick: w is a *backward* pass of $e_t - p$, so
#
# $$v^\top w = v^\top J^\top (e_t - p) = (J v)^\top (e_t - p)$$
#
# and $J v$ is one *forward* pass of v through the linearised network.  No matrix is ever built.

# %%
r_bar = np.array([1.0, 0.0])
v = phi / n**2 * r_bar - 2 * phi * (r_bar @ w) / n**4 * w
sigma = 1 / (1 + np.exp(-(C - p[1])))
slope = sigma * (1 - sigma)
a = -(r_bar @ w) / n**2 - p[1] * (r_bar @ r) * slope
t1 = (v @ W1) * m
Jv = t1 @ W2
assert np.isclose(v @ w, Jv @ (e_t - p))
print("v", v.round(4), "Jv", Jv.round(4))

# %% [markdown]
# ## 4: backward to the weights
#
# Two things arrive at the logits: the derivative of the softmax in $e_t - p$, and a times the ordinary derivative of log p,
#
# $$\zeta = -(\mathrm{diag}\, p - p p^\top) J v + a (e_t - p) .$$
#
# One ordinary backward pass of ζ completes it.  Each weight has two products, because w depends on it and the logits do.

# %%
from reference.lessons import figures
from reference.lessons.build import figure, show

zeta = -(np.diag(p) - np.outer(p, p)) @ Jv + a * (e_t - p)
rho1 = (zeta @ W2.T) * m
W1_bar = np.outer(v, d1) + np.outer(x, rho1)
W2_bar = np.outer(t1, d2) + np.outer(h1, zeta)
numbers = dict(h0=x, h1=h1, z=z, w=w, d1=d1, d2=d2)
numbers |= dict(v=v, t1=t1, Jv=Jv, zeta=zeta, rho1=rho1)
figure(
    figures.four_passes(numbers),
    "Four passes through a network of two layers, with the numbers of this lesson.",
)
print("derivative by W1", W1_bar.round(4).tolist())

# %% [markdown]
# ## Check it, and see what the library does
#
# Autograd differentiates the library's own loop, and agrees to rounding.

# %%
from autograd import make_vjp

from reference.by_hand import passes
from reference.method.generator import unrolled

params = [(W1, np.zeros(2)), (W2, np.zeros(2))]


def attack(params):
    return unrolled(params, x[None], np.array([1]), C, 1, 0, 0)


pull_back, _ = make_vjp(attack)(params)
(first, _), (second, _) = pull_back(r_bar[None])
assert np.allclose(W1_bar, first, rtol=1e-12)
assert np.allclose(W2_bar, second, rtol=1e-12)
show(passes.Pass.tangent)

# %% [markdown]
# ## The mistake: dropping the second-order term
#
# Hold w fixed and let only the *length* of the step depend on the weights.  The result looks plausible, and it points elsewhere.

# %%
dropped = np.outer(x, (a * (e_t - p) @ W2.T) * m)
cosine = (dropped * W1_bar).sum() / np.linalg.norm(dropped) / np.linalg.norm(W1_bar)
print(f"cosine with the true gradient {cosine:.2f}")
assert cosine < 0.99

# %% [markdown]
# ## Exercise and questions
#
# `python -m reference.lessons exercise passes` asks for the passes; the derivation is `reference/by_hand/README.md`.
#
# <details><summary>Where was it used that ReLU is piecewise linear?</summary>
#
# The slopes m were held constant.  A smooth activation has a second derivative, which adds one more product at every layer.
# </details>
# <details><summary>Do biases appear in the tangent?</summary>
#
# No: J v is a derivative, and a constant has none.
# </details>
# <details><summary>How many passes does one step cost, forwards and in reverse?</summary>
#
# Two and two, where the cross-entropy needs one and one.
# </details>
